"""The one stub for exposures, interrupted at each of its messages, in every way.

The devices are the real ones. Behind their signals is a microscope of plain Python
that times, charges and logs exposures by wall time.
"""

import asyncio
import itertools
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import bluesky.plans as bp
import bluesky.preprocessors as bpp
import ophyd.sim
import pytest
from bluesky import RunEngine
from bluesky.utils import Msg, RunEngineInterrupted
from event_model import DocumentNames, schema_validators
from ophyd import EpicsSignal, EpicsSignalRO
from ophyd.sim import FakeEpicsSignal, make_fake_device
from ophyd.status import Status

from cryoline.acquisition.calibrations import CalibrationsSection
from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.dose_guard import DoseGuard, install
from cryoline.acquisition.errors import (
    DoseRefused,
    ExposureCut,
    LedgerError,
    PlanRefused,
)
from cryoline.acquisition.expose import close_series, expose, expose_once
from cryoline.acquisition.fluence import (
    fluence_of_charge_e_per_nm2,
    worst_fluence_e_per_nm2,
)
from cryoline.analysis.constants import ELEMENTARY_CHARGE_C
from cryoline.devices.beam import Beam
from cryoline.devices.beam_panel import BeamState
from cryoline.devices.current_signal import CurrentSignalRO
from cryoline.devices.detector_panel import DetectorState
from cryoline.devices.detectors import HaadfDetector
from cryoline.devices.errors import (
    ExposureFailed,
    ExposureRefused,
    InstrumentUnreachable,
)
from cryoline.devices.exposure import Exposure, Outcome, Purpose
from cryoline.devices.session_beat import SessionBeat
from cryoline.sim.laboratory import Lab

EXPOSURE = Exposure(
    specimen="wire-1", width_px=16, height_px=16, pixel_nm=2.0, dwell_s=2.5e-4
)
"""64 ms of wall time."""

CURRENT_PA = 150.0


class Answered(FakeEpicsSignal):
    """A signal whose put is answered when the instrument has done it, as of an IOC."""

    is_frozen = False

    def set(self, value: Any, *, timeout: float | None = None, **_: Any) -> Status:
        if self.is_frozen:
            return Status(timeout=timeout)
        self.put(value)
        status = Status()
        status.set_finished()
        return status


def fake(device: type) -> Any:
    """Return the device class with signals that this module serves."""
    cache = ophyd.sim.fake_device_cache
    cache[EpicsSignal] = Answered
    cache[CurrentSignalRO] = cache[EpicsSignalRO]
    try:
        return make_fake_device(device)
    finally:
        cache[EpicsSignal] = FakeEpicsSignal


