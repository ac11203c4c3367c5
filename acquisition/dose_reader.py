"""What the dose ledger holds, read and never changed."""

import math
import sqlite3
from collections.abc import Sequence

import numpy as np

from cryoline.acquisition.dose_book import blocking_tickets, from_milli
from cryoline.acquisition.dose_cells import grid_around, laid_over, list_fields
from cryoline.acquisition.dose_neighbours import neighbours_hit
from cryoline.acquisition.dose_queries import (
    find_rows,
    last_seen,
    list_open_series,
    list_open_tickets,
    list_purposes,
    list_regions,
    list_specimens,
)
from cryoline.acquisition.dose_records import (
    FluenceMap,
    Foreseen,
    LedgerRow,
    Neighbour,
    OpenSeries,
    OpenTicket,
    Outline,
    PurposeUsage,
    Usage,
)
from cryoline.acquisition.dose_ruling import Rules, SpecimenDose
from cryoline.acquisition.dose_schema import LedgerFile
from cryoline.acquisition.dose_series import check_series, foresee, refuse_series
from cryoline.acquisition.errors import DoseRefused, LedgerError
from cryoline.devices.exposure import Exposure, ExposureResult, Purpose, Ticket

__all__ = ["LedgerReader"]


class LedgerReader:
    """Answers from the file of a ledger; each sees one moment of it."""

    def __init__(self, file: LedgerFile, rules: Rules, source: str) -> None:
        self._file = file
        self._rules = rules
        self.source = source
        """The instrument whose boot ids and counters the caller gives."""

    @property
    def limit_e_per_nm2(self) -> float:
        """The configured limit; that of a region may be lower."""
        return self._rules.limit_e_per_nm2

    def usage(self, specimen: str, region: str) -> Usage:
        """Return what a region has received and may yet, in its fullest cell.

        A region that is not known is its place: what others have left there.
        """
        with self._file.reading() as connection:
            return usage_of(connection, specimen, region, self._rules)

    def fluence_map(
        self, specimen: str, region: str | None = None, cell_nm: float | None = None
    ) -> FluenceMap:
        """Return where a specimen's dose lies, around one region or all of them.

        Cells are as wide as the uncertainty of a place, if not given, and wider where
        there would be more than 512 an axis. What all of the specimen is charged with
        (its ancestors' dose; rows of version 1) is in each cell. Raises LedgerError
        if nothing of it has a place.
        """
        cell_nm = self._rules.place_uncertainty_nm if cell_nm is None else cell_nm
        if not (math.isfinite(cell_nm) and cell_nm > 0):
            raise LedgerError(
                f"dose: a map of cells of {cell_nm:g} nm is none; give more than 0"
            )
        with self._file.reading() as connection:
            dose = SpecimenDose(connection, specimen, self._rules)
            shown = [b for b in dose.booked if region in (None, b.region)]
            grid = grid_around(shown, cell_nm)
            if grid is None:
                what = specimen if region is None else f"{specimen}, {region}"
                raise LedgerError(
                    f"dose: specimen {what}: nothing is booked there that has a place, "
                    f"so there is no map; see cryoline dose show {specimen}"
                )
            reserved = laid_over(grid, dose.booked, "ticket", "series")
            return FluenceMap(
                np.array([grid.center_nm(0, n)[0] for n in range(grid.columns)]),
                np.array([grid.center_nm(n, 0)[1] for n in range(grid.rows)]),
                dose.settled_over(grid) / 1000,
                reserved / 1000,
                grid.across_nm[0] / grid.columns,
            )

    def outlines(self, specimen: str) -> dict[str, Outline]:
        """Return the field of each region that has a place: its largest, least tilted.

        Fields that were recorded come before those that only served them.
        """
        with self._file.reading() as connection:
            fields = list_fields(connection, specimen)
        found: dict[str, Outline] = {}
        for region, purpose, footprint in fields:
            if purpose == Purpose.RECORD or region not in found:
                found[region] = Outline(*footprint[:5])
        return found

    def areas(self, specimen: str) -> dict[str, Outline]:
        """Return the fields that lie beside their region's, by purpose and region."""
        centres = self.outlines(specimen)
        with self._file.reading() as connection:
            fields = list_fields(connection, specimen)
        return {
            f"{purpose} of {region}": Outline(*footprint[:5])
            for region, purpose, footprint in fields
            if footprint[:2] != centres[region][:2]
        }

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
        with self._file.reading() as connection:
            asked_of_regions = foresee(
                connection,
                exposures,
                current_limit_pa=current_limit_pa,
                current_pa=current_pa,
                rules=self._rules,
            )
            for asked, ruling in asked_of_regions:
                refusal = ""
                try:
                    refuse_series(connection, asked, ruling, budget)
                except DoseRefused as error:
                    refusal = str(error)
                found.append(
                    Foreseen(
                        from_milli(asked.milli),
                        asked.n_exposures,
                        usage_of(connection, asked.specimen, asked.region, self._rules),
                        refusal,
                        worst_e_per_nm2=from_milli(ruling.held.total + asked.milli),
                        limit_e_per_nm2=from_milli(ruling.limit),
                        place_nm=ruling.place_nm,
                    )
                )
        return found

    def neighbours(
        self, exposures: Sequence[Exposure], *, current_limit_pa: float
    ) -> list[Neighbour]:
        """Return the other regions that exposures would hit; nothing is booked."""
        with self._file.reading() as connection:
            return neighbours_hit(connection, exposures, current_limit_pa, self._rules)

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


def usage_of(
    connection: sqlite3.Connection, specimen: str, region: str, rules: Rules
) -> Usage:
    """Return what a region has received and may yet receive."""
    ruling, mean = SpecimenDose(connection, specimen, rules).usage(region)
    held = ruling.held
    return Usage(
        specimen,
        region,
        settled_e_per_nm2=from_milli(held.settled),
        reserved_e_per_nm2=from_milli(held.tickets + held.series),
        unsettled_e_per_nm2=from_milli(held.tickets),
        limit_e_per_nm2=from_milli(ruling.limit),
        left_e_per_nm2=from_milli(max(0, ruling.limit - held.total)),
        blocked_by=blocking_tickets(connection, specimen, region),
        mean_e_per_nm2=mean / 1000,
    )
