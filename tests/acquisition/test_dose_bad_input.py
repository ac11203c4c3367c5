"""Nonsense is refused in exact words, before a row is written or a device moves."""

import asyncio
import math
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from bluesky.utils import Msg
from pydantic import ValidationError

from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.dose_guard import DoseGuard
from cryoline.acquisition.errors import DoseRefused, LedgerError
from cryoline.devices.exposure import (
    Exposure,
    ExposureResult,
    Outcome,
    ProbeCurrent,
    Ticket,
)

FRAME = Exposure(
    specimen="wire-1", width_px=512, height_px=512, pixel_nm=2.134, dwell_s=4e-6
)
NONE_AT_ALL = (0.0, -150.0, math.nan, math.inf, -math.inf)
RESTARTED = (
    "dose: beam was restarted (boot id boot-1, now boot-2) while 1 ticket was not "
    "settled: nothing is reserved until you have run: cryoline dose reconcile"
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[DoseLedger]:
    with DoseLedger(tmp_path / "dose.sqlite", limit_e_per_nm2=1e7) as ledger:
        yield ledger


def rows(ledger: DoseLedger) -> tuple[int, int]:
    """Return how many events and bookings the file holds."""
    connection = sqlite3.connect(ledger.path)
    try:
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("events", "bookings")
        ]
    finally:
        connection.close()
    return counts[0], counts[1]


def reserve(ledger: DoseLedger, **changed: Any) -> Ticket:
    what = {
        "current_pa": 150.0,
        "current_limit_pa": 165.0,
        "boot_id": "boot-1",
        "counter": 0,
    }
    return ledger.reserve(FRAME, **{**what, **changed})


def result(ticket: Ticket, **changed: Any) -> ExposureResult:
    what = {
        "ticket_uid": ticket.uid,
        "outcome": Outcome.COMPLETE,
        "charge_c": ticket.max_charge_c / 2,
        "beam_on_s": ticket.max_time_s,
        "frames": 1,
        "counter": 1,
        "boot_id": "boot-1",
    }
    return ExposureResult(**{**what, **changed})


def refusal(ledger: DoseLedger, call: Callable[[], object]) -> str:
    """Return what is said; no row may have been written."""
    before = rows(ledger)
    with pytest.raises((DoseRefused, LedgerError)) as caught:
        call()
    assert rows(ledger) == before
    return str(caught.value)


# Currents, budgets, limits


@pytest.mark.parametrize("current_pa", NONE_AT_ALL)
@pytest.mark.parametrize("name", ["current_pa", "current_limit_pa"])
def test_a_current_that_is_none(
    ledger: DoseLedger, name: str, current_pa: float
) -> None:
    what = {"current_pa": "a measured current", "current_limit_pa": "a current limit"}
    expected = (
        f"dose: {what[name]} of {current_pa:g} pA is no probe current; nothing was "
        "reserved. Measure it (beam.measure_current()), and check the unit of its PV"
    )
    currents = {"current_pa": 150.0, "current_limit_pa": 165.0, name: current_pa}

    assert refusal(ledger, lambda: reserve(ledger, **currents)) == expected
    assert refusal(ledger, lambda: ledger.open_series([FRAME], **currents)) == expected


@pytest.mark.parametrize("budget", NONE_AT_ALL)
def test_a_budget_that_is_none(ledger: DoseLedger, budget: float) -> None:
    def open_series() -> None:
        ledger.open_series([FRAME], current_limit_pa=165.0, budget_e_per_nm2=budget)

    assert refusal(ledger, open_series) == (
        f"dose: a budget of {budget:g} e/nm2 allows nothing; give a number above 0, or "
        "none at all: the region's limit holds then"
    )


@pytest.mark.parametrize("limit", [*NONE_AT_ALL, 1.1e7])
def test_a_limit_that_is_none(ledger: DoseLedger, limit: float) -> None:
    def set_limit() -> None:
        ledger.set_limit("wire-1", "region-1", limit, reason="a test")

    assert refusal(ledger, set_limit) == (
        f"dose: specimen wire-1, region-1: a limit of {limit:g} e/nm2 is not above 0 "
        "and up to 1.00e7 e/nm2, which is configured; choose one that is, or change "
        "dose.limit_e_per_nm2"
    )


@pytest.mark.parametrize("charge_c", [-1e-12, math.nan, math.inf, -math.inf])
def test_a_charge_that_is_none(ledger: DoseLedger, charge_c: float) -> None:
    ticket = reserve(ledger)

    def settle() -> None:
        ledger.settle_by_hand(ticket.uid, charge_c=charge_c, reason="a test")

    assert refusal(ledger, settle) == (
        f"dose: {charge_c:g} C is no charge; give 0 or more, or leave it out to charge "
        "the ticket in full"
    )
    with pytest.raises(ValidationError, match="charge_c"):
        result(ticket, charge_c=charge_c)
    assert ledger.unsettled() == [ticket]


