"""Beam, stage and heartbeat on real PVs of the simulated laboratory."""

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator

# isort: off
import ophyd  # noqa: F401  it tells epics which library to load
import epics
# isort: on

import bluesky.plan_stubs as bps
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted

from cryoline.devices import Beam, CryoStage, Exposure, Outcome, Ticket
from cryoline.devices.errors import ExposureRefused, MoveFailed
from cryoline.devices.session_beat import SessionBeat
from cryoline.sim.laboratory import Lab

pytestmark = pytest.mark.lab


@pytest.fixture
def factor_20(lab: Lab) -> None:
    epics.caput("SIM:LAB:Factor", 20.0, wait=True, timeout=10)


@pytest.fixture
def stage(factor_20: None) -> CryoStage:
    stage = CryoStage("SIM:STAGE1:", name="stage")
    stage.wait_for_connection(timeout=10)
    return stage


@pytest.fixture
def beam(factor_20: None) -> Beam:
    beam = Beam("SIM:BEAM1:", name="beam")
    beam.wait_for_connection(timeout=10)
    return beam


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in a thread, as the RunEngine's."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=10)
    loop.close()


@pytest.fixture
def beat(beam: Beam, loop: asyncio.AbstractEventLoop) -> Iterator[SessionBeat]:
    beat = SessionBeat("SIM:BEAM1:", loop=loop, is_idle=lambda: False)
    beat.start()
    yield beat
    beat.stop()


def a_ticket(n_frames: int = 5) -> Ticket:
    exposure = Exposure(
        specimen="wire-1",
        width_px=64,
        height_px=64,
        pixel_nm=4.0,
        dwell_s=1e-4,
        n_frames=n_frames,
    )
    return Ticket(
        uid=str(uuid.uuid4()),
        exposure=exposure,
        current_pa=150.0,
        current_limit_pa=165.0,
        max_time_s=exposure.beam_on_s,
        max_charge_c=165e-12 * exposure.beam_on_s,
        reserved_e_per_nm2=1.0,
    )


def wait(seconds: float) -> None:
    threading.Event().wait(seconds)


def test_an_axis_arrives_where_it_was_sent(stage: CryoStage) -> None:
    stage.alpha_deg.set(5.0).wait(20)

    assert stage.alpha_deg.position == pytest.approx(5.0, abs=0.02)
    assert stage.read()["stage_alpha_deg"]["value"] == pytest.approx(5.0, abs=0.02)
    stage.alpha_deg.set(5.0).wait(20)  # no way to go


def test_a_tilt_beyond_the_limit_is_refused_before_anything_moves(
    stage: CryoStage,
) -> None:
    with pytest.raises(
        ValueError, match=r"stage.alpha_deg: 72 deg is outside -70..70 deg"
    ):
        RunEngine({}, context_managers=[])(bps.mv(stage.alpha_deg, 72.0))

    assert stage.alpha_deg.position == 0.0


def test_an_axis_stops_on_its_way_and_says_where(stage: CryoStage) -> None:
    status = stage.alpha_deg.set(60.0)
    wait(0.3)
    stage.stop()

    with pytest.raises(MoveFailed, match=r"stage.alpha_deg: stopped at .* way to 60"):
        status.wait(5)
    at_deg = stage.alpha_deg.readback.get()
    assert 0 < at_deg < 60
    wait(0.2)
    assert stage.alpha_deg.readback.get() == at_deg


def test_a_pause_in_mid_move_goes_on_afterwards(stage: CryoStage) -> None:
    engine = RunEngine({}, context_managers=[])
    threading.Timer(0.3, engine.request_pause).start()

    with pytest.raises(RunEngineInterrupted):
        engine(bps.mv(stage.alpha_deg, 40.0))
    assert 0 < stage.alpha_deg.readback.get() < 40
    engine.resume()

    assert stage.alpha_deg.readback.get() == pytest.approx(40.0, abs=0.02)


