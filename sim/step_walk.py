"""The order in which a program's steps are run, and how long that should take."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryoline.sim.errors import ProgramError
from cryoline.sim.program_steps import (
    ConstantCurrent,
    ConstantVoltage,
    Ends,
    Impedance,
    Loop,
    OpenCircuit,
    Program,
    Step,
    Tag,
    VoltageScan,
)
from cryoline.sim.stretches import impedance_duration_s

__all__ = ["Forecast", "forecast", "walk"]

_RUNS_MAX: Final = 100_000


@dataclass(frozen=True)
class Forecast:
    """What a program will take: exact, unless a current is held until a potential."""

    steps: int
    total_s: float
    exact: bool


def walk(steps: tuple[Step, ...]) -> Iterator[int]:
    """Yield the indices of the steps to run, with loops unrolled.

    A loop's count is the total number of passes, and starts anew when an outer loop
    comes by again.
    """
    passes = dict.fromkeys(range(len(steps)), 1)
    index = 0
    while index < len(steps):
        step = steps[index]
        if isinstance(step, Loop):
            if passes[index] < step.cycle_count:
                passes[index] += 1
                index = step.goto_step
                continue
            passes[index] = 1
        elif not isinstance(step, Tag):
            yield index
        index += 1


def forecast(program: Program, potential_v: float) -> Forecast:
    """Predict the duration from the present potential; refuse an endless program."""
    steps = 0
    total_s = 0.0
    exact = program.harvest is None
    for index in walk(program.steps):
        steps += 1
        if steps > _RUNS_MAX:
            raise ProgramError(
                f"potentiostat: program: its loops run more than {_RUNS_MAX} steps; "
                "lower a cycle_count"
            )
        step = program.steps[index]
        if isinstance(step, VoltageScan):
            start_v = potential_v if step.start_v is None else step.start_v
            total_s += abs(step.end_v - start_v) / (step.rate_mv_per_s * 1e-3)
            potential_v = step.end_v
            exact = exact and step.ends == Ends()
        elif isinstance(step, OpenCircuit):
            total_s += step.duration_s
        elif isinstance(step, Impedance):
            total_s += impedance_duration_s(step)
        elif isinstance(step, ConstantCurrent | ConstantVoltage):
            ends = step.ends
            if ends == Ends(duration_s=ends.duration_s):
                total_s += ends.duration_s or 0.0
            else:
                exact = False
            if isinstance(step, ConstantVoltage):
                potential_v = step.potential_v
            elif ends.potential_v is not None:
                potential_v = ends.potential_v
    return Forecast(steps, total_s, exact)
