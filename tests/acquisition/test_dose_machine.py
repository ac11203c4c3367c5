"""Random lives of a ledger: whatever dies when, it never counts less than was shot."""

import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cryoline.acquisition import dose_book, dose_queries, dose_reconcile
from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.dose_reconcile import reconcile
from cryoline.acquisition.errors import DoseRefused, LedgerError
from cryoline.acquisition.fluence import fluence_of_charge_e_per_nm2
from cryoline.devices.exposure import Exposure, ExposureResult, Outcome, Ticket

Key = TypeVar("Key")
LIMIT = 1e5
REGIONS = ("region-1", "region-2")
# Memory, if there is some: thousands of commits, and no power fails here.
FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

WHICH = st.integers(0, 7)
"""Which of those there are; a UUID is another in every life."""


def frame(region: str, n_frames: int) -> Exposure:
    return Exposure(
        specimen="wire-1",
        region=region,
        width_px=256,
        height_px=256,
        pixel_nm=2.0,
        dwell_s=1e-5,
        n_frames=n_frames,
    )


class LedgerMachine(RuleBasedStateMachine):
    """Sessions that reserve, expose, settle and die, at a beam that restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=FOLDER))
        self.session = 1
        owners = {
            "this_owner": lambda: {"host": "h", "pid": self.session},
            "is_owner_alive": lambda owner: owner["pid"] == self.session,
        }
        self.patches = [
            mock.patch.object(dose_book, "this_owner", owners["this_owner"]),
            mock.patch.object(dose_reconcile, "this_owner", owners["this_owner"]),
            mock.patch.object(dose_queries, "is_owner_alive", owners["is_owner_alive"]),
        ]
        for patch in self.patches:
            patch.start()
        self.ledger = self.opened()
        self.boot_id, self.counter = "boot-1", 0
        self.log: dict[int, ExposureResult] = {}
        self.armed_uid = ""
        self.held: dict[str, Ticket] = {}
        """Tickets by which the living session may still expose."""
        self.made: dict[str, Ticket] = {}
        """Every ticket that anybody was given."""
        self.series: str | None = None
        self.records: list[ExposureResult] = []
        """The truth: what the beam has done, in this boot and before."""
        self.any_over = False

    def opened(self) -> DoseLedger:
        return DoseLedger(
            self.folder / "dose.sqlite",
            limit_e_per_nm2=LIMIT,
            backup=self.folder / "backup.sqlite",
        )

    def teardown(self) -> None:
        self.ledger.close()
        for patch in self.patches:
            patch.stop()
        shutil.rmtree(self.folder)

    def one_of(self, those: Mapping[Key, Any], which: int) -> Key:
        return list(those)[which % len(those)]

    # What reconcile asks the instrument.

    def armed(self) -> str:
        return self.armed_uid

    def position(self) -> tuple[str, int]:
        return self.boot_id, self.counter

    def logged(self, counter: int) -> ExposureResult | None:
        return self.log.get(counter)

    # What happens.

    @rule(
        region=st.sampled_from(REGIONS),
        n_frames=st.sampled_from([1, 2, 5, 40]),
        in_series=st.booleans(),
    )
    def reserve(self, region: str, n_frames: int, in_series: bool) -> None:
        try:
            ticket = self.ledger.reserve(
                frame(region, n_frames),
                current_pa=150,
                current_limit_pa=165,
                boot_id=self.boot_id,
                counter=self.counter,
                series=self.series if in_series else None,
            )
        except (DoseRefused, LedgerError):
            return
        self.held[ticket.uid] = self.made[ticket.uid] = ticket

    @precondition(lambda self: self.series is None)
    @rule(
        region=st.sampled_from(REGIONS),
        n_exposures=st.integers(1, 20),
        n_frames=st.sampled_from([1, 2, 5]),
    )
    def open_series(self, region: str, n_exposures: int, n_frames: int) -> None:
        asked = [frame(region, n_frames)] * n_exposures
        try:
            self.series = self.ledger.open_series(asked, current_limit_pa=165.0)
        except DoseRefused:
            return

    @precondition(lambda self: self.series is not None)
    @rule()
    def close_series(self) -> None:
        assert self.series is not None
        self.ledger.close_series(self.series)
        self.series = None

    @precondition(lambda self: self.held)
    @rule(which=WHICH, part=st.sampled_from([0.0, 0.3, 0.9, 1.0, 1.0, 1.4]))
    def expose(self, which: int, part: float) -> None:
        ticket = self.held[self.one_of(self.held, which)]
        charge_c = part * ticket.max_charge_c
        self.counter += 1
        record = ExposureResult(
            ticket_uid=ticket.uid,
            outcome=Outcome.COMPLETE,
            charge_c=charge_c,
            beam_on_s=ticket.max_time_s,
            frames=1,
            counter=self.counter,
            boot_id=self.boot_id,
        )
        self.log[self.counter] = record
        # A second exposure by one ticket is more than it had reserved, too.
        self.any_over |= part > 1 or ticket.uid in {r.ticket_uid for r in self.records}
        self.records.append(record)
        self.armed_uid = ""

    @precondition(lambda self: self.log)
    @rule(which=WHICH)
    def settle(self, which: int) -> None:
        record = self.log[self.one_of(self.log, which)]
        self.ledger.settle(record.ticket_uid, record)

    @precondition(lambda self: self.held)
    @rule(which=WHICH)
    def arm(self, which: int) -> None:
        self.armed_uid = self.one_of(self.held, which)

    @precondition(lambda self: self.held)
    @rule(which=WHICH)
    def give_up(self, which: int) -> None:
        uid = self.one_of(self.held, which)
        del self.held[uid]
        if self.armed_uid == uid:
            self.armed_uid = ""
        try:
            self.ledger.release(
                uid, reason="given up", boot_id=self.boot_id, counter=self.counter
            )
        except LedgerError:
            return

    @rule()
    def die(self) -> None:
        """Kill the session: what it had in mind is gone, the beam is blanked."""
        self.ledger.close()
        self.session += 1
        self.held, self.series, self.armed_uid = {}, None, ""
        self.ledger = self.opened()

    @rule()
    def restart_the_instrument(self) -> None:
        self.boot_id = f"boot-{int(self.boot_id[5:]) + 1}"
        self.counter, self.log, self.armed_uid = 0, {}, ""

    @rule(release_own=st.booleans())
    def reconcile(self, release_own: bool) -> None:
        done = reconcile(self.ledger, self, release_own=release_own)
        if release_own:  # else a session goes on to believe in its tickets
            for uid in done.released:
                self.held.pop(uid, None)

    @rule(region=st.sampled_from(REGIONS))
    def acknowledge(self, region: str) -> None:
        try:
            self.ledger.acknowledge("wire-1", region, reason="seen")
        except LedgerError:
            return

    # What always holds.

    @invariant()
    def never_less_than_was_shot(self) -> None:
        for region in REGIONS:
            used = self.ledger.usage("wire-1", region)
            counted = used.settled_e_per_nm2 + used.reserved_e_per_nm2
            assert counted >= self.shot(region) - self.not_told(region) - 1e-6

    @invariant()
    def never_more_than_the_limit(self) -> None:
        if self.any_over:
            return
        for region in REGIONS:
            used = self.ledger.usage("wire-1", region)
            assert used.settled_e_per_nm2 + used.reserved_e_per_nm2 <= LIMIT
            assert self.shot(region) <= LIMIT

    @invariant()
    def no_account_is_negative(self) -> None:
        with self.ledger._file.reading() as connection:  # noqa: SLF001
            for region in REGIONS:
                held = dose_book.balance(connection, "wire-1", region)
                assert min(held.settled, held.tickets, held.series) >= 0

    def fluence(self, record: ExposureResult) -> float:
        area_nm2 = self.made[record.ticket_uid].exposure.area_nm2
        return fluence_of_charge_e_per_nm2(record.charge_c, area_nm2)

    def shot(self, region: str) -> float:
        """Return what a region has truly received."""
        return sum(
            self.fluence(record)
            for record in self.records
            if self.made[record.ticket_uid].exposure.region == region
        )

    def not_told(self, region: str) -> float:
        """Return the excess over reservations that nobody has told the ledger of.

        An instrument that blanks at the charge limit, and takes a ticket once, has
        none of it.
        """
        rows = self.ledger.history("wire-1")
        told = {(r.boot_id, r.counter) for r in rows if r.kind == "settle"}
        closed = {r.ticket for r in rows if r.kind == "settle"}
        excess: dict[str, float] = defaultdict(float)
        for record in self.records:
            ticket = self.made[record.ticket_uid]
            is_told = (record.boot_id, record.counter) in told
            if ticket.exposure.region == region and not is_told:
                excess[ticket.uid] += self.fluence(record)
        return sum(
            fluence
            if uid in closed
            else max(0.0, fluence - self.made[uid].reserved_e_per_nm2)
            for uid, fluence in excess.items()
        )


TestLedgerMachine: Any = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=int(os.environ.get("CRYOLINE_DOSE_EXAMPLES", "60")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
