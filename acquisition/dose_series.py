"""A series' envelope: its worst case reserved at once, its exposures drawn on it."""

import math
import sqlite3
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cryoline.acquisition import dose_refusals as refusals
from cryoline.acquisition.dose_book import Shape, book, limit_milli, record
from cryoline.acquisition.dose_queries import find_rows
from cryoline.acquisition.dose_rules import refuse_over_limit, worst_amounts
from cryoline.acquisition.errors import DoseRefused, LedgerError
from cryoline.devices.exposure import Exposure

__all__ = [
    "Series",
    "check_series",
    "close_series",
    "foresee",
    "open_series",
    "refuse_series",
]


@dataclass
class _Declared:
    """Exposures of one shape: how many, and what each may cost each region."""

    exposure: Exposure
    count: int
    amounts: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        return {
            "exposure": self.exposure.model_dump(mode="json"),
            "count": self.count,
            "amounts": self.amounts,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "_Declared":
        return cls(
            Exposure.model_validate(content["exposure"]),
            content["count"],
            content["amounts"],
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
    configured_e_per_nm2: float,
) -> str:
    """Reserve the worst case of all exposures and return the series' UID."""
    declared = _declare(exposures, current_limit_pa)
    for asked in _ask(declared, current_limit_pa, current_pa):
        refuse_series(connection, asked, budget, configured_e_per_nm2)
    uid = str(uuid.uuid4())
    event = record(
        connection,
        "series-open",
        {
            "current_limit_pa": current_limit_pa,
            "declared": [part.as_dict() for part in declared],
        },
        series=uid,
        specimen=_only(part.exposure.specimen for part in declared),
    )
    for part in declared:
        amounts = {region: part.count * m for region, m in part.amounts.items()}
        book(connection, event, "series", amounts, part.exposure)
    return uid


def foresee(
    exposures: Sequence[Exposure],
    *,
    current_limit_pa: float,
    current_pa: float | None,
) -> list[refusals.Asked]:
    """Return what a series would ask of each region."""
    declared = _declare(exposures, current_limit_pa)
    return _ask(declared, current_limit_pa, current_pa)


def refuse_series(
    connection: sqlite3.Connection,
    asked: refusals.Asked,
    budget: int | None,
    configured_e_per_nm2: float,
) -> None:
    """Raise DoseRefused if a series asks more than its budget, or than is left."""
    if budget is not None and asked.milli > budget:
        raise refusals.over_budget(asked, budget)
    refuse_over_limit(connection, asked, configured_e_per_nm2)


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
    for index, part in enumerate(series.declared):
        left = part.count - series.spent(index)
        amounts = {region: -left * m for region, m in part.amounts.items()}
        book(connection, event, "series", amounts, part.exposure)


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
        self.declared = [_Declared.from_dict(d) for d in rows[0].body["declared"]]
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

    def draw(
        self, exposure: Exposure, current_pa: float
    ) -> tuple[int, float, dict[str, int]]:
        """Return shape, current limit and share of the envelope for one exposure.

        Raises DoseRefused if the series is closed, or this is none of its exposures.
        """
        if not self.is_open:
            raise DoseRefused(
                f"dose: series {self.uid} is closed; open another with the exposures "
                "that are still to be made"
            )
        wanted = Shape.of(exposure)
        shapes = [Shape.of(part.exposure) for part in self.declared]
        if wanted not in shapes:
            raise DoseRefused(
                "dose: not an exposure of this series: "
                f"{refusals.exposure_text(exposure)}; declared are "
                f"{'; '.join(self._texts())}. Declare it in the plan's worst case"
            )
        index = shapes.index(wanted)
        part = self.declared[index]
        if self.spent(index) >= part.count:
            raise DoseRefused(
                f"dose: all {part.count} exposures that the series has declared are "
                f"made: {refusals.exposure_text(exposure)}; declare more of them "
                "(re-takes too) in the plan's worst case, or open another series"
            )
        if current_pa > self.current_limit_pa:
            raise DoseRefused(
                f"dose: specimen {exposure.specimen}, {exposure.region}: the current "
                f"has risen to {current_pa:.4g} pA, the series was reserved for up to "
                f"{self.current_limit_pa:.4g} pA; end it and open another at this "
                "current, or lower the current"
            )
        return index, self.current_limit_pa, part.amounts

    def share(self, index: int) -> dict[str, int]:
        """Return what the envelope holds for one exposure of a shape, by region."""
        return self.declared[index].amounts

    def _texts(self) -> list[str]:
        return [
            f"{part.count} x {refusals.exposure_text(part.exposure)}"
            for part in self.declared
        ]


def _declare(exposures: Sequence[Exposure], current_limit_pa: float) -> list[_Declared]:
    found: dict[Shape, _Declared] = {}
    for exposure in exposures:
        shape = Shape.of(exposure)
        if shape in found:
            found[shape].count += 1
        else:
            amounts = worst_amounts(exposure, current_limit_pa)
            found[shape] = _Declared(exposure, 1, amounts)
    return list(found.values())


def _ask(
    declared: Iterable[_Declared], current_limit_pa: float, current_pa: float | None
) -> list[refusals.Asked]:
    """Return what is asked of each specimen and region, in the order of declaring."""
    milli: dict[tuple[str, str], int] = defaultdict(int)
    count: dict[tuple[str, str], int] = defaultdict(int)
    for part in declared:
        for region, amount in part.amounts.items():
            milli[part.exposure.specimen, region] += part.count * amount
            count[part.exposure.specimen, region] += part.count
    return [
        refusals.Asked(
            "the series",
            *where,
            milli[where],
            count[where],
            current_limit_pa,
            current_pa,
        )
        for where in milli
    ]


def _only(specimens: Iterable[str]) -> str | None:
    """Return the one specimen that all are of, None if there are several."""
    found = set(specimens)
    return found.pop() if len(found) == 1 else None
