"""Random lives of a ledger: whatever dies when, it never counts less than was shot.

Two sessions share the real ledger and a beam whose current wanders within the band
that was declared. What each place of the specimen has received is kept here by a
formula of its own: points of the untilted plane, projected into the field as the beam
sees it. Where no edge of a field is near, the ledger's cells and the points must agree.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from cryoline.acquisition import dose_book, dose_queries, dose_reconcile
from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.dose_reconcile import reconcile
from cryoline.acquisition.errors import DoseRefused, LedgerError
from cryoline.devices.exposure import Exposure, ExposureResult, Outcome, Ticket

Key = TypeVar("Key")
LIMIT = 1e5
PLACES_NM = {"region-1": (0.0, 0.0), "region-2": (40.0, 10.0), "region-3": (-90.0, 0.0)}
"""Neighbours: the fields of the first two overlap by more than half."""
CELL_NM = 8.0
HALF_NM = 64.0
"""Half of a field, 64 pixels of 2 nm."""
BAND = 1.1
"""The current may rise by so much after it was measured."""
EXAMPLES = int(os.environ.get("CRYOLINE_DOSE_EXAMPLES", "500"))
# Memory, if there is some: thousands of commits, and no power fails here.
FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

WHICH = st.integers(0, 7)
"""Which of those there are; a UUID is another in every life."""
WHO = st.integers(0, 1)
"""Which of the two sessions."""

_SIDE_NM = np.arange(-200.0, 201.0, 20.0)
POINTS_NM = np.stack([g.ravel() for g in np.meshgrid(_SIDE_NM, _SIDE_NM)], axis=1)
"""(point, 2): x and y on the untilted specimen."""


def frame(region: str, n_frames: int, **where: Any) -> Exposure:
    return Exposure(
        specimen="wire-1",
        region=region,
        width_px=64,
        height_px=64,
        pixel_nm=2.0,
        dwell_s=1e-5,
        n_frames=n_frames,
        **where,
    )


def in_field_nm(exposure: Exposure) -> tuple[Any, Any]:
    """Return where each point lies from a field's centre, along its rows and columns.

    As the beam sees it, nm; (point,) each. Lines are scanned from low to high.
    """
    x_nm, y_nm = PLACES_NM[exposure.region]
    tilt, turn = math.radians(exposure.tilt_deg), math.radians(exposure.rotation_deg)
    u = (POINTS_NM[:, 0] - x_nm) * math.cos(tilt) - exposure.offset_x_nm
    v = POINTS_NM[:, 1] - y_nm - exposure.offset_y_nm
    along = u * math.cos(turn) + v * math.sin(turn)
    across = v * math.cos(turn) - u * math.sin(turn)
    return along, across


def depth_nm(exposure: Exposure) -> Any:
    """Return how far inside a field each point lies, negative outside; (point,)."""
    along, across = in_field_nm(exposure)
    return HALF_NM - np.maximum(np.abs(along), np.abs(across))


def frames_at(exposure: Exposure, elapsed: float) -> Any:
    """Return how many frames have hit each point after so many, (point,)."""
    whole = math.floor(elapsed + 1e-9)
    line = (in_field_nm(exposure)[1] + HALF_NM) / (2 * HALF_NM)
    hit = depth_nm(exposure) > 0
    return hit * (whole + (line < elapsed - whole))


def far_from_edges(fields: list[Exposure], cuts: list[tuple[Exposure, float]]) -> Any:
    """Return which points lie so far from all edges that a cell is all in or all out.

    A cell is 8 nm as the beam sees it, so at 60 deg 16 x 8 nm on the specimen. A frame
    that was cut has an edge at its last line.
    """
    depths = [np.abs(depth_nm(field)) for field in set(fields)]
    for exposure, elapsed in cuts:
        last_nm = 2 * HALF_NM * (elapsed % 1.0) - HALF_NM
        depths.append(np.abs(in_field_nm(exposure)[1] - last_nm))
    return np.all(np.array(depths) > 18.0, axis=0)


WHERE = st.fixed_dictionaries(
    {
        "tilt_deg": st.sampled_from([0.0, 0.0, 30.0, -60.0]),
        "offset_x_nm": st.sampled_from([0.0, 0.0, 25.0]),
        "offset_y_nm": st.sampled_from([0.0, 0.0, -60.0]),
        "rotation_deg": st.sampled_from([0.0, 0.0, 30.0]),
    }
)


class LedgerMachine(RuleBasedStateMachine):
    """Two sessions that reserve, expose, settle and die, at a beam that restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=FOLDER))
        self.now = 1
        """The process that does something now."""
        self.living = [1, 2]
        patches = {
            (dose_book, "this_owner"): lambda: {"host": "h", "pid": self.now},
            (dose_reconcile, "this_owner"): lambda: {"host": "h", "pid": self.now},
            (dose_queries, "is_owner_alive"): lambda o: o["pid"] in self.living,
        }
        self.patches = [mock.patch.object(*where, p) for where, p in patches.items()]
        for patch in self.patches:
            patch.start()
        self.ledgers = {pid: self.opened() for pid in self.living}
        for region, (x_nm, y_nm) in PLACES_NM.items():
            self.ledgers[1].place_region(
                "wire-1", region, x_nm=x_nm, y_nm=y_nm, reason="a test"
            )
        self.boot_id, self.counter = "boot-1", 0
        self.log: dict[int, ExposureResult] = {}
        self.armed_uid = ""
        self.held: dict[str, int] = {}
        """Tickets by which a living session, its number, may still expose."""
        self.made: dict[str, Ticket] = {}
        """Every ticket that anybody was given."""
        self.series: dict[int, tuple[str, Exposure]] = {}
        """Of each session, what it may open one of."""
        self.records: list[ExposureResult] = []
        """The truth: what the beam has done, in this boot and before."""
        self.asked: list[Exposure] = []
        """Every field that anybody asked for."""
        self.stays_in_band = True
        self.any_over = False

    @initialize(stays_in_band=st.booleans())
    def begin(self, stays_in_band: bool) -> None:
        self.stays_in_band = stays_in_band

    def opened(self) -> DoseLedger:
        return DoseLedger(
            self.folder / "dose.sqlite",
            limit_e_per_nm2=LIMIT,
            backup=self.folder / "backup.sqlite",
            place_uncertainty_nm=CELL_NM,
        )

    def teardown(self) -> None:
        for ledger in self.ledgers.values():
            ledger.close()
        for patch in self.patches:
            patch.stop()
        shutil.rmtree(self.folder)

    def of(self, who: int) -> DoseLedger:
        """Return the ledger of one of the living sessions, which acts now."""
        self.now = self.living[who]
        return self.ledgers[self.now]

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
        who=WHO,
        region=st.sampled_from(list(PLACES_NM)),
        n_frames=st.sampled_from([1, 2, 5, 9]),
        where=WHERE,
        in_series=st.booleans(),
    )
    def reserve(
        self, who: int, region: str, n_frames: int, where: Any, in_series: bool
    ) -> None:
        ledger = self.of(who)
        asked, uid = frame(region, n_frames, **where), None
        if in_series and self.now in self.series:
            uid, asked = self.series[self.now]
        try:
            ticket = ledger.reserve(
                asked,
                current_pa=150,
                current_limit_pa=BAND * 150,
                boot_id=self.boot_id,
                counter=self.counter,
                series=uid,
            )
        except (DoseRefused, LedgerError):
            return
        self.asked.append(asked)
        self.held[ticket.uid] = self.now
        self.made[ticket.uid] = ticket

    @rule(
        who=WHO,
        region=st.sampled_from(list(PLACES_NM)),
        n_exposures=st.integers(1, 12),
        n_frames=st.sampled_from([1, 2]),
        where=WHERE,
    )
    def open_series(
        self, who: int, region: str, n_exposures: int, n_frames: int, where: Any
    ) -> None:
        ledger = self.of(who)
        if self.now in self.series:
            return
        asked = frame(region, n_frames, **where)
        try:
            uid = ledger.open_series([asked] * n_exposures, current_limit_pa=BAND * 150)
        except DoseRefused:
            return
        self.asked.append(asked)
        self.series[self.now] = uid, asked

    @precondition(lambda self: self.series)
    @rule(which=WHICH)
    def close_series(self, which: int) -> None:
        self.now = self.one_of(self.series, which)
        self.ledgers[self.now].close_series(self.series.pop(self.now)[0])

    @precondition(lambda self: self.held)
    @rule(
        which=WHICH,
        currents=st.lists(st.floats(0.0, BAND), min_size=1, max_size=4),
        part=st.sampled_from([0.4, 1.0, 1.0]),
        above=st.sampled_from([1.0, 1.0, 1.3]),
    )
    def expose(
        self, which: int, currents: list[float], part: float, above: float
    ) -> None:
        """Expose by a ticket, at a current that wanders; maybe cut short."""
        uid = self.one_of(self.held, which)
        ticket = self.made[uid]
        is_again = uid in {record.ticket_uid for record in self.records}
        if self.stays_in_band:
            above = 1.0
            if is_again:  # an instrument takes a ticket once
                return
        mean_pa = 150 * above * sum(currents) / len(currents)
        charge_c = mean_pa * 1e-12 * part * ticket.exposure.beam_on_s
        self.counter += 1
        record = ExposureResult(
            ticket_uid=uid,
            outcome=Outcome.COMPLETE if part == 1.0 else Outcome.CUT,
            charge_c=charge_c,
            beam_on_s=part * ticket.max_time_s,
            frames=1,
            counter=self.counter,
            boot_id=self.boot_id,
        )
        self.log[self.counter] = record
        self.any_over |= is_again or above > 1.0
        self.records.append(record)
        self.armed_uid = ""

    @precondition(lambda self: self.log)
    @rule(who=WHO, which=WHICH)
    def settle(self, who: int, which: int) -> None:
        record = self.log[self.one_of(self.log, which)]
        self.of(who).settle(record.ticket_uid, record)

    @precondition(lambda self: self.held)
    @rule(which=WHICH)
    def arm(self, which: int) -> None:
        self.armed_uid = self.one_of(self.held, which)

    @precondition(lambda self: self.held)
    @rule(which=WHICH)
    def give_up(self, which: int) -> None:
        uid = self.one_of(self.held, which)
        self.now = self.held.pop(uid)
        if self.armed_uid == uid:
            self.armed_uid = ""
        try:
            self.ledgers[self.now].release(
                uid, reason="given up", boot_id=self.boot_id, counter=self.counter
            )
        except LedgerError:
            return

    @rule(who=WHO)
    def die(self, who: int) -> None:
        """Kill a session: what it had in mind is gone, its beam is blanked."""
        pid = self.living[who]
        self.ledgers.pop(pid).close()
        self.series.pop(pid, None)
        self.held = {uid: owner for uid, owner in self.held.items() if owner != pid}
        if self.armed_uid not in self.held:
            self.armed_uid = ""
        self.living[who] = max(self.living) + 1
        self.ledgers[self.living[who]] = self.opened()

    @rule()
    def restart_the_instrument(self) -> None:
        self.boot_id = f"boot-{int(self.boot_id[5:]) + 1}"
        self.counter, self.log, self.armed_uid = 0, {}, ""

    @rule(who=WHO, release_own=st.booleans())
    def reconcile(self, who: int, release_own: bool) -> None:
        done = reconcile(self.of(who), self, release_own=release_own)
        for uid in done.released:
            # Of its own session, between two plans; nobody else's are released.
            assert self.held.pop(uid, self.now) == self.now

    @rule(who=WHO, region=st.sampled_from(list(PLACES_NM)))
    def acknowledge(self, who: int, region: str) -> None:
        try:
            self.of(who).acknowledge("wire-1", region, reason="seen")
        except LedgerError:
            return

    # What always holds.

    @invariant()
    def no_place_has_received_more_than_is_counted(self) -> None:
        if not self.records:
            return
        true = self.true_at_points()
        clear = self.clear_of([self.made[r.ticket_uid].exposure for r in self.records])
        counted = self.counted_at_points() + self.not_told()
        assert np.all(counted[clear] >= true[clear] - 1e-6)

    @invariant()
    def no_place_gets_more_than_the_limit(self) -> None:
        if self.any_over or not self.asked:
            return
        clear = self.clear_of(self.asked)
        assert np.all(self.true_at_points()[clear] <= LIMIT)
        assert np.all(self.counted_at_points()[clear] <= LIMIT + 1e-6)

    @invariant()
    def what_is_settled_is_what_was_shot_to_the_rounding(self) -> None:
        ledger = self.of(0)
        if self.any_over or ledger.unsettled() or ledger.open_series_left():
            return
        clear = self.clear_of(self.asked) if self.asked else slice(None)
        above = self.counted_at_points() - self.true_at_points()
        # Up to 1e-3 e/nm2 for each part that is booked, the rest of a frame too.
        assert np.all(above[clear] <= 2e-3 * len(self.records) + 1e-6)

    @invariant()
    def no_account_is_negative(self) -> None:
        with self.of(0)._file.reading() as connection:  # noqa: SLF001
            for region in PLACES_NM:
                held = dose_book.balance(connection, "wire-1", region)
                assert min(held.settled, held.tickets, held.series) >= 0

    def received(self, record: ExposureResult) -> Any:
        """Return what an exposure has left at each point, e/nm2, (point,)."""
        exposure = self.made[record.ticket_uid].exposure
        elapsed = record.beam_on_s / (64 * 64 * exposure.dwell_s)
        each = record.charge_c / 1.602176634e-19 / (2 * HALF_NM) ** 2 / elapsed
        return each * frames_at(exposure, elapsed)

    def true_at_points(self) -> Any:
        """Return what each point has truly received, e/nm2, (point,)."""
        nothing = np.zeros(len(POINTS_NM))
        return sum((self.received(record) for record in self.records), nothing)

    def clear_of(self, fields: list[Exposure]) -> Any:
        """Return the points that are far from the edges of fields and of all cuts."""
        cuts = [
            (ticket.exposure, r.beam_on_s / (64 * 64 * ticket.exposure.dwell_s))
            for r in self.records
            if (ticket := self.made[r.ticket_uid]) and r.outcome is Outcome.CUT
        ]
        return far_from_edges(fields, cuts)

    def counted_at_points(self) -> Any:
        """Return what the ledger's map holds at each point, e/nm2, (point,)."""
        counted = np.zeros(len(POINTS_NM))
        try:
            found = self.of(0).fluence_map("wire-1", cell_nm=8.0)
        except LedgerError:  # nothing is booked, or no more
            return counted
        held = found.settled_e_per_nm2 + found.reserved_e_per_nm2
        at = [
            np.rint((POINTS_NM[:, k] - axis[0]) / found.cell_nm).astype(int)
            for k, axis in enumerate((found.x_nm, found.y_nm))
        ]
        inside = [(0 <= i) & (i < n) for i, n in zip(at, held.shape[::-1], strict=True)]
        mapped = inside[0] & inside[1]
        counted[mapped] = held[at[1][mapped], at[0][mapped]]
        return counted

    def not_told(self) -> Any:
        """Return what exceeds reservations and nobody has told the ledger, (point,).

        An instrument that blanks at the charge limit, and takes a ticket once, has
        none of it.
        """
        excused = np.zeros(len(POINTS_NM))
        if not self.any_over:
            return excused
        rows = self.of(0).history("wire-1")
        told = {(r.boot_id, r.counter) for r in rows if r.kind == "settle"}
        closed = {r.ticket for r in rows if r.kind == "settle"}
        for uid, ticket in self.made.items():
            untold = [
                self.received(r)
                for r in self.records
                if r.ticket_uid == uid and (r.boot_id, r.counter) not in told
            ]
            excess = sum(untold, np.zeros(len(POINTS_NM)))
            if uid not in closed:
                excess = np.maximum(0.0, excess - ticket.reserved_e_per_nm2)
            excused += excess
        return excused


TestLedgerMachine: Any = pytest.mark.timeout(300 + EXAMPLES)(LedgerMachine.TestCase)
TestLedgerMachine.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=int(os.environ.get("CRYOLINE_DOSE_STEPS", "10")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
