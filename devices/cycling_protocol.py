"""The program of a potentiostat as data: what a person writes, and what it lowers to.

The step names are those of aurora-unicycler; `cyclic_voltammetry` is ours and
lowers to `voltage_scan` and `loop`. Signs: a delithiating (oxidising) current is
positive. Safety limits are no step's end: they end the whole run, in the
instrument.
"""

import uuid
from enum import IntEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "ConstantCurrent",
    "CyclicVoltammetry",
    "Loop",
    "OpenCircuitVoltage",
    "Program",
    "ProgramState",
    "Record",
    "SafetyLimits",
    "Step",
    "VoltageScan",
]

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ProgramState(IntEnum):
    """What an instrument does with its program, as State_RBV counts."""

    IDLE = 0
    LOADED = 1
    RUNNING = 2
    FINISHED = 3
    STOPPED = 4
    FAILED = 5


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OpenCircuitVoltage(_Model):
    """Rest without current for a time."""

    type: Literal["open_circuit_voltage"] = "open_circuit_voltage"
    duration_s: _Positive


class ConstantCurrent(_Model):
    """Hold a current until a potential is reached, or a time has passed."""

    type: Literal["constant_current"] = "constant_current"
    current_a: _Finite
    until_potential_v: _Finite
    until_duration_s: _Positive | None = None


class VoltageScan(_Model):
    """Sweep the potential at a constant rate; from where the cell is if no start."""

    type: Literal["voltage_scan"] = "voltage_scan"
    start_v: _Finite | None = None
    end_v: _Finite
    rate_mv_per_s: _Positive


class Loop(_Model):
    """Go back to a step; ``cycle_count`` is the total number of passes."""

    type: Literal["loop"] = "loop"
    goto_step: Annotated[int, Field(ge=0)]
    cycle_count: Annotated[int, Field(ge=1)]


class CyclicVoltammetry(_Model):
    """Sweep to vertex 1, on to vertex 2, and again, ``n_cycles`` times.

    It begins at the potential that the cell has, and ends at vertex 2.
    """

    type: Literal["cyclic_voltammetry"] = "cyclic_voltammetry"
    vertex1_v: _Finite
    vertex2_v: _Finite
    rate_mv_per_s: _Positive
    n_cycles: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _vertices_differ(self) -> Self:
        if self.vertex1_v == self.vertex2_v:
            raise ValueError(
                f"both vertices are {self.vertex1_v:g} V; a sweep needs two potentials"
            )
        return self

    def lowered(self, first_step: int) -> list["Step"]:
        """Return the scans and the loop that the instrument runs instead."""
        # Every pass begins where the last one ended, so the sweep has no jump.
        steps: list[Step] = [
            VoltageScan(end_v=self.vertex1_v, rate_mv_per_s=self.rate_mv_per_s),
            VoltageScan(end_v=self.vertex2_v, rate_mv_per_s=self.rate_mv_per_s),
        ]
        if self.n_cycles > 1:
            steps.append(Loop(goto_step=first_step, cycle_count=self.n_cycles))
        return steps


Step = Annotated[
    OpenCircuitVoltage | ConstantCurrent | VoltageScan | Loop | CyclicVoltammetry,
    Field(discriminator="type"),
]


class SafetyLimits(_Model):
    """What ends the whole run, in the instrument, whatever step it is in."""

    potential_min_v: _Finite
    potential_max_v: _Finite
    current_max_a: _Positive

    @model_validator(mode="after")
    def _window_is_open(self) -> Self:
        if self.potential_min_v >= self.potential_max_v:
            raise ValueError(
                f"potential_min_v {self.potential_min_v:g} V is not below "
                f"potential_max_v {self.potential_max_v:g} V"
            )
        return self


class Record(_Model):
    """A point is kept when the potential or the time has moved this far."""

    dv_v: _Positive = 1e-3
    dt_s: _Positive = 60.0


class Program(_Model):
    """One program: steps, what is recorded, and the limits that end it."""

    uid: str = Field(default_factory=lambda: str(uuid.uuid4()))
    steps: tuple[Step, ...] = Field(min_length=1)
    safety: SafetyLimits
    record: Record = Record()
    cycle_starts_at_step: Annotated[int, Field(ge=0)] = 0

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
        for step in self.steps:
            if isinstance(step, CyclicVoltammetry):
                steps += step.lowered(len(steps))
            else:
                steps.append(step)
        return self.model_copy(update={"steps": tuple(steps)})

    def to_json(self) -> str:
        """Return the text that is uploaded: lowered, units in the keys."""
        return self.lowered().model_dump_json()
