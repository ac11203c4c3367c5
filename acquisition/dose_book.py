"""The accounts of the dose ledger: what an exposure books, and what a region holds.

Amounts are whole 1e-3 e/nm2, rounded up when booked and a limit down: rounding can
refuse an exposure, and never hide one.
"""

import json
import math
import sqlite3
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryoline.acquisition.owner import this_owner
from cryoline.devices.exposure import Exposure

__all__ = [
    "Balance",
    "Shape",
    "balance",
    "blocking_tickets",
    "book",
    "from_milli",
    "limit_milli",
    "record",
    "to_milli",
]

_LARGEST_MILLI: Final = 10**15
"""1e12 e/nm2; a charge beyond it is booked as this, so that sums can't overflow."""
_SHAPE_KEYS: Final = (
    "specimen",
    "region",
    "purpose",
    "width_px",
    "height_px",
    "pixel_nm",
    "dwell_s",
    "n_frames",
    "flyback_s",
    "flyback_blanked",
    "tilt_deg",
    "offset_x_nm",
    "offset_y_nm",
    "rotation_deg",
    "beam_diameter_nm",
)


def to_milli(fluence_e_per_nm2: float) -> int:
    """Return a fluence as it is booked: in whole 1e-3 e/nm2, rounded up."""
    return min(math.ceil(min(fluence_e_per_nm2, 1e13) * 1000), _LARGEST_MILLI)


def limit_milli(limit_e_per_nm2: float) -> int:
    """Return a limit in whole 1e-3 e/nm2, rounded down."""
    return math.floor(limit_e_per_nm2 * 1000)


def from_milli(milli: int) -> float:
    """Return a booked amount in e/nm2."""
    return milli / 1000


class Shape(tuple[Any, ...]):
    """What must be equal for an exposure to be one that a series has declared.

    What the scan unit is told of its place is free: tracking moves the field to where
    the specimen is.
    """

    __slots__ = ()

    @classmethod
    def of(cls, exposure: Exposure) -> "Shape":
        """Return the shape of an exposure."""
        return cls(getattr(exposure, key) for key in _SHAPE_KEYS)


@dataclass(frozen=True)
class Balance:
    """What the accounts hold in one cell, in 1e-3 e/nm2."""

    settled: int
    tickets: int
    """Reserved for exposures that may have been made, in full."""
    series: int
    """Reserved for the exposures of open series that have no ticket yet."""

    @property
    def total(self) -> int:
        """All that counts against the limit."""
        return self.settled + self.tickets + self.series


def balance(connection: sqlite3.Connection, specimen: str, region: str) -> Balance:
    """Return the sums of what was booked to a region, wherever in it."""
    rows = connection.execute(
        "SELECT account, sum(milli_e_per_nm2) FROM bookings "
        "WHERE specimen = ? AND region = ? GROUP BY account",
        (specimen, region),
    )
    sums = dict(rows.fetchall())
    return Balance(sums.get("settled", 0), sums.get("ticket", 0), sums.get("series", 0))


def blocking_tickets(
    connection: sqlite3.Connection, specimen: str, region: str
) -> tuple[str, ...]:
    """Return the tickets charged above their reservation that nobody has seen yet.

    Who acknowledges has seen what he names, and not what came from another site since.
    """
    rows = connection.execute(
        "SELECT DISTINCT e.ticket FROM events e WHERE e.over = 1 AND e.specimen = ? "
        "AND EXISTS (SELECT 1 FROM bookings b WHERE b.event = e.uid AND b.region = ?) "
        "AND NOT EXISTS (SELECT 1 FROM events a, json_each(a.body, '$.tickets') seen "
        "WHERE a.specimen = e.specimen AND a.region = ? AND a.kind = 'acknowledge' "
        "AND a.id > e.id AND seen.value = e.ticket)",
        (specimen, region, region),
    )
    return tuple(ticket for (ticket,) in rows)


def record(
    connection: sqlite3.Connection,
    kind: str,
    body: Mapping[str, Any],
    **columns: str | int | None,
) -> str:
    """Append an event, and return its UUID."""
    uid = str(uuid.uuid4())
    values = {
        "uid": uid,
        "kind": kind,
        "time_s": time.time(),
        "owner": json.dumps(this_owner()),
        "body": json.dumps(body),
        **columns,
    }
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    connection.execute(
        f"INSERT INTO events ({names}) VALUES ({marks})", tuple(values.values())
    )
    return uid


def book(
    connection: sqlite3.Connection,
    event: str,
    account: str,
    milli: int,
    exposure: Exposure,
    footprint: str | None,
    ticket: str | None = None,
) -> None:
    """Book an amount (1e-3 e/nm2) of an exposure to an account of its region."""
    connection.execute(
        "INSERT INTO bookings (event, ticket, specimen, region, purpose, account, "
        "milli_e_per_nm2, footprint) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            event,
            ticket,
            exposure.specimen,
            exposure.region,
            str(exposure.purpose),
            account,
            milli,
            footprint,
        ),
    )
