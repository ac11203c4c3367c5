"""Which other regions of a specimen a series would hit, and with how much."""

import sqlite3
from collections import defaultdict
from collections.abc import Sequence

from cryoline.acquisition.dose_book import from_milli
from cryoline.acquisition.dose_cells import (
    Booked,
    Footprint,
    booked_on,
    footprint_of,
    grid_of,
    grids_of,
    laid_over,
)
from cryoline.acquisition.dose_places import place_of
from cryoline.acquisition.dose_queries import list_regions
from cryoline.acquisition.dose_records import Neighbour
from cryoline.acquisition.dose_rules import worst_milli
from cryoline.acquisition.dose_ruling import Rules
from cryoline.devices.exposure import Exposure

__all__ = ["neighbours_hit"]

_ASKED = "asked"


def neighbours_hit(
    connection: sqlite3.Connection,
    exposures: Sequence[Exposure],
    current_limit_pa: float,
    rules: Rules,
) -> list[Neighbour]:
    """Return the regions that exposures of others hit, each with its worst cell.

    A region that was never exposed is its centre: its extent is not known.
    """
    asked: dict[str, list[Booked]] = defaultdict(list)
    for exposure, milli in _summed(exposures, current_limit_pa).items():
        where = footprint_of(connection, exposure)
        asked[exposure.specimen].append(Booked(exposure.region, where, _ASKED, milli))
    found = []
    for specimen, demands in asked.items():
        booked = booked_on(connection, specimen)
        for region in list_regions(connection, specimen):
            if region in {demand.region for demand in demands}:
                continue
            own = [b for b in booked if b.region == region]
            grids = list(grids_of(own, rules.place_uncertainty_nm).values())
            if not grids:
                size_nm = rules.place_uncertainty_nm
                at = place_of(connection, specimen, region)
                grids = [grid_of(Footprint(*at, size_nm, size_nm), size_nm)]
            most = max(laid_over(grid, demands, _ASKED).max() for grid in grids)
            if round(most) > 0:
                found.append(Neighbour(specimen, region, from_milli(round(most))))
    return found


def _summed(
    exposures: Sequence[Exposure], current_limit_pa: float
) -> dict[Exposure, int]:
    """Return what each exposure may cost, those that are alike taken together."""
    found: dict[Exposure, int] = defaultdict(int)
    for exposure in exposures:
        found[exposure] += worst_milli(exposure, current_limit_pa)
    return found
