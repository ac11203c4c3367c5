"""In which order a program's steps are run, and how long that takes."""

from collections.abc import Iterator

from cryoline.devices.cycling_protocol import (
    ConstantVoltage,
    Loop,
    OpenCircuitVoltage,
    Program,
    Step,
    Tag,
    VoltageScan,
)

__all__ = ["expected_duration_s", "step_order"]


def step_order(steps: tuple[Step, ...]) -> Iterator[int]:
    """Yield the index of each step that is run, loops and tags left out."""
    passes_left: dict[int, int] = {}
    index = 0
    while index < len(steps):
        step = steps[index]
        if isinstance(step, Loop):
            left = passes_left.get(index, step.cycle_count) - 1
            # Back at 0 a loop is forgotten: an outer one may come by again.
            passes_left[index] = left or step.cycle_count
            index = int(step.goto_step) if left else index + 1
            continue
        if not isinstance(step, Tag):
            yield index
        index += 1


def expected_duration_s(program: Program, potential_v: float) -> float | None:
    """Return how long a program takes from a potential; None if that is not known."""
    total_s = 0.0
    for index in step_order(program.steps):
        step = program.steps[index]
        if isinstance(step, VoltageScan):
            start_v = potential_v if step.start_v is None else step.start_v
            total_s += abs(step.end_v - start_v) / (step.rate_mv_per_s * 1e-3)
            potential_v = step.end_v
        elif isinstance(step, OpenCircuitVoltage):
            total_s += step.duration_s
        elif isinstance(step, ConstantVoltage) and step.until_current_a is None:
            total_s += step.until_duration_s or 0.0
            potential_v = step.potential_v
        else:
            return None
    return total_s
