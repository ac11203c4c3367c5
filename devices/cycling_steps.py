"""The steps of a cycling program, in the units that instruments know.

The names are those of aurora-unicycler; `cyclic_voltammetry` is ours and lowers to
`voltage_scan` and `loop`. Signs: a delithiating (oxidising) current is positive. Any
`until_*` ends its step. A charge is a magnitude, counted from the step's start; a net
charge is a reading of the instrument's coulomb counter, which is 0 at the program's
start and falls on lithiation.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "ConstantCurrent",
    "ConstantVoltage",
    "CyclicVoltammetry",
    "Finite",
    "ImpedanceSpectroscopy",
    "Loop",
    "OpenCircuitVoltage",
    "Positive",
    "Step",
    "StepModel",
    "Tag",
    "VoltageScan",
]

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class StepModel(BaseModel):
    """What every part of a program has in common: nothing unknown, nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OpenCircuitVoltage(StepModel):
    """Rest without current for a time."""

    type: Literal["open_circuit_voltage"] = "open_circuit_voltage"
    duration_s: Positive


class ConstantCurrent(StepModel):
    """Hold a current until a potential, a time or a charge is reached."""

    type: Literal["constant_current"] = "constant_current"
    current_a: Finite
    until_potential_v: Finite | None = None
    until_duration_s: Positive | None = None
    until_charge_mah: Positive | None = None
    until_net_charge_mah: Finite | None = None

    @model_validator(mode="after")
    def _flows_and_ends(self) -> Self:
        if self.current_a == 0:
            raise ValueError("current_a is 0 A; use open_circuit_voltage to rest")
        given = (self.until_potential_v, self.until_duration_s, self.until_charge_mah)
        if given == (None, None, None):
            raise ValueError(
                "constant_current would never end; give until_potential_v, "
                "until_duration_s or until_charge_mah"
            )
        return self


class ConstantVoltage(StepModel):
    """Hold a potential until the current has fallen, or a time or charge is reached."""

    type: Literal["constant_voltage"] = "constant_voltage"
    potential_v: Finite
    until_current_a: Positive | None = None
    """Magnitude below which the step ends."""
    until_duration_s: Positive | None = None
    until_charge_mah: Positive | None = None
    until_net_charge_mah: Finite | None = None

    @model_validator(mode="after")
    def _ends(self) -> Self:
        # A charge may never be reached: the current dies away.
        if self.until_current_a is None and self.until_duration_s is None:
            raise ValueError(
                "constant_voltage would never end; give until_current_a or "
                "until_duration_s"
            )
        return self


class VoltageScan(StepModel):
    """Sweep the potential at a constant rate; from where the cell is if no start."""

    type: Literal["voltage_scan"] = "voltage_scan"
    start_v: Finite | None = None
    end_v: Finite
    rate_mv_per_s: Positive
    until_charge_mah: Positive | None = None
    until_net_charge_mah: Finite | None = None


class ImpedanceSpectroscopy(StepModel):
    """Measure the impedance at open circuit, frequency by frequency."""

    type: Literal["impedance_spectroscopy"] = "impedance_spectroscopy"
    amplitude_v: Positive
    start_frequency_hz: Positive
    end_frequency_hz: Positive
    points_per_decade: Annotated[int, Field(ge=1)] = 10


class Loop(StepModel):
    """Go back to a step or tag; ``cycle_count`` is the total number of passes."""

    type: Literal["loop"] = "loop"
    goto_step: Annotated[int, Field(ge=0)] | str
    """The step's index from 0, or the name of a tag."""
    cycle_count: Annotated[int, Field(ge=1)]


class Tag(StepModel):
    """A name for the place before the next step."""

    type: Literal["tag"] = "tag"
    tag: str = ""


class CyclicVoltammetry(StepModel):
    """Sweep to vertex 1, on to vertex 2, and again, ``n_cycles`` times.

    It begins at the potential that the cell has, unless it is to sweep to an initial
    potential first; and ends at vertex 2, unless it is to sweep on to a final one.
    """

    type: Literal["cyclic_voltammetry"] = "cyclic_voltammetry"
    initial_v: Finite | None = None
    vertex1_v: Finite
    vertex2_v: Finite
    final_v: Finite | None = None
    rate_mv_per_s: Positive
    n_cycles: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _vertices_differ(self) -> Self:
        if self.vertex1_v == self.vertex2_v:
            raise ValueError(
                f"both vertices are {self.vertex1_v:g} V; a sweep needs two potentials"
            )
        return self

    @property
    def first_sweep(self) -> int:
        """Which of the lowered steps is the first of each pass."""
        return 0 if self.initial_v is None else 1

    def lowered(self, first_step: int) -> list["Step"]:
        """Return the scans and the loop that the instrument runs instead."""
        # Every sweep begins where the last one ended, so there is no jump.
        potentials_v = [self.vertex1_v, self.vertex2_v]
        if self.initial_v is not None:
            potentials_v.insert(0, self.initial_v)
        steps: list[Step] = [self._scan(potential_v) for potential_v in potentials_v]
        if self.n_cycles > 1:
            goto = first_step + self.first_sweep
            steps.append(Loop(goto_step=goto, cycle_count=self.n_cycles))
        if self.final_v is not None:
            steps.append(self._scan(self.final_v))
        return steps

    def _scan(self, end_v: float) -> VoltageScan:
        return VoltageScan(end_v=end_v, rate_mv_per_s=self.rate_mv_per_s)


Step = Annotated[
    OpenCircuitVoltage
    | ConstantCurrent
    | ConstantVoltage
    | VoltageScan
    | ImpedanceSpectroscopy
    | Loop
    | Tag
    | CyclicVoltammetry,
    Field(discriminator="type"),
]
