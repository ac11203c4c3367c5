"""What the dose ledger holds, read and never changed."""

from collections.abc import Sequence

from cryoline.acquisition.dose_book import balance, blocking_tickets, from_milli
from cryoline.acquisition.dose_queries import (
    effective_limit,
    find_rows,
    last_seen,
    list_open_series,
    list_open_tickets,
    list_purposes,
    list_regions,
    list_specimens,
)
from cryoline.acquisition.dose_records import (
    Foreseen,
    LedgerRow,
    OpenSeries,
    OpenTicket,
    PurposeUsage,
    Usage,
)
from cryoline.acquisition.dose_schema import LedgerFile
from cryoline.acquisition.dose_series import check_series, foresee, refuse_series
from cryoline.acquisition.errors import DoseRefused
from cryoline.devices.exposure import Exposure, ExposureResult, Ticket

__all__ = ["LedgerReader"]


class LedgerReader:
    """Answers from the file of a ledger; each sees one moment of it."""

    def __init__(self, file: LedgerFile, limit_e_per_nm2: float, source: str) -> None:
        self._file = file
        self.source = source
        """The instrument whose boot ids and counters the caller gives."""
        self.limit_e_per_nm2 = limit_e_per_nm2
        """The configured limit; that of a region may be lower."""

    def usage(self, specimen: str, region: str) -> Usage:
        """Return what a region has received and may yet; zero if it is not known."""
        with self._file.reading() as connection:
            held = balance(connection, specimen, region)
            limit = effective_limit(connection, specimen, region, self.limit_e_per_nm2)
            blocking = blocking_tickets(connection, specimen, region)
        return Usage(
            specimen,
            region,
            settled_e_per_nm2=from_milli(held.settled),
            reserved_e_per_nm2=from_milli(held.tickets + held.series),
            unsettled_e_per_nm2=from_milli(held.tickets),
            limit_e_per_nm2=from_milli(limit),
            left_e_per_nm2=from_milli(max(0, limit - held.total)),
            blocked_by=blocking,
        )

    def foresee(
        self,
        exposures: Sequence[Exposure],
        *,
        current_limit_pa: float,
        current_pa: float | None = None,
        budget_e_per_nm2: float | None = None,
    ) -> list[Foreseen]:
        """Return what ``open_series`` would ask of each region, and whether it may.

        Nothing is booked. Raises DoseRefused only for what is no series.
        """
        budget = check_series(exposures, current_limit_pa, current_pa, budget_e_per_nm2)
        found = []
        for asked in foresee(
            exposures, current_limit_pa=current_limit_pa, current_pa=current_pa
        ):
            refusal = ""
            with self._file.reading() as connection:
                try:
                    refuse_series(connection, asked, budget, self.limit_e_per_nm2)
                except DoseRefused as error:
                    refusal = str(error)
            usage = self.usage(asked.specimen, asked.region)
            found.append(
                Foreseen(from_milli(asked.milli), asked.n_exposures, usage, refusal)
            )
        return found

    def purposes(self, specimen: str, region: str) -> list[PurposeUsage]:
        """Return what the exposures of each purpose have cost a region."""
        with self._file.reading() as connection:
            return list_purposes(connection, specimen, region)

    def unsettled(self) -> list[Ticket]:
        """Return the tickets that count in full, oldest first."""
        return [opened.ticket for opened in self.open_tickets()]

    def open_tickets(self) -> list[OpenTicket]:
        """Return the same, with what is needed to reconcile them."""
        with self._file.reading() as connection:
            return list_open_tickets(connection)

    def open_series_left(self) -> list[OpenSeries]:
        """Return the series that are not closed, oldest first."""
        with self._file.reading() as connection:
            return list_open_series(connection)

    def knows(self, ticket_uid: str) -> bool:
        """Return whether a ticket is in this ledger, open or not."""
        with self._file.reading() as connection:
            rows = find_rows(connection, "ticket = ? AND kind = 'reserve'", ticket_uid)
            return any(True for _ in rows)

    def has_charged(self, result: ExposureResult) -> bool:
        """Return whether this very exposure is settled."""
        with self._file.reading() as connection:
            rows = find_rows(
                connection,
                "ticket = ? AND kind = 'settle' AND boot_id = ? AND counter = ?",
                result.ticket_uid,
                result.boot_id,
                result.counter,
            )
            return any(True for _ in rows)

    def last_seen(self) -> tuple[str, int] | None:
        """Return boot id and highest counter that this ledger's instrument has shown.

        None before its first reservation.
        """
        with self._file.reading() as connection:
            return last_seen(connection, self.source)

    def specimens(self) -> list[str]:
        """Return every specimen that the ledger knows."""
        with self._file.reading() as connection:
            return list_specimens(connection)

    def regions(self, specimen: str) -> list[str]:
        """Return every region of a specimen that the ledger knows."""
        with self._file.reading() as connection:
            return list_regions(connection, specimen)

    def history(self, specimen: str) -> list[LedgerRow]:
        """Return every event of a specimen, oldest first."""
        with self._file.reading() as connection:
            return list(find_rows(connection, "specimen = ?", specimen))
