"""A specimen's rows of the dose ledger: read out for a bundle, and merged from one.

Rows are the same if their UUIDs are; they keep them for life. A row that came in a
bundle has ``SITE/INSTRUMENT`` as its source, so that no boot id or counter of another
site is taken for one of here.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryoline.acquisition.dose_book import record
from cryoline.acquisition.dose_locks import FOREIGN, Lock
from cryoline.acquisition.dose_places import parents_of
from cryoline.acquisition.dose_queries import find_rows
from cryoline.acquisition.errors import BundleRefused
from cryoline.acquisition.sample_bundle import Booking, Bundle, LedgerEntry

__all__ = [
    "Merge",
    "append_rows",
    "is_return",
    "missing_rows",
    "read_rows",
    "refuse_open",
]

_EVENT: Final = (
    *("uid", "kind", "time_s", "specimen", "region", "series", "shape", "ticket"),
    *("source", "boot_id", "counter", "over", "owner", "body"),
)
_BOOKING: Final = (
    *("ticket", "specimen", "region", "purpose", "account", "milli_e_per_nm2"),
    "footprint",
)


@dataclass(frozen=True)
class Merge:
    """What a bundle holds that a ledger does not, in the order of the bundle."""

    events: tuple[LedgerEntry, ...]
    """Not known here."""
    bookings: tuple[tuple[str, Booking], ...]
    """Of a known event, for a specimen that came with an earlier bundle or not at all:
    the UUID of the event, and what it books."""
    known: int

    @property
    def is_empty(self) -> bool:
        """Whether the ledger knows it all."""
        return not (self.events or self.bookings)


def refuse_open(connection: sqlite3.Connection, family: Sequence[str]) -> None:
    """Raise BundleRefused if anything is reserved for a specimen or an ancestor."""
    marks = _marks(family)
    tickets = connection.execute(
        f"SELECT specimen, ticket FROM bookings WHERE specimen IN ({marks}) "
        "AND account = 'ticket' GROUP BY specimen, ticket "
        "HAVING sum(milli_e_per_nm2) != 0 ORDER BY 1, 2",
        family,
    ).fetchall()
    series = connection.execute(
        "SELECT DISTINCT b.specimen, e.series FROM events e "
        f"JOIN bookings b ON b.event = e.uid WHERE b.specimen IN ({marks}) "
        "AND e.kind = 'series-open' AND e.series NOT IN "
        "(SELECT series FROM events WHERE kind = 'series-close') ORDER BY 1, 2",
        family,
    ).fetchall()
    if not tickets and not series:
        return
    what = [f"ticket {uid} of {specimen}" for specimen, uid in tickets]
    what += [f"series {uid} of {specimen}" for specimen, uid in series]
    count = "is" if len(what) == 1 else "are"
    raise BundleRefused(
        f"specimen {family[0]}: {', '.join(what)} {count} still open, and what came of "
        "it would be missing in the bundle; nothing was exported. End the session, or "
        "run cryoline dose reconcile; see cryoline dose show " + family[0]
    )


def read_rows(
    connection: sqlite3.Connection, family: Sequence[str], site: str
) -> list[LedgerEntry]:
    """Return every row of a specimen and its ancestors, in the ledger's order.

    With the calibrations of each instrument that has exposed one of them.
    """
    marks = _marks(family)
    of_family = (
        f"(specimen IN ({marks}) OR uid IN (SELECT event FROM bookings "
        f"WHERE specimen IN ({marks})) OR ticket IN (SELECT ticket FROM bookings "
        f"WHERE specimen IN ({marks})))"
    )
    values = (*family, *family, *family)
    condition = (
        f"{of_family} OR (kind = 'calibration' AND source IN "
        f"(SELECT source FROM events WHERE {of_family}))"
    )
    found = []
    for event in _events(connection, condition, *values, *values):
        uid = event["uid"]
        event["source"] = _global_source(event["source"], site)
        bookings = _bookings(connection, uid, family)
        found.append(LedgerEntry(**event, bookings=bookings))
    return found


def missing_rows(connection: sqlite3.Connection, bundle: Bundle, site: str) -> Merge:
    """Return what a ledger lacks of a bundle; nothing is written.

    Raises BundleRefused if a row is known with another content, or is of this site and
    not known.
    """
    events: list[LedgerEntry] = []
    bookings: list[tuple[str, Booking]] = []
    known = 0
    for row in bundle.dose:
        here = next(_events(connection, "uid = ?", row.uid), None)
        if here is None:
            if row.site == site:
                raise BundleRefused(
                    f"the bundle holds row {row.uid} ({row.kind}) of site {site!r}, "
                    "which is this one, and this ledger lacks it; nothing was "
                    "imported. Either the other site is called the same (give each a "
                    "name of its own: instrument.name in instrument.toml), or rows "
                    "were lost here (cryoline dose restore)"
                )
            events.append(row)
            continue
        known += 1
        _refuse_other(row, here, bundle)
        bookings += [(row.uid, b) for b in _unknown_bookings(connection, row, bundle)]
    return Merge(tuple(events), tuple(bookings), known)


def append_rows(connection: sqlite3.Connection, merge: Merge, bundle: Bundle) -> None:
    """Append what was missing, in the transaction of a connection."""
    stricter = _stricter_limits(connection, merge, bundle)
    made_of = {name: parents_of(connection, name) for name in bundle.family}
    names = ", ".join(_EVENT)
    for row in merge.events:
        content = row.model_dump(exclude={"bookings"})
        content["owner"] = json.dumps(content["owner"])
        content["body"] = json.dumps(content["body"])
        connection.execute(
            f"INSERT INTO events ({names}) VALUES ({_marks(_EVENT)})",
            [content[name] for name in _EVENT],
        )
    booked = [(row.uid, b) for row in merge.events for b in row.bookings]
    connection.executemany(
        f"INSERT INTO bookings (event, {', '.join(_BOOKING)}) "
        f"VALUES (?, {_marks(_BOOKING)})",
        [
            (uid, *(getattr(b, name) for name in _BOOKING))
            for uid, b in (*booked, *merge.bookings)
        ],
    )
    for (specimen, region), limit in stricter.items():
        body = {
            "limit_e_per_nm2": limit,
            "reason": f"set here, and lower than what came from {bundle.site}",
        }
        record(connection, "limit", body, specimen=specimen, region=region)
    for name, ancestors in made_of.items():
        _keep_ancestors(connection, name, list(ancestors), bundle)


def _keep_ancestors(
    connection: sqlite3.Connection, specimen: str, known: list[str], bundle: Bundle
) -> None:
    """Let no ancestor be forgotten: its limits hold for what was made of it."""
    there = list(parents_of(connection, specimen))
    if set(known) <= set(there):
        return
    if not set(there) <= set(known):
        raise BundleRefused(
            f"{specimen} is registered here as made from {', '.join(known)}, at "
            f"{bundle.site} as made from {', '.join(there)}; nothing was imported. "
            "They are two specimens: one of them needs another name"
        )
    here = list(
        find_rows(
            connection,
            f"specimen = ? AND kind = 'specimen' AND NOT coalesce({FOREIGN}, 0)",
            specimen,
        )
    )
    record(connection, "specimen", here[-1].body, specimen=specimen)


def _stricter_limits(
    connection: sqlite3.Connection, merge: Merge, bundle: Bundle
) -> dict[tuple[str | None, str | None], float]:
    """Return the limits set here that a bundle doesn't know and would raise."""
    there = {
        (row.specimen, row.region): row.body["limit_e_per_nm2"]
        for row in merge.events
        if row.kind == "limit"
    }
    sent = {row.uid for row in bundle.dose}
    found = {}
    for (specimen, region), limit in there.items():
        here = list(
            find_rows(
                connection,
                "specimen IS ? AND region IS ? AND kind = 'limit'",
                specimen,
                region,
            )
        )
        if here and here[-1].uid not in sent:
            lower = here[-1].body["limit_e_per_nm2"]
            if lower < limit:
                found[specimen, region] = lower
    return found