class SoftMicroscope:
    """One beam and one detector; ``log`` holds every exposure that was made."""

    exposure = EXPOSURE

    def __init__(self) -> None:
        self.log: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self.current_pa = CURRENT_PA
        self.fails_to_record = False
        self.disarms_at_once = False
        self.measured = 0
        self._lock = threading.RLock()
        self._armed: dict[str, Any] | None = None
        self._running: dict[str, Any] | None = None
        self._cut = threading.Event()
        self._recorded = itertools.count(1)
        self.beam = fake(Beam)("SOFT:BEAM:", name="beam")
        self.haadf = fake(HaadfDetector)("SOFT:HAADF:", name="haadf")
        for device in (self.beam, self.haadf):
            device.answer_timeout_s = 0.2
            for walk in device.walk_signals():
                if isinstance(walk.item, FakeEpicsSignal):
                    walk.item.sim_put("" if walk.item.as_string else 0)
        self.beam.current_pa.sim_put(CURRENT_PA)
        self.beam.current_max_pa.sim_put(500.0)
        self.beam.boot_id.sim_put("boot-1")
        for name in ("arm", "start", "blank", "measure", "log_request"):
            self._serve(self.beam, name)
        for name in ("capture", "acquire", "cancel"):
            self._serve(self.haadf, name)
        self.haadf.file_name.sim_put("frames")

    @property
    def is_at_rest(self) -> bool:
        return self._armed is None and self._running is None

    def _serve(self, device: Any, name: str) -> None:
        signal = getattr(device, name)

        def put(value: Any, *_: Any, **__: Any) -> None:
            with self._lock:
                signal.sim_put(value)
                if value not in ("", 0) or name == "capture":
                    getattr(self, f"_{name}")(value)

        signal.sim_set_putter(put)

    # The beam ----------------------------------------------------------------------

    def _show(self, message: str = "") -> None:
        beam = self.beam
        state = BeamState.ARMED if self._armed else BeamState.BLANKED
        if self._running:
            state = BeamState.EXPOSING
        current = self._running or self._armed
        beam.armed_ticket_uid.sim_put(current["ticket"] if current else "")
        beam.state.sim_put(int(state))
        beam.message.sim_put(message)
        if self.log:
            last = self.log[-1]
            beam.charge_c.sim_put(last["charge_c"])
            beam.ticket_uid.sim_put(last["ticket"])
            beam.outcome.sim_put(last["outcome"])
            beam.exposure_counter.sim_put(last["counter"])

    def _arm(self, text: str) -> None:
        if self.is_at_rest and not self.beam.interlock.get():
            self._armed = json.loads(text)
            self._show()
            if self.disarms_at_once:
                self._blank(1)
        else:
            self._show("beam: Arm: not now")

    def _start(self, _: int) -> None:
        if self._running is not None:
            self.complaints.append("started while it exposed")
        if self._armed is None:
            self._show("beam: Start: nothing is armed")
            return
        self._running, self._armed = self._armed, None
        self._cut.clear()
        self._show()
        threading.Thread(target=self._expose, daemon=True).start()

    def _expose(self) -> None:
        order = self._running
        assert order is not None
        pixels = order["width_px"] * order["height_px"]
        wanted_s = order["n_frames"] * pixels * order["dwell_s"]
        charge_s = order["max_charge_c"] / (self.current_pa * 1e-12)
        began = time.monotonic()
        was_cut = self._cut.wait(min(wanted_s, charge_s))
        with self._lock:
            if self._running is None:
                return
            outcome = Outcome.MAX_CHARGE if charge_s < wanted_s else Outcome.COMPLETE
            on_s = min(wanted_s, charge_s)
            if was_cut:
                outcome, on_s = Outcome.CUT, min(on_s, time.monotonic() - began)
            self._end(outcome, on_s)

    def _end(self, outcome: Outcome, on_s: float) -> None:
        assert self._running is not None
        record = {
            "boot_id": "boot-1",
            "counter": len(self.log) + 1,
            "ticket": self._running["ticket"],
            "outcome": int(outcome),
            "charge_c": self.current_pa * 1e-12 * on_s,
            "beam_on_s": on_s,
            "frames": int(outcome is Outcome.COMPLETE),
            "start_s": time.time() - on_s,
            "end_s": time.time(),
        }
        self._running = None
        self.log.append(record)
        self._show()
        self._record(record["ticket"])

    def _blank(self, _: int) -> None:
        self._armed = None
        self._cut.set()
        if self._running is not None:
            began = self.log[-1]["end_s"] if self.log else 0.0
            self._end(Outcome.CUT, min(0.02, time.time() - began))
        self._show()

    def _measure(self, _: int) -> None:
        self.measured += 1
        self.beam.current_pa.sim_put(self.current_pa)
        self.beam.current_age_s.sim_put(0.0)

    def _log_request(self, counter: int) -> None:
        known = 0 < counter <= len(self.log)
        self.beam.log_record.sim_put(json.dumps(self.log[counter - 1]) if known else "")

    # The detector ------------------------------------------------------------------

    def _capture(self, value: int) -> None:
        self.haadf.capturing.sim_put(value)
        name = f"/data/{self.haadf.file_name.get()}.h5"
        self.haadf.full_file_name.sim_put(name if value else "")

    def _acquire(self, _: int) -> None:
        self.haadf.state.sim_put(int(DetectorState.WAITING))

    def _cancel(self, _: int) -> None:
        if self.haadf.state.get() == DetectorState.WAITING:
            self.haadf.state.sim_put(int(DetectorState.IDLE))

    def _record(self, ticket: str) -> None:
        haadf = self.haadf
        expected = haadf.expect.get() == ticket
        if haadf.state.get() != DetectorState.WAITING or not expected:
            return
        if self.fails_to_record:
            haadf.message.sim_put("haadf: no space left on device")
            haadf.state.sim_put(int(DetectorState.ERROR))
            return
        haadf.ticket_uid.sim_put(ticket)
        haadf.slot_index.sim_put(haadf.slot.get())
        haadf.acquire_counter.sim_put(next(self._recorded))
        haadf.state.sim_put(int(DetectorState.IDLE))


