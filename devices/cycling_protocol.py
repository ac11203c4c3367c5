"""The program of a potentiostat as data, and what it lowers to.

Steps are in `cycling_steps`. Safety limits are no step's end: they end the whole run,
in the instrument, and so does the harvest: both outlive the session that set them.
"""

import uuid
from enum import IntEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from cryoline.devices.cycle_starts import find_cycle_starts
from cryoline.devices.cycling_steps import (
    ConstantCurrent,
    ConstantVoltage,
    CyclicVoltammetry,
    Finite,
    ImpedanceSpectroscopy,
    Loop,
    OpenCircuitVoltage,
    Positive,
    Step,
    StepModel,
    Tag,
    VoltageScan,
)

__all__ = [
    "ConstantCurrent",
    "ConstantVoltage",
    "CyclicVoltammetry",
    "Harvest",
    "ImpedanceSpectroscopy",
    "Loop",
    "OpenCircuitVoltage",
    "Program",
    "ProgramState",
    "Record",
    "SafetyLimits",
    "Step",
    "Tag",
    "VoltageScan",
]

_Index = Annotated[int, Field(ge=0)]


class ProgramState(IntEnum):
    """What an instrument does with its program, as State_RBV counts."""

    IDLE = 0
    LOADED = 1
    RUNNING = 2
    FINISHED = 3
    STOPPED = 4
    FAILED = 5


class SafetyLimits(StepModel):
    """What ends the whole run, in the instrument, whatever step it is in."""

    potential_min_v: Finite
    potential_max_v: Finite
    current_max_a: Positive
    charge_max_mah: Positive | None = None
    """Magnitude of the net charge since the program's start."""

    @model_validator(mode="after")
    def _window_is_open(self) -> Self:
        if self.potential_min_v >= self.potential_max_v:
            raise ValueError(
                f"potential_min_v {self.potential_min_v:g} V is not below "
                f"potential_max_v {self.potential_max_v:g} V"
            )
        return self


class Record(StepModel):
    """A point is kept when the potential, the time or the current has moved so far."""

    dv_v: Positive = 1e-3
    dt_s: Positive = 60.0
    di_a: Positive | None = None


class Harvest(StepModel):
    """When the instrument finishes early: at the end of a step, if any of this holds.

    The step, or each of several, is one that leaves the electrode in the state wanted,
    so that the program never finishes in another.
    """

    after_step: _Index | tuple[_Index, ...]
    cycle_count: Annotated[int, Field(ge=1)] | None = None
    """The present cycle is this one, or a later."""
    throughput_mah: Positive | None = None
    """Charge passed since the program's start, in both directions."""
    lithiation_mah: Positive | None = None
    """Charge of lithiation in the present cycle."""
    retention: Annotated[float, Field(gt=0, lt=10)] | None = None
    """Capacity of the present cycle over that of the reference cycle, at most; by the
    charge in the direction of the step that has ended."""
    reference_cycle: Annotated[int, Field(ge=1)] = 2

    @model_validator(mode="after")
    def _has_a_condition(self) -> Self:
        conditions = self.model_dump(exclude={"after_step", "reference_cycle"})
        if all(value is None for value in conditions.values()):
            raise ValueError(f"harvest needs one of {', '.join(conditions)}")
        return self


class Program(StepModel):
    """One program: steps, what is recorded, and the limits that end it.

    cycle_starts_at_step: index of the step, or of the steps, whose entry begins a
    cycle; found from the steps if it is not given
    """

    uid: str = Field(default_factory=lambda: str(uuid.uuid4()))
    steps: tuple[Step, ...] = Field(min_length=1)
    safety: SafetyLimits
    record: Record = Record()
    cycle_starts_at_step: _Index | tuple[_Index, ...] | None = None
    harvest: Harvest | None = None

    @model_validator(mode="after")
    def _places_exist(self) -> Self:
        self.lowered()
        return self

    def lowered(self) -> "Program":
        """Return the same program in the steps that instruments know.

        Example
        -------
        >>> limits = SafetyLimits(
        ...     potential_min_v=0.0, potential_max_v=3.2, current_max_a=0.01)
        >>> sweep = CyclicVoltammetry(
        ...     vertex1_v=0.01, vertex2_v=3.0, rate_mv_per_s=0.2, n_cycles=2)
        >>> program = Program(steps=(sweep,), safety=limits)
        >>> [step.type for step in program.lowered().steps]
        ['voltage_scan', 'voltage_scan', 'loop']
        """
        steps: list[Step] = []
        places: list[int] = []  # of each step as written: where a pass of it begins
        ends: list[int] = []
        lead_in: list[int] = []
        tags: dict[str, int] = {}
        for index, step in enumerate(self.steps):
            first = len(steps)
            places.append(first)
            if isinstance(step, CyclicVoltammetry):
                places[-1] += step.first_sweep
                steps += step.lowered(first)
                ends.append(places[-1] + 1)
                lead_in += range(first, places[-1])
                lead_in += [len(steps) - 1] if step.final_v is not None else []
                continue
            ends.append(first)
            if isinstance(step, Tag):
                if step.tag and step.tag in tags:
                    raise ValueError(
                        f"steps.{index}: the tag {step.tag!r} occurs twice"
                    )
                tags[step.tag] = first
            if isinstance(step, Loop):
                step = step.model_copy(
                    update={"goto_step": _goto(index, step, places, tags)}
                )
            steps.append(step)
        starts = self.cycle_starts_at_step
        if starts is None:
            starts = find_cycle_starts(steps, lead_in)
        else:
            starts = _places("cycle_starts_at_step", starts, places)
        harvest = self.harvest
        if harvest is not None:
            after = _places("harvest.after_step", harvest.after_step, ends)
            harvest = harvest.model_copy(update={"after_step": after})
        return self.model_copy(
            update={
                "steps": tuple(steps),
                "cycle_starts_at_step": starts,
                "harvest": harvest,
            }
        )

    def to_json(self) -> str:
        """Return the text that is uploaded: lowered, units in the keys, no nulls."""
        return self.lowered().model_dump_json(exclude_none=True)


def _goto(index: int, loop: Loop, places: list[int], tags: dict[str, int]) -> int:
    """Return where a loop goes back to, which must lie before it."""
    goto = loop.goto_step
    if isinstance(goto, str):
        if goto not in tags:
            raise ValueError(
                f"steps.{index}: no tag {goto!r} stands before this loop; "
                f"tags: {', '.join(tags) or 'none'}"
            )
        return tags[goto]
    if goto >= index:
        raise ValueError(
            f"steps.{index}: goto_step {goto} does not lie before this loop; "
            f"give 0..{index - 1}"
        )
    return places[goto]


def _places(
    key: str, index: int | tuple[int, ...], places: list[int]
) -> int | tuple[int, ...]:
    """Return the lowered index of a step, or of each of several."""
    if isinstance(index, tuple):
        return tuple(_place(key, one, places) for one in index)
    return _place(key, index, places)


def _place(key: str, index: int, places: list[int]) -> int:
    if index >= len(places):
        raise ValueError(f"{key}: no step {index}; give 0..{len(places) - 1}")
    return places[index]
