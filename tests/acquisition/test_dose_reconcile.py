"""What died unsettled is settled by the instrument's log, or stays in full."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cryoline.acquisition.config import Config, load_config
from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.dose_config import open_ledger
from cryoline.acquisition.dose_reconcile import reconcile
from cryoline.acquisition.errors import DoseRefused, LedgerError
from cryoline.acquisition.sample_exchange import export_sample, import_sample
from cryoline.devices.exposure import Exposure, ExposureResult, Outcome, Ticket

FRAME = Exposure(
    specimen="wire-1", width_px=512, height_px=512, pixel_nm=2.134, dwell_s=4e-6
)


class Instrument:
    """A beam's exposure log: what it has done, by which ticket."""

    def __init__(self) -> None:
        self.boot_id = "boot-1"
        self.records: dict[int, ExposureResult] = {}
        self.counter = 0
        self.armed_uid = ""

    def expose(self, ticket_uid: str, charge_c: float = 1e-10) -> ExposureResult:
        self.counter += 1
        self.records[self.counter] = ExposureResult(
            ticket_uid=ticket_uid,
            outcome=Outcome.COMPLETE,
            charge_c=charge_c,
            beam_on_s=1.0,
            frames=1,
            counter=self.counter,
            boot_id=self.boot_id,
        )
        return self.records[self.counter]

    def restart(self) -> None:
        self.boot_id += "+"
        self.records, self.counter, self.armed_uid = {}, 0, ""

    def armed(self) -> str:
        return self.armed_uid

    def position(self) -> tuple[str, int]:
        return self.boot_id, self.counter

    def logged(self, counter: int) -> ExposureResult | None:
        return self.records.get(counter)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[DoseLedger]:
    with DoseLedger(tmp_path / "dose.sqlite", limit_e_per_nm2=1e7) as ledger:
        yield ledger


@pytest.fixture
def beam() -> Instrument:
    return Instrument()


def reserve(ledger: DoseLedger, beam: Instrument, **changed: Any) -> Ticket:
    boot_id, counter = beam.position()
    return ledger.reserve(
        FRAME,
        current_pa=150,
        current_limit_pa=165,
        boot_id=boot_id,
        counter=counter,
        **changed,
    )


def reserve_and_die(ledger: DoseLedger, beam: Instrument, **changed: Any) -> str:
    """Let a process reserve a ticket, and be gone; return the ticket's UID."""
    known = {ticket.uid for ticket in ledger.unsettled()}
    pid = os.fork()
    if pid == 0:
        try:
            reserve(ledger, beam, **changed)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    (uid,) = {ticket.uid for ticket in ledger.unsettled()} - known
    return uid


def test_what_the_log_knows_is_settled(ledger: DoseLedger, beam: Instrument) -> None:
    uid = reserve_and_die(ledger, beam)
    record = beam.expose(uid)

    done = reconcile(ledger, beam)

    assert [s.ticket_uid for s in done.settled] == [uid]
    assert not done.released
    assert not done.kept
    assert ledger.unsettled() == []
    (row,) = [r for r in ledger.history("wire-1") if r.kind == "settle"]
    assert row.body["result"] == record.model_dump(mode="json")


def test_what_was_never_exposed_is_released(
    ledger: DoseLedger, beam: Instrument
) -> None:
    never = reserve_and_die(ledger, beam)
    other = reserve(ledger, beam)
    beam.expose(other.uid)

    done = reconcile(ledger, beam)

    assert done.released == [never]
    assert [s.ticket_uid for s in done.settled] == [other.uid]
    assert ledger.usage("wire-1", "region-1").reserved_e_per_nm2 == 0


def test_what_is_armed_stays_in_full(ledger: DoseLedger, beam: Instrument) -> None:
    uid = reserve_and_die(ledger, beam)
    beam.armed_uid = uid

    done = reconcile(ledger, beam)

    assert done.kept == {
        uid: "it is armed or exposing now; if nobody means it: cryoline blank"
    }
    beam.armed_uid = ""
    assert reconcile(ledger, beam).released == [uid]