class Bench:
    """A RunEngine with ledger and guard at a microscope, as a session has it."""

    def __init__(
        self, path: Path, world: Any = None, *, handles_ctrl_c: bool = False
    ) -> None:
        self.world = world or SoftMicroscope()
        self.exposure: Exposure = self.world.exposure
        self.beam, self.haadf = self.world.beam, self.world.haadf
        self.ledger = DoseLedger(path / "dose.sqlite", limit_e_per_nm2=1e7)
        managers: list[Any] | None = None if handles_ctrl_c else []
        self.engine: Any = RunEngine(
            {}, call_returns_result=True, context_managers=managers
        )
        self.guard: DoseGuard = install(self.engine, self.ledger, self.beam)
        self.documents: list[tuple[str, dict[str, Any]]] = []
        self.early: list[dict[str, Any]] = []
        self.engine.subscribe(self._take)

    def _take(self, name: str, doc: dict[str, Any]) -> None:
        self.documents.append((name, doc))
        if name == "event" and doc["data"]["beam_ticket_uid"] not in self.tickets():
            self.early.append(doc)

    def tickets(self) -> list[str]:
        """The tickets of all exposures that have ended."""
        return [record["ticket"] for record in self.world.log]

    def named(self, name: str) -> list[dict[str, Any]]:
        return [doc for n, doc in self.documents if n == name]

    def once(self, **options: Any) -> Any:
        return expose_once(self.beam, [self.haadf], self.exposure, **options)

    def run(self, *exposures: Exposure) -> Any:
        """A run of several exposures, that draw on whatever series is open."""

        def plan() -> Any:
            for exposure in exposures:
                yield from expose(self.beam, [self.haadf], exposure)

        return bpp.run_wrapper(bpp.stage_wrapper(plan(), [self.haadf]))

    def settled_e_per_nm2(self) -> float:
        return self.ledger.usage("wire-1", "region-1").settled_e_per_nm2

    def check(self, context: object = "") -> None:
        """What must hold between two plans, whatever has happened."""
        assert self.world.is_at_rest, context
        assert not self.world.complaints, context
        spans = [(record["start_s"], record["end_s"]) for record in self.world.log]
        assert all(a[1] <= b[0] + 1e-3 for a, b in itertools.pairwise(spans)), context
        assert self.early == [], context
        for event in self.named("event"):
            ticket = event["data"]["beam_ticket_uid"]
            assert event["data"]["haadf_ticket_uid"] == ticket, context
        assert len(set(self.tickets())) == len(self.tickets()), context
        assert self.ledger.unsettled() == [], context
        charge_c = sum(record["charge_c"] for record in self.world.log)
        mean = fluence_of_charge_e_per_nm2(charge_c, self.exposure.area_nm2)
        # A frame that was cut lies where it was scanned: the fullest cell has more.
        assert self.settled_e_per_nm2() >= mean - 1e-3, context
        # All of the charge is on the map, and no more, but that a line which was
        # begun counts as scanned; the current may have risen by half.
        begun = sum(r["outcome"] != Outcome.COMPLETE for r in self.world.log)
        line_c = 1.5e-12 * CURRENT_PA * self.exposure.width_px * self.exposure.dwell_s
        rounding_c = 1e-6 * charge_c
        excess_c = self.booked_c() - charge_c
        assert -rounding_c <= excess_c <= begun * line_c + rounding_c, context

    def booked_c(self) -> float:
        """The charge of the ledger's map."""
        if self.settled_e_per_nm2() == 0:
            return 0.0
        cells = self.ledger.fluence_map("wire-1")
        return float(
            cells.settled_e_per_nm2.sum() * cells.cell_nm**2 * ELEMENTARY_CHARGE_C
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_exposure_is_one_event_that_says_what_it_cost(bench: Bench) -> None:
    result = bench.engine(bench.once()).plan_result

    bench.check()
    assert result.outcome is Outcome.COMPLETE
    (event,) = bench.named("event")
    assert event["data"]["beam_charge_c"] == bench.world.log[0]["charge_c"]
    for name, doc in bench.documents:
        schema_validators[DocumentNames[name]].validate(doc)
    (resource,) = bench.named("stream_resource")
    assert resource["mimetype"] == "application/x-hdf5"
    assert resource["uri"].startswith("file://localhost/data/")
    assert resource["parameters"] == {
        "dataset": "/entry/data/data",
        "chunk_shape": (1, 16, 16),
        "swmr": True,
    }
    (datum,) = bench.named("stream_datum")
    assert datum["indices"] == {"start": 0, "stop": 1}
    (descriptor,) = bench.named("descriptor")
    key = descriptor["data_keys"]["haadf_image"]
    assert key["shape"] == [1, 16, 16]
    assert key["external"] == "STREAM:"
    assert bench.named("stop")[0]["exit_status"] == "success"


def test_an_event_says_what_was_there_before_what_it_cost_and_what_is_there_now(
    bench: Bench,
) -> None:
    for _ in range(2):
        bench.engine(bench.once())

    first, second = (e["data"] for e in bench.named("event"))
    for event, record in zip((first, second), bench.world.log, strict=True):
        cost = fluence_of_charge_e_per_nm2(record["charge_c"], EXPOSURE.area_nm2)
        assert event["dose_fluence_e_per_nm2"] == pytest.approx(cost, abs=2e-3)
        assert event["dose_after_e_per_nm2"] == pytest.approx(
            event["dose_prior_e_per_nm2"] + cost, abs=2e-3
        )
        assert event["dose_limit_e_per_nm2"] == bench.ledger.limit_e_per_nm2
    assert first["dose_prior_e_per_nm2"] == 0.0
    assert second["dose_prior_e_per_nm2"] == first["dose_after_e_per_nm2"]
    keys = bench.named("descriptor")[0]["data_keys"]
    assert keys["dose_prior_e_per_nm2"]["units"] == "e/nm2"


def test_an_exposure_that_the_ledger_refuses_opens_no_run(bench: Bench) -> None:
    bench.ledger.set_limit("wire-1", "region-1", 1.0, reason="a test")

    with pytest.raises(DoseRefused, match="wire-1, region-1"):
        bench.engine(bench.once())

    assert bench.documents == []
    bench.check()


def test_what_disarms_without_a_word_is_said_to_be_the_dead_man_or_somebody(
    bench: Bench,
) -> None:
    """As after a freeze: the guard of the server blanks before it sees a beat."""
    bench.world.disarms_at_once = True

    with pytest.raises(ExposureRefused, match="was blanked again: by its dead-man"):
        bench.engine(bench.once())

    bench.check()


class Boom(Exception):
    """Anything that goes wrong in a plan."""


def at_message(bench: Bench, number: int, action: Callable[[], None]) -> list[str]:
    """Do something when this message is about to be processed; returns its name."""
    counter, seen = itertools.count(), []

    def hook(msg: Any) -> None:
        if next(counter) == number:
            seen.append(msg.command)
            action()

    bench.engine.msg_hook = hook
    return seen


def from_outside(request: Callable[[], Any]) -> None:
    """Ask it of the RunEngine in a thread, and let the request reach its loop."""
    threading.Thread(target=request, daemon=True).start()
    threading.Event().wait(0.01)


def raising_after(plan: Any, number: int) -> Any:
    """Let the plan's message of this number fail after it was done."""
    answer = None
    for k in itertools.count():
        try:
            message = plan.send(answer)
        except StopIteration:
            return
        answer = yield message
        if k == number:
            yield from _thrown_into(plan)
            return


def _thrown_into(plan: Any) -> Any:
    try:
        message = plan.throw(Boom())
        while True:
            message = plan.send((yield message))
    except StopIteration:
        return


def press_ctrl_c_twice() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(0.11)  # bluesky takes closer ones for one
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(0.02)


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 2.0
    while not condition() and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    return condition()


KINDS = {
    "hard pause": ("pause", "resume"),
    "deferred pause": ("deferred pause", "resume"),
    "pause, then abort": ("pause", "abort"),
    "pause, then halt": ("pause", "halt"),
    "abort": ("abort", ""),
    "stop": ("stop", ""),
    "halt": ("halt", ""),
    "exception": ("exception", ""),
    "ctrl-c twice": ("ctrl-c", "resume"),
}


def interrupt(bench: Bench, kind: str, number: int) -> str:
    """Run one exposure, interrupt it at one message, and go on as the kind says."""
    how, then = KINDS[kind]
    engine, plan = bench.engine, bench.once(retakes=2)
    requests: dict[str, Callable[[], None]] = {
        "pause": lambda: from_outside(lambda: engine.request_pause(False)),
        "deferred pause": lambda: from_outside(lambda: engine.request_pause(True)),
        "abort": lambda: from_outside(engine.abort),
        "stop": lambda: from_outside(engine.stop),
        "halt": lambda: from_outside(engine.halt),
        "ctrl-c": press_ctrl_c_twice,
    }
    if how == "exception":
        plan = raising_after(plan, number)
    seen = at_message(bench, number, requests.get(how, lambda: None))
    try:
        engine(plan)
    except (RunEngineInterrupted, Boom):
        pass
    context = f"{kind} at message {number}, {seen}"
    if engine.state == "paused":
        assert wait_for(lambda: bench.world.is_at_rest), context
        try:
            getattr(engine, then)()
        except RunEngineInterrupted:
            pass
    engine.msg_hook = None
    assert engine.state == "idle", context
    assert wait_for(lambda: bench.world.is_at_rest), context
    if "halt" in kind:
        bench.guard.reconcile()
    return context


@pytest.fixture
def quick_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """bluesky lets half a second pass at a checkpoint with a deferred pause."""
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda s, **_: sleep(min(s, 0.02)))