def test_stopping_the_stage_never_warms_it(stage: CryoStage) -> None:
    cold_degc = stage.temperature_set_degc.get()

    stage.stop()
    stage.stop(success=True)

    assert stage.temperature_set_degc.get() == cold_degc < -150
    assert stage.temperature_degc.get() < -150


def test_a_beam_without_a_session_arms_nothing(beam: Beam) -> None:
    with pytest.raises(ExposureRefused, match=r"beam did not arm ticket .*beam: Arm:"):
        beam.set(a_ticket()).wait(10)

    assert beam.blanked.get()


def test_a_ticket_is_exposed_once_and_logged(beam: Beam, beat: SessionBeat) -> None:
    beat.claim()
    ticket = a_ticket()
    beam.set(ticket).wait(10)
    status = beam.trigger()
    status.wait(20)

    assert status.result is not None
    assert status.result.outcome is Outcome.COMPLETE
    assert status.result.beam_on_s == pytest.approx(ticket.max_time_s)
    assert beam.logged(status.result.counter) == status.result
    assert beam.logged(status.result.counter + 1) is None
    with pytest.raises(ExposureRefused, match="was exposed already"):
        beam.set(ticket).wait(10)


def test_what_was_blanked_before_its_start_was_never_exposed(
    beam: Beam, beat: SessionBeat
) -> None:
    beat.claim()
    beam.set(a_ticket()).wait(10)
    beam.pause()
    status = beam.trigger()
    status.wait(20)

    assert status.result is not None
    assert status.result.outcome is Outcome.NONE
    assert status.cut_here


def test_the_current_is_measured_anew(beam: Beam) -> None:
    assert beam.probe_current().age_s > 1e6  # never since the reset

    beam.measure_current().wait(20)

    current = beam.probe_current()
    assert current.age_s < 10
    assert 100 < current.current_pa < 200


def test_two_sessions_do_not_get_the_same_beam(
    beam: Beam, beat: SessionBeat, loop: asyncio.AbstractEventLoop
) -> None:
    beat.claim()
    second = SessionBeat("SIM:BEAM1:", loop=loop, is_idle=lambda: False)
    second.answer_timeout_s = 1.0
    second.start()
    try:
        with pytest.raises(
            ExposureRefused, match=f"session {beat.session} has the beam"
        ):
            second.claim()
        beat.stop()
        second.claim()
        assert second.beats >= 2
    finally:
        second.stop()


def test_an_idle_session_gives_the_beam_back(
    beam: Beam, loop: asyncio.AbstractEventLoop
) -> None:
    beat = SessionBeat("SIM:BEAM1:", loop=loop, is_idle=lambda: True)
    beat.idle_s = 2.0
    beat.start()
    try:
        beat.claim()
        deadline = time.monotonic() + 10
        while epics.caget("SIM:BEAM1:LeaseHolder_RBV") and time.monotonic() < deadline:
            wait(0.1)
        assert epics.caget("SIM:BEAM1:LeaseHolder_RBV") == ""
    finally:
        beat.stop()


def test_a_hanging_loop_loses_the_beam_and_gets_it_again(
    beam: Beam, beat: SessionBeat, loop: asyncio.AbstractEventLoop
) -> None:
    epics.caput("SIM:LAB:Factor", 1.0, wait=True, timeout=10)
    beat.loop_stall_s = 0.3
    beat.claim()
    beam.set(a_ticket(n_frames=25)).wait(10)  # 10 s
    status = beam.trigger()
    hang = threading.Event()
    began = time.monotonic()
    loop.call_soon_threadsafe(hang.wait, 5.0)
    status.wait(20)
    hang.set()

    assert status.result is not None
    assert status.result.outcome is Outcome.DEAD_MAN
    assert time.monotonic() - began < 3.0
    wait(0.3)
    beam.set(a_ticket(n_frames=1)).wait(10)
    again = beam.trigger()
    again.wait(20)
    assert again.result is not None
    assert again.result.outcome is Outcome.COMPLETE
