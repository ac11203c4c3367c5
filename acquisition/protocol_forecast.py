"""What a program takes and brings, on paper: time, charge, ranges, points."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from cryoline.acquisition.errors import ProtocolError
from cryoline.devices.cycling_protocol import Program
from cryoline.devices.cycling_steps import (
    ConstantCurrent,
    ConstantVoltage,
    ImpedanceSpectroscopy,
    Loop,
    OpenCircuitVoltage,
    Step,
    Tag,
    VoltageScan,
)

__all__ = ["CyclingForecast", "forecast_program"]

_RUNS_MAX: Final = 100_000
_PERIODS: Final = 3.0  # of an oscillation, at least
_RANGE_FULL: Final = 0.9  # of a decade, above which the next is used


@dataclass(frozen=True)
class CyclingForecast:
    """What a program takes and brings; bounds where the cell ends a step."""

    duration_s: float
    duration_is_exact: bool
    """Else at most; by the electrode's capacity where nothing else bounds a step."""
    open_steps: tuple[int, ...]
    """Indices of steps that the cell alone ends: nobody can say when. With any, the
    duration is that of the others."""
    charge_mah: float | None
    """Passed both ways by currents that are set, at most; None if no bound is known."""
    sweeps: int
    """Sweeps, whose charge is the cell's to say."""
    half_cycles: int
    currents_a: tuple[float, ...]
    """Magnitudes that are set."""
    ranges_a: tuple[float, ...]
    """The decades that hold them; sweeps and held potentials go up to the last."""
    points_at_most: int

    def as_dict(self) -> dict[str, Any]:
        """Return what a program may read."""
        return asdict(self)


class _OnPaper(NamedTuple):
    """One step on paper."""

    duration_s: float | None
    """None if nothing bounds it."""
    end_v: float | None
    """Where the cell is behind it, if anybody knows."""
    way: float = 0.0
    """Sign of its current or sweep; 0 if it has none."""
    travelled_v: float = 0.0
    charge_mah: float | None = 0.0
    """By a current that is set; None if no bound is known."""
    is_exact: bool = True
    points: int = 0
    """Beside those that time and potential bring."""


def forecast_program(
    program: Program,
    *,
    potential_v: float | None = None,
    capacity_mah: float | None = None,
) -> CyclingForecast:
    """Walk a program on paper, from the potential that the cell has.

    capacity_mah: bounds currents that only end at a potential
    Raises ProtocolError if its loops run too many steps.
    """
    lowered = program.lowered()
    duration_s = 0.0
    charge_mah: float | None = 0.0
    is_exact = lowered.harvest is None
    sweeps = half_cycles = points = 0
    last_way, last_v = 0.0, potential_v
    open_steps: set[int] = set()
    for index, step in _walk(lowered):
        found = _on_paper(step, lowered, last_v, capacity_mah)
        if found.duration_s is None:
            open_steps.add(index)
        step_s = found.duration_s or 0.0
        duration_s += step_s
        is_exact = is_exact and found.is_exact
        if charge_mah is not None and found.charge_mah is not None:
            charge_mah += found.charge_mah
        else:
            charge_mah = None
        points += found.points + math.ceil(step_s / lowered.record.dt_s) + 1
        points += math.ceil(abs(found.travelled_v) / lowered.record.dv_v)
        sweeps += isinstance(step, VoltageScan)
        half_cycles += bool(found.way) and found.way != last_way
        last_way = found.way or last_way
        last_v = found.end_v
    currents = sorted({abs(a) for s in lowered.steps if (a := _current(s)) is not None})
    return CyclingForecast(
        duration_s=duration_s,
        duration_is_exact=is_exact,
        open_steps=tuple(sorted(open_steps)),
        charge_mah=charge_mah,
        sweeps=sweeps,
        half_cycles=half_cycles,
        currents_a=tuple(currents),
        ranges_a=_ranges(lowered, currents),
        points_at_most=points,
    )


def _on_paper(
    step: Step, program: Program, last_v: float | None, capacity_mah: float | None
) -> _OnPaper:
    if isinstance(step, VoltageScan):
        return _sweep(step, program, last_v)
    if isinstance(step, ConstantCurrent):
        return _set_current(step, program, capacity_mah)
    if isinstance(step, ConstantVoltage):
        return _held(step)
    if isinstance(step, ImpedanceSpectroscopy):
        duration_s, points = _impedance(step)
        return _OnPaper(duration_s, last_v, points=points)
    if isinstance(step, OpenCircuitVoltage):
        return _OnPaper(step.duration_s, last_v)
    raise TypeError(f"{step.type} takes no time, and is not walked")