def run_matrix(
    bench: Bench, kind: str, *, first: str = "stage", last: str = "unstage"
) -> None:
    """Interrupt one exposure at each message from one to another, named."""
    messages: list[str] = []
    bench.engine.msg_hook = lambda msg: messages.append(msg.command)
    bench.engine(bench.once())
    assert len(messages) > 15
    numbers = range(messages.index(first), messages.index(last) + 1)

    for number in numbers:
        began = len(bench.world.log)
        context = interrupt(bench, kind, number)
        bench.check(context)
        assert len(bench.world.log) - began <= 3, context
    if KINDS[kind][1] == "resume":
        assert len(bench.named("event")) == 1 + len(numbers)  # none lost, none twice
    was_cut = any(record["outcome"] == Outcome.CUT for record in bench.world.log)
    assert was_cut == (kind != "deferred pause")
    assert bench.engine(bench.once()).plan_result.outcome is Outcome.COMPLETE
    bench.check("afterwards")


@pytest.mark.parametrize("kind", KINDS)
def test_an_exposure_may_be_interrupted_at_each_of_its_messages(
    kind: str, tmp_path: Path, quick_checkpoints: None
) -> None:
    bench = Bench(tmp_path, handles_ctrl_c=kind == "ctrl-c twice")

    run_matrix(bench, kind)