@pytest.mark.parametrize("x_nm", [math.nan, math.inf])
def test_a_place_that_is_none(ledger: DoseLedger, x_nm: float) -> None:
    def place() -> None:
        ledger.place_region("wire-1", "region-1", x_nm=x_nm, y_nm=0, reason="a test")

    assert refusal(ledger, place) == (
        f"dose: specimen wire-1, region-1: ({x_nm:g}, 0) nm is no place; give x and y "
        "from the specimen's origin"
    )


# Names and reasons


@pytest.mark.parametrize("reason", ["", " ", "\n\t"])
def test_a_decision_without_a_reason(ledger: DoseLedger, reason: str) -> None:
    ticket = reserve(ledger)
    at: dict[str, Any] = {"boot_id": "boot-1", "counter": 0}
    where = ("wire-1", "region-1")
    calls: list[Callable[[], object]] = [
        lambda: ledger.set_limit(*where, 1e6, reason=reason),
        lambda: ledger.acknowledge(*where, reason=reason),
        lambda: ledger.settle_by_hand(ticket.uid, reason=reason),
        lambda: ledger.release(ticket.uid, reason=reason, **at),
        lambda: ledger.place_region(*where, x_nm=1.0, y_nm=1.0, reason=reason),
    ]

    for call in calls:
        assert refusal(ledger, call) == (
            "dose: give a reason; it stays in the ledger for good"
        )


def test_tickets_and_series_that_nobody_knows(ledger: DoseLedger) -> None:
    at: dict[str, Any] = {"boot_id": "boot-1", "counter": 0}
    lost = result(reserve(ledger)).model_copy(update={"ticket_uid": "t-9"})
    unknown_ticket = (
        "dose: ticket 't-9' is not in this ledger; check which data directory the "
        "configuration names"
    )
    unknown_series = (
        "dose: series 's-9' is not in this ledger; open one with its exposures (the "
        "plan's first message, preflight)"
    )

    def settle_by_hand() -> object:
        return ledger.settle_by_hand("t-9", reason="a test")

    def release() -> None:
        ledger.release("t-9", reason="a test", **at)

    assert refusal(ledger, lambda: ledger.settle("t-9", lost)) == unknown_ticket
    assert refusal(ledger, settle_by_hand) == unknown_ticket
    assert refusal(ledger, release) == unknown_ticket
    assert refusal(ledger, lambda: reserve(ledger, series="s-9")) == unknown_series
    assert refusal(ledger, lambda: ledger.close_series("s-9")) == unknown_series


def test_specimens_and_regions_that_nobody_knows(ledger: DoseLedger) -> None:
    def acknowledge() -> None:
        ledger.acknowledge("wire-9", "region-9", reason="a test")

    assert refusal(ledger, acknowledge) == (
        "dose: specimen wire-9, region-9 is not blocked; see cryoline dose show wire-9"
    )
    # Asking is no mistake: nothing has hit it.
    used = ledger.usage("wire-9", "region-9")
    assert (used.settled_e_per_nm2, used.left_e_per_nm2) == (0.0, 1e7)
    assert rows(ledger) == (0, 0)


@pytest.mark.parametrize("name", ["", " wire", "wire 1", "wire_1", "-1", "w" * 61])
def test_names_that_no_specimen_can_have(ledger: DoseLedger, name: str) -> None:
    for key in ("specimen", "region"):
        with pytest.raises(ValidationError, match=key):
            Exposure(**{**FRAME.model_dump(), key: name})
    # A limit on a name that no exposure can have would protect nothing.
    expected = (
        f"dose: {name!r} can't name a specimen or region: letters, digits, points and "
        "dashes, up to 60, a letter or digit first. Mend the name"
    )
    calls: list[Callable[[], object]] = [
        lambda: ledger.set_limit(name, "region-1", 1e6, reason="a test"),
        lambda: ledger.set_limit("wire-1", name, 1e6, reason="a test"),
        lambda: ledger.place_region("wire-1", name, x_nm=1, y_nm=1, reason="a test"),
        lambda: ledger.register(name, ["parent"]),
        lambda: ledger.register("wire-1", [name]),
    ]
    for call in calls:
        assert refusal(ledger, call) == expected


@pytest.mark.parametrize(
    "changed",
    [
        {"pixel_nm": math.nan},
        {"pixel_nm": 0.0},
        {"dwell_s": math.inf},
        {"dwell_s": -1e-6},
        {"n_frames": 0},
        {"flyback_s": -1.0},
        {"tilt_deg": math.nan},
        {"tilt_deg": 90.0},
        {"offset_x_nm": math.inf},
        {"rotation_deg": math.nan},
        {"beam_diameter_nm": -1.0},
    ],
)
def test_an_exposure_that_is_none(changed: dict[str, float]) -> None:
    (key,) = changed
    with pytest.raises(ValidationError, match=key):
        Exposure(**{**FRAME.model_dump(), **changed})


# Counters, boot ids, clocks


