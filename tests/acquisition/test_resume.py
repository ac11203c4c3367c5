"""A program outlives its sessions: what they keep together, and what they refuse."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from bluesky import RunEngine
from bluesky.utils import Msg
from ophyd import Signal
from ophyd.status import Status

from cryoline.acquisition import (
    HarvestAt,
    Specimen,
    custody_guard,
    cycle,
    harvest,
    harvest_record,
    program_points,
    resume_program,
    unfinished,
)
from cryoline.acquisition.custody import CustodyRecord
from cryoline.acquisition.errors import (
    CryolineError,
    JournalError,
    PlanRefused,
    ProtocolError,
)
from cryoline.acquisition.journal import Journal
from cryoline.acquisition.journal_recovery import close_interrupted
from cryoline.acquisition.unfinished import find_program
from cryoline.devices import Program
from cryoline.devices.potentiostat import Attachment

CELL = Specimen(name="wafer-01", electrode_mass_mg=0.3)
LOADED, RUNNING, FINISHED = 1, 2, 3


class Died(Exception):
    """A session that is killed."""


class Channel:
    """A cycler with a memory of ``points`` points, as a session sees it."""

    parent = None
    name = "pot"
    state: Any
    program_uid: Any
    point_count: Any

    def __init__(self, points: int = 12, *, dies_after: int | None = None) -> None:
        for name, value in {
            "potential_min_v": -10.0,
            "potential_max_v": 10.0,
            "current_max_a": 0.1,
            "scan_rate_max_mv_per_s": 1000.0,
            "state": 0,
            "halt": 0,
            "contact": 1,
            "potential_v": 2.8,
            "charge_mah": -0.1,
            "cycle_number": 2,
            "program_uid": "",
            "point_count": 0,
        }.items():
            setattr(self, name, Signal(name=name, value=value))
        self.points = points
        self.dies_after = dies_after
        self.loads = 0
        self._next = 0

    def prepare(self, value: Program | Attachment) -> Status:
        if isinstance(value, Attachment):
            self._next = value.next_point
        else:
            self.loads += 1
            self._next = 0
            self.program_uid.put(value.uid)
            self.state.put(LOADED)
        return done()

    def kickoff(self) -> Status:
        self.state.put(RUNNING)
        self.point_count.put(self.points)
        return done()

    def complete(self) -> Status:
        if self.dies_after is None:
            self.state.put(FINISHED)
        return done()

    def describe_collect(self) -> dict[str, Any]:
        return {"pot_point_index": {"source": "x", "dtype": "integer", "shape": []}}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        return {}

    async def collect_pages(self) -> AsyncIterator[dict[str, Any]]:
        while self._next < self.points:
            rows = list(range(self._next, min(self._next + 5, self.points)))
            if self.dies_after is not None and rows[0] >= self.dies_after:
                raise Died
            self._next = rows[-1] + 1
            stamps = [0.0] * len(rows)
            yield {
                "data": {"pot_point_index": rows},
                "timestamps": {"pot_point_index": stamps},
                "time": stamps,
            }


def done() -> Status:
    status = Status()
    status.set_finished()
    return status


class Session:
    """A RunEngine with a journal in a directory, and what it wrote."""

    def __init__(self, directory: Path) -> None:
        close_interrupted(directory)
        self.engine: Any = RunEngine(
            {"scan_id": len(list(directory.glob("*.jsonl")))},
            context_managers=[],
            call_returns_result=True,
        )
        self.engine.subscribe(Journal(directory))
        self.starts: list[dict[str, Any]] = []
        self.indices: list[int] = []
        self.engine.subscribe(self._note)
        unfinished.install(self.engine, directory)

    def _note(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            self.starts.append(doc)
        if name == "event_page":
            self.indices += doc["data"]["pot_point_index"]


def killed_session(directory: Path, channel: Channel) -> Session:
    session = Session(directory)
    with pytest.raises(Died):
        session.engine(cycle(channel, "s0-1", CELL))
    channel.dies_after = None
    return session


def test_a_new_session_goes_on_with_a_run_that_continues_and_the_union_is_whole(
    tmp_path: Path,
) -> None:
    channel = Channel(points=23, dies_after=10)
    first = killed_session(tmp_path, channel)
    channel.dies_after = 15
    second = Session(tmp_path)
    with pytest.raises(Died):
        second.engine(resume_program(channel))
    channel.dies_after = None
    third = Session(tmp_path)
    third.engine(resume_program(channel))

    assert first.indices + second.indices + third.indices == list(range(23))
    assert channel.loads == 1
    (start,) = third.starts
    assert start["continues"] == second.starts[0]["uid"]
    assert start["first_point"] == 15
    for key in ("specimen", "electrode", "technique", "protocol", "program"):
        assert start[key] == first.starts[0][key]
    kept = find_program(tmp_path, channel.program_uid.get())
    assert kept is not None
    assert kept.next_point == 23
    assert len(kept.runs) == 3


def test_there_is_nothing_to_go_on_with_when_all_points_are_kept(
    tmp_path: Path,
) -> None:
    session, channel = Session(tmp_path), Channel()
    session.engine(cycle(channel, "s0-1", CELL))
    with pytest.raises(PlanRefused, match="all of its 12 points are in run"):
        session.engine(resume_program(channel))


@pytest.mark.parametrize(
    ("uid", "words"),
    [("", "holds no program"), ("other", "program other, of which this data")],
)
def test_a_program_of_somebody_else_is_left_alone(
    tmp_path: Path, uid: str, words: str
) -> None:
    channel = Channel()
    channel.program_uid.put(uid)
    with pytest.raises(PlanRefused, match=words):
        Session(tmp_path).engine(resume_program(channel))


def test_a_living_session_is_not_doubled(tmp_path: Path) -> None:
    channel = Channel(dies_after=5)
    killed_session(tmp_path, channel)
    (journal,) = tmp_path.glob("*.jsonl")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))  # not closed yet
    other: Any = RunEngine({}, context_managers=[])
    unfinished.install(other, tmp_path)
    channel.state.put(RUNNING)
    with pytest.raises(PlanRefused, match="a living session collects program"):
        other(resume_program(channel))


def test_a_missing_run_in_between_is_said_and_not_papered_over(tmp_path: Path) -> None:
    channel = Channel(points=23, dies_after=10)
    killed_session(tmp_path, channel)
    (first,) = tmp_path.glob("*.jsonl")
    Session(tmp_path).engine(resume_program(channel))
    first.unlink()
    with pytest.raises(
        JournalError, match=r"holds points from 10 .* and 0 was to come"
    ):
        find_program(tmp_path, channel.program_uid.get())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"state": RUNNING, "program_uid": "a1b2"},
            "pot: a program is running (a1b2); wait for its end, or choose another "
            "channel. If it is yours, go on with it (cryoline resume pot, or "
            "resume_program(pot)), or stop it: pot.stop()",
        ),
        ({"contact": 0}, "no cell is connected; connect wafer-01"),
        ({"potential_v": 0.1}, "wafer-01 is at 0.1 V, and s0-1 starts at 1..3.2 V"),
        ({"scan_rate_max_mv_per_s": 0.1}, "0.2 mV/s is above 0.1 mV/s"),
        ({"current_max_a": 0.001}, "current_max_a = 0.01 A is above 0.001 A"),
        ({"potential_max_v": 3.0}, "safety.potential_max_v = 3.05 V is outside"),
    ],
)
def test_a_cycle_is_refused_before_anything_is_loaded(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    session, channel = Session(tmp_path), Channel()
    for name, value in change.items():
        getattr(channel, name).put(value)
    with pytest.raises(PlanRefused) as refusal:
        session.engine(cycle(channel, "s0-1", CELL))
    assert words in str(refusal.value)
    assert channel.loads == 0
    assert session.starts == []


def test_a_harvest_leaves_its_state_on_the_specimen(tmp_path: Path) -> None:
    session, channel = Session(tmp_path), Channel()
    custody = CustodyRecord(tmp_path / "custody.sqlite")
    custody_guard.install(session.engine, custody)
    clock = Signal(name="clock", value=4711.0)
    at = HarvestAt(cycle_count=2)

    runs = session.engine(harvest(channel, "s0-10", CELL, at, clock=clock)).plan_result

    assert session.starts[0]["program"]["harvest"]["cycle_count"] == 2
    assert session.starts[0]["program"]["harvest"]["after_step"] == [1]
    (row,) = (r for r in custody.history("wafer-01") if "harvest" in r.body)
    assert row.run == runs.cycling == session.starts[0]["uid"]
    state = row.body["harvest"]
    assert (state["state"], state["cycle_number"]) == ("delithiated", 2)
    # 0.1 mAh in 0.3 mg at 954.28 mAh/g for each lithium per silicon.
    assert state["lithiation_x"] == pytest.approx(0.1 / (954.28 * 0.3e-3), rel=1e-4)
    assert custody.state("wafer-01").place == ""  # it may begin any route


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": RUNNING}, "pot is running, and a cell is harvested where its"),
        ({"state": 5}, "pot is failed, and a cell is harvested where its program has"),
        ({"program_uid": "other"}, "none of the program that pot holds (other; runs:"),
        ({"program_uid": ""}, "none of the program that pot holds (none; runs:"),
    ],
)
def test_a_state_that_is_not_the_one_at_harvest_is_not_recorded(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    session, channel = Session(tmp_path), Channel()
    custody = CustodyRecord(tmp_path / "custody.sqlite")
    custody_guard.install(session.engine, custody)
    at = HarvestAt(cycle_count=2)
    clock = Signal(name="clock", value=1.0)
    run = session.engine(cycle(channel, "s0-10", CELL)).plan_result
    for name, value in change.items():
        getattr(channel, name).put(value)
    record = harvest_record(channel, "s0-10", CELL, at, run=run, clock=clock)
    with pytest.raises(PlanRefused) as refusal:
        session.engine(record)
    assert words in str(refusal.value)
    assert not custody.knows(CELL.name)


def test_a_harvest_goes_on_only_with_the_program_that_was_begun_for_it(
    tmp_path: Path,
) -> None:
    channel = Channel(dies_after=5)
    at, clock = HarvestAt(cycle_count=2), Signal(name="clock", value=1.0)
    first = Session(tmp_path)
    with pytest.raises(Died):
        first.engine(harvest(channel, "s0-10", CELL, at, clock=clock))
    channel.dies_after = None
    session = Session(tmp_path)
    custody_guard.install(session.engine, CustodyRecord(tmp_path / "c.sqlite"))
    for protocol, other in (("s0-10", 3), ("s0-25", 2)):
        wrong = HarvestAt(cycle_count=other)
        with pytest.raises(PlanRefused, match="begun for wafer-01 by s0-10 with harve"):
            session.engine(
                harvest(channel, protocol, CELL, wrong, clock=clock, resume=True)
            )
    for _ in range(2):  # again, when there is nothing left to collect
        again = harvest(channel, "s0-10", CELL, at, clock=clock, resume=True)
        runs = session.engine(again).plan_result
        assert runs.cycling == session.starts[0]["uid"]
    assert first.indices + session.indices == list(range(12))
    assert channel.loads == 1


def test_a_harvest_of_a_state_that_is_never_left_is_refused(tmp_path: Path) -> None:
    session, channel = Session(tmp_path), Channel()
    at = HarvestAt(state="lithiated", cycle_count=2)
    with pytest.raises(PlanRefused, match="s0-10 would not end lithiated if no"):
        session.engine(harvest(channel, "s0-10", CELL, at, clock=Signal(name="clock")))
    with pytest.raises(ProtocolError, match="no step leaves the electrode delithiated"):
        session.engine(
            harvest(
                channel,
                "s0-0",
                CELL,
                HarvestAt(cycle_count=1),
                clock=Signal(name="clock"),
            )
        )
    assert channel.loads == 0


def test_find_program_is_a_message_of_the_session(tmp_path: Path) -> None:
    channel = Channel(dies_after=5)
    session = killed_session(tmp_path, channel)

    def plan() -> Any:
        return (yield Msg("find_program", None, channel.program_uid.get()))

    assert session.engine(plan()).plan_result.next_point == 5


class Catalog:
    """What Tiled's catalog is asked: runs by a query, and their tables."""

    def __init__(self, *tables: list[int]) -> None:
        self.tables = tables

    def search(self, query: Any) -> dict[str, Any]:
        return {str(k): Catalog(table) for k, table in enumerate(self.tables)}

    def __getitem__(self, key: str) -> "Catalog":
        return self

    @property
    def base(self) -> "Catalog":
        return self

    def read(self) -> pd.DataFrame:
        (rows,) = self.tables
        return pd.DataFrame(
            {"pot_point_index": rows, "ts_pot_point_index": [0.0] * len(rows)}
        )


def test_the_points_of_a_program_are_the_union_of_its_runs_each_once() -> None:
    whole = program_points(Catalog([3, 4], [0, 1, 2], []), "uid")
    assert whole["pot_point_index"].tolist() == [0, 1, 2, 3, 4]
    for tables in ([0, 1], [3]), ([0, 1], [1, 2]):
        with pytest.raises(CryolineError, match="missing or occurs twice in its 2"):
            program_points(Catalog(*tables), "uid")
    with pytest.raises(CryolineError, match="no run of program uid"):
        program_points(Catalog(), "uid")
