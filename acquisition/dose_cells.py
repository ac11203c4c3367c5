"""Which dose lies where: the ledger's rows as a map, over the cells of any grid.

The rows are the map. They are summed up by footprint and account, and each sum is
laid over the cells that are asked for; nothing else is stored.
"""

import json
import math
import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoline.acquisition.dose_places import place_of
from cryoline.analysis.footprint import Footprint, Grid, deposit
from cryoline.devices.exposure import Exposure

__all__ = [
    "Booked",
    "Footprint",
    "Grid",
    "booked_on",
    "covered_by",
    "deposit",
    "footprint_of",
    "grid_around",
    "grid_of",
    "grids_of",
    "laid_over",
    "list_fields",
    "read_footprint",
]

Array = NDArray[np.float64]
_PIXELS_A_CELL: Final = 4
_MAP_CELLS_MAX: Final = 512
_TOUCHED: Final = 1e-9
"""Less of a cell is the rounding of a seam between two fields."""


class Booked(NamedTuple):
    """What a region's account holds on one footprint."""

    region: str
    footprint: str | None
    """None is everywhere on the specimen: nobody has written down where it was."""
    account: str
    milli: int


def footprint_of(connection: sqlite3.Connection, exposure: Exposure) -> str:
    """Return where an exposure lies on its specimen, as text, as it is booked."""
    x_nm, y_nm = place_of(connection, exposure.specimen, exposure.region)
    cosine = math.cos(math.radians(exposure.tilt_deg))
    footprint = Footprint(
        x_nm + exposure.offset_x_nm / cosine,
        y_nm + exposure.offset_y_nm,
        exposure.width_nm,
        exposure.height_nm,
        exposure.rotation_deg,
        exposure.tilt_deg,
        exposure.beam_diameter_nm,
        exposure.pixel_nm,
    )
    # One text for one place: -0.0 is 0.0.
    return json.dumps({k: float(v) + 0.0 for k, v in footprint._asdict().items()})


@lru_cache(maxsize=8192)
def read_footprint(text: str) -> Footprint:
    """Return a footprint from the text that it is booked as."""
    return Footprint(**json.loads(text))


def booked_on(connection: sqlite3.Connection, specimen: str) -> list[Booked]:
    """Return what every account of a specimen holds, by footprint."""
    rows = connection.execute(
        "SELECT region, footprint, account, sum(milli_e_per_nm2) FROM bookings "
        "WHERE specimen = ? GROUP BY 1, 2, 3 HAVING sum(milli_e_per_nm2) != 0",
        (specimen,),
    )
    return [Booked(*row) for row in rows]


def list_fields(
    connection: sqlite3.Connection, specimen: str
) -> list[tuple[str, str, Footprint]]:
    """Return region, purpose and footprint of each field that was ever booked.

    Those of small area or large tilt first.
    """
    rows = connection.execute(
        "SELECT DISTINCT region, purpose, footprint FROM bookings "
        "WHERE specimen = ? AND footprint IS NOT NULL",
        (specimen,),
    )
    fields = [(region, purpose, read_footprint(f)) for region, purpose, f in rows]
    return sorted(fields, key=lambda f: (f[2].spread_nm2, -abs(f[2].tilt_deg)))


def laid_over(grid: Grid, booked: Iterable[Booked], *accounts: str) -> Array:
    """Return what some accounts hold in each cell, (row, column), 1e-3 e/nm2."""
    wanted = [b for b in booked if b.account in accounts]
    cells = deposit(grid, [(f, b.milli) for b, f in _placed(wanted)])
    return cells + float(sum(b.milli for b in wanted if b.footprint is None))


def covered_by(grid: Grid, booked: Sequence[Booked]) -> NDArray[np.bool_]:
    """Return which cells anything of that lies in, (row, column)."""
    if any(b.footprint is None for b in booked):
        return np.ones((grid.rows, grid.columns), dtype=bool)
    return deposit(grid, [(f, 1.0) for _, f in _placed(booked)]) > _TOUCHED


def grid_of(footprint: Footprint, place_uncertainty_nm: float) -> Grid:
    """Return the grid that is ruled on: laid over the field itself.

    Its cells are at least 4 scan pixels and the uncertainty of a place wide.
    """
    cell_nm = max(_PIXELS_A_CELL * footprint.pixel_nm, place_uncertainty_nm)
    return Grid.on(footprint, cell_nm)


def grids_of(booked: Iterable[Booked], place_uncertainty_nm: float) -> dict[str, Grid]:
    """Return grids that show the most of what is booked, by footprint.

    Of fields that only differ in tilt each one covers those of smaller tilts: the
    smallest lies where all add up, the largest where neighbours are.
    """
    families: dict[Footprint, list[tuple[float, str]]] = {}
    for b, footprint in _placed(booked):
        family = footprint
        if footprint.rotation_deg == 0.0:
            family = footprint._replace(tilt_deg=0.0)
        tilt = abs(footprint.tilt_deg)
        families.setdefault(family, []).append((tilt, b.footprint or ""))
    return {
        text: grid_of(read_footprint(text), place_uncertainty_nm)
        for tilts in families.values()
        for _, text in (min(tilts), max(tilts))
    }


def grid_around(booked: Iterable[Booked], cell_nm: float) -> Grid | None:
    """Return an upright grid around all that is booked, None if that has no place.

    The cells are larger if there would be more than 512 an axis.
    """
    found = {footprint for _, footprint in _placed(booked)}
    if not found:
        return None
    reach = [(f.x_nm, f.y_nm, f.reach_nm) for f in found]
    low_x, low_y = min(x - r for x, _, r in reach), min(y - r for _, y, r in reach)
    width = max(x + r for x, _, r in reach) - low_x
    height = max(y + r for _, y, r in reach) - low_y
    cell_nm = max(cell_nm, max(width, height) / _MAP_CELLS_MAX)
    columns, rows = math.ceil(width / cell_nm), math.ceil(height / cell_nm)
    return Grid.upright((low_x, low_y), cell_nm, columns, rows)


def _placed(booked: Iterable[Booked]) -> list[tuple[Booked, Footprint]]:
    return [(b, read_footprint(b.footprint)) for b in booked if b.footprint is not None]