@pytest.mark.parametrize(
    ("boot_id", "counter"), [("", 0), ("boot-1", -1), ("boot-1", True)]
)
def test_an_instrument_that_does_not_say_who_and_where_it_is(
    ledger: DoseLedger, boot_id: str, counter: int
) -> None:
    expected = (
        f"dose: the instrument gives boot id {boot_id!r} and exposure counter "
        f"{counter!r}; without both nothing can be reconciled later. Check BootId_RBV "
        "and ExposureCounter_RBV"
    )
    at: dict[str, Any] = {"boot_id": boot_id, "counter": counter}
    ticket = reserve(ledger)

    def release() -> None:
        ledger.release(ticket.uid, reason="a test", **at)

    assert refusal(ledger, lambda: reserve(ledger, **at)) == expected
    assert refusal(ledger, release) == expected
    assert refusal(ledger, lambda: ledger.note_reconciled(**at)) == expected


def test_a_counter_of_0_after_a_restart(ledger: DoseLedger) -> None:
    ticket = reserve(ledger, counter=7)
    restarted: dict[str, Any] = {"boot_id": "boot-2", "counter": 0}

    def release() -> None:
        ledger.release(ticket.uid, reason="a test", **restarted)

    assert refusal(ledger, lambda: reserve(ledger, **restarted)) == RESTARTED
    assert refusal(ledger, release) == (
        f"dose: ticket {ticket.uid} can't be released, it stays in full: beam was "
        "restarted since (boot id boot-1, now boot-2) and can't say what it did; run: "
        "cryoline dose reconcile"
    )
    ledger.settle_by_hand(ticket.uid, reason="the log was lost")
    reserve(ledger, **restarted)


def test_a_counter_of_0_without_a_restart(ledger: DoseLedger) -> None:
    reserve(ledger, counter=7)

    assert refusal(ledger, lambda: reserve(ledger, counter=0)) == (
        "dose: the exposure counter of beam reads 0, after 7 under the same boot id: "
        "it has lost count, nothing is reserved or released until you have run: "
        "cryoline dose reconcile"
    )


def test_a_clock_that_goes_back_changes_nothing_that_is_counted(
    ledger: DoseLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    settled = []
    for n, clock_s in enumerate([now, now - 1e6, 0.0]):
        monkeypatch.setattr(time, "time", lambda clock_s=clock_s: clock_s)
        ticket = reserve(ledger, counter=n)
        settled.append(ledger.settle(ticket.uid, result(ticket, counter=n + 1)))

    each = settled[0].fluence_e_per_nm2
    assert [s.prior_e_per_nm2 for s in settled] == pytest.approx([0, each, 2 * each])
    assert ledger.last_seen() == ("boot-1", 3)
    assert [row.time_s for row in ledger.history("wire-1")][-1] == 0.0
    message = refusal(ledger, lambda: reserve(ledger, counter=2))
    assert message.startswith("dose: the exposure counter of beam reads 2, after 3")


# Through the guard: no device is touched either


@dataclass
class Beam:
    """What the guard asks of a beam; everything else that is used is written down."""

    current: ProbeCurrent
    name: str = "beam"
    where: tuple[str, int] = ("boot-1", 0)
    touched: list[str] = field(default_factory=list)

    def probe_current(self) -> ProbeCurrent:
        return self.current

    def position(self) -> tuple[str, int]:
        return self.where

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            self.touched.append(name)
        raise AttributeError(name)


def asked(ledger: DoseLedger, beam: Any, *message: Any, **options: Any) -> str:
    guard = DoseGuard(ledger, beam)

    def ask() -> None:
        command, *arguments = message
        asyncio.run(guard.commands[command](Msg(command, beam, *arguments, **options)))

    said = refusal(ledger, ask)
    assert beam.touched == []
    assert guard.series is None
    return said


def known(current_pa: float) -> ProbeCurrent:
    return ProbeCurrent(current_pa=current_pa, age_s=1.0, current_max_pa=500.0)


def test_a_gun_that_is_off(ledger: DoseLedger) -> None:
    expected = (
        "dose: beam measured 0 pA; without a current no dose can be foreseen. Is the "
        "gun on, the valve open?"
    )

    assert asked(ledger, Beam(known(0.0)), "reserve_dose", FRAME) == expected


@pytest.mark.parametrize("current_pa", [math.nan, math.inf, -1.0])
def test_a_current_reading_that_is_none(current_pa: float) -> None:
    with pytest.raises(ValidationError, match="current_pa"):
        known(current_pa)


def test_an_instrument_without_a_boot_id(ledger: DoseLedger) -> None:
    said = asked(ledger, Beam(known(150.0), where=("", 0)), "reserve_dose", FRAME)

    assert said.startswith("dose: the instrument gives boot id '' and exposure counter")


def test_a_restarted_instrument_with_an_open_ticket(ledger: DoseLedger) -> None:
    reserve(ledger)

    said = asked(ledger, Beam(known(150.0), where=("boot-2", 0)), "reserve_dose", FRAME)

    assert said == RESTARTED
