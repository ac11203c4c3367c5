"""The custody record: what it keeps, for how long, and for whom."""

import io
import json
import sqlite3
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from rich.console import Console

from cryoline.acquisition.custody import CustodyRecord
from cryoline.acquisition.custody_records import LegReport, LegStart
from cryoline.acquisition.errors import CustodyError
from cryoline.acquisition.sample_report import SampleReport, render_sample

START = LegStart(
    uid="leg-1",
    specimen="nw-01",
    route="small",
    leg="plunge",
    from_state="open",
    to_state="cold",
    from_place="glovebox",
    to_place="pot",
    instrument_time_s=100.0,
)
REPORT = LegReport(
    uid="leg-1",
    outcome="done",
    place="pot",
    state="cold",
    instrument_time_s=160.0,
    worst={"carrier.temperature_max_degc": -171.0, "suitcase.pressure_mbar": 2e-9},
    air_s=10.0,
)


@pytest.fixture
def record(tmp_path: Path) -> CustodyRecord:
    return CustodyRecord(tmp_path / "custody.sqlite")


def walked(record: CustodyRecord, start: LegStart, report: LegReport) -> None:
    record.enter_leg(start)
    record.leave_leg(report)


def test_leg_leaves_its_place_its_worst_readings_and_its_times(record) -> None:
    walked(record, START, REPORT)
    state = record.state("nw-01")
    assert (state.place, state.state, state.route) == ("pot", "cold", "small")
    assert state.t_max_degc == -171.0
    assert state.p_max_mbar == 2e-9
    assert state.air_s == 10.0
    assert state.flags == ()
    assert state.open_leg is None
    rows = record.history("nw-01")
    assert [row.kind for row in rows] == ["specimen", "enter", "leave"]
    assert [row.instrument_time_s for row in rows] == [None, 100.0, 160.0]
    assert state.as_of_s == rows[-1].wall_s
    assert json.dumps(state.block())


def test_unknown_specimen_has_no_place(record) -> None:
    assert not record.knows("nw-01")
    state = record.state("nw-01")
    assert (state.place, state.t_max_degc, state.as_of_s) == ("", None, 0.0)


def test_open_leg_is_seen_by_the_next_session(record, tmp_path) -> None:
    record.enter_leg(START)
    record.close()
    state = CustodyRecord(tmp_path / "custody.sqlite").state("nw-01")
    assert state.state == "on plunge"
    assert state.place == "glovebox"
    assert state.open_leg is not None
    assert state.open_leg.start == START


def test_sending_a_message_again_changes_nothing(record) -> None:
    for _ in range(2):
        record.enter_leg(START)
    for _ in range(2):
        record.leave_leg(REPORT)
    assert len(record.history("nw-01")) == 3
    assert record.state("nw-01").air_s == 10.0


def test_specimen_is_on_one_leg_at_a_time(record) -> None:
    record.enter_leg(START)
    with pytest.raises(CustodyError, match="nw-01 is on leg plunge of small already"):
        record.enter_leg(replace(START, uid="leg-2", leg="load"))
    with pytest.raises(CustodyError, match="no leg leg-9 was ever entered"):
        record.leave_leg(replace(REPORT, uid="leg-9"))


def test_worst_readings_and_air_are_those_of_all_legs(record) -> None:
    walked(record, START, REPORT)
    walked(
        record,
        replace(START, uid="leg-2"),
        replace(
            REPORT, uid="leg-2", air_s=3.0, worst={"carrier.temperature_degc": -150.0}
        ),
    )
    state = record.state("nw-01")
    assert state.t_max_degc == -150.0
    assert state.p_max_mbar == 2e-9
    assert state.air_s == 13.0


def test_child_inherits_what_its_parent_has_suffered_before(record) -> None:
    record.register("nw-01")
    record.flag("nw-01", "temperature", "-120 degC on leg plunge", leg="leg-1")
    walked(record, START, REPORT)
    record.register("needle-1", parent="nw-01", made_as="needle")
    record.flag("nw-01", "air", "dropped on the floor")
    walked(
        record,
        replace(START, uid="leg-2"),
        replace(REPORT, uid="leg-2", worst={"carrier.temperature_degc": 20.0}),
    )
    record.register("piece-1", parent="needle-1")

    for name in ("needle-1", "piece-1"):
        state = record.state(name)
        assert state.flags == ("temperature",)
        assert state.t_max_degc == -171.0
        assert state.place == "pot"
    assert record.state("piece-1").ancestors == ("nw-01", "needle-1")
    assert record.state("nw-01").flags == ("air", "temperature")
    assert record.children("nw-01") == ("needle-1",)


