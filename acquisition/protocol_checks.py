"""What is wrong with a program, found on paper: before a cell is touched."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryoline.acquisition.protocol import Protocol
from cryoline.devices.cycling_protocol import Program
from cryoline.devices.cycling_steps import ConstantCurrent, Step, VoltageScan

__all__ = ["InstrumentLimits", "program_faults", "start_faults"]


@dataclass(frozen=True)
class InstrumentLimits:
    """What a potentiostat can do, as its PVs say."""

    name: str
    potential_min_v: float
    potential_max_v: float
    current_max_a: float
    scan_rate_max_mv_per_s: float


def program_faults(
    program: Program, instrument: InstrumentLimits | None = None
) -> tuple[str, ...]:
    """Return what can't be done, each with its place, the limit and what to do.

    instrument: without one only the program itself is judged
    """
    lowered = program.lowered()
    faults = list(_against_safety(lowered))
    faults += _wrong_ways(lowered)
    if instrument is not None:
        faults += _against_instrument(lowered, instrument)
    return tuple(faults)


def start_faults(protocol: Protocol, potential_v: float, cell: str) -> tuple[str, ...]:
    """Return why a cell of this open-circuit potential must not be started."""
    safety = protocol.safety
    if not safety.potential_min_v <= potential_v <= safety.potential_max_v:
        return (
            f"{cell} is at {potential_v:.4g} V, outside the safety limits "
            f"{safety.potential_min_v:g}..{safety.potential_max_v:g} V of "
            f"{protocol.name}; the program would fail at once. Is it the right cell, "
            "and connected the right way round?",
        )
    window = protocol.start_at
    if window is None or (
        window.potential_min_v <= potential_v <= window.potential_max_v
    ):
        return ()
    return (
        f"{cell} is at {potential_v:.4g} V, and {protocol.name} starts at "
        f"{window.potential_min_v:g}..{window.potential_max_v:g} V: an unexpected "
        "open-circuit potential. Check the cell, or widen start_at in the protocol",
    )


def _against_safety(program: Program) -> Iterator[str]:
    safety = program.safety
    low, high = safety.potential_min_v, safety.potential_max_v
    for place, step in _placed(program):
        for key in ("start_v", "end_v", "potential_v", "until_potential_v"):
            value = getattr(step, key, None)
            if value is not None and not low <= value <= high:
                yield (
                    f"{place}: {key} = {value:g} V is outside the safety limits "
                    f"{low:g}..{high:g} V, which would end the run first; widen them, "
                    "or choose another potential"
                )
        current_a = getattr(step, "current_a", 0.0)
        if abs(current_a) > safety.current_max_a:
            yield (
                f"{place}: {current_a:.4g} A is beyond the safety limit "
                f"{safety.current_max_a:g} A; raise current_max_a, or choose a lower "
                "current"
            )


def _wrong_ways(program: Program) -> Iterator[str]:
    """Yield currents that lead away from the potential that is to end them.

    Sweeps find their direction themselves.
    """
    last_v: float | None = None
    for place, step in _placed(program):
        if isinstance(step, ConstantCurrent):
            until_v = step.until_potential_v
            if until_v is not None and last_v is not None:
                ahead_v = until_v - last_v
                if ahead_v * step.current_a < 0:
                    yield (
                        f"{place}: {step.current_a:.4g} A can't lead from {last_v:g} V "
                        f"to {until_v:g} V, and the step would end as it begins; turn "
                        "the sign (delithiation is positive)"
                    )
            last_v = until_v
        elif isinstance(step, VoltageScan):
            last_v = step.end_v
        else:
            last_v = getattr(step, "potential_v", last_v)


def _against_instrument(
    program: Program, instrument: InstrumentLimits
) -> Iterator[str]:
    name, safety = instrument.name, program.safety
    low, high = instrument.potential_min_v, instrument.potential_max_v
    for key in ("potential_min_v", "potential_max_v"):
        value = getattr(safety, key)
        if not low <= value <= high:
            yield (
                f"{name}: safety.{key} = {value:g} V is outside {low:g}..{high:g} V; "
                "choose a limit that the instrument can measure"
            )
    if safety.current_max_a > instrument.current_max_a:
        yield (
            f"{name}: safety.current_max_a = {safety.current_max_a:g} A is above "
            f"{instrument.current_max_a:g} A; choose a limit that the instrument can "
            "measure"
        )
    fastest = instrument.scan_rate_max_mv_per_s
    for place, step in _placed(program):
        if isinstance(step, VoltageScan) and step.rate_mv_per_s > fastest:
            yield (
                f"{name}: {place}: {step.rate_mv_per_s:g} mV/s is above {fastest:g} "
                "mV/s; choose a slower sweep"
            )
        current_a = getattr(step, "current_a", 0.0)
        if abs(current_a) > instrument.current_max_a:
            yield (
                f"{name}: {place}: {current_a:.4g} A is beyond "
                f"{instrument.current_max_a:g} A; choose a lower current"
            )


def _placed(program: Program) -> Iterator[tuple[str, Step | Any]]:
    for index, step in enumerate(program.steps):
        yield f"step {index} ({step.type})", step
