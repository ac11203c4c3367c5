"""What a program takes and brings, on paper: time, charge, ranges, points."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

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
    duration_s = charge_mah = 0.0
    exact = lowered.harvest is None
    charge_is_bounded = True
    sweeps = half_cycles = points = 0
    last_way = 0.0
    last_v = potential_v
    for step in _walk(lowered):
        way, travelled_v, step_mah = 0.0, 0.0, 0.0
        step_s: float | None = 0.0
        if isinstance(step, VoltageScan):
            sweeps += 1
            start_v = last_v if step.start_v is None else step.start_v
            if start_v is None:
                start_v, exact = _farthest(lowered, step.end_v), False
            exact = exact and step.until_charge_mah is step.until_net_charge_mah is None
            travelled_v = step.end_v - start_v
            way = math.copysign(1.0, travelled_v) if travelled_v else 0.0
            step_s = abs(travelled_v) / (step.rate_mv_per_s * 1e-3)
            last_v = step.end_v
        elif isinstance(step, OpenCircuitVoltage):
            step_s = step.duration_s
        elif isinstance(step, ImpedanceSpectroscopy):
            step_s, count = _impedance(step)
            points += count
        elif isinstance(step, ConstantCurrent):
            way = math.copysign(1.0, step.current_a)
            step_s = _longest_s(step, capacity_mah)
            if step.until_potential_v is not None:
                exact = False
            exact = exact and step.until_net_charge_mah is None
            target_v = step.until_potential_v
            window_v = lowered.safety.potential_max_v - lowered.safety.potential_min_v
            travelled_v = window_v
            last_v = target_v
            if step_s is None:
                charge_is_bounded = exact = False
            else:
                step_mah = abs(step.current_a) * step_s / 3.6
        elif isinstance(step, ConstantVoltage):
            exact = exact and step.until_current_a is step.until_charge_mah is None
            step_s = step.until_duration_s
            last_v = step.potential_v
            charge_is_bounded = charge_is_bounded and step.until_charge_mah is not None
            step_mah = step.until_charge_mah or 0.0
            exact = exact and step_s is not None
        duration_s += step_s or 0.0
        charge_mah += step_mah
        points += math.ceil((step_s or 0.0) / lowered.record.dt_s) + 1
        points += math.ceil(abs(travelled_v) / lowered.record.dv_v)
        if way and last_way != way:
            half_cycles += 1
        last_way = way or last_way
    currents = sorted({abs(a) for s in lowered.steps if (a := _current(s)) is not None})
    return CyclingForecast(
        duration_s=duration_s,
        duration_is_exact=exact,
        charge_mah=charge_mah if charge_is_bounded else None,
        sweeps=sweeps,
        half_cycles=half_cycles,
        currents_a=tuple(currents),
        ranges_a=_ranges(lowered, currents),
        points_at_most=points,
    )


def _walk(program: Program) -> Iterator[Step]:
    """Yield the steps in the order in which they run, loops unrolled."""
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
            yield step
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