def _sweep(step: VoltageScan, program: Program, last_v: float | None) -> _OnPaper:
    start_v = last_v if step.start_v is None else step.start_v
    is_exact = step.until_charge_mah is step.until_net_charge_mah is None
    if start_v is None:
        start_v, is_exact = _farthest(program, step.end_v), False
    travelled_v = step.end_v - start_v
    return _OnPaper(
        abs(travelled_v) / (step.rate_mv_per_s * 1e-3),
        step.end_v,
        way=math.copysign(1.0, travelled_v) if travelled_v else 0.0,
        travelled_v=travelled_v,
        is_exact=is_exact,
    )


def _set_current(
    step: ConstantCurrent, program: Program, capacity_mah: float | None
) -> _OnPaper:
    duration_s = _longest_s(step, capacity_mah)
    until_v = step.until_potential_v
    is_exact = until_v is step.until_net_charge_mah is None and duration_s is not None
    window_v = program.safety.potential_max_v - program.safety.potential_min_v
    charge_mah = None if duration_s is None else abs(step.current_a) * duration_s / 3.6
    return _OnPaper(
        duration_s,
        until_v,
        way=math.copysign(1.0, step.current_a),
        travelled_v=window_v,
        charge_mah=charge_mah,
        is_exact=is_exact,
    )


def _held(step: ConstantVoltage) -> _OnPaper:
    duration_s = step.until_duration_s
    ends_early = step.until_current_a is not None or step.until_charge_mah is not None
    return _OnPaper(
        duration_s,
        step.potential_v,
        charge_mah=step.until_charge_mah,
        is_exact=duration_s is not None and not ends_early,
    )


def _walk(program: Program) -> Iterator[tuple[int, Step]]:
    """Yield the steps, with their indices, in the order in which they run."""
    passes = dict.fromkeys(range(len(program.steps)), 1)
    index = runs = 0
    while index < len(program.steps):
        step = program.steps[index]
        if isinstance(step, Loop):
            if passes[index] < step.cycle_count:
                passes[index] += 1
                index = int(step.goto_step)
                continue
            passes[index] = 1
        elif not isinstance(step, Tag):
            runs += 1
            if runs > _RUNS_MAX:
                raise ProtocolError(
                    f"the loops run more than {_RUNS_MAX} steps; lower a cycle_count"
                )
            yield index, step
        index += 1


def _longest_s(step: ConstantCurrent, capacity_mah: float | None) -> float | None:
    """Return the longest that a current can flow, None if nothing bounds it."""
    ends_s = [] if step.until_duration_s is None else [step.until_duration_s]
    for mah in (step.until_charge_mah, capacity_mah):
        if mah is not None:
            ends_s.append(mah * 3.6 / abs(step.current_a))
    return min(ends_s, default=None)


def _impedance(step: ImpedanceSpectroscopy) -> tuple[float, int]:
    decades = math.log10(step.end_frequency_hz / step.start_frequency_hz)
    intervals = round(abs(decades) * step.points_per_decade)
    duration_s = sum(
        _PERIODS / (step.start_frequency_hz * 10 ** (decades * k / max(intervals, 1)))
        for k in range(intervals + 1)
    )
    return duration_s, intervals + 1


def _farthest(program: Program, end_v: float) -> float:
    """Return the end of the safety window that a sweep is farther from."""
    ends = (program.safety.potential_min_v, program.safety.potential_max_v)
    return max(ends, key=lambda v: abs(v - end_v))


def _current(step: Step) -> float | None:
    return step.current_a if isinstance(step, ConstantCurrent) else None


def _ranges(program: Program, currents_a: list[float]) -> tuple[float, ...]:
    decades = {_decade(current_a) for current_a in currents_a}
    free = (VoltageScan, ConstantVoltage)
    if any(isinstance(step, free) for step in program.steps):
        decades.add(_decade(program.safety.current_max_a * _RANGE_FULL))
    return tuple(sorted(decades))


def _decade(current_a: float) -> float:
    exponent = math.ceil(math.log10(current_a / _RANGE_FULL) - 1e-9)
    return float(f"1e{exponent}")
