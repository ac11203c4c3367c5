"""Currents and charges as people write them, and what they are for one electrode."""

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BeforeValidator

from cryoline.acquisition.errors import ProtocolError
from cryoline.acquisition.specimen import Specimen
from cryoline.analysis.constants import FARADAY_C_PER_MOL
from cryoline.devices.cycling_steps import Finite

__all__ = ["MAH_PER_G_OF_LI", "CRate", "Electrode"]

_SILICON_G_PER_MOL: Final = 28.0855
MAH_PER_G_OF_LI: Final = FARADAY_C_PER_MOL / 3.6 / _SILICON_G_PER_MOL
"""Charge of one lithium per silicon, mAh per g of silicon: x in LixSi."""


def _read_c_rate(value: object) -> object:
    """Read "C/10" as 0.1 and "-C/2" as -0.5; leave numbers to the model."""
    if not isinstance(value, str):
        return value
    text = value.replace(" ", "").upper()
    sign = -1.0 if text.startswith(("-", "D")) else 1.0
    number, _, divisor = text.lstrip("+-").partition("/")
    try:
        return sign * float(number.strip("CD") or 1.0) / float(divisor or 1.0)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{value!r} is no C-rate; give a number or C/10") from None


CRate = Annotated[Finite, BeforeValidator(_read_c_rate)]
"""Current over capacity, 1/h: a number, or a text like "C/10" or "-C/10"."""


@dataclass(frozen=True)
class Electrode:
    """What C-rates, areal currents and specific charges refer to."""

    specimen: str
    mass_mg: float | None = None
    area_cm2: float | None = None
    capacity_mah: float | None = None
    """What 1C refers to."""

    @classmethod
    def of(
        cls,
        specimen: Specimen,
        capacity_mah_per_g: float,
        capacity_mah: float | None = None,
    ) -> "Electrode":
        """Return a specimen's electrode, whose capacity is its mass's if not given."""
        mass_mg = specimen.electrode_mass_mg
        if capacity_mah is None and mass_mg is not None:
            capacity_mah = mass_mg * 1e-3 * capacity_mah_per_g
        return cls(specimen.name, mass_mg, specimen.electrode_area_cm2, capacity_mah)

    def need_mass_g(self, what: str) -> float:
        """Return the mass, or raise ProtocolError saying what needs it."""
        if self.mass_mg is None:
            raise ProtocolError(
                f"{what} needs the active mass of {self.specimen}; give "
                "Specimen(electrode_mass_mg=...), or --mass-mg"
            )
        return self.mass_mg * 1e-3

    def need_area_cm2(self, what: str) -> float:
        """Return the area, or raise ProtocolError saying what needs it."""
        if self.area_cm2 is None:
            raise ProtocolError(
                f"{what} needs the electrode area of {self.specimen}; give "
                "Specimen(electrode_area_cm2=...), or --area-cm2"
            )
        return self.area_cm2

    def need_capacity_mah(self, what: str) -> float:
        """Return the capacity, or raise ProtocolError saying what needs it."""
        if self.capacity_mah is None:
            raise ProtocolError(
                f"{what} needs the capacity of {self.specimen}; give "
                "Specimen(electrode_mass_mg=...) or --mass-mg, or capacity_mah in the "
                "protocol"
            )
        return self.capacity_mah
