"""A cycling protocol as data: what a person writes, for any electrode.

With a specimen it resolves to a `cryoline.devices.Program`, in amperes and mAh, which
runs in the instrument.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from cryoline.acquisition.errors import ProtocolError
from cryoline.acquisition.protocol_amounts import MAH_PER_G_OF_LI, Electrode
from cryoline.acquisition.protocol_steps import ProtocolStep, resolve_step
from cryoline.devices.cycle_starts import directions
from cryoline.devices.cycling_protocol import Harvest, Program, Record, SafetyLimits
from cryoline.devices.cycling_steps import Finite, Positive, Step, StepModel

if TYPE_CHECKING:
    from cryoline.acquisition.specimen import Specimen

__all__ = ["LI15SI4_MAH_PER_G", "HarvestAt", "Protocol", "StartAt"]

LI15SI4_MAH_PER_G = 3579.0
"""Specific capacity of silicon as Li3.75Si, by Faraday's law."""


class StartAt(StepModel):
    """The potential that a cell must have before it is touched, V."""

    potential_min_v: Finite
    potential_max_v: Finite

    @model_validator(mode="after")
    def _is_a_window(self) -> Self:
        if self.potential_min_v >= self.potential_max_v:
            raise ValueError("potential_min_v must be below potential_max_v")
        return self


class HarvestAt(StepModel):
    """When a cell is taken out: in a named state, as soon as any condition holds."""

    state: Literal["delithiated", "lithiated"] = "delithiated"
    cycle_count: Annotated[int, Field(ge=1)] | None = None
    charge_mah: Positive | None = None
    """Passed since the start, both ways."""
    capacity_mah_per_g: Positive | None = None
    """Lithiated in the present cycle."""
    lithiation_x: Annotated[float, Field(gt=0, le=4.4)] | None = None
    """x in LixSi reached in the present cycle, by its charge; SEI counts in it."""
    retention: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Capacity over that of the reference cycle, at most."""
    reference_cycle: Annotated[int, Field(ge=1)] = 2

    @model_validator(mode="after")
    def _has_a_condition(self) -> Self:
        conditions = self.model_dump(exclude={"state", "reference_cycle"})
        if all(value is None for value in conditions.values()):
            raise ValueError(f"harvest needs one of {', '.join(conditions)}")
        if self.capacity_mah_per_g is not None and self.lithiation_x is not None:
            raise ValueError("capacity_mah_per_g and lithiation_x say the same")
        return self

    def resolved(self, steps: tuple[Step, ...], electrode: Electrode) -> Harvest:
        """Return the instrument's conditions for lowered steps and an electrode.

        Raises ProtocolError if no step leaves the electrode in the state.
        """
        wanted = 1.0 if self.state == "delithiated" else -1.0
        after = [k for k, way in enumerate(directions(steps)) if way == wanted]
        if not after:
            raise ProtocolError(
                f"harvest: no step leaves the electrode {self.state}; choose the other "
                "state, or add a step"
            )
        lithiation_mah = None
        specific = self.capacity_mah_per_g
        if self.lithiation_x is not None:
            specific = self.lithiation_x * MAH_PER_G_OF_LI
        if specific is not None:
            mass_g = electrode.need_mass_g("harvest: a lithiation")
            lithiation_mah = specific * mass_g
        return Harvest(
            after_step=tuple(after),
            cycle_count=self.cycle_count,
            throughput_mah=self.charge_mah,
            lithiation_mah=lithiation_mah,
            retention=self.retention,
            reference_cycle=self.reference_cycle,
        )


class Protocol(StepModel):
    """Steps, limits and what is recorded, by C-rates, areas and masses if wanted.

    Example
    -------
    >>> from cryoline.acquisition import Specimen
    >>> protocol = Protocol(
    ...     name="half-cycle",
    ...     steps=[{"type": "constant_current", "rate_c": "-C/10",
    ...             "until_potential_v": 0.02}],
    ...     safety={"potential_min_v": 0.0, "potential_max_v": 2.0,
    ...             "current_max_a": 0.01})
    >>> program = protocol.program(Specimen(name="nw-01", electrode_mass_mg=1.0))
    >>> program.steps[0].current_a
    -0.0003579
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)]
    description: str = ""
    technique: str = ""
    """Of its runs; found from the steps if it is not given."""
    reference_electrode: str = "Li/Li+"
    """What its potentials are against."""
    capacity_mah_per_g: Positive = LI15SI4_MAH_PER_G
    """What 1C refers to, by active mass."""
    capacity_mah: Positive | None = None
    """What 1C refers to, of the whole cell; wins."""
    start_lithiation_x: Annotated[float, Field(ge=0, le=4.4)] = 0.0
    start_at: StartAt | None = None
    steps: Annotated[tuple[ProtocolStep, ...], Field(min_length=1)]
    safety: SafetyLimits
    record: Record = Record()
    cycle_starts_at_step: Annotated[int, Field(ge=0)] | tuple[int, ...] | None = None
    harvest: HarvestAt | None = None

    @classmethod
    def from_file(cls, path: str | Path) -> "Protocol":
        """Read a TOML or JSON file of ours, or JSON of aurora-unicycler.

        Raises ProtocolError that names the file, the key, and the nearest valid key.
        """
        from cryoline.acquisition.protocol_files import read_protocol

        return read_protocol(Path(path))

    def to_file(self, path: str | Path) -> None:
        """Write a .toml or .json file that `from_file` reads."""
        from cryoline.acquisition.protocol_files import write_protocol

        write_protocol(self, Path(path))

    def electrode(self, specimen: "Specimen") -> Electrode:
        """Return what C-rates and specific charges refer to for a specimen."""
        return Electrode.of(specimen, self.capacity_mah_per_g, self.capacity_mah)

    def program(
        self, specimen: "Specimen", *, harvest: HarvestAt | None = None
    ) -> Program:
        """Return the program for one specimen's electrode, under a uid of its own.

        harvest: in place of the protocol's own
        Raises ProtocolError if mass, area or capacity is needed and not known.
        """
        electrode = self.electrode(specimen)
        steps = tuple(
            resolve_step(
                step,
                f"{self.name}: steps.{index} ({step.type})",
                electrode,
                self.start_lithiation_x,
            )
            for index, step in enumerate(self.steps)
        )
        try:
            program = Program(
                steps=steps,
                safety=self.safety,
                record=self.record,
                cycle_starts_at_step=self.cycle_starts_at_step,
            ).lowered()
        except ValueError as error:
            raise ProtocolError(f"{self.name}: {_said(error)}") from error
        wanted = harvest or self.harvest
        if wanted is None:
            return program
        conditions = wanted.resolved(program.steps, electrode)
        return program.model_copy(update={"harvest": conditions})

    @property
    def kind(self) -> str:
        """The technique, as start documents name it."""
        if self.technique:
            return self.technique
        types = {step.type for step in self.steps}
        if "cyclic_voltammetry" in types:
            return "cyclic-voltammetry"
        if "constant_current" in types:
            return "galvanostatic-cycling"
        if "impedance_spectroscopy" in types:
            return "impedance-spectroscopy"
        return "cycling" if types - {"open_circuit_voltage"} else "open-circuit"


def _said(error: ValueError) -> str:
    """Return the sentences of a ValidationError, without pydantic's frame."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    return "; ".join(str(e["msg"]).removeprefix("Value error, ") for e in errors())
