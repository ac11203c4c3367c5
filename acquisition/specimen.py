"""What is measured: one specimen, its parents, and the electrode that it is."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from cryoline.devices.cycling_steps import Positive
from cryoline.devices.exposure import SpecimenName

__all__ = ["Specimen"]


class Specimen(BaseModel):
    """A specimen by name; every run, transfer and dose refers to it.

    Example
    -------
    >>> Specimen(name="wafer-01", electrode_area_cm2=0.0707).metadata()["specimen"]
    'wafer-01'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: SpecimenName
    ancestors: tuple[str, ...] = ()
    """What it was made from, oldest first."""
    electrode_mass_mg: Positive | None = None
    electrode_area_cm2: Positive | None = None

    def child(self, name: str) -> "Specimen":
        """Return what is made of it, under a name of its own.

        >>> Specimen(name="cell-01", ancestors=("boule-7",)).child("nw-01").ancestors
        ('boule-7', 'cell-01')
        """
        return Specimen(name=name, ancestors=(*self.ancestors, self.name))

    def metadata(self) -> dict[str, Any]:
        """Return what every start document says of the specimen."""
        return {
            "specimen": self.name,
            "ancestors": list(self.ancestors),
            "electrode": {
                "mass_mg": self.electrode_mass_mg,
                "area_cm2": self.electrode_area_cm2,
            },
        }
