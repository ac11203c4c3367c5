"""What the dose ledger refuses: blocked regions, restarted instruments, no reasons."""

import math
import sqlite3
from typing import Final

from pydantic import TypeAdapter, ValidationError

from cryoline.acquisition import dose_refusals as refusals
from cryoline.acquisition.dose_book import blocking_tickets, to_milli
from cryoline.acquisition.dose_locks import refuse_locked
from cryoline.acquisition.dose_queries import find_rows, last_seen, list_open_tickets
from cryoline.acquisition.dose_records import LedgerRow
from cryoline.acquisition.errors import DoseRefused, LedgerError
from cryoline.acquisition.fluence import worst_fluence_e_per_nm2
from cryoline.devices.exposure import Exposure, SpecimenName

__all__ = [
    "check_instrument",
    "check_names",
    "check_reason",
    "refuse_closed",
    "refuse_restarted",
    "refuse_unproved",
    "worst_milli",
]

_NAME: Final = TypeAdapter(SpecimenName)


def worst_milli(exposure: Exposure, current_limit_pa: float) -> int:
    """Return what an exposure may cost at most, in 1e-3 e/nm2."""
    fluence = worst_fluence_e_per_nm2(exposure, current_limit_pa)
    if not (math.isfinite(fluence) and fluence > 0):
        raise DoseRefused(
            f"dose: specimen {exposure.specimen}, {exposure.region}: an exposure of "
            f"{fluence:g} e/nm2 is none; check pixel size, dwell and frames"
        )
    return to_milli(fluence)


def refuse_closed(connection: sqlite3.Connection, specimen: str, region: str) -> None:
    """Raise DoseRefused if a region is blocked, or its specimen is elsewhere."""
    refuse_locked(connection, specimen)
    tickets = blocking_tickets(connection, specimen, region)
    if tickets:
        raise refusals.blocked(specimen, region, tickets)


def check_instrument(boot_id: str, counter: int) -> None:
    """Raise LedgerError unless an instrument has said who and where it is."""
    if not boot_id or isinstance(counter, bool) or counter < 0:
        raise LedgerError(
            f"dose: the instrument gives boot id {boot_id!r} and exposure counter "
            f"{counter!r}; without both nothing can be reconciled later. Check "
            "BootId_RBV and ExposureCounter_RBV"
        )


def check_names(*names: str) -> None:
    """Raise LedgerError unless all can name a specimen or region of an exposure.

    A limit or a place of what no exposure can hit would protect nothing.
    """
    for name in names:
        try:
            _NAME.validate_python(name)
        except ValidationError:
            raise LedgerError(
                f"dose: {name!r} can't name a specimen or region: letters, digits, "
                "points and dashes, up to 60, a letter or digit first. Mend the name"
            ) from None


def check_reason(reason: str) -> None:
    """Raise LedgerError unless a reason is given."""
    if not reason.strip():
        raise LedgerError("dose: give a reason; it stays in the ledger for good")


def refuse_restarted(
    connection: sqlite3.Connection, source: str, boot_id: str, counter: int
) -> None:
    """Raise LedgerError if an instrument has lost count with tickets open.

    A counter that goes back under one boot id is never to be trusted.
    """
    seen = last_seen(connection, source)
    if seen is None:
        return
    if boot_id == seen[0]:
        if counter < seen[1]:
            raise LedgerError(f"dose: {_went_back(source, counter, seen[1])}")
        return
    tickets = [t for t in list_open_tickets(connection) if t.source == source]
    if tickets:
        raise LedgerError(
            f"dose: {source} was restarted (boot id {seen[0]}, now {boot_id}) while "
            f"{_count(len(tickets))} not settled: nothing is reserved until you have "
            "run: cryoline dose reconcile"
        )


def refuse_unproved(
    connection: sqlite3.Connection, reserved: LedgerRow, boot_id: str, counter: int
) -> None:
    """Raise LedgerError unless it is proved that a ticket has exposed nothing.

    The proof: the instrument has not been restarted since, and each exposure that
    its counter has counted since is settled by another ticket, or was looked up in
    its log by a reconciliation.
    """
    start = f"dose: ticket {reserved.ticket} can't be released, it stays in full: "
    source = reserved.source or ""
    if boot_id != reserved.boot_id:
        raise LedgerError(
            f"{start}{source} was restarted since (boot id {reserved.boot_id}, now "
            f"{boot_id}) and can't say what it did; run: cryoline dose reconcile"
        )
    for row in find_rows(
        connection, "ticket = ? AND kind = 'unresolved'", reserved.ticket
    ):
        raise LedgerError(f"{start}{row.body['reason']}")
    seen = last_seen(connection, source)
    if seen is not None and seen[0] == boot_id and counter < seen[1]:
        raise LedgerError(start + _went_back(source, counter, seen[1]))
    rows = list(
        find_rows(
            connection,
            "source = ? AND boot_id = ? AND kind IN ('settle', 'reconcile') "
            "AND counter > ?",
            source,
            boot_id,
            reserved.counter,
        )
    )
    looked_up = [row.counter or 0 for row in rows if row.kind == "reconcile"]
    known = max([reserved.counter or 0, *looked_up])
    settled = {row.counter for row in rows if row.kind == "settle"}
    missing = [n for n in range(known + 1, counter + 1) if n not in settled]
    if missing:
        raise LedgerError(
            f"{start}{source} has made exposure {missing[0]} since, which this ledger "
            "does not know; run: cryoline dose reconcile"
        )


def _went_back(source: str, counter: int, seen: int) -> str:
    return (
        f"the exposure counter of {source} reads {counter}, after {seen} under the "
        "same boot id: it has lost count, nothing is reserved or released until you "
        "have run: cryoline dose reconcile"
    )


def _count(n_tickets: int) -> str:
    return "1 ticket was" if n_tickets == 1 else f"{n_tickets} tickets were"
