"""The dose ledger: what each region of a specimen has received, and may yet receive.

What is ruled on is the fullest cell of the specimen's map, whatever has hit it.

An exposure is paid for before it is made. ``reserve`` books its worst case and gives
a ticket once that is on disk; ``settle`` books what the instrument has counted; what
is neither settled nor released counts in full, whoever has died in between.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from cryoline.acquisition import dose_refusals as refusals
from cryoline.acquisition.background_copy import BackgroundCopy
from cryoline.acquisition.dose_backup import refuse_lost_rows, renew
from cryoline.acquisition.dose_book import blocking_tickets, record
from cryoline.acquisition.dose_places import place_region, register
from cryoline.acquisition.dose_queries import find_rows
from cryoline.acquisition.dose_reader import LedgerReader
from cryoline.acquisition.dose_records import Settlement
from cryoline.acquisition.dose_rules import (
    check_instrument,
    check_names,
    check_reason,
)
from cryoline.acquisition.dose_ruling import Rules
from cryoline.acquisition.dose_schema import LedgerFile
from cryoline.acquisition.dose_series import (
    check_series,
    close_series,
    open_series,
)
from cryoline.acquisition.dose_tickets import release, reserve, settle
from cryoline.acquisition.errors import DoseRefused, LedgerError
from cryoline.devices.exposure import (
    Exposure,
    ExposureResult,
    ProbeCurrent,
    Ticket,
)

__all__ = ["DoseLedger"]


class DoseLedger(LedgerReader):
    """The ledger of one data directory, shared by its sessions and threads.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "dose.sqlite"
    >>> frame = Exposure(
    ...     specimen="wire-1", width_px=512, height_px=512, pixel_nm=2.134, dwell_s=4e-6
    ... )
    >>> with DoseLedger(path, limit_e_per_nm2=1e7) as ledger:
    ...     ticket = ledger.reserve(
    ...         frame, current_pa=150, current_limit_pa=165, boot_id="b", counter=0
    ...     )
    ...     round(ledger.usage("wire-1", "region-1").unsettled_e_per_nm2)
    905
    """

    def __init__(
        self,
        path: Path,
        *,
        limit_e_per_nm2: float,
        backup: Path | None = None,
        source: str = "beam",
        place_uncertainty_nm: float = 8.0,
        probe_diameter_nm: float | None = None,
        copies_in_background: bool = False,
    ) -> None:
        if not (math.isfinite(limit_e_per_nm2) and 0 < limit_e_per_nm2 <= 1e11):
            raise LedgerError(
                f"dose: {limit_e_per_nm2:g} e/nm2 is no limit; give a number above 0 "
                "as dose.limit_e_per_nm2"
            )
        for name, size_nm in (
            ("place_uncertainty_nm", place_uncertainty_nm),
            ("probe_diameter_nm", probe_diameter_nm),
        ):
            if size_nm is not None and not (math.isfinite(size_nm) and size_nm > 0):
                raise LedgerError(
                    f"dose: {size_nm:g} nm is no size; give a number above 0 as "
                    f"dose.{name}"
                )
        self.path = path
        self.backup = backup
        """Where a copy is renewed after each charge."""
        self.probe_diameter_nm = probe_diameter_nm
        """If it is known, the fluence under the probe is recorded with each charge."""
        if backup is not None:
            refuse_lost_rows(path, backup)
        self._copy = (
            BackgroundCopy(lambda: renew(path, backup))
            if copies_in_background and backup is not None
            else None
        )
        rules = Rules(limit_e_per_nm2, place_uncertainty_nm)
        super().__init__(LedgerFile(path), rules, source)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish the copy and let go of the file; the next use opens it again."""
        if self._copy is not None:
            self._copy.finish()
        self._file.close()

    # Before an exposure.

    def open_series(
        self,
        exposures: Sequence[Exposure],
        *,
        current_limit_pa: float,
        current_pa: float | None = None,
        budget_e_per_nm2: float | None = None,
    ) -> str:
        """Reserve the worst case of a series, its re-takes included, or nothing.

        Returns the series' UID, on disk. ``current_pa`` is the measured current, for
        the text of a refusal. Raises DoseRefused that names the region, the cost,
        what is left, and the largest current that would fit; LedgerError.
        """
        budget = check_series(exposures, current_limit_pa, current_pa, budget_e_per_nm2)
        with self._file.writing() as connection:
            return open_series(
                connection,
                exposures,
                current_limit_pa=current_limit_pa,
                current_pa=current_pa,
                budget=budget,
                rules=self._rules,
            )

    def close_series(self, series: str, *, reason: str = "ended") -> None:
        """Give back what a series has not drawn; its open tickets stay reserved.

        Doing it twice changes nothing. Raises LedgerError if there is no such series.
        """
        with self._file.writing() as connection:
            close_series(connection, series, reason)

    def reserve(
        self,
        exposure: Exposure,
        *,
        current_pa: float,
        current_limit_pa: float,
        boot_id: str,
        counter: int,
        series: str | None = None,
    ) -> Ticket:
        """Book an exposure's worst case and return its ticket, which is on disk then.

        ``boot_id`` and ``counter`` are the instrument's now: read, not remembered. In
        a series the series' own current limit holds, and the measured current must
        lie below that. Raises DoseRefused; LedgerError if the instrument was
        restarted with tickets open.
        """
        refusals.check_current("a measured current", current_pa)
        refusals.check_current("a current limit", current_limit_pa)
        if current_limit_pa < current_pa:
            raise DoseRefused(
                f"dose: a current limit of {current_limit_pa:g} pA lies below the "
                f"measured current, {current_pa:g} pA; raise dose.current_margin"
            )
        check_instrument(boot_id, counter)
        with self._file.writing() as connection:
            return reserve(
                connection,
                exposure,
                current_pa=current_pa,
                current_limit_pa=current_limit_pa,
                source=self.source,
                boot_id=boot_id,
                counter=counter,
                series_uid=series,
                rules=self._rules,
            )

    # After an exposure.

    def settle(self, ticket_uid: str, result: ExposureResult) -> Settlement:
        """Charge an exposure by what the instrument has counted, however much it is.

        More than was reserved is charged in full, flagged ``over``, and blocks the
        region until ``acknowledge``. The same result twice is charged once; a second
        exposure by the same ticket is charged as well. Raises LedgerError.
        """
        if result.ticket_uid != ticket_uid:
            raise LedgerError(
                f"dose: this result is of ticket {result.ticket_uid}, not of "
                f"{ticket_uid}; nothing was settled. The instrument's log knows its "
                "own: cryoline dose reconcile"
            )
        check_instrument(result.boot_id, result.counter)
        return self._settle(
            ticket_uid,
            result.charge_c,
            {"result": result.model_dump(mode="json")},
            boot_id=result.boot_id,
            counter=result.counter,
        )

    def settle_by_hand(
        self, ticket_uid: str, *, charge_c: float | None = None, reason: str
    ) -> Settlement:
        """Charge a ticket that no log can settle, for a reason that a person gives.

        Without ``charge_c`` it is charged in full, as it was reserved.
        """
        check_reason(reason)
        if charge_c is not None and not (math.isfinite(charge_c) and charge_c >= 0):
            raise LedgerError(
                f"dose: {charge_c:g} C is no charge; give 0 or more, or leave it out "
                "to charge the ticket in full"
            )
        body = {"by_hand": True, "charge_c": charge_c, "reason": reason}
        return self._settle(ticket_uid, charge_c, body)

    def release(
        self, ticket_uid: str, *, reason: str, boot_id: str, counter: int
    ) -> None:
        """Give back a ticket by which nothing was exposed, as the counter proves.

        Disarm first: what is still armed can expose. ``boot_id`` and ``counter`` are
        the instrument's now. Raises LedgerError, and the ticket stays reserved in
        full, if the instrument was restarted since, or has made an exposure that the
        ledger doesn't know.
        """
        check_reason(reason)
        check_instrument(boot_id, counter)
        with self._file.writing() as connection:
            release(
                connection,
                ticket_uid,
                reason=reason,
                source=self.source,
                boot_id=boot_id,
                counter=counter,
            )

    # What a person decides, and what an instrument has said.

    def set_limit(
        self, specimen: str, region: str, limit_e_per_nm2: float, *, reason: str
    ) -> None:
        """Set a region's limit, at or below the configured one, for a reason."""
        check_names(specimen, region)
        check_reason(reason)
        if not 0 < limit_e_per_nm2 <= self.limit_e_per_nm2:
            raise DoseRefused(
                f"dose: specimen {specimen}, {region}: a limit of "
                f"{limit_e_per_nm2:g} e/nm2 is not above 0 and up to "
                f"{refusals.fluence_text(self.limit_e_per_nm2)}, which is configured; "
                "choose one that is, or change dose.limit_e_per_nm2"
            )
        with self._file.writing() as connection:
            body = {"limit_e_per_nm2": limit_e_per_nm2, "reason": reason}
            record(connection, "limit", body, specimen=specimen, region=region)

    def place_region(
        self, specimen: str, region: str, *, x_nm: float, y_nm: float, reason: str
    ) -> None:
        """Say where a region's centre lies, from the specimen's origin, untilted.

        A region that was never placed lies at the origin. Raises LedgerError if it
        was exposed or is reserved elsewhere: its dose stays where it is.
        """
        check_names(specimen, region)
        check_reason(reason)
        with self._file.writing() as connection:
            place_region(connection, specimen, region, (x_nm, y_nm), reason)

    def register(
        self, specimen: str, ancestors: Sequence[str], *, cut_from: str | None = None
    ) -> None:
        """Say what a specimen was made from, oldest first.

        The limits of its ancestors hold for it, and what any of their regions has
        received most counts as received by it: only that of ``cut_from``, if the
        region of the last ancestor is named. Doing it twice changes nothing. Raises
        LedgerError if it contradicts what is known.
        """
        check_names(specimen, *ancestors, *([] if cut_from is None else [cut_from]))
        with self._file.writing() as connection:
            register(connection, specimen, ancestors, cut_from)

    def note_calibrations(
        self,
        series: str,
        calibrations: Sequence[Mapping[str, Any]],
        *,
        measured: ProbeCurrent,
    ) -> None:
        """Write down what a series is paid with: the current, and what it hangs on."""
        current = {"name": "measured_current", **measured.model_dump()}
        with self._file.writing() as connection:
            for body in (current, *calibrations):
                record(
                    connection, "calibration", body, series=series, source=self.source
                )

    def acknowledge(self, specimen: str, region: str, *, reason: str) -> None:
        """Unblock a region: a person has seen why more was charged than reserved."""
        check_reason(reason)
        with self._file.writing() as connection:
            tickets = blocking_tickets(connection, specimen, region)
            if not tickets:
                raise LedgerError(
                    f"dose: specimen {specimen}, {region} is not blocked; see "
                    f"cryoline dose show {specimen}"
                )
            body = {"tickets": tickets, "reason": reason}
            record(connection, "acknowledge", body, specimen=specimen, region=region)

    def note_unresolved(self, ticket_uid: str, *, reason: str) -> None:
        """Write down why a ticket can't be settled: it stays until a person does."""
        with self._file.writing() as connection:
            known = find_rows(
                connection, "ticket = ? AND kind = 'unresolved'", ticket_uid
            )
            if not any(row.body["reason"] == reason for row in known):
                record(connection, "unresolved", {"reason": reason}, ticket=ticket_uid)

    def note_reconciled(self, *, boot_id: str, counter: int) -> None:
        """Write down that every exposure up to a counter was looked up in the log.

        From here on the instrument's boot id and counter are those given.
        """
        check_instrument(boot_id, counter)
        with self._file.writing() as connection:
            record(
                connection,
                "reconcile",
                {},
                source=self.source,
                boot_id=boot_id,
                counter=counter,
            )

    def _settle(
        self,
        ticket_uid: str,
        charge_c: float | None,
        body: dict[str, Any],
        *,
        boot_id: str | None = None,
        counter: int | None = None,
    ) -> Settlement:
        with self._file.writing() as connection:
            settlement = settle(
                connection,
                ticket_uid,
                charge_c,
                body,
                source=self.source,
                boot_id=boot_id,
                counter=counter,
                rules=self._rules,
                probe_diameter_nm=self.probe_diameter_nm,
            )
        # Committed: whatever happens to the backup, the charge stands.
        if self._copy is None:
            problem = renew(self.path, self.backup)
        else:
            problem = self._copy.request()
        return settlement.with_backup_problem(problem)
