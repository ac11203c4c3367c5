"""Settle what died unsettled, by the instrument's own log, or leave it in full."""

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.dose_records import OpenTicket, Settlement
from cryoline.acquisition.errors import LedgerError
from cryoline.acquisition.owner import this_owner
from cryoline.devices.exposure import ExposureResult

__all__ = ["BeamLog", "ExposureLog", "Reconciliation", "reconcile"]


class ExposureLog(Protocol):
    """What an instrument must be able to say of its exposures; `BeamLog` asks one."""

    def armed(self) -> str:
        """Return the ticket of what is armed or exposing now, "" if nothing is."""
        ...

    def position(self) -> tuple[str, int]:
        """Return the boot id and the exposure counter of now."""
        ...

    def logged(self, counter: int) -> ExposureResult | None:
        """Return the record of one exposure of this boot, None if there is none."""
        ...


class BeamLog:
    """The log of a connected beam, an `ExposureLog`."""

    def __init__(self, beam: Any) -> None:
        self._beam = beam

    def armed(self) -> str:
        """Return the ticket of what is armed or exposing now, "" if nothing is."""
        return str(self._beam.armed_ticket_uid.get(timeout=5.0))

    def position(self) -> tuple[str, int]:
        """Return the boot id and the exposure counter of now."""
        boot_id, counter = self._beam.position()
        return boot_id, counter

    def logged(self, counter: int) -> ExposureResult | None:
        """Return the record of one exposure of this boot, None if there is none."""
        result: ExposureResult | None = self._beam.logged(counter)
        return result


@dataclass
class Reconciliation:
    """What came of each open ticket and series."""

    settled: list[Settlement] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    """Tickets by which nothing was exposed."""
    kept: dict[str, str] = field(default_factory=dict)
    """Tickets that go on to count in full, and why."""
    closed_series: list[str] = field(default_factory=list)
    """Series whose session is gone."""
    unknown: list[ExposureResult] = field(default_factory=list)
    """Exposures in the instrument's log by tickets that this ledger doesn't hold."""

    def as_dict(self) -> dict[str, Any]:
        """Return what a program may read (``cryoline dose reconcile --json``)."""
        return {
            "settled": [asdict(settlement) for settlement in self.settled],
            "released": self.released,
            "kept": self.kept,
            "closed_series": self.closed_series,
            "unknown": [result.model_dump(mode="json") for result in self.unknown],
        }


def reconcile(
    ledger: DoseLedger, log: ExposureLog, *, release_own: bool = False
) -> Reconciliation:
    """Settle open tickets by the instrument's log; release what was never exposed.

    A ticket is released only if the process that reserved it is gone (or is this one,
    with ``release_own``, between two plans), it is not armed, and the log of the same
    boot holds every exposure since and none by it. Anything less leaves it in full,
    with a reason.

    The order matters: what is armed is asked before the counter, and the counter
    before the tickets, so that nothing can end, or be reserved, unseen in between.
    """
    done = Reconciliation()
    armed = log.armed()
    boot_id, counter = log.position()
    tickets = [t for t in ledger.open_tickets() if t.source == ledger.source]
    here = [t for t in tickets if t.boot_id == boot_id and t.counter <= counter]
    first = min((t.counter for t in here), default=counter) + 1
    records = {n: log.logged(n) for n in range(first, counter + 1)}
    _settle_logged(ledger, records, done)
    settled = {s.ticket_uid for s in done.settled}
    rest = [t for t in tickets if t.ticket.uid not in settled]
    if tickets or ledger.last_seen() != (boot_id, counter):
        for opened in rest:
            reason = _for_good(opened, boot_id, counter, records)
            if reason:
                ledger.note_unresolved(opened.ticket.uid, reason=reason)
                done.kept[opened.ticket.uid] = reason
        ledger.note_reconciled(boot_id=boot_id, counter=counter)
    for opened in rest:
        uid = opened.ticket.uid
        if uid in done.kept:
            continue
        reason = _for_now(opened, {armed, log.armed()}, release_own)
        if not reason:
            reason = _release(ledger, uid, boot_id, counter)
        if reason:
            done.kept[uid] = reason
        else:
            done.released.append(uid)
    for series in ledger.open_series_left():
        if not series.is_owner_alive:
            ledger.close_series(series.uid, reason="its session is gone")
            done.closed_series.append(series.uid)
    return done


def _settle_logged(
    ledger: DoseLedger,
    records: dict[int, ExposureResult | None],
    done: Reconciliation,
) -> None:
    open_uids = {ticket.uid for ticket in ledger.unsettled()}
    for record in records.values():
        if record is None:
            continue
        if not ledger.knows(record.ticket_uid):
            done.unknown.append(record)
        elif record.ticket_uid in open_uids or not ledger.has_charged(record):
            done.settled.append(ledger.settle(record.ticket_uid, record))


def _for_good(
    opened: OpenTicket,
    boot_id: str,
    counter: int,
    records: dict[int, ExposureResult | None],
) -> str:
    """Return why the log can never tell what came of a ticket, "" if it can."""
    if opened.boot_id != boot_id:
        return (
            f"the instrument was restarted since (boot id {opened.boot_id}, now "
            f"{boot_id}) and does not say what it did before"
        )
    if counter < opened.counter:
        return (
            f"the instrument's exposure counter went back, from {opened.counter} to "
            f"{counter}"
        )
    missing = [n for n in range(opened.counter + 1, counter + 1) if records[n] is None]
    if missing:
        return f"the instrument's log has no record of exposure {missing[0]}"
    return ""


def _for_now(opened: OpenTicket, armed: set[str], release_own: bool) -> str:
    """Return why an exposure by a ticket may still come, "" if none can."""
    if opened.ticket.uid in armed:
        return "it is armed or exposing now; if nobody means it: cryoline blank"
    is_own = opened.owner == this_owner()
    if opened.is_owner_alive and not (is_own and release_own):
        return (
            f"the session that reserved it (process {opened.owner['pid']} on "
            f"{opened.owner['host']}) still runs"
        )
    return ""


def _release(ledger: DoseLedger, uid: str, boot_id: str, counter: int) -> str:
    reason = f"never exposed, by the instrument's log up to exposure {counter}"
    try:
        ledger.release(uid, reason=reason, boot_id=boot_id, counter=counter)
    except LedgerError as error:
        return str(error)
    return ""
