"""A series' envelope: its worst case reserved at once, its exposures drawn on it."""

import math
import sqlite3
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryoline.acquisition import dose_refusals as refusals
from cryoline.acquisition.dose_book import Shape, book, limit_milli, record
from cryoline.acquisition.dose_cells import (
    Booked,
    Grid,
    footprint_of,
    laid_over,
)
from cryoline.acquisition.dose_queries import find_rows
from cryoline.acquisition.dose_rules import refuse_closed, worst_milli
from cryoline.acquisition.dose_ruling import Demand, Rules, Ruling, SpecimenDose
from cryoline.acquisition.errors import DoseRefused, LedgerError
from cryoline.devices.exposure import Exposure

__all__ = [
    "Series",
    "check_series",
    "close_series",
    "foresee",
    "open_series",
    "refuse_over_budget",
    "refuse_series",
]


_SHOWN: Final = 3


@dataclass
class Declared:
    """Exposures of one shape: how many, where, and what each may cost."""

    exposure: Exposure
    count: int
    milli: int
    footprint: str | None
    """None in a series that version 1 of the ledger has opened."""
    shape: int = 0
    """Which of the series' declared exposures it is."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as it is booked."""
        return {
            "exposure": self.exposure.model_dump(mode="json"),
            "count": self.count,
            "milli": self.milli,
            "footprint": self.footprint,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any], shape: int) -> "Declared":
        """Return it from what was booked."""
        exposure = Exposure.model_validate(content["exposure"])
        if "amounts" in content:  # version 1 of the ledger
            milli = content["amounts"][exposure.region]
            return cls(exposure, content["count"], milli, None, shape)
        return cls(
            exposure, content["count"], content["milli"], content["footprint"], shape
        )


def check_series(
    exposures: Sequence[Exposure],
    current_limit_pa: float,
    current_pa: float | None,
    budget_e_per_nm2: float | None,
) -> int | None:
    """Return a series' budget as it is booked; raises DoseRefused for nonsense."""
    refusals.check_current("a current limit", current_limit_pa)
    if current_pa is not None:
        refusals.check_current("a measured current", current_pa)
    if not exposures:
        raise DoseRefused(
            "dose: a series without exposures; declare every one that it may make"
        )
    if budget_e_per_nm2 is None:
        return None
    if not (math.isfinite(budget_e_per_nm2) and budget_e_per_nm2 > 0):
        raise DoseRefused(
            f"dose: a budget of {budget_e_per_nm2:g} e/nm2 allows nothing; give a "
            "number above 0, or none at all: the region's limit holds then"
        )
    return limit_milli(min(budget_e_per_nm2, 1e13))


def open_series(
    connection: sqlite3.Connection,
    exposures: Sequence[Exposure],
    *,
    current_limit_pa: float,
    current_pa: float | None,
    budget: int | None,
    rules: Rules,
) -> str:
    """Reserve the worst case of all exposures and return the series' UID."""
    declared = _declare(connection, exposures, current_limit_pa)
    for asked, ruling in _ask(
        connection, declared, current_limit_pa, current_pa, rules
    ):
        refuse_series(connection, asked, ruling, budget)
    uid = str(uuid.uuid4())
    event = record(
        connection,
        "series-open",
        {
            "current_limit_pa": current_limit_pa,
            "budget_milli": budget,
            "declared": [part.as_dict() for part in declared],
        },
        series=uid,
        specimen=_only(part.exposure.specimen for part in declared),
    )
    for part in declared:
        milli = part.count * part.milli
        book(connection, event, "series", milli, part.exposure, part.footprint)
    return uid


def foresee(
    connection: sqlite3.Connection,
    exposures: Sequence[Exposure],
    *,
    current_limit_pa: float,
    current_pa: float | None,
    rules: Rules,
) -> list[tuple[refusals.Asked, Ruling]]:
    """Return what a series would ask of each region, and the cell that rules on it."""
    declared = _declare(connection, exposures, current_limit_pa)
    return _ask(connection, declared, current_limit_pa, current_pa, rules)


def refuse_series(
    connection: sqlite3.Connection,
    asked: refusals.Asked,
    ruling: Ruling,
    budget: int | None,
) -> None:
    """Raise DoseRefused if a series asks more than its budget, or than is left."""
    if budget is not None and ruling.most_asked > budget:
        raise refusals.over_budget(replace(asked, milli=ruling.most_asked), budget)
    refuse_closed(connection, asked.specimen, asked.region)
    if ruling.is_over:
        raise refusals.over_limit(asked, ruling)


def refuse_over_budget(
    series: "Series", demand: Demand, grid: Grid, asked: refusals.Asked
) -> None:
    """Raise DoseRefused if what is taken again passes the budget of its series."""
    if series.budget is None:
        return
    drawn = math.ceil(series.committed_over(grid, asked.specimen).max())
    if drawn + demand.milli > series.budget:
        raise refusals.over_budget(asked, series.budget, drawn=drawn)


def close_series(connection: sqlite3.Connection, uid: str, reason: str) -> None:
    """Give back what a series still holds; nothing if it is closed."""
    series = Series(connection, uid)
    if not series.is_open:
        return
    event = record(
        connection,
        "series-close",
        {"reason": reason},
        series=uid,
        specimen=_only(part.exposure.specimen for part in series.declared),
    )
    for part in series.declared:
        milli = -(part.count - series.spent(part.shape)) * part.milli
        book(connection, event, "series", milli, part.exposure, part.footprint)


