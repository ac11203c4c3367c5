"""Where a specimen's dose lies, for a person and for a program."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryoline.acquisition.config import Config
from cryoline.acquisition.dose_config import open_ledger
from cryoline.acquisition.dose_records import FluenceMap, Outline

__all__ = ["DoseMap", "look_up_map"]


@dataclass(frozen=True)
class DoseMap:
    """The map of a specimen's dose, and what lies there."""

    specimen: str
    cells: FluenceMap
    outlines: dict[str, Outline]
    """The fields that were recorded, by region."""
    areas: dict[str, Outline]
    """Displaced ones that only served them."""
    limit_e_per_nm2: float
    """The lowest of the regions'."""

    def as_dict(self) -> dict[str, Any]:
        """Return what a program may read (``cryoline dose map --json``)."""
        cells = self.cells
        return {
            "specimen": self.specimen,
            "limit_e_per_nm2": self.limit_e_per_nm2,
            "cell_nm": cells.cell_nm,
            "x_nm": cells.x_nm.tolist(),
            "y_nm": cells.y_nm.tolist(),
            "settled_e_per_nm2": cells.settled_e_per_nm2.tolist(),
            "reserved_e_per_nm2": cells.reserved_e_per_nm2.tolist(),
            "regions": {n: field._asdict() for n, field in self.outlines.items()},
            "areas": {n: field._asdict() for n, field in self.areas.items()},
        }

    def save_arrays(self, path: Path) -> None:
        """Write the numbers as arrays of numpy, (y, x)."""
        cells = self.cells
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                x_nm=cells.x_nm,
                y_nm=cells.y_nm,
                settled_e_per_nm2=cells.settled_e_per_nm2,
                reserved_e_per_nm2=cells.reserved_e_per_nm2,
                cell_nm=cells.cell_nm,
                limit_e_per_nm2=self.limit_e_per_nm2,
            )

    def draw(self, path: Path) -> None:
        """Write the figure; what is reserved counts as if it had been received."""
        from cryoline.analysis.dose_figures import dose_map

        cells = self.cells
        is_reserved = bool(cells.reserved_e_per_nm2.any())
        figure = dose_map(
            cells.settled_e_per_nm2 + cells.reserved_e_per_nm2,
            cells.x_nm,
            cells.y_nm,
            self.limit_e_per_nm2,
            regions=self.outlines,
            areas=self.areas,
            specimen=self.specimen,
            what="fluence, settled and reserved" if is_reserved else "fluence",
        )
        figure.savefig(path, dpi=150)


def look_up_map(
    config: Config, specimen: str, *, region: str | None, cell_nm: float | None
) -> DoseMap:
    """Return the map of a specimen, around one region or all of them.

    Raises LedgerError if nothing of it has a place.
    """
    with open_ledger(config) as ledger:
        cells = ledger.fluence_map(specimen, region, cell_nm)
        regions = [region] if region is not None else ledger.regions(specimen)
        limits = [ledger.usage(specimen, name).limit_e_per_nm2 for name in regions]
        outlines, areas = ledger.outlines(specimen), ledger.areas(specimen)
        return DoseMap(specimen, cells, outlines, areas, min(limits))