def a_series(bench: Bench) -> Any:
    """A tracking frame and a map, as a tilt series has them at each tilt."""
    brief = EXPOSURE.model_copy(update={"dwell_s": 1e-4})  # 26 ms of wall time
    purposes = (Purpose.TRACKING, Purpose.RECORD)
    fields = [brief.model_copy(update={"purpose": purpose}) for purpose in purposes]

    @bpp.stage_decorator([bench.haadf])
    @bpp.run_decorator()
    def tilts() -> Any:
        for field in fields:
            yield from expose(bench.beam, [bench.haadf], field, stream=field.purpose)

    def series() -> Any:
        yield Msg("preflight", None, fields + fields)  # with room for re-takes
        yield from tilts()

    return bpp.finalize_wrapper(series(), close_series)


@pytest.mark.parametrize("kind", ["exception", "abort"])
def test_a_series_may_be_ended_at_each_of_its_messages(kind: str, bench: Bench) -> None:
    """After it no envelope is held, nothing is armed, and the charge is the truth."""
    ledger = bench.ledger
    messages: list[str] = []
    bench.engine.msg_hook = lambda msg: messages.append(msg.command)
    bench.engine(a_series(bench))
    assert len(bench.world.log) == 2
    exposed = set()

    for number in range(len(messages) - 1):
        began = len(bench.world.log)
        plan = a_series(bench)
        seen: list[str] = []
        if kind == "exception":
            plan = raising_after(plan, number)
        else:
            abort = partial(from_outside, bench.engine.abort)
            seen = at_message(bench, number, abort)
        try:
            bench.engine(plan)
        except (Boom, RunEngineInterrupted):
            pass
        context = f"{kind} at message {number}, {seen}"
        assert wait_for(lambda: bench.world.is_at_rest), context
        assert ledger.open_series_left() == [], context
        used = ledger.usage("wire-1", "region-1")
        assert used.reserved_e_per_nm2 == 0, context
        bench.check(context)
        exposed.add(len(bench.world.log) - began)
    assert exposed == {0, 1, 2}


