"""Which cell of a specimen rules on what is asked, and what it holds.

The budget rules on the fullest cell, not on a mean: fields of several regions, tilts
and places add up where they overlap. A cell's limit is the least of those of the
regions that were named or that lie there, and of what the specimen was cut from.
"""

import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoline.acquisition.dose_book import Balance, from_milli, limit_milli
from cryoline.acquisition.dose_cells import (
    Footprint,
    Grid,
    booked_on,
    covered_by,
    deposit,
    grid_of,
    grids_of,
    laid_over,
    read_footprint,
)
from cryoline.acquisition.dose_places import parents_of, place_of
from cryoline.acquisition.dose_queries import limits_of
from cryoline.acquisition.dose_refusals import fluence_text

__all__ = ["Demand", "Rules", "Ruling", "SpecimenDose"]

Array = NDArray[np.float64]
_ROUNDING: Final = 0.01
"""Of sums of parts of cells, 1e-3 e/nm2."""
_HELD: Final = ("ticket", "series")


@dataclass(frozen=True)
class Rules:
    """What a configuration says of budgets."""

    limit_e_per_nm2: float
    place_uncertainty_nm: float


class Demand(NamedTuple):
    """What is asked on one footprint."""

    region: str
    footprint: str
    milli: int
    """Of all exposures, 1e-3 e/nm2."""
    n_exposures: int = 1


class Ruling(NamedTuple):
    """The cell that is full first if all that is asked is granted."""

    part_that_fits: float
    """Of what is asked of the cell; 1 or more if all of it does."""
    asked: int
    """1e-3 e/nm2, as what follows."""
    most_asked: int
    """In whatever cell."""
    n_exposures: int
    """That hit the cell."""
    held: Balance
    limit: int
    is_over: bool
    because: str
    """Whose dose or limit it is as well, and where; "" if it is the region's own."""
    place_nm: tuple[float, float]
    """Of the cell's centre, from the specimen's origin."""


