"""A session exposing at a microscope that fails: blanked, clear, nothing lost."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# isort: off
import ophyd  # noqa: F401  it tells epics which library to load
import epics
# isort: on

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import h5py
import pytest
from bluesky.utils import FailedStatus

from cryoline.acquisition.errors import ExposureCut
from cryoline.acquisition.expose import expose, expose_once
from cryoline.acquisition.fluence import fluence_of_charge_e_per_nm2
from cryoline.acquisition.session import Session, open_session
from cryoline.devices import Exposure, Outcome
from cryoline.devices.errors import (
    ExposureFailed,
    ExposureRefused,
    MoveFailed,
)

pytestmark = pytest.mark.lab

SHORT = Exposure(
    specimen="wire-1",
    width_px=64,
    height_px=64,
    pixel_nm=4.0,
    dwell_s=1e-4,
    n_frames=5,
)
"""2 s of instrument time, 0.1 s of wall time."""
LONG = SHORT.model_copy(update={"n_frames": 50})

LINE_S = SHORT.width_px * SHORT.dwell_s


class Room:
    """A session at the laboratory, and what the hardware says of its exposures."""

    def __init__(self, session: Session, directory: Path) -> None:
        self.session = session
        self.devices = session.devices
        self.beam = session.devices["beam"]
        self.detectors = [session.devices["haadf"], session.devices["eds"]]
        self._log = directory / "exposures.jsonl"
        self._before = self._lines()
        self.documents: list[tuple[str, dict[str, Any]]] = []
        self._token = session.RE.subscribe(lambda *d: self.documents.append(d))
        self._charged_e_per_nm2 = self._settled()

    def close(self) -> None:
        self.session.RE.unsubscribe(self._token)
        self.session.RE.msg_hook = None

    def _lines(self) -> list[bytes]:
        return self._log.read_bytes().splitlines() if self._log.exists() else []

    def _settled(self) -> float:
        """Return what is charged in all, as a mean over the field."""
        ledger = self.session.ledger
        assert ledger is not None
        if "wire-1" not in ledger.specimens():
            return 0.0
        # A frame that was cut lies where it was scanned: so the sum over the map.
        cells = ledger.fluence_map("wire-1")
        total = cells.settled_e_per_nm2.sum() * cells.cell_nm**2
        return float(total / SHORT.area_nm2)

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._lines()[len(self._before) :]]

    def named(self, name: str) -> list[dict[str, Any]]:
        return [doc for n, doc in self.documents if n == name]

    def events(self) -> list[dict[str, Any]]:
        """Those of exposures, without the baseline."""
        return [e for e in self.named("event") if "beam_charge_c" in e["data"]]

    def once(self, exposure: Exposure = SHORT, **options: Any) -> Any:
        return expose_once(self.beam, self.detectors, exposure, **options)

    def run(self, plan: Any) -> Any:
        return self.session.RE(plan).plan_result

    def check(self) -> None:
        """The beam is blanked, and the ledger is what the hardware counted."""
        assert self.beam.state.get() == 0
        assert self.session.ledger is not None
        assert self.session.ledger.unsettled() == []
        charge_c = sum(record["charge_c"] for record in self.log)
        charged = self._settled() - self._charged_e_per_nm2
        expected = fluence_of_charge_e_per_nm2(charge_c, SHORT.area_nm2)
        # Never less, and of a frame that was cut at most the rest of a line more.
        cut = [r for r in self.log if r["outcome"] != Outcome.COMPLETE]
        line_c = sum(r["charge_c"] / r["beam_on_s"] for r in cut) * LINE_S
        rest = fluence_of_charge_e_per_nm2(line_c, SHORT.area_nm2)
        assert -0.1 <= charged - expected <= rest + 0.1
        assert len({record["ticket"] for record in self.log}) == len(self.log)

    def when_exposing(self, action: Any) -> None:
        """Let something happen once, as soon as the beam is on."""
        done = threading.Event()

        def look(*, value: Any, **_: Any) -> None:
            if value == 2 and not done.is_set():
                done.set()
                threading.Thread(target=action, daemon=True).start()

        self.beam.state.subscribe(look, run=False)


@pytest.fixture(scope="module")
def session(instrument: Any) -> Iterator[Session]:
    session = open_session(instrument.config)
    yield session
    assert session.dose is not None
    session.dose.beat.stop()


@pytest.fixture
def room(lab: Any, session: Session) -> Iterator[Room]:
    put("Factor", 20.0)
    room = Room(session, lab.directory)
    yield room
    room.close()
    for fault in ("CurrentRise", "LN2Level", "StageStuck", "DiskFull"):
        put(fault, 0)


def put(name: str, value: float) -> None:
    epics.caput(f"SIM:LAB:{name}", value, wait=True, timeout=10)


def test_a_session_exposes_and_records_every_detector(room: Room) -> None:
    result = room.run(room.once(also=[room.devices["stage"]]))

    room.check()
    assert result.outcome is Outcome.COMPLETE
    (event,) = room.events()
    assert event["data"]["eds_last_event"] == event["data"]["eds_counts"] > 0
    assert event["data"]["stage_temperature_degc"] < -150
    haadf, eds = (Path(doc["uri"][16:]) for doc in room.named("stream_resource"))
    assert haadf.parent == room.session.config.layout.raw_data.resolve()
    with h5py.File(haadf, "r") as file:
        assert file["/entry/data/data"].shape == (1, 64, 64)
        assert file["/entry/data/data"].chunks == (1, 64, 64)
        mean = file["/entry/data/data"][0].mean()
        assert mean == pytest.approx(event["data"]["haadf_mean_counts"], rel=1e-4)
    with h5py.File(eds, "r") as file:
        assert file["/entry/spectrum/data"].shape == (1, 1024)
        assert file["/entry/spectrum/data"][0].sum() == event["data"]["eds_counts"]


def test_a_current_that_rises_by_30_percent_is_blanked_at_the_maximum_charge(
    room: Room,
) -> None:
    put("CurrentRise", 1.3)

    result = room.run(room.once())
    after = room.run(room.once())

    room.check()
    assert result.outcome is Outcome.MAX_CHARGE
    assert 0.8 < result.beam_on_s / SHORT.beam_on_s < 1.0
    (cut, whole) = room.events()
    assert cut["data"]["beam_outcome"] == Outcome.MAX_CHARGE
    assert whole["data"]["beam_current_pa"] != cut["data"]["beam_current_pa"]
    assert after.outcome is Outcome.COMPLETE


def test_an_empty_dewar_ends_the_exposure_and_allows_no_other(room: Room) -> None:
    room.when_exposing(lambda: put("LN2Level", 0.5))

    with pytest.raises(
        ExposureCut, match=r"cut after .* s: interlock: dewar at 0\.\d % holds"
    ):
        room.run(room.once(LONG))
    room.check()
    with pytest.raises(ExposureRefused, match=r"beam did not arm .*dewar at 0\.\d %"):
        room.run(room.once())

    room.check()
    (record,) = room.log
    assert record["outcome"] == Outcome.INTERLOCK
    assert len(room.events()) == 1  # what had been recorded by then


def test_a_stage_that_is_stuck_is_an_error_in_its_own_time(room: Room) -> None:
    put("StageStuck", 1)

    with pytest.raises(FailedStatus) as failure:
        room.run(bps.mv(room.devices["stage"].alpha_deg, 30.0))

    cause = failure.value.__cause__
    assert isinstance(cause, MoveFailed)
    assert "stage.alpha_deg: stuck at 0 deg, sent to 30 deg" in str(cause)
    assert "s of instrument time ago" in str(cause)


def test_a_full_disk_is_noticed_before_the_specimen_pays(room: Room) -> None:
    put("DiskFull", 1)

    with pytest.raises(ExposureRefused, match="No space left on device"):
        room.run(room.once())

    room.check()
    assert room.log == []


def test_a_disk_that_fills_up_costs_one_exposure(room: Room) -> None:
    room.when_exposing(lambda: put("DiskFull", 1))

    with pytest.raises(ExposureFailed, match=r"(?s)could not record.*its dose is ch"):
        room.run(room.once(LONG))
    put("DiskFull", 0)
    result = room.run(room.once())

    room.check()
    assert result.outcome is Outcome.COMPLETE
    assert len(room.log) == 2
    assert len(room.events()) == 1


def test_a_file_that_was_truncated_is_noticed_before_the_specimen_pays(
    room: Room,
) -> None:
    @bpp.stage_decorator(room.detectors[:1])
    @bpp.run_decorator()
    def plan() -> Any:
        yield from expose(room.beam, room.detectors[:1], SHORT, stream="a")
        yield from expose(room.beam, room.detectors[:1], SHORT, stream="b")
        path = Path(room.named("stream_resource")[0]["uri"][16:])
        os.truncate(path, path.stat().st_size // 2)
        yield from expose(room.beam, room.detectors[:1], SHORT, stream="a")

    with pytest.raises(ExposureRefused, match=r"haadf did not open .*_a: "):
        room.run(plan())

    room.check()
    assert len(room.log) == 2
    assert len(room.events()) == 2
    assert room.run(room.once()).outcome is Outcome.COMPLETE


# pyepics warns of what is an error here anyhow.
@pytest.mark.filterwarnings("ignore:ca.get:UserWarning")
def test_a_frozen_beam_is_an_error_and_exposes_nothing_twice(
    room: Room, lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("answer_timeout_s", 0.5),
        ("blank_timeout_s", 0.5),
        ("reconnect_timeout_s", 0.5),
    ):
        monkeypatch.setattr(room.beam, name, value)
    pid = lab.pid("beam")

    def freeze(msg: Any) -> None:
        # Its Start waits in the server's socket, and is done when that goes on.
        if msg.command == "trigger" and msg.obj is room.beam:
            os.kill(pid, signal.SIGSTOP)

    room.session.RE.msg_hook = freeze
    try:
        with pytest.raises(ExposureFailed, match="nobody has answered"):
            room.run(room.once())
    finally:
        os.kill(pid, signal.SIGCONT)
        room.session.RE.msg_hook = None
    monkeypatch.undo()
    result = room.run(room.once())

    room.check()
    assert result.outcome is Outcome.COMPLETE
    assert len(room.log) <= 2
    assert len(room.events()) == 1


def test_what_a_killed_session_left_waiting_is_given_up(room: Room) -> None:
    for name, value in (
        ("Capture", 0),
        ("FileName", f"left-by-the-dead-{os.getpid()}"),
        ("Capture", 1),
        ("Expect", "ticket-of-the-dead"),
        ("Acquire", 1),
    ):
        epics.caput(f"SIM:HAADF1:{name}", value, wait=True, timeout=10)
    assert epics.caget("SIM:HAADF1:State_RBV") == 1

    assert room.run(room.once()).outcome is Outcome.COMPLETE

    room.check()
    assert len(room.events()) == 1