class Laboratory:
    """The microscope of the simulated laboratory; its own log is the judge."""

    complaints: tuple[str, ...] = ()
    exposure = EXPOSURE.model_copy(
        update={"width_px": 64, "height_px": 64, "dwell_s": 1e-4, "n_frames": 5}
    )
    """2 s of instrument time."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "exposures.jsonl"
        self._before = self._lines()
        self.beam = Beam("SIM:BEAM1:", name="beam")
        self.haadf = HaadfDetector("SIM:HAADF1:", name="haadf")
        for device in (self.beam, self.haadf):
            device.wait_for_connection(timeout=10)

    def _lines(self) -> list[bytes]:
        return self._file.read_bytes().splitlines() if self._file.exists() else []

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._lines()[len(self._before) :]]

    @property
    def is_at_rest(self) -> bool:
        return self.beam.state.get() == BeamState.BLANKED


@pytest.fixture
def lab_bench(lab: Lab, tmp_path: Path) -> Iterator[Bench]:
    import epics

    epics.caput("SIM:LAB:Factor", 20.0, wait=True, timeout=10)
    bench = Bench(tmp_path, Laboratory(lab.directory))
    beat = SessionBeat(
        "SIM:BEAM1:",
        loop=bench.engine.loop,
        is_idle=lambda: str(bench.engine.state) == "idle",
    )
    beat.start()
    bench.guard = install(bench.engine, bench.ledger, bench.beam, holder=beat)
    yield bench
    beat.stop()


@pytest.mark.lab
@pytest.mark.parametrize("kind", ["hard pause", "abort", "halt"])
def test_the_same_on_real_pvs(
    kind: str, lab_bench: Bench, quick_checkpoints: None
) -> None:
    import epics

    run_matrix(lab_bench, kind, first="set", last="save")

    charge_c = sum(record["charge_c"] for record in lab_bench.world.log)
    assert epics.caget("SIM:TRUTH:BeamCharge_RBV") == pytest.approx(charge_c)


def test_a_detector_can_not_expose(bench: Bench) -> None:
    with pytest.raises(ExposureRefused, match=r"haadf.trigger\(\).* Use expose"):
        bench.engine(bp.count([bench.haadf]))
    with pytest.raises(ExposureRefused, match=r"haadf.trigger\(\).* Use expose"):
        bench.haadf.trigger()

    assert bench.world.log == []
    assert bench.named("stop")[0]["exit_status"] == "fail"


def test_a_beam_without_a_ticket_does_not_expose(bench: Bench) -> None:
    with pytest.raises(ExposureRefused, match=r"beam.trigger\(\).* use expose"):
        bench.engine(bp.count([bench.beam]))

    assert bench.world.log == []


def test_a_detector_without_a_file_refuses_before_anything_is_exposed(
    bench: Bench,
) -> None:
    plan = bpp.run_wrapper(expose(bench.beam, [bench.haadf], EXPOSURE))

    with pytest.raises(ExposureRefused, match="haadf: not staged"):
        bench.engine(plan)

    bench.check()
    assert bench.world.log == []


def test_a_risen_current_ends_the_exposure_and_is_measured_again(bench: Bench) -> None:
    bench.world.current_pa = 1.3 * CURRENT_PA

    result = bench.engine(bench.once()).plan_result
    bench.engine(bench.once())

    bench.check()
    assert result.outcome is Outcome.MAX_CHARGE
    limit_c = 1.1 * CURRENT_PA * 1e-12 * EXPOSURE.beam_on_s
    assert result.charge_c == pytest.approx(limit_c)
    first, second = bench.named("event")  # not repeated, nothing lost
    assert first["data"]["beam_outcome"] == Outcome.MAX_CHARGE
    assert bench.world.measured == 1
    assert second["data"]["beam_outcome"] == Outcome.COMPLETE


def test_a_stale_current_is_measured_before_the_dose_is_reserved(bench: Bench) -> None:
    bench.world.current_pa = 200.0
    bench.beam.current_age_s.sim_put(1801.0)

    result = bench.engine(bench.once()).plan_result

    bench.check()
    assert bench.world.measured == 1
    assert result.charge_c == pytest.approx(200e-12 * EXPOSURE.beam_on_s)


def test_a_dead_gun_is_no_reason_to_expose(bench: Bench) -> None:
    bench.beam.current_pa.sim_put(0.0)

    with pytest.raises(DoseRefused, match="beam measured 0 pA"):
        bench.engine(bench.once())

    assert bench.world.log == []


def test_an_exposure_outside_the_envelope_of_its_series_is_refused(
    bench: Bench,
) -> None:
    longer = EXPOSURE.model_copy(update={"dwell_s": 2 * EXPOSURE.dwell_s})

    def plan() -> Any:
        yield Msg("preflight", None, [EXPOSURE])
        yield from bench.run(EXPOSURE, longer)

    with pytest.raises(DoseRefused, match="series"):
        bench.engine(plan())

    bench.check()
    assert len(bench.world.log) == 1


def test_a_series_beyond_the_limit_is_refused_before_anything_moves(
    bench: Bench,
) -> None:
    def plan() -> Any:
        yield Msg("preflight", None, [EXPOSURE] * 10_000)
        raise AssertionError("went on")

    with pytest.raises(DoseRefused, match="10000 exposures"):
        bench.engine(plan())

    assert bench.ledger.usage("wire-1", "region-1").reserved_e_per_nm2 == 0


def test_a_cut_exposure_is_not_repeated_beyond_the_budget_of_its_series(
    bench: Bench,
) -> None:
    def plan() -> Any:
        worst = 1.001 * worst_fluence_e_per_nm2(bench.exposure, 1.1 * CURRENT_PA)
        yield Msg("preflight", None, [bench.exposure], budget_e_per_nm2=worst)
        yield from bench.run(bench.exposure)
        yield Msg("close_series")

    in_mid_exposure(bench, lambda: bench.engine.request_pause(False))
    with pytest.raises(RunEngineInterrupted):
        bench.engine(plan())
    with pytest.raises(ExposureCut, match=r"a pause blanked it, and is not .*series"):
        bench.engine.resume()

    bench.check()
    (event,) = bench.named("event")
    assert event["data"]["beam_outcome"] == Outcome.CUT


def test_a_cut_exposure_is_repeated_in_the_same_place_of_the_file(bench: Bench) -> None:
    in_mid_exposure(bench, lambda: bench.engine.request_pause(False))
    with pytest.raises(RunEngineInterrupted):
        bench.engine(bench.once())
    bench.engine.resume()

    bench.check()
    cut, whole = bench.world.log
    assert (cut["outcome"], whole["outcome"]) == (Outcome.CUT, Outcome.COMPLETE)
    assert 0 < cut["charge_c"] < whole["charge_c"]
    (event,) = bench.named("event")
    assert event["data"]["beam_ticket_uid"] == whole["ticket"]
    assert event["data"]["haadf_slot_index"] == 0
    assert bench.haadf.acquire_counter.get() == 2


def test_the_beam_does_not_come_back_after_somebody_else_has_blanked(
    bench: Bench,
) -> None:
    in_mid_exposure(bench, lambda: bench.beam.blank.put(1))

    with pytest.raises(ExposureCut, match="somebody else blanked it"):
        bench.engine(bench.once())

    bench.check()
    assert [record["outcome"] for record in bench.world.log] == [Outcome.CUT]
    assert len(bench.named("event")) == 1


def test_data_that_does_not_reach_the_disk_is_an_error_and_its_dose_is_charged(
    bench: Bench,
) -> None:
    bench.world.fails_to_record = True

    with pytest.raises(ExposureFailed, match=r"could not record .*no space left"):
        bench.engine(bench.once())
    bench.world.fails_to_record = False
    bench.haadf.state.sim_put(int(DetectorState.IDLE))
    bench.engine(bench.once())

    bench.check()
    assert len(bench.world.log) == 2
    assert len(bench.named("event")) == 1


def test_a_frozen_beam_is_an_error_and_nothing_is_exposed_twice(bench: Bench) -> None:
    bench.beam.reconnect_timeout_s = 0.1

    def freeze() -> None:
        bench.beam.start.is_frozen = True
        bench.beam.arm.is_frozen = True

    def hook(msg: Any) -> None:
        if msg.command == "set":
            freeze()

    bench.engine.msg_hook = hook
    with pytest.raises(
        InstrumentUnreachable, match=r"beam_arm: writing .* not answered"
    ):
        bench.engine(bench.once())
    bench.beam.arm.is_frozen = bench.beam.start.is_frozen = False
    bench.engine.msg_hook = None
    bench.engine(bench.once())

    bench.check()
    assert len(bench.world.log) == 1


def test_a_ledger_that_can_not_be_written_exposes_nothing(bench: Bench) -> None:
    bench.engine(bench.once())
    file = bench.ledger._file  # noqa: SLF001
    connection: Any = file._connection  # noqa: SLF001
    connection.execute("PRAGMA query_only = ON")

    with pytest.raises(LedgerError, match="can't be written; check owner"):
        bench.engine(bench.once())

    assert len(bench.world.log) == 1
    connection.execute("PRAGMA query_only = OFF")
    bench.check()


def test_a_disk_that_fills_up_exposes_nothing_that_is_not_charged(
    bench: Bench,
) -> None:
    bench.engine(bench.once())
    file = bench.ledger._file  # noqa: SLF001
    connection: Any = file._connection  # noqa: SLF001
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (most,) = connection.execute("PRAGMA max_page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 1}")

    def fill() -> None:
        for _ in range(40):
            bench.engine(bench.once())

    with pytest.raises(LedgerError, match="its disk is full; free space"):
        fill()

    # Nothing on the specimen that is not charged, or counts in full.
    known = {t.uid for t in bench.ledger.unsettled()}
    known |= {
        str(r.ticket) for r in bench.ledger.history("wire-1") if r.kind == "settle"
    }
    assert set(bench.tickets()) <= known
    assert bench.world.is_at_rest
    connection.execute(f"PRAGMA max_page_count = {most}")
    bench.engine(bench.once())
    bench.check()


def test_events_of_two_streams_have_files_of_their_own(bench: Bench) -> None:
    @bpp.stage_decorator([bench.haadf])
    @bpp.run_decorator()
    def plan() -> Any:
        for stream in ("tracking", "primary", "tracking"):
            yield from expose(bench.beam, [bench.haadf], EXPOSURE, stream=stream)

    bench.engine(plan())

    bench.check()
    uris = [resource["uri"] for resource in bench.named("stream_resource")]
    assert [uri.rpartition("_")[2] for uri in uris] == ["tracking.h5", "primary.h5"]
    indices = [datum["indices"]["start"] for datum in bench.named("stream_datum")]
    assert indices == [0, 0, 1]


def in_mid_exposure(bench: Bench, action: Callable[[], Any]) -> None:
    """Let something happen once, from outside, when the next exposure has begun."""
    # Long enough to be met on a busy computer.
    bench.exposure = EXPOSURE.model_copy(update={"dwell_s": 4e-3})
    done = threading.Event()

    def look(*, value: Any, **_: Any) -> None:
        if value == BeamState.EXPOSING and not done.is_set():
            done.set()
            threading.Timer(0.05, action).start()

    bench.beam.state.subscribe(look, run=False)


def test_a_series_is_paid_with_calibrations_that_are_young_enough(bench: Any) -> None:
    today = datetime.now(UTC).astimezone().date()
    shift = {"seen_over_asked": 1.0, "by": "N. N.", "max_age_days": 30}
    old = CalibrationsSection.model_validate(
        {"image_shift": {**shift, "date": today - timedelta(days=31)}}
    )
    install(bench.engine, bench.ledger, bench.beam, calibrations=old)
    with pytest.raises(PlanRefused, match=r"the image shift of .* is 31 days old"):
        bench.engine([Msg("preflight", None, [EXPOSURE])])
    assert bench.ledger.open_series_left() == []
    assert bench.world.log == []

    young = old.model_validate({"image_shift": {**shift, "date": today}})
    guard = install(bench.engine, bench.ledger, bench.beam, calibrations=young)
    bench.engine([Msg("preflight", None, [EXPOSURE])])
    with closing(sqlite3.connect(bench.ledger.path)) as file:
        rows = [
            (series, json.loads(body))
            for series, body in file.execute(
                "SELECT series, body FROM events WHERE kind = 'calibration'"
            )
        ]
    assert {series for series, _ in rows} == {guard.series}
    current, calibration = (body for _, body in rows)
    assert current["name"] == "measured_current"
    assert current["current_pa"] == CURRENT_PA
    assert calibration["name"] == "image_shift"
    assert calibration["values"] == {"seen_over_asked": 1.0}
