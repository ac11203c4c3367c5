"""Specimens that were sent away: no exposure here, until they are back."""

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime

from cryoline.acquisition.dose_book import record
from cryoline.acquisition.dose_queries import find_rows
from cryoline.acquisition.dose_records import LedgerRow
from cryoline.acquisition.errors import DoseRefused

__all__ = ["FOREIGN", "Lock", "lock_away", "lock_of", "refuse_locked"]

FOREIGN = "source LIKE '%/%'"
"""Holds for rows that came in a bundle: their source is SITE/INSTRUMENT."""


@dataclass(frozen=True)
class Lock:
    """Where a specimen was sent, and when."""

    specimen: str
    uid: str
    """Of the row that locks it; a bundle that holds it was made later than this."""
    export: str
    """UUID of the row of its export."""
    to: str
    """May be empty."""
    time_s: float
    """Wall time, Unix seconds."""
    file: str
    """The bundle, as it was named."""

    @property
    def text(self) -> str:
        """Return in words what has become of it."""
        when = datetime.fromtimestamp(self.time_s, tz=UTC)
        to = f" to {self.to}" if self.to else ""
        return f"was sent{to} on {when:%Y-%m-%d %H:%M} UTC ({self.file})"


def lock_of(connection: sqlite3.Connection, specimen: str) -> Lock | None:
    """Return what locks a specimen here, None if nothing does.

    Rows of other sites say that it was away there; only the last of this one counts.
    """
    rows = list(
        find_rows(
            connection,
            "specimen = ? AND kind IN ('lock', 'unlock') "
            f"AND NOT (source IS NOT NULL AND {FOREIGN})",
            specimen,
        )
    )
    if not rows or rows[-1].kind == "unlock":
        return None
    return _as_lock(rows[-1])


def lock_away(
    connection: sqlite3.Connection, specimen: str, *, to: str, file: str
) -> Lock:
    """Write down that a specimen is sent away, and return what locks it from now on."""
    sent = {"to": to, "file": file}
    export = record(connection, "export", sent, specimen=specimen)
    uid = record(connection, "lock", {**sent, "export": export}, specimen=specimen)
    (row,) = find_rows(connection, "uid = ?", uid)
    return _as_lock(row)


def refuse_locked(connection: sqlite3.Connection, specimen: str) -> None:
    """Raise DoseRefused if a specimen is away: what it gets there is not known here."""
    lock = lock_of(connection, specimen)
    if lock is not None:
        raise DoseRefused(
            f"dose: specimen {specimen} {lock.text}; what it receives there is not "
            "known here. When it is back: cryoline sample import BUNDLE, with the "
            "bundle that came back with it. If there will be none: cryoline sample "
            f"unlock {specimen} --reason TEXT"
        )


def _as_lock(row: LedgerRow) -> Lock:
    return Lock(
        row.specimen or "",
        row.uid,
        export=row.body["export"],
        to=row.body["to"],
        time_s=row.time_s,
        file=row.body["file"],
    )
