"""The plan's own promises, on a cycler of plain Python behind a real RunEngine."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from event_model import DocumentNames, schema_validators
from ophyd import Signal
from ophyd.status import Status

from cryoline.acquisition import Specimen, cyclic_voltammetry, run_program
from cryoline.acquisition.errors import PlanRefused
from cryoline.devices import OpenCircuitVoltage, Program, SafetyLimits
from cryoline.devices.errors import ProgramFailed

SPECIMEN = Specimen(name="wafer-01", ancestors=("boule-7",), electrode_mass_mg=0.3)


class SoftCycler:
    """Takes ``points`` points in bursts of two, in a thread, as an instrument would."""

    parent = None

    def __init__(self, points: int = 10, failure: Exception | None = None) -> None:
        self.name = "cycler"
        self.potential_min_v = Signal(name="min", value=-10.0)
        self.potential_max_v = Signal(name="max", value=10.0)
        self.current_max_a = Signal(name="amps", value=0.1)
        self.scan_rate_max_mv_per_s = Signal(name="rate", value=1000.0)
        self.state = Signal(name="state", value=0)
        self.contact = Signal(name="contact", value=1)
        self.potential_v = Signal(name="potential", value=2.8)
        self.charge_mah = Signal(name="charge", value=0.0)
        self.cycle_number = Signal(name="cycle", value=1)
        self.program_uid = Signal(name="program", value="")
        self.point_count = Signal(name="count", value=0)
        self.halt = Signal(name="halt", value=0)
        self.program: Program | None = None
        self.kickoffs = 0
        self.go_on = threading.Event()
        self._points = points
        self._failure = failure
        self._taken = 0
        self._read = 0

    def prepare(self, value: Program) -> Status:
        self.program = value
        return done()

    def kickoff(self) -> Status:
        self.kickoffs += 1
        return done()

    def complete(self) -> Status:
        status = Status()

        def run() -> None:
            while self._taken < self._points:
                self._taken += 2
                if self._taken == self._points // 2:
                    self.go_on.wait(10)
                threading.Event().wait(0.02)
            if self._failure:
                status.set_exception(self._failure)
            else:
                status.set_finished()

        threading.Thread(target=run, daemon=True).start()
        return status

    def describe_collect(self) -> dict[str, Any]:
        return {"cycler_potential_v": {"source": "x", "dtype": "number", "shape": []}}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        return {}

    async def collect_pages(self) -> AsyncIterator[dict[str, Any]]:
        taken = self._taken
        rows = [float(k) for k in range(self._read, taken)]
        self._read = taken
        if rows:
            stamps = [0.0] * len(rows)
            yield {
                "data": {"cycler_potential_v": rows},
                "timestamps": {"cycler_potential_v": stamps},
                "time": stamps,
            }


def done() -> Status:
    status = Status()
    status.set_finished()
    return status


class Documents:
    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        self.all.append((name, doc))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [doc for n, doc in self.all if n == name]

    @property
    def seq_nums(self) -> list[int]:
        return [n for page in self.named("event_page") for n in page["seq_num"]]

    @property
    def potentials(self) -> list[float]:
        return [
            v
            for page in self.named("event_page")
            for v in page["data"]["cycler_potential_v"]
        ]


@pytest.fixture
def engine() -> RunEngine:
    return RunEngine({}, context_managers=[])


@pytest.fixture
def documents(engine: RunEngine) -> Documents:
    documents = Documents()
    engine.subscribe(documents)
    return documents


def test_every_point_is_collected_once_and_every_document_is_valid(
    engine: RunEngine, documents: Documents
) -> None:
    cycler = SoftCycler(points=50)
    cycler.go_on.set()

    engine(cyclic_voltammetry(cycler, SPECIMEN, n_cycles=2))

    assert documents.potentials == [float(k) for k in range(50)]
    for name, doc in documents.all:
        schema_validators[DocumentNames[name]].validate(doc)
    assert documents.named("stop")[0]["num_events"] == {"points": 50}


def test_the_start_document_says_what_was_asked_of_which_specimen(
    engine: RunEngine, documents: Documents
) -> None:
    cycler = SoftCycler()
    cycler.go_on.set()

    engine(cyclic_voltammetry(cycler, SPECIMEN, n_cycles=2, md={"purpose": "test"}))

    start = documents.named("start")[0]
    assert start["specimen"] == "wafer-01"
    assert start["ancestors"] == ["boule-7"]
    assert start["electrode"] == {"mass_mg": 0.3, "area_cm2": None}
    assert start["technique"] == "cyclic-voltammetry"
    assert start["plan_args"]["scan_rate_mv_per_s"] == 0.2
    assert start["purpose"] == "test"
    assert [s["type"] for s in start["program"]["steps"]] == [
        "voltage_scan",
        "voltage_scan",
        "loop",
    ]


def test_the_safety_window_lies_just_outside_the_vertices(engine: RunEngine) -> None:
    cycler = SoftCycler()
    cycler.go_on.set()

    engine(cyclic_voltammetry(cycler, SPECIMEN))

    assert cycler.program is not None
    safety = cycler.program.safety
    assert safety.potential_min_v == pytest.approx(-0.04)
    assert safety.potential_max_v == pytest.approx(3.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"scan_rate_mv_per_s": 0},
            "cyclic_voltammetry: scan_rate_mv_per_s = 0 mV/s; give more than 0 mV/s",
        ),
        (
            {"scan_rate_mv_per_s": float("nan")},
            "cyclic_voltammetry: scan_rate_mv_per_s = nan mV/s; give more than 0 mV/s",
        ),
        (
            {"n_cycles": 0},
            "cyclic_voltammetry: n_cycles = 0; give a whole number, 1 or more",
        ),
        (
            {"n_cycles": 1.5},
            "cyclic_voltammetry: n_cycles = 1.5; give a whole number, 1 or more",
        ),
        (
            {"vertex_low_v": 3.0, "vertex_high_v": 0.01},
            "cyclic_voltammetry: vertices 3 V and 0.01 V; "
            "vertex_low_v must be below vertex_high_v",
        ),
        (
            {"vertex_high_v": 12.0},
            "cycler: vertex_high_v = 12 V is outside -10..10 V; "
            "choose a vertex that the instrument can apply",
        ),
        (
            {"scan_rate_mv_per_s": 5000},
            "cycler: 5000 mV/s is above 1000 mV/s; choose a slower sweep",
        ),
        (
            {"current_limit_a": 1.0},
            "cycler: current_limit_a = 1 A is above 0.1 A; "
            "choose a limit that the instrument can measure",
        ),
    ],
)
def test_an_impossible_sweep_is_refused_before_anything_moves(
    engine: RunEngine,
    documents: Documents,
    arguments: dict[str, Any],
    message: str,
) -> None:
    cycler = SoftCycler()

    with pytest.raises(PlanRefused) as caught:
        engine(cyclic_voltammetry(cycler, SPECIMEN, **arguments))

    assert str(caught.value) == message
    assert cycler.program is None
    assert cycler.kickoffs == 0
    assert not documents.all


def test_a_running_program_is_not_disturbed(engine: RunEngine) -> None:
    cycler = SoftCycler()
    cycler.state.put(2)

    with pytest.raises(PlanRefused, match="cycler: a program is running"):
        engine(cyclic_voltammetry(cycler, SPECIMEN))

    assert cycler.program is None


def test_a_failed_program_raises_its_reason_with_every_point_in_the_run(
    engine: RunEngine, documents: Documents
) -> None:
    cycler = SoftCycler(points=20, failure=RuntimeError("contact lost at 0.31 V"))
    cycler.go_on.set()

    with pytest.raises(RuntimeError, match="contact lost"):
        engine(run_program(cycler, a_rest()))

    assert documents.potentials == [float(k) for k in range(20)]
    assert documents.named("stop")[0]["exit_status"] == "fail"


class FailsWhileRead(SoftCycler):
    """Its program fails while a page is being fetched, behind which one more stands."""

    def complete(self) -> Status:
        self._status = Status()
        return self._status

    async def collect_pages(self) -> AsyncIterator[dict[str, Any]]:
        if not self._status.done:
            self._status.set_exception(self._failure)
            await asyncio.sleep(0.05)  # by now the RunEngine has heard of it
        self._taken += 5
        async for page in super().collect_pages():
            yield page


def test_a_program_that_fails_while_it_is_collected_loses_no_point(
    engine: RunEngine, documents: Documents
) -> None:
    cycler = FailsWhileRead(failure=ProgramFailed("contact lost at 0.31 V"))

    with pytest.raises(ProgramFailed, match="contact lost"):
        engine(run_program(cycler, a_rest()))

    assert documents.potentials == [float(k) for k in range(10)]
    assert documents.named("stop")[0]["exit_status"] == "fail"


def test_a_program_stopped_at_the_instrument_is_no_success(
    engine: RunEngine, documents: Documents
) -> None:
    cycler = SoftCycler(points=20)
    cycler.go_on.set()
    cycler.state.put(4)

    with pytest.raises(ProgramFailed, match="was stopped before its end"):
        engine(run_program(cycler, a_rest()))

    assert documents.potentials == [float(k) for k in range(20)]
    assert documents.named("stop")[0]["exit_status"] == "fail"


@pytest.mark.parametrize("defer", [True, False])
def test_a_pause_neither_restarts_the_program_nor_loses_a_point(
    engine: RunEngine, documents: Documents, defer: bool
) -> None:
    cycler = SoftCycler(points=20)
    engine.md["scan_id"] = 0
    threading.Timer(0.3, lambda: engine.request_pause(defer)).start()
    if defer:  # a deferred pause waits for a checkpoint, and collecting has some
        threading.Timer(0.6, cycler.go_on.set).start()

    with pytest.raises(RunEngineInterrupted):
        engine(run_program(cycler, a_rest()))
    cycler.go_on.set()
    engine.resume()

    assert cycler.kickoffs == 1
    assert documents.potentials == [float(k) for k in range(20)]
    assert documents.seq_nums == list(range(1, 21))
    assert documents.named("stop")[0]["exit_status"] == "success"


def test_an_abort_by_a_person_stops_the_instrument_too(
    engine: RunEngine, documents: Documents
) -> None:
    cycler = SoftCycler(points=20)
    threading.Timer(0.3, engine.request_pause).start()
    with pytest.raises(RunEngineInterrupted):
        engine(run_program(cycler, a_rest()))

    engine.abort(reason="wrong cell")

    assert cycler.halt.get() == 1
    assert documents.named("stop")[0]["exit_status"] == "abort"


def a_rest() -> Program:
    return Program(
        steps=(OpenCircuitVoltage(duration_s=1),),
        safety=SafetyLimits(potential_min_v=-1, potential_max_v=4, current_max_a=0.01),
    )