def test_a_ticket_armed_while_the_log_is_read_stays_in_full(
    ledger: DoseLedger, beam: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = reserve_and_die(ledger, beam)
    answers = iter(["", uid])
    monkeypatch.setattr(beam, "armed", lambda: next(answers))

    assert list(reconcile(ledger, beam).kept) == [uid]


def test_the_ticket_of_a_living_session_is_not_taken_from_it(
    ledger: DoseLedger, beam: Instrument
) -> None:
    ticket = reserve(ledger, beam)

    done = reconcile(ledger, beam)

    (reason,) = done.kept.values()
    assert f"(process {os.getpid()} on " in reason
    assert reason.endswith("still runs")
    assert ledger.unsettled() == [ticket]
    # Between two plans a session knows that it exposes by none of its tickets.
    assert reconcile(ledger, beam, release_own=True).released == [ticket.uid]


def test_a_restarted_instrument_leaves_it_in_full_until_a_person_decides(
    ledger: DoseLedger, beam: Instrument
) -> None:
    uid = reserve_and_die(ledger, beam)
    beam.expose(uid)
    beam.restart()

    done = reconcile(ledger, beam)

    reason = (
        "the instrument was restarted since (boot id boot-1, now boot-1+) and does "
        "not say what it did before"
    )
    assert done.kept == {uid: reason}
    (opened,) = ledger.open_tickets()
    assert opened.reason == reason
    assert reconcile(ledger, beam).kept == {uid: reason}
    (opened,) = ledger.open_tickets()
    assert opened.reason == reason  # said once
    # The next exposure is not held up by it any more, but it counts.
    reserve(ledger, beam)
    with pytest.raises(LedgerError, match="can't be released, it stays in full"):
        ledger.release(uid, reason="x", boot_id="boot-1", counter=0)
    ledger.settle_by_hand(uid, reason="nobody knows")
    assert ledger.usage("wire-1", "region-1").settled_e_per_nm2 > 0


def test_a_log_with_a_gap_leaves_it_in_full(
    ledger: DoseLedger, beam: Instrument
) -> None:
    uid = reserve_and_die(ledger, beam)
    for name in ("a", "b", "c"):
        beam.expose(name)
    del beam.records[2]

    done = reconcile(ledger, beam)

    assert done.kept == {uid: "the instrument's log has no record of exposure 2"}
    with pytest.raises(LedgerError, match="no record of exposure 2"):
        ledger.release(uid, reason="x", boot_id="boot-1", counter=3)


def test_a_counter_that_went_back_leaves_it_in_full(
    ledger: DoseLedger, beam: Instrument
) -> None:
    beam.counter = 5
    uid = reserve_and_die(ledger, beam)
    beam.counter = 4

    done = reconcile(ledger, beam)

    assert done.kept == {
        uid: "the instrument's exposure counter went back, from 5 to 4"
    }
    reserve(ledger, beam)


def test_exposures_that_nobody_reserved_are_shown(
    ledger: DoseLedger, beam: Instrument
) -> None:
    uid = reserve_and_die(ledger, beam)
    strange = beam.expose("somebody-else")
    beam.expose(uid)

    done = reconcile(ledger, beam)

    assert done.unknown == [strange]
    assert [s.ticket_uid for s in done.settled] == [uid]


def test_a_series_of_a_dead_session_is_closed_and_a_living_one_stays(
    ledger: DoseLedger, beam: Instrument
) -> None:
    mine = ledger.open_series([FRAME] * 3, current_limit_pa=165.0)
    pid = os.fork()
    if pid == 0:
        try:
            ledger.open_series([FRAME] * 5, current_limit_pa=165.0)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    before = ledger.usage("wire-1", "region-1").reserved_e_per_nm2

    done = reconcile(ledger, beam)

    (closed,) = done.closed_series
    assert closed != mine
    after = ledger.usage("wire-1", "region-1").reserved_e_per_nm2
    assert after == pytest.approx(before * 3 / 8)
    assert [s.uid for s in ledger.open_series_left()] == [mine]


def test_a_released_ticket_of_a_dead_series_is_given_back_once(
    ledger: DoseLedger, beam: Instrument
) -> None:
    series = ledger.open_series([FRAME] * 3, current_limit_pa=165.0)
    reserve_and_die(ledger, beam, series=series)

    reconcile(ledger, beam)
    ledger.close_series(series)

    assert ledger.usage("wire-1", "region-1").reserved_e_per_nm2 == 0


def test_reconciling_what_is_in_order_writes_nothing(
    ledger: DoseLedger, beam: Instrument
) -> None:
    ticket = reserve(ledger, beam)
    ledger.settle(ticket.uid, beam.expose(ticket.uid))
    seen = ledger.last_seen()

    reconcile(ledger, beam)

    assert ledger.last_seen() == seen == ("boot-1", 1)
    with ledger._file.reading() as connection:  # noqa: SLF001
        rows = connection.execute("SELECT count(*) FROM events").fetchone()
    assert rows == (2,)


def test_tickets_of_another_instrument_are_left_alone(
    ledger: DoseLedger, beam: Instrument
) -> None:
    with DoseLedger(ledger.path, limit_e_per_nm2=1e7, source="fib") as other:
        uid = reserve_and_die(other, beam)
        beam.restart()
        reserve(ledger, beam)  # its own boot id has not changed

        assert reconcile(ledger, beam).kept.keys().isdisjoint({uid})
        assert uid in {t.uid for t in other.unsettled()}


# Two instruments, and two sites, in one ledger


def test_each_of_two_instruments_is_reconciled_with_its_own_log(
    ledger: DoseLedger, beam: Instrument
) -> None:
    fib = Instrument()
    with DoseLedger(ledger.path, limit_e_per_nm2=1e7, source="fib") as other:
        mine, theirs = reserve_and_die(ledger, beam), reserve_and_die(other, fib)
        beam.expose(mine)
        fib.expose(theirs, charge_c=2e-10)
        fib.expose("somebody")

        done = reconcile(ledger, beam)
        assert [s.ticket_uid for s in done.settled] == [mine]
        assert (done.kept, done.unknown) == ({}, [])
        # The counter of one says nothing of the other.
        assert (ledger.last_seen(), other.last_seen()) == (("boot-1", 1), ("boot-1", 0))
        beam.restart()
        reserve(ledger, beam)

        done = reconcile(other, fib)
        assert [s.ticket_uid for s in done.settled] == [theirs]
        assert [r.ticket_uid for r in done.unknown] == ["somebody"]
        assert ledger.last_seen() == ("boot-1+", 0)
    used = ledger.usage("wire-1", "region-1")
    assert used.settled_e_per_nm2 == pytest.approx(1569.0, rel=1e-3)


def test_what_one_instrument_charged_too_much_blocks_the_other(
    ledger: DoseLedger, beam: Instrument
) -> None:
    fib = Instrument()
    with DoseLedger(ledger.path, limit_e_per_nm2=1e7, source="fib") as other:
        uid = reserve_and_die(other, fib)
        fib.expose(uid, charge_c=1e-8)
        (settled,) = reconcile(other, fib).settled
        assert settled.over

        with pytest.raises(DoseRefused, match="is blocked"):
            reserve(ledger, beam)
        ledger.acknowledge("wire-1", "region-1", reason="the gun flashed")
        reserve(ledger, beam)
        reserve(other, fib)


@pytest.fixture
def sites(tmp_path: Path) -> tuple[Config, Config]:
    """Two sites, whose beams are called the same."""
    found = []
    for name in ("Bath", "Lyon"):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "instrument.toml"
        path.write_text(f'[instrument]\nname = "{name}"\n')
        found.append(load_config(path))
    return found[0], found[1]


def test_rows_of_another_site_are_not_taken_for_those_of_the_beam_of_here(
    sites: tuple[Config, Config], beam: Instrument, tmp_path: Path
) -> None:
    home, there = sites
    far = Instrument()
    far.boot_id, far.counter = beam.boot_id, 41  # even so
    with open_ledger(home) as ledger:
        uid = reserve_and_die(ledger, beam)
        beam.expose(uid)
        reconcile(ledger, beam)
    export_sample(home, "wire-1", tmp_path / "out.json")
    import_sample(there, tmp_path / "out.json")
    with open_ledger(there) as ledger:
        assert ledger.last_seen() is None
        uid = reserve_and_die(ledger, far)
        far.expose(uid)
        done = reconcile(ledger, far)
        assert [s.ticket_uid for s in done.settled] == [uid]
        assert (done.kept, done.unknown) == ({}, [])
    export_sample(there, "wire-1", tmp_path / "back.json")
    import_sample(home, tmp_path / "back.json")

    with open_ledger(home) as ledger:
        # Not 42, which would forbid every release, and not a restart.
        assert ledger.last_seen() == ("boot-1", 1)
        never = reserve_and_die(ledger, beam)
        assert reconcile(ledger, beam).released == [never]
        beam.restart()
        reserve(ledger, beam)
        assert len(ledger.unsettled()) == 1
    used = open_ledger(home).usage("wire-1", "region-1")
    assert used.settled_e_per_nm2 == pytest.approx(2 * 523.0, rel=1e-3)


def test_a_record_that_comes_late_is_charged_though_the_specimen_is_away(
    sites: tuple[Config, Config], beam: Instrument, tmp_path: Path
) -> None:
    home, _ = sites
    with open_ledger(home) as ledger:
        uid = reserve(ledger, beam).uid
        ledger.settle(uid, beam.expose(uid))
        other = reserve(ledger, beam).uid
        ledger.settle_by_hand(other, charge_c=0.0, reason="never exposed, it seemed")
        export_sample(home, "wire-1", tmp_path / "out.json")
        before = ledger.usage("wire-1", "region-1").settled_e_per_nm2

        # It had been exposed, says the log: more than a person knew.
        settled = ledger.settle(other, beam.expose(other))

        assert settled.fluence_e_per_nm2 > 0
        after = ledger.usage("wire-1", "region-1").settled_e_per_nm2
        assert after == pytest.approx(2 * before)