def is_return(bundle: Bundle, lock: Lock | None, site: str) -> bool:
    """Return whether a bundle brings a specimen back from where it was sent."""
    return (
        lock is not None
        and bundle.site != site
        and any(row.uid == lock.uid for row in bundle.dose)
    )


def _refuse_other(row: LedgerEntry, here: dict[str, Any], bundle: Bundle) -> None:
    """Raise unless a row is as it is known; its site may be called otherwise here."""
    there = row.model_dump(exclude={"bookings"})
    for content in (there, here):
        content["source"] = (content["source"] or "").rpartition("/")[2]
    if there != here:
        wrong = next(name for name in _EVENT if there[name] != here[name])
        raise BundleRefused(
            _conflict(f"{row.kind} row {row.uid}", f"another {wrong}", bundle)
        )


def _unknown_bookings(
    connection: sqlite3.Connection, row: LedgerEntry, bundle: Bundle
) -> Iterator[Booking]:
    """Yield what a known event books that is not known here."""
    for specimen in bundle.family:
        there = [b for b in row.bookings if b.specimen == specimen]
        here = _bookings(connection, row.uid, (specimen,))
        # A series of several specimens comes with one of them, then with another.
        if not here and row.specimen is None:
            yield from there
        elif there != here:
            raise BundleRefused(
                _conflict(f"{row.kind} row {row.uid}", "other bookings", bundle)
            )


def _conflict(row: str, what: str, bundle: Bundle) -> str:
    return (
        f"the bundle of {bundle.specimen} from {bundle.site} and this site disagree: "
        f"{row} has {what} there than here. One of them was changed by hand; nothing "
        "was imported. Compare them with the backups of both sites"
    )


def _events(
    connection: sqlite3.Connection, condition: str, *values: Any
) -> Iterator[dict[str, Any]]:
    rows = connection.execute(
        f"SELECT {', '.join(_EVENT)} FROM events WHERE {condition} ORDER BY id", values
    )
    for row in rows.fetchall():
        event = dict(zip(_EVENT, row, strict=True))
        event["owner"] = json.loads(event["owner"])
        event["body"] = json.loads(event["body"])
        yield event


def _bookings(
    connection: sqlite3.Connection, uid: str, specimens: Sequence[str]
) -> list[Booking]:
    rows = connection.execute(
        f"SELECT {', '.join(_BOOKING)} FROM bookings WHERE event = ? "
        f"AND specimen IN ({_marks(specimens)}) ORDER BY id",
        (uid, *specimens),
    )
    return [Booking(**dict(zip(_BOOKING, row, strict=True))) for row in rows]


def _global_source(source: str | None, site: str) -> str:
    """Return a source as it is called everywhere; one with a site has it already."""
    if source is not None and "/" in source:
        return source
    return f"{site}/{source or ''}"


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