class SpecimenDose:
    """What a specimen holds, as one transaction sees it."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        specimen: str,
        rules: Rules,
        *,
        inherits: bool = True,
    ) -> None:
        self.specimen = specimen
        self.booked = booked_on(connection, specimen)
        self._connection = connection
        self._rules = rules
        self.limits = limits_of(connection, specimen)
        parents = parents_of(connection, specimen) if inherits else {}
        self._parents = [
            _Inherited.of(SpecimenDose(connection, name, rules, inherits=False), region)
            for name, region in parents.items()
        ]
        self.inherited = sum(parent.milli for parent in self._parents)
        """What its ancestors have received counts in each cell, 1e-3 e/nm2."""

    def limit_of(self, region: str) -> int:
        """Return the limit of a region by its name, 1e-3 e/nm2."""
        own = [self.limits[region]] if region in self.limits else []
        inherited = [p.limit for p in self._parents if p.limit is not None]
        return min([limit_milli(self._rules.limit_e_per_nm2), *own, *inherited])

    def limits_over(self, grid: Grid, region: str) -> Array:
        """Return the limit of each cell that a region's exposure would hit."""
        limit = np.full((grid.rows, grid.columns), float(self.limit_of(region)))
        for other, milli in self._lower(region, limit.max()):
            np.minimum(limit, milli, out=limit, where=self._lies_in(grid, other))
        return limit

    def settled_over(self, grid: Grid) -> Array:
        """Return what has been charged to each cell, 1e-3 e/nm2."""
        return laid_over(grid, self.booked, "settled") + self.inherited

    def rule(
        self,
        grid: Grid,
        region: str,
        demands: Sequence[Demand] = (),
        *,
        in_series: bool = False,
    ) -> Ruling:
        """Return what rules on demands within a grid.

        What open series hold counts as well, unless the asker draws on one of them.
        Without demands it is the cell that has least left.
        """
        placed = [(read_footprint(d.footprint), d.milli) for d in demands]
        asked = deposit(grid, placed)
        held = self.settled_over(grid) + laid_over(grid, self.booked, "ticket")
        if not in_series:
            held += laid_over(grid, self.booked, "series")
        limit = self.limits_over(grid, region)
        room = limit - held
        if demands:
            with np.errstate(divide="ignore", invalid="ignore"):
                fills = np.where(asked > 0, room / asked, np.inf)
        else:
            fills = room
        row, column = np.unravel_index(np.argmin(fills), fills.shape)
        at = (int(row), int(column))
        cell = grid.cell(*at)
        balance = Balance(
            round(self.settled_over(cell).item()),
            round(laid_over(cell, self.booked, "ticket").item()),
            0 if in_series else round(laid_over(cell, self.booked, "series").item()),
        )
        return Ruling(
            part_that_fits=float(fills[at]),
            asked=math.ceil(asked[at] - _ROUNDING),
            most_asked=math.ceil(asked.max() - _ROUNDING),
            n_exposures=sum(d.n_exposures for d in demands if _hits(d.footprint, cell)),
            held=balance,
            limit=int(limit[at]),
            is_over=bool(held[at] + asked[at] > limit[at] + _ROUNDING),
            because=self._because(cell, region, int(limit[at])),
            place_nm=(cell.x_nm, cell.y_nm),
        )

    def rule_around(
        self,
        footprint: str,
        region: str,
        demands: Sequence[Demand],
        *,
        in_series: bool = False,
    ) -> Ruling:
        """Return what rules on demands in the cells of one field and of its neighbours.

        A strip that is narrower than a cell may fill a cell of the neighbour's and only
        a part of one's own.
        """
        ruled = [
            self.rule(grid, region, demands, in_series=in_series)
            for grid in self._grids_around(footprint)
        ]
        first = min(ruled, key=lambda r: r.part_that_fits)
        return first._replace(most_asked=max(r.most_asked for r in ruled))

    def usage(self, region: str) -> tuple[Ruling, float]:
        """Return what rules on a region's fullest cell, and the mean of its field.

        The mean is that of what was charged, 1e-3 e/nm2. A region that nothing was
        booked to is its centre.
        """
        uncertainty_nm = self._rules.place_uncertainty_nm
        own = [b for b in self.booked if b.region == region]
        grids = list(grids_of(own, uncertainty_nm).values())
        if not grids:
            place = place_of(self._connection, self.specimen, region)
            point = Footprint(*place, uncertainty_nm, uncertainty_nm)
            grids = [grid_of(point, uncertainty_nm)]
        ruled = [(self.rule(grid, region), grid) for grid in grids]
        ruling, grid = min(ruled, key=lambda r: r[0].limit - r[0].held.total)
        return ruling, float(self.settled_over(grid).mean())

    def most(self, region: str | None) -> int:
        """Return the most that any cell has received or may have, 1e-3 e/nm2.

        region: looks at its fields only
        """
        booked = [
            b
            for b in self.booked
            if region in (None, b.region) and b.account in ("settled", "ticket")
        ]
        grids = grids_of(booked, self._rules.place_uncertainty_nm).values()
        everywhere = sum(b.milli for b in booked if b.footprint is None)
        cells = [laid_over(g, self.booked, "settled", "ticket").max() for g in grids]
        return math.ceil(max(cells, default=everywhere) - _ROUNDING)

    # -------------------------------------------------------------------------------

    def _grids_around(self, footprint: str) -> list[Grid]:
        """Return the grid of a field, and those of booked fields that reach into it."""
        uncertainty_nm = self._rules.place_uncertainty_nm
        own = read_footprint(footprint)
        family = own._replace(tilt_deg=0.0)
        others = [
            b
            for b in self.booked
            if b.footprint is not None
            and read_footprint(b.footprint)._replace(tilt_deg=0.0) != family
        ]
        grids = grids_of(others, uncertainty_nm).values()
        touching = [g for g in grids if deposit(g, [(own, 1.0)]).any()]
        return [grid_of(own, uncertainty_nm), *touching]

    def _lower(self, region: str, limit: float) -> list[tuple[str, int]]:
        """Return other regions whose own limit is lower."""
        return [
            (name, milli)
            for name, milli in self.limits.items()
            if name != region and milli < limit
        ]

    def _lies_in(self, grid: Grid, region: str) -> NDArray[np.bool_]:
        """Return the cells that a region lies in: where it was booked, and its centre.

        Its extent is not known before it is exposed.
        """
        place = place_of(self._connection, self.specimen, region)
        cells = covered_by(grid, [b for b in self.booked if b.region == region])
        at = grid.cell_at(*place)
        if at is not None:
            cells[at] = True
        return cells

    def _because(self, cell: Grid, region: str, limit: int) -> str:
        """Return in words what else than the region itself makes a cell full."""
        parts = []
        for other in sorted({b.region for b in self.booked} - {region}):
            booked = [b for b in self.booked if b.region == other]
            milli = laid_over(cell, booked, "settled", *_HELD).item()
            if milli > _ROUNDING:
                parts.append(f"{_text(milli)} of it by {other}")
        parts += [
            f"{_text(p.milli)} of it by {p.name}" for p in self._parents if p.milli
        ]
        if limit < self.limit_of(region):
            names = [n for n, m in self._lower(region, math.inf) if m == limit]
            parts.append(f"the limit is that of {names[0]}")
        if parts:
            parts.append(f"at x = {cell.x_nm:.0f} nm, y = {cell.y_nm:.0f} nm")
        names = [p.name for p in self._parents if p.limit == limit]
        return "; ".join(
            [", ".join(parts)] * bool(parts)
            + [f"the limit is that of {name}" for name in names[:1]]
        )


class _Inherited(NamedTuple):
    """What an ancestor hands down."""

    name: str
    milli: int
    limit: int | None
    """None if nobody has set it one."""

    @classmethod
    def of(cls, dose: SpecimenDose, region: str | None) -> "_Inherited":
        """Return it for what was cut from a region, or from nobody knows where."""
        limits = [
            milli for name, milli in dose.limits.items() if region in (None, name)
        ]
        return cls(dose.specimen, dose.most(region), min(limits, default=None))


def _hits(footprint: str, cell: Grid) -> bool:
    return deposit(cell, [(read_footprint(footprint), 1.0)]).item() > _ROUNDING * 1e-6


def _text(milli: float) -> str:
    return fluence_text(from_milli(round(milli)))