def test_flag_found_out_later_reaches_the_children_made_since(record) -> None:
    record.register("nw-01")
    walked(record, START, REPORT)
    happened_s = record.history("nw-01")[-1].wall_s
    record.register("needle-1", parent="nw-01")
    before = record.state("needle-1")
    record.flag("nw-01", "air", "the seal was torn", occurred_s=happened_s)
    after = record.state("needle-1")
    assert before.flags == ()
    assert after.flags == ("air",)
    assert after.as_of_s > before.as_of_s


def test_child_inherits_the_harvest_before_it_was_made_and_no_later_one(record) -> None:
    state = {"state": "delithiated", "potential_v": 1.5, "instrument_time_s": 1.0}
    first = state | {"cycle_number": 1, "cycling_run": "a"}
    later = state | {"cycle_number": 36, "cycling_run": "b"}
    record.harvest("nw-01", first)
    record.harvest("nw-01", first)
    record.register("needle-1", parent="nw-01")
    record.harvest("nw-01", later)
    record.register("needle-2", parent="nw-01")
    assert record.state("needle-1").harvest == first
    assert record.state("nw-01").harvest == record.state("needle-2").harvest == later
    assert record.state("needle-2").block()["harvest"]["cycle_number"] == 36
    assert len([r for r in record.history("nw-01") if r.kind == "place"]) == 2
    assert "harvest" not in record.state("nw-02").block()


def test_a_person_reads_where_it_is_and_how_it_was_harvested(record) -> None:
    state = {
        **{"state": "delithiated", "cycle_number": 36, "potential_v": 1.5},
        **{"lithiation_x": 0.431, "instrument_time_s": 1.0, "cycling_run": "52a0"},
    }
    record.harvest("nw-01", state)
    record.register("grid-1", parent="nw-01")
    console = Console(file=io.StringIO(), width=120)
    custody = record.state("grid-1")
    render_sample(SampleReport("grid-1", ("nw-01",), (), None, custody), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "grid-1 <- nw-01\nis: in its cell\nharvested delithiated, cycle 36, " in text
    assert "1.500 V, x = 0.43 by charge, SEI included, run 52a0\n" in text


def test_specimen_has_one_parent(record) -> None:
    record.register("needle-1", parent="nw-01")
    record.register("needle-1")
    record.register("needle-1", parent="nw-01")
    with pytest.raises(CustodyError, match="made from nw-01, not from nw-02"):
        record.register("needle-1", parent="nw-02")
    assert record.specimens() == ("nw-01", "needle-1")


def test_person_corrects_the_place_with_a_reason_and_ends_the_open_leg(record) -> None:
    record.enter_leg(START)
    with pytest.raises(CustodyError, match="Give a reason"):
        record.correct_place("nw-01", "pot", reason=" ")
    record.correct_place("nw-01", "pot", state="cold", reason="found it there")
    state = record.state("nw-01")
    assert (state.place, state.state, state.open_leg) == ("pot", "cold", None)
    leave = [row for row in record.history("nw-01") if row.kind == "leave"]
    assert leave[0].body["report"]["outcome"] == "interrupted"


@pytest.mark.parametrize(
    "statement", ["UPDATE rows SET wall_s = 0", "DELETE FROM rows"]
)
def test_no_row_is_ever_changed_or_deleted(record, statement) -> None:
    record.register("nw-01")
    with sqlite3.connect(record.path) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="custody record is never"):
            connection.execute(statement)
    connection.close()


def test_file_of_something_else_is_refused(tmp_path) -> None:
    path = tmp_path / "records.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE counters (name TEXT)")
    connection.close()
    with pytest.raises(
        CustodyError, match=r"tables of something else \(counters\).*custody\.record"
    ):
        CustodyRecord(path)


ENTER_AND_WAIT = """
import signal, sys
from pathlib import Path
from cryoline.acquisition.custody import CustodyRecord
from cryoline.acquisition.custody_records import LegStart
CustodyRecord(Path(sys.argv[1])).enter_leg(LegStart(**eval(sys.argv[2])))
print("entered", flush=True)
signal.pause()
"""


def test_leg_of_a_living_session_is_walked_and_that_of_a_dead_one_is_not(
    record,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENTER_AND_WAIT, record.path, repr(asdict(START))],
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "entered\n"
        (open_leg,) = record.open_legs()
        assert open_leg.is_walked
        with pytest.raises(CustodyError, match=f"walked by process {other.pid}"):
            record.correct_place("nw-01", "pot", reason="found it there")
        other.kill()
    (open_leg,) = record.open_legs()
    assert not open_leg.is_walked
    assert open_leg.owner["pid"] == other.pid
