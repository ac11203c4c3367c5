"""Questions to the dose ledger's file, each asked inside a transaction."""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

from cryoline.acquisition.dose_book import from_milli, limit_milli
from cryoline.acquisition.dose_records import (
    LedgerRow,
    OpenSeries,
    OpenTicket,
    PurposeUsage,
)
from cryoline.acquisition.errors import LedgerError
from cryoline.acquisition.owner import is_owner_alive
from cryoline.devices.exposure import Ticket

__all__ = [
    "Reserved",
    "find_rows",
    "last_seen",
    "limits_of",
    "list_open_series",
    "list_open_tickets",
    "list_purposes",
    "list_regions",
    "list_specimens",
    "reserved_of",
    "settled_counter",
    "ticket_account",
]

_COLUMNS = (
    "id, uid, kind, time_s, specimen, region, series, shape, ticket, source, "
    "boot_id, counter, over, owner, body"
)


def find_rows(
    connection: sqlite3.Connection, condition: str, *values: Any
) -> Iterator[LedgerRow]:
    """Yield the events for which a condition holds, oldest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM events WHERE {condition} ORDER BY id", values
    )
    names = [column[0] for column in rows.description]
    for row in rows.fetchall():
        content = dict(zip(names, row, strict=True))
        content["over"] = bool(content["over"])
        content["owner"] = json.loads(content["owner"])
        content["body"] = json.loads(content["body"])
        yield LedgerRow(**content)


class Reserved(NamedTuple):
    """A ticket as it was reserved."""

    ticket: Ticket
    milli: int
    footprint: str | None
    row: LedgerRow


def reserved_of(connection: sqlite3.Connection, ticket_uid: str) -> Reserved:
    """Return a ticket with what it reserved, 1e-3 e/nm2, and where.

    Raises LedgerError if the ledger doesn't know it.
    """
    rows = list(find_rows(connection, "ticket = ? AND kind = 'reserve'", ticket_uid))
    if not rows:
        raise LedgerError(
            f"dose: ticket {ticket_uid!r} is not in this ledger; check which data "
            "directory the configuration names"
        )
    milli, footprint = connection.execute(
        "SELECT milli_e_per_nm2, footprint FROM bookings "
        "WHERE event = ? AND account = 'ticket'",
        (rows[0].uid,),
    ).fetchone()
    ticket = Ticket.model_validate(rows[0].body["ticket"])
    return Reserved(ticket, milli, footprint, rows[0])


def ticket_account(
    connection: sqlite3.Connection, ticket_uid: str, account: str
) -> int:
    """Return what a ticket holds on an account."""
    (milli,) = connection.execute(
        "SELECT coalesce(sum(milli_e_per_nm2), 0) FROM bookings "
        "WHERE ticket = ? AND account = ?",
        (ticket_uid, account),
    ).fetchone()
    return int(milli)


def settled_counter(
    connection: sqlite3.Connection,
    ticket_uid: str,
    boot_id: str | None,
    counter: int | None,
) -> int:
    """Return what a ticket was charged for one exposure.

    What a person has settled by hand (no counter) stands for any exposure.
    """
    (milli,) = connection.execute(
        "SELECT coalesce(sum(b.milli_e_per_nm2), 0) FROM bookings b "
        "JOIN events e ON e.uid = b.event "
        "WHERE b.ticket = ? AND b.account = 'settled' "
        "AND (e.counter IS NULL OR (e.boot_id IS ? AND e.counter IS ?))",
        (ticket_uid, boot_id, counter),
    ).fetchone()
    return int(milli)


def limits_of(connection: sqlite3.Connection, specimen: str) -> dict[str, int]:
    """Return the last limit that was set to each region of a specimen, 1e-3 e/nm2."""
    rows = find_rows(connection, "specimen = ? AND kind = 'limit'", specimen)
    return {row.region or "": limit_milli(row.body["limit_e_per_nm2"]) for row in rows}


def list_purposes(
    connection: sqlite3.Connection, specimen: str, region: str
) -> list[PurposeUsage]:
    """Return what each purpose has cost a region."""
    rows = connection.execute(
        "SELECT purpose, "
        "count(DISTINCT CASE WHEN account = 'settled' THEN ticket END), "
        "sum(CASE WHEN account = 'settled' THEN milli_e_per_nm2 ELSE 0 END), "
        "sum(CASE WHEN account != 'settled' THEN milli_e_per_nm2 ELSE 0 END) "
        "FROM bookings WHERE specimen = ? AND region = ? GROUP BY purpose ORDER BY 1",
        (specimen, region),
    )
    return [
        PurposeUsage(purpose, count, from_milli(settled), from_milli(reserved))
        for purpose, count, settled, reserved in rows
    ]


def last_seen(connection: sqlite3.Connection, source: str) -> tuple[str, int] | None:
    """Return the boot id and the highest counter that an instrument has shown.

    Since the last reconciliation, which may have set the counter back.
    """
    row = connection.execute(
        # The plus keeps SQLite from an index: the newest row is nearly always it.
        "SELECT boot_id FROM events WHERE +source = ? AND kind IN "
        "('reserve', 'release', 'reconcile') ORDER BY id DESC LIMIT 1",
        (source,),
    ).fetchone()
    if row is None:
        return None
    (boot_id,) = row
    (counter,) = connection.execute(
        "SELECT counter FROM events WHERE source = ? AND boot_id = ? "
        "AND id >= coalesce((SELECT max(id) FROM events "
        "WHERE source = ? AND kind = 'reconcile'), 0) ORDER BY counter DESC LIMIT 1",
        (source, boot_id, source),
    ).fetchone()
    return boot_id, counter


def list_open_tickets(connection: sqlite3.Connection) -> list[OpenTicket]:
    """Return the tickets that are neither settled nor released, oldest first."""
    rows = find_rows(
        connection,
        "kind = 'reserve' AND ticket IN (SELECT ticket FROM bookings "
        "WHERE account = 'ticket' GROUP BY ticket HAVING sum(milli_e_per_nm2) != 0)",
    )
    return [_open_ticket(connection, row) for row in rows]


def _open_ticket(connection: sqlite3.Connection, row: LedgerRow) -> OpenTicket:
    reasons = find_rows(connection, "ticket = ? AND kind = 'unresolved'", row.ticket)
    return OpenTicket(
        Ticket.model_validate(row.body["ticket"]),
        series=row.series,
        time_s=row.time_s,
        source=row.source or "",
        boot_id=row.boot_id or "",
        counter=row.counter or 0,
        owner=row.owner,
        is_owner_alive=is_owner_alive(row.owner),
        reason="; ".join(reason.body["reason"] for reason in reasons),
    )


def list_open_series(connection: sqlite3.Connection) -> list[OpenSeries]:
    """Return the series that are not closed, oldest first."""
    found = []
    for row in find_rows(
        connection,
        "kind = 'series-open' AND series NOT IN "
        "(SELECT series FROM events WHERE kind = 'series-close')",
    ):
        sums = connection.execute(
            "SELECT b.specimen, b.region, sum(b.milli_e_per_nm2) FROM bookings b "
            "JOIN events e ON e.uid = b.event "
            "WHERE e.series = ? AND b.account = 'series' GROUP BY 1, 2 ORDER BY 1, 2",
            (row.series,),
        )
        left = {(specimen, region): from_milli(m) for specimen, region, m in sums}
        found.append(
            OpenSeries(
                row.series or "", left, row.time_s, row.owner, is_owner_alive(row.owner)
            )
        )
    return found


def list_specimens(connection: sqlite3.Connection) -> list[str]:
    """Return every specimen that anything was booked or decided for."""
    rows = connection.execute(
        "SELECT specimen FROM bookings UNION SELECT specimen FROM events "
        "WHERE specimen IS NOT NULL ORDER BY 1"
    )
    return [specimen for (specimen,) in rows]


def list_regions(connection: sqlite3.Connection, specimen: str) -> list[str]:
    """Return every region of a specimen that anything was booked or decided for."""
    rows = connection.execute(
        "SELECT region FROM bookings WHERE specimen = ? UNION SELECT region FROM "
        "events WHERE specimen = ? AND region IS NOT NULL ORDER BY 1",
        (specimen, specimen),
    )
    return [region for (region,) in rows]
