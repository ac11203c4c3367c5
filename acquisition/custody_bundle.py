"""A specimen's rows of the custody record: read out for a bundle, merged from one."""

import json
import sqlite3
from collections.abc import Sequence

from cryoline.acquisition.custody_queries import (
    COLUMNS,
    as_row,
    find_open_leg,
    row_of,
    rows_of,
)
from cryoline.acquisition.custody_records import CustodyRow
from cryoline.acquisition.errors import BundleRefused
from cryoline.acquisition.sample_bundle import Bundle, CustodyEntry

__all__ = ["append_custody", "missing_custody", "read_custody", "refuse_under_way"]


def refuse_under_way(connection: sqlite3.Connection, specimen: str) -> None:
    """Raise BundleRefused if a specimen is on a leg: nobody can say where it is."""
    leg = find_open_leg(connection, specimen)
    if leg is not None:
        raise BundleRefused(
            f"specimen {specimen}: is on leg {leg.start.leg} of {leg.start.route}, "
            "which nobody has ended; nothing was exported. End the transfer, or say "
            "where it is (session.custody.correct_place)"
        )


def read_custody(
    connection: sqlite3.Connection, family: Sequence[str]
) -> list[CustodyEntry]:
    """Return every row of a specimen and its ancestors, in the record's order."""
    rows = [row for name in family for row in rows_of(connection, name)]
    return [_entry(row) for row in sorted(rows, key=lambda row: row.id)]


def missing_custody(
    connection: sqlite3.Connection, bundle: Bundle
) -> tuple[CustodyEntry, ...]:
    """Return what a record lacks of a bundle; nothing is written.

    Raises BundleRefused if a row is known with another content.
    """
    found = []
    for entry in bundle.custody:
        row = connection.execute(
            f"SELECT {COLUMNS} FROM rows WHERE uid = ?", (entry.uid,)
        ).fetchone()
        if row is not None:
            if _entry(as_row(row)) != entry:
                raise BundleRefused(
                    f"the bundle of {bundle.specimen} from {bundle.site} and this "
                    f"site disagree: custody row {entry.uid} ({entry.kind}) is another "
                    "there than here. One of them was changed by hand; nothing was "
                    "imported. Compare them with the backups of both sites"
                )
        elif not _is_begun(connection, entry, bundle):
            found.append(entry)
    return tuple(found)


def append_custody(
    connection: sqlite3.Connection, entries: Sequence[CustodyEntry]
) -> None:
    """Append what was missing, in the transaction of a connection."""
    connection.executemany(
        "INSERT INTO rows (uid, kind, specimen, leg, wall_s, instrument_s, run, body) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(entry.uid, entry.kind, entry.specimen, entry.leg, entry.wall_s),
                *(entry.instrument_s, entry.run, json.dumps(entry.body)),
            )
            for entry in entries
        ],
    )


def _is_begun(
    connection: sqlite3.Connection, entry: CustodyEntry, bundle: Bundle
) -> bool:
    """Return whether both sites have begun the record of one specimen, alike."""
    if entry.kind != "specimen":
        return False
    here = row_of(connection, entry.specimen)
    if here is None:
        return False
    if here.body["parent"] != entry.body["parent"]:
        raise BundleRefused(
            f"{entry.specimen} is known here as made from "
            f"{here.body['parent'] or 'nothing'}, at {bundle.site} as made from "
            f"{entry.body['parent'] or 'nothing'}; nothing was imported. They are two "
            "specimens: one of them needs another name"
        )
    return True


def _entry(row: CustodyRow) -> CustodyEntry:
    return CustodyEntry(
        uid=row.uid,
        kind=row.kind,
        specimen=row.specimen,
        leg=row.leg,
        wall_s=row.wall_s,
        instrument_s=row.instrument_time_s,
        run=row.run,
        body=dict(row.body),
    )
