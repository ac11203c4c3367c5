"""Where the cycles of a program begin, if its author does not say."""

from collections.abc import Collection, Sequence
from typing import Any

from cryoline.devices.cycling_steps import (
    ConstantCurrent,
    Loop,
    Step,
    Tag,
    VoltageScan,
)

__all__ = ["directions", "find_cycle_starts"]


def find_cycle_starts(
    steps: Sequence[Step], lead_in: Collection[int] = ()
) -> int | tuple[int, ...]:
    """Return the index of the lowered step that begins a cycle, or of several.

    lead_in: steps that only bring the cell to where a cycle begins, or away from it

    A cycle begins with each current or sweep in the direction of the first one, if the
    one before went the other way. Rests, tags and held potentials do not count; of a
    program of nothing else the first step begins the only cycle.
    """
    ways = [
        0.0 if index in lead_in else direction
        for index, direction in enumerate(directions(steps))
    ]
    first = next((way for way in ways if way), 0.0)
    starts: list[int] = []
    before = -first
    for index, way in enumerate(ways):
        if first and way == first and before == -first:
            starts.append(index)
        before = way or before
    if not starts:
        does_something = (
            i for i, step in enumerate(steps) if not isinstance(step, Loop | Tag)
        )
        return next(does_something, 0)
    return starts[0] if len(starts) == 1 else tuple(starts)


def directions(steps: Sequence[Step]) -> list[float]:
    """Return for each lowered step the sign of its current or sweep; 0 if it has none.

    A sweep from where the cell is, before any potential is known, went the other way
    than the next one.
    """
    found: list[float] = []
    last_v: float | None = None
    pending: int | None = None  # a sweep from a potential that nobody knows yet
    for index, step in enumerate(steps):
        direction = 0.0
        if isinstance(step, ConstantCurrent):
            direction = 1.0 if step.current_a > 0 else -1.0
            last_v = step.until_potential_v
        elif isinstance(step, VoltageScan):
            start_v = last_v if step.start_v is None else step.start_v
            if start_v is None:
                pending = index
            else:
                direction = _sign(step.end_v - start_v)
            last_v = step.end_v
        elif _potential(step) is not None:
            last_v = _potential(step)
        if pending is not None and pending < index and direction:
            found[pending] = -direction
            pending = None
        found.append(direction)
    if pending is not None:
        found[pending] = -1.0
    return found


def _potential(step: Any) -> float | None:
    potential_v: float | None = getattr(step, "potential_v", None)
    return potential_v


def _sign(value: float) -> float:
    return (value > 0) - (value < 0)