class Series:
    """A series as the ledger holds it, inside a transaction.

    Raises LedgerError if there is none of this UID.
    """

    def __init__(self, connection: sqlite3.Connection, uid: str) -> None:
        self.uid = uid
        self._connection = connection
        rows = list(find_rows(connection, "series = ? AND kind = 'series-open'", uid))
        if not rows:
            raise LedgerError(
                f"dose: series {uid!r} is not in this ledger; open one with its "
                "exposures (the plan's first message, preflight)"
            )
        self.current_limit_pa: float = rows[0].body["current_limit_pa"]
        self.budget: int | None = rows[0].body.get("budget_milli")
        self.declared = [
            Declared.from_dict(content, shape)
            for shape, content in enumerate(rows[0].body["declared"])
        ]
        self.is_open = not any(
            find_rows(connection, "series = ? AND kind = 'series-close'", uid)
        )

    def spent(self, index: int) -> int:
        """Return how many exposures of a shape have a ticket, released ones not."""
        (count,) = self._connection.execute(
            "SELECT count(*) FROM events r WHERE r.series = ? AND r.kind = 'reserve' "
            "AND r.shape = ? AND NOT EXISTS (SELECT 1 FROM events f "
            "WHERE f.ticket = r.ticket AND f.kind = 'release')",
            (self.uid, index),
        ).fetchone()
        return int(count)

    def draw(self, exposure: Exposure, current_pa: float) -> Declared | None:
        """Return the declared exposures that one is drawn from, None if all are made.

        What is taken again is reserved on top then. Raises DoseRefused if the series
        is closed, or this is none of its exposures.
        """
        if not self.is_open:
            raise DoseRefused(
                f"dose: series {self.uid} is closed; open another with the exposures "
                "that are still to be made"
            )
        wanted = Shape.of(exposure)
        found = [p for p in self.declared if Shape.of(p.exposure) == wanted]
        if not found:
            raise DoseRefused(
                "dose: not an exposure of this series: "
                f"{refusals.exposure_text(exposure)}; declared are "
                f"{self._text(exposure)}. Declare it in the plan's worst case"
            )
        if current_pa > self.current_limit_pa:
            raise DoseRefused(
                f"dose: specimen {exposure.specimen}, {exposure.region}: the current "
                f"has risen to {current_pa:.4g} pA, the series was reserved for up to "
                f"{self.current_limit_pa:.4g} pA; end it and open another at this "
                "current, or lower the current"
            )
        (part,) = found
        return part if self.spent(part.shape) < part.count else None

    def committed_over(self, grid: Grid, specimen: str) -> NDArray[np.float64]:
        """Return what the series holds and has spent in each cell, 1e-3 e/nm2."""
        rows = self._connection.execute(
            "SELECT b.region, b.footprint, 'series', sum(b.milli_e_per_nm2) "
            "FROM events e JOIN bookings b ON b.event = e.uid "
            "WHERE e.series = ? AND b.specimen = ? GROUP BY 1, 2",
            (self.uid, specimen),
        )
        return laid_over(grid, [Booked(*row) for row in rows], "series")

    def _text(self, of: Exposure) -> str:
        """Return in words what was declared, for the same purpose if anything was."""
        alike = [p for p in self.declared if p.exposure.purpose is of.purpose]
        shown = (alike or self.declared)[:_SHOWN]
        texts = [f"{p.count} x {refusals.exposure_text(p.exposure)}" for p in shown]
        others = len(self.declared) - len(shown)
        return "; ".join([*texts, *[f"and {others} others"] * bool(others)])


def _declare(
    connection: sqlite3.Connection,
    exposures: Sequence[Exposure],
    current_limit_pa: float,
) -> list[Declared]:
    found: dict[Shape, Declared] = {}
    for exposure in exposures:
        shape = Shape.of(exposure)
        if shape in found:
            found[shape].count += 1
        else:
            milli = worst_milli(exposure, current_limit_pa)
            footprint = footprint_of(connection, exposure)
            found[shape] = Declared(exposure, 1, milli, footprint, len(found))
    return list(found.values())


def _ask(
    connection: sqlite3.Connection,
    declared: Iterable[Declared],
    current_limit_pa: float,
    current_pa: float | None,
    rules: Rules,
) -> list[tuple[refusals.Asked, Ruling]]:
    """Return what is asked of each specimen and region, in the order of declaring.

    Each field is looked at by its own cells, with all that the series may do there.
    """
    demands: dict[str, dict[tuple[str, str], Demand]] = defaultdict(dict)
    for part in declared:
        exposure, footprint = part.exposure, part.footprint or ""
        on = demands[exposure.specimen]
        where = (exposure.region, footprint)
        known = on.get(where, Demand(*where, 0, 0))
        on[where] = Demand(
            *where,
            known.milli + part.count * part.milli,
            known.n_exposures + part.count,
        )
    found = []
    for specimen, on in demands.items():
        dose = SpecimenDose(connection, specimen, rules)
        rulings: dict[str, list[Ruling]] = defaultdict(list)
        for region, footprint in on:
            ruling = dose.rule_around(footprint, region, list(on.values()))
            rulings[region].append(ruling)
        for region, ruled in rulings.items():
            first = min(ruled, key=lambda r: r.part_that_fits)
            ruling = first._replace(most_asked=max(r.most_asked for r in ruled))
            asked = refusals.Asked(
                "the series",
                specimen,
                region,
                ruling.asked,
                ruling.n_exposures,
                current_limit_pa,
                current_pa,
            )
            found.append((asked, ruling))
    return found


def _only(specimens: Iterable[str]) -> str | None:
    """Return the one specimen that all are of, None if there are several."""
    found = set(specimens)
    return found.pop() if len(found) == 1 else None
