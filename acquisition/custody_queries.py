"""Rows of the custody record: how they are added, found, and summed up."""

import json
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cryoline.acquisition.custody_records import CustodyRow, LegStart, OpenLeg
from cryoline.acquisition.owner import is_owner_alive, this_owner

__all__ = [
    "COLUMNS",
    "Fate",
    "add_row",
    "as_open_leg",
    "as_row",
    "find_open_leg",
    "left_unfinished",
    "lineage",
    "moved",
    "row_of",
    "rows_of",
]

COLUMNS: Final = "id, uid, kind, specimen, leg, wall_s, instrument_s, run, body"


class Fate:
    """What rows say of temperatures, pressures, air and flags, summed up."""

    def __init__(self) -> None:
        self.t_max_degc: float | None = None
        self.p_max_mbar: float | None = None
        self.air_s = 0.0
        self.flags: set[str] = set()
        self.flagged_s = 0.0
        """When the last of them was written."""

    def add(self, row: CustodyRow, until_s: float) -> None:
        """Take a row into account, if it is of something before a time."""
        if row.kind == "flag" and row.body["occurred_s"] <= until_s:
            self.flags.add(row.body["flag"])
            self.flagged_s = max(self.flagged_s, row.wall_s)
        if row.kind != "leave" or row.wall_s > until_s:
            return
        report = row.body["report"]
        self.air_s += report["air_s"]
        for sensor, value in report["worst"].items():
            if sensor.startswith("carrier.") and sensor.endswith("_degc"):
                self.t_max_degc = _larger(self.t_max_degc, value)
            elif sensor.endswith("_mbar"):
                self.p_max_mbar = _larger(self.p_max_mbar, value)


def _larger(one: float | None, other: float) -> float:
    return other if one is None else max(one, other)


def moved(row: CustodyRow, place: str, state: str, route: str) -> tuple[str, str, str]:
    """Return place, state and route after a row, from those before it."""
    if row.kind == "enter":
        start = row.body["start"]
        return start["from_place"], f"on {start['leg']}", start["route"]
    if row.kind == "leave":
        report = row.body["report"]
        return report["place"], report["state"], route
    if row.kind == "place" and "harvest" in row.body:
        return "", "", ""  # in its cell, as before it goes any route
    if row.kind == "place":
        return row.body["place"], row.body["state"], route if row.body["state"] else ""
    return place, state, route


def left_unfinished(row: CustodyRow, before: LegStart | None) -> LegStart | None:
    """Return the leg that did not come to its end, after a row."""
    if row.kind == "enter":
        return LegStart(**row.body["start"])
    if row.kind == "leave" and row.body["report"]["outcome"] == "done":
        return None
    return None if row.kind == "place" else before


def lineage(
    connection: sqlite3.Connection, specimen: str
) -> Iterator[tuple[str, float]]:
    """Yield a specimen and its ancestors, each with the time until which it counts."""
    name: str | None = specimen
    until_s = float("inf")
    seen = set()
    while name is not None and name not in seen:
        seen.add(name)
        yield name, until_s
        row = row_of(connection, name)
        if row is None:
            return
        until_s = min(until_s, row.wall_s)
        name = row.body["parent"]


def row_of(connection: sqlite3.Connection, specimen: str) -> CustodyRow | None:
    """Return the row that began a specimen's record, None if there is none."""
    row = connection.execute(
        f"SELECT {COLUMNS} FROM rows WHERE specimen = ? AND kind = 'specimen'",
        (specimen,),
    ).fetchone()
    return None if row is None else as_row(row)


def rows_of(connection: sqlite3.Connection, specimen: str) -> tuple[CustodyRow, ...]:
    """Return a specimen's rows, oldest first."""
    found = connection.execute(
        f"SELECT {COLUMNS} FROM rows WHERE specimen = ? ORDER BY id", (specimen,)
    )
    return tuple(as_row(row) for row in found)


def find_open_leg(connection: sqlite3.Connection, specimen: str) -> OpenLeg | None:
    """Return the leg that a specimen is on, None if it is on none."""
    row = connection.execute(
        f"SELECT {COLUMNS} FROM rows e WHERE specimen = ? AND kind = 'enter' AND NOT "
        "EXISTS (SELECT 1 FROM rows l WHERE l.leg = e.uid AND l.kind = 'leave')",
        (specimen,),
    ).fetchone()
    return None if row is None else as_open_leg(as_row(row))


def as_row(row: tuple[Any, ...]) -> CustodyRow:
    """Return a row of COLUMNS."""
    id_, uid, kind, specimen, leg, wall_s, instrument_s, run, body = row
    return CustodyRow(
        id_, uid, kind, specimen, leg, wall_s, instrument_s, run, json.loads(body)
    )


def as_open_leg(row: CustodyRow) -> OpenLeg:
    """Return the leg that an "enter" row began."""
    owner = row.body["owner"]
    is_walked = owner != this_owner() and is_owner_alive(owner)
    return OpenLeg(LegStart(**row.body["start"]), row.wall_s, owner, is_walked)


def add_row(
    connection: sqlite3.Connection,
    kind: str,
    specimen: str,
    body: Mapping[str, Any],
    *,
    uid: str | None = None,
    leg: str | None = None,
    instrument_s: float | None = None,
    run: str | None = None,
) -> None:
    """Append a row, in the transaction of its connection."""
    connection.execute(
        "INSERT INTO rows (uid, kind, specimen, leg, wall_s, instrument_s, run, body) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            uid or str(uuid.uuid4()),
            kind,
            specimen,
            leg,
            time.time(),
            instrument_s,
            run,
            json.dumps(body, allow_nan=False),
        ),
    )
