"""Steps as a person writes them: currents and charges by mass, area or C-rate.

Each resolves, for one electrode, to a step of `cryoline.devices`. Rests, sweeps,
impedances, loops and tags are the same in both.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from cryoline.acquisition.protocol_amounts import (
    MAH_PER_G_OF_LI,
    CRate,
    Electrode,
)
from cryoline.devices import cycling_steps
from cryoline.devices.cycling_steps import (
    CyclicVoltammetry,
    Finite,
    ImpedanceSpectroscopy,
    Loop,
    OpenCircuitVoltage,
    Positive,
    Step,
    StepModel,
    Tag,
)

__all__ = [
    "ConstantCurrent",
    "ConstantVoltage",
    "ProtocolStep",
    "VoltageScan",
    "resolve_step",
]


class _ChargeEnds(StepModel):
    """Ends of a step by charge, of which at most one of each kind is given."""

    until_charge_mah: Positive | None = None
    until_capacity_mah_per_g: Positive | None = None
    """Charge since the step's start, by active mass."""
    until_net_charge_mah: Finite | None = None
    until_lithiation_x: Annotated[float, Field(ge=0, le=4.4)] | None = None
    """x in LixSi by charge since the program's start; SEI counts as lithium in it."""

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        _at_most_one(self, ("until_charge_mah", "until_capacity_mah_per_g"))
        _at_most_one(self, ("until_net_charge_mah", "until_lithiation_x"))
        return self

    def charge_ends(
        self, place: str, electrode: Electrode, start_x: float
    ) -> dict[str, Any]:
        """Return the ends in mAh."""
        charge_mah, net_mah = self.until_charge_mah, self.until_net_charge_mah
        if self.until_capacity_mah_per_g is not None:
            mass_g = electrode.need_mass_g(f"{place}: until_capacity_mah_per_g")
            charge_mah = self.until_capacity_mah_per_g * mass_g
        if self.until_lithiation_x is not None:
            mass_g = electrode.need_mass_g(f"{place}: until_lithiation_x")
            # The counter falls on lithiation.
            net_mah = (start_x - self.until_lithiation_x) * MAH_PER_G_OF_LI * mass_g
        return {"until_charge_mah": charge_mah, "until_net_charge_mah": net_mah}


class ConstantCurrent(_ChargeEnds):
    """Hold a current until a potential, a time or a charge is reached.

    Delithiating currents are positive. One of the ways to give it is used.
    """

    type: Literal["constant_current"] = "constant_current"
    current_a: Finite | None = None
    current_ma: Finite | None = None
    current_ma_per_cm2: Finite | None = None
    current_ma_per_g: Finite | None = None
    rate_c: CRate | None = None
    until_potential_v: Finite | None = None
    until_duration_s: Positive | None = None

    @model_validator(mode="after")
    def _has_one_current(self) -> Self:
        currents = ("current_a", *_AMOUNTS)
        _at_most_one(self, currents)
        given = [value for name in currents if (value := getattr(self, name))]
        if not given:
            raise ValueError(
                f"constant_current needs one of {', '.join(currents)}, and not 0"
            )
        ends = self.model_dump(include=set(_ENDS))
        if all(value is None for value in ends.values()):
            raise ValueError(f"constant_current would never end; give {_ENDS_TEXT}")
        return self

    def resolved(
        self, place: str, electrode: Electrode, start_x: float
    ) -> cycling_steps.ConstantCurrent:
        """Return the step for one electrode."""
        return cycling_steps.ConstantCurrent(
            current_a=_current_a(self, "", place, electrode) or 0.0,
            until_potential_v=self.until_potential_v,
            until_duration_s=self.until_duration_s,
            **self.charge_ends(place, electrode, start_x),
        )


class ConstantVoltage(_ChargeEnds):
    """Hold a potential until the current's magnitude has fallen, or a time."""

    type: Literal["constant_voltage"] = "constant_voltage"
    potential_v: Finite
    until_current_a: Positive | None = None
    until_current_ma: Positive | None = None
    until_current_ma_per_cm2: Positive | None = None
    until_current_ma_per_g: Positive | None = None
    until_rate_c: CRate | None = None
    until_duration_s: Positive | None = None

    @model_validator(mode="after")
    def _ends(self) -> Self:
        currents = [f"until_{name}" for name in ("current_a", *_AMOUNTS)]
        _at_most_one(self, currents)
        given = [getattr(self, name) for name in (*currents, "until_duration_s")]
        if all(value is None for value in given):
            raise ValueError(
                "constant_voltage would never end; give until_current_a (or _ma, "
                "_ma_per_cm2, _ma_per_g, until_rate_c) or until_duration_s"
            )
        if self.until_rate_c is not None and self.until_rate_c <= 0:
            raise ValueError("until_rate_c is a magnitude; give more than 0")
        return self

    def resolved(
        self, place: str, electrode: Electrode, start_x: float
    ) -> cycling_steps.ConstantVoltage:
        """Return the step for one electrode."""
        return cycling_steps.ConstantVoltage(
            potential_v=self.potential_v,
            until_current_a=_current_a(self, "until_", place, electrode),
            until_duration_s=self.until_duration_s,
            **self.charge_ends(place, electrode, start_x),
        )


class VoltageScan(_ChargeEnds):
    """Sweep the potential at a constant rate; from where the cell is if no start."""

    type: Literal["voltage_scan"] = "voltage_scan"
    start_v: Finite | None = None
    end_v: Finite
    rate_mv_per_s: Positive

    def resolved(
        self, place: str, electrode: Electrode, start_x: float
    ) -> cycling_steps.VoltageScan:
        """Return the step for one electrode."""
        return cycling_steps.VoltageScan(
            start_v=self.start_v,
            end_v=self.end_v,
            rate_mv_per_s=self.rate_mv_per_s,
            **self.charge_ends(place, electrode, start_x),
        )


ProtocolStep = Annotated[
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


def resolve_step(
    step: ProtocolStep, place: str, electrode: Electrode, start_x: float
) -> Step:
    """Return a step in amperes and mAh; ``place`` is how an error names it."""
    if isinstance(step, ConstantCurrent | ConstantVoltage | VoltageScan):
        return step.resolved(place, electrode, start_x)
    return step


_AMOUNTS = ("current_ma", "current_ma_per_cm2", "current_ma_per_g", "rate_c")
_ENDS = (
    *("until_potential_v", "until_duration_s"),
    *("until_charge_mah", "until_capacity_mah_per_g"),
)
_ENDS_TEXT = f"one of {', '.join(_ENDS)}"


def _current_a(
    step: StepModel, prefix: str, place: str, electrode: Electrode
) -> float | None:
    """Return the current that a step gives in one of several ways, A."""
    given = {
        name: value
        for name in ("current_a", *_AMOUNTS)
        if (value := getattr(step, prefix + name)) is not None
    }
    if not given:
        return None
    ((name, value),) = given.items()
    what = f"{place}: {prefix}{name}"
    if name == "current_ma_per_cm2":
        value *= electrode.need_area_cm2(what) * 1e-3
    elif name == "current_ma_per_g":
        value *= electrode.need_mass_g(what) * 1e-3
    elif name == "rate_c":
        value *= electrode.need_capacity_mah(what) * 1e-3
    elif name == "current_ma":
        value *= 1e-3
    return float(value)


def _at_most_one(step: StepModel, names: tuple[str, ...] | list[str]) -> None:
    given = [name for name in names if getattr(step, name) is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} say the same; give one of them")
