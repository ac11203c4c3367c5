"""Beam and stage through Channel Access: what protects the specimen, and what moves."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cryoline.sim.rpc import WorldClient

pytestmark = pytest.mark.lab

BEAM = "SIM:BEAM1:"
STAGE = "SIM:STAGE1:"
LAB = "SIM:LAB:"
DEAD_MAN, INTERLOCK, CUT, COMPLETE = 5, 6, 2, 1


class Session:
    """Holds the lease and beats, from a thread, as a session does."""

    def __init__(self, ca) -> None:
        self._ca = ca
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat)

    def __enter__(self) -> "Session":
        self._ca.put(BEAM + "Lease", "test")
        self._thread.start()
        self._ca.until(lambda: self._ca.get(BEAM + "BeatAge_RBV") < 0.4, "a beat")
        return self

    def __exit__(self, *_error: object) -> None:
        self.fall_silent()
        self._ca.put(BEAM + "Blank", 1)
        self._ca.put(BEAM + "Lease", "")

    def fall_silent(self) -> None:
        """Beat no more; returns after the last beat has arrived."""
        self._end.set()
        self._thread.join()

    def _beat(self) -> None:
        import epics

        epics.ca.use_initial_context()
        pv = epics.PV(BEAM + "SessionBeat", auto_monitor=False)
        assert pv.wait_for_connection(10.0)
        beats = 0
        while not self._end.wait(0.1):
            beats += 1
            pv.put(beats, wait=True, timeout=5.0)


@pytest.fixture
def session(ca) -> Iterator[Session]:
    with Session(ca) as session:
        yield session


@pytest.fixture
def world(own_lab) -> Iterator[WorldClient]:
    with WorldClient(own_lab.socket) as world:
        yield world


@pytest.fixture
def order(ca) -> Callable[..., str]:
    """Texts for Arm, each with a ticket of its own; an exposure of 20 s."""
    boot = ca.get(BEAM + "ExposureCounter_RBV")

    def text(ticket: str, **changes: Any) -> str:
        scan = {
            "ticket": f"{ticket}-{boot}",
            "width_px": 100,
            "height_px": 100,
            "pixel_nm": 2.0,
            "dwell_s": 20e-6,
            "n_frames": 100,
            "flyback_s": 0.0,
            "flyback_blanked": True,
            "center_x_nm": 0.0,
            "center_y_nm": 0.0,
            "max_time_s": 1e3,
            "max_charge_c": 1e-3,
        }
        return json.dumps(scan | changes)

    return text


def now_s(world: WorldClient) -> float:
    return world.call("beam.guard")["time_s"]


def last_record(ca, world: WorldClient) -> dict[str, Any]:
    return world.call("beam.record", counter=ca.get(BEAM + "ExposureCounter_RBV"))


def expose(ca, text: str) -> int:
    """Arm and start; returns the counter before."""
    counter = ca.get(BEAM + "ExposureCounter_RBV")
    ca.put(BEAM + "Arm", text)
    assert ca.text(BEAM + "Message_RBV") == ""
    assert ca.text(BEAM + "State_RBV") == "armed"
    ca.put(BEAM + "Start", 1)
    assert ca.text(BEAM + "State_RBV") == "exposing"
    assert ca.get(BEAM + "Blanked_RBV") == 0
    return counter


def ended(ca, counter: int) -> Callable[[], bool]:
    return lambda: ca.get(BEAM + "ExposureCounter_RBV") == counter + 1


def waited_for(look: Callable[[], Any]) -> Any:
    """What a look gives, as soon as it gives something."""
    tick, deadline_s = threading.Event(), time.monotonic() + 20.0
    while (found := look()) is None:
        assert time.monotonic() < deadline_s, "it never came"
        tick.wait(0.05)
    return found


def test_exposure_ends_by_itself_and_is_logged(ca, session, order, own_lab) -> None:
    text = order("whole", n_frames=3)
    counter = expose(ca, text)
    ca.until(ended(ca, counter), "the end of the exposure")
    assert ca.text(BEAM + "State_RBV") == "blanked"
    assert ca.text(BEAM + "LastOutcome_RBV") == "complete"
    assert ca.text(BEAM + "LastTicket_RBV") == json.loads(text)["ticket"]
    assert ca.get(BEAM + "LastFrames_RBV") == 3
    assert ca.get(BEAM + "LastTime_RBV") == pytest.approx(0.6)
    charge_c = ca.get(BEAM + "LastCharge_RBV")
    assert charge_c == pytest.approx(0.6 * 150e-12, rel=0.04)
    ca.put(BEAM + "LogRequest", counter + 1)
    record = json.loads(ca.text(BEAM + "Log_RBV"))
    assert record["charge_c"] == charge_c
    assert record["boot_id"] == ca.text(BEAM + "BootId_RBV")
    file = own_lab.directory / "exposures.jsonl"
    assert json.loads(file.read_text().splitlines()[-1]) == record
    ca.put(BEAM + "LogRequest", counter + 2)
    assert ca.text(BEAM + "Log_RBV") == ""
    assert ca.get("SIM:TRUTH:BeamCharge_RBV") == pytest.approx(charge_c, rel=1e-12)
    ca.put(BEAM + "Arm", text)
    assert "was exposed already" in ca.text(BEAM + "Message_RBV")


def test_beam_is_off_within_half_a_second_of_the_last_beat(ca, order, world) -> None:
    late_s = []
    for k in range(4):
        with Session(ca) as session:
            counter = expose(ca, order(f"silent{k}"))
            session.fall_silent()
            last_beat_s = now_s(world)
            ca.until(ended(ca, counter), "the dead-man")
            record = last_record(ca, world)
        assert record["outcome"] == DEAD_MAN
        late_s.append(record["end_s"] - last_beat_s)
    assert max(late_s) < 0.5, late_s
    assert min(late_s) > 0.2, late_s  # it waits for a beat that may still come


def test_what_is_armed_is_disarmed_without_a_beat(ca, session, order) -> None:
    counter = ca.get(BEAM + "ExposureCounter_RBV")
    ca.put(BEAM + "Arm", order("armed"))
    session.fall_silent()
    ca.until(lambda: ca.text(BEAM + "State_RBV") == "blanked", "disarmed")
    assert ca.get(BEAM + "ExposureCounter_RBV") == counter


def test_frozen_stage_server_trips_the_interlock(
    ca, session, order, own_lab, world
) -> None:
    counter = expose(ca, order("frozen"))
    os.kill(own_lab.pid("stage"), signal.SIGSTOP)
    frozen_s = now_s(world)
    try:
        ca.until(ended(ca, counter), "the interlock")
        record = last_record(ca, world)
        assert record["outcome"] == INTERLOCK
        assert 0.8 < record["end_s"] - frozen_s < 1.3
        assert ca.severity(BEAM + "Interlock_RBV") == 2
        ca.put(BEAM + "Arm", order("refused"))
        assert ca.text(BEAM + "Message_RBV") == (
            "beam: Arm: interlock: the stage's server is silent for more than 1 s"
        )
    finally:
        os.kill(own_lab.pid("stage"), signal.SIGCONT)
    ca.until(lambda: ca.get(BEAM + "Interlock_RBV") == 0, "the interlock's end")


@pytest.mark.parametrize(
    ("fault", "value", "reason"),
    [
        ("StageTemp", -120.0, "stage at -120.0 degC is warmer than -140 degC"),
        ("LN2Level", 0.5, "dewar at 0.5 % holds less than 1 %"),
    ],
)
def test_warm_stage_or_empty_dewar_blanks(
    ca, session, order, world, fault, value, reason
) -> None:
    counter = expose(ca, order(fault))
    ca.put(LAB + fault, value)
    ca.until(ended(ca, counter), "the interlock")
    assert last_record(ca, world)["outcome"] == INTERLOCK
    assert ca.text(BEAM + "InterlockReason_RBV") == reason
    ca.put(LAB + fault, 0)
    ca.until(lambda: ca.get(BEAM + "Interlock_RBV") == 0, "the interlock's end")


def test_hardware_ends_the_exposure_of_a_killed_server(
    ca, session, order, own_lab, world
) -> None:
    """The timer is not the server's; the next server finds the counter, and blanks."""
    counter = expose(ca, order("killed", n_frames=10))
    os.kill(own_lab.pid("beam"), signal.SIGKILL)
    try:
        record = waited_for(lambda: world.call("beam.record", counter=counter + 1))
    finally:
        own_lab.restart("beam")  # the tests to come need it, whatever became of this
    assert record["outcome"] == COMPLETE
    assert record["frames"] == 10
    ca.until(ended(ca, counter), "the counter of the new server")
    assert ca.text(BEAM + "LastTicket_RBV") == record["ticket"]
    assert ca.text(BEAM + "LeaseHolder_RBV") == ""


def test_new_server_blanks_what_it_finds_exposing(
    ca, session, order, own_lab, world
) -> None:
    counter = expose(ca, order("restarted"))
    # Not SIGTERM: a server that ends is a dead-man's case while it still watches.
    os.kill(own_lab.pid("beam"), signal.SIGKILL)
    own_lab.restart("beam")
    ca.until(ended(ca, counter), "blanked at the start-up")
    assert last_record(ca, world)["outcome"] == CUT


def test_blank_works_for_everybody(ca, session, order, world) -> None:
    """No lease is asked for; a caget client may write it."""
    counter = expose(ca, order("panic"))
    ca.put(BEAM + "Blank", 1)
    assert ca.get(BEAM + "ExposureCounter_RBV") == counter + 1
    assert ca.text(BEAM + "LastOutcome_RBV") == "cut"
    assert ca.severity(BEAM + "LastOutcome_RBV") == 1
    ca.put(BEAM + "Blank", 1)
    assert ca.get(BEAM + "ExposureCounter_RBV") == counter + 1


def test_arming_needs_a_lease_and_beats(ca, order) -> None:
    ca.put(BEAM + "Arm", order("nobody"))
    assert ca.text(BEAM + "Message_RBV") == (
        "beam: Arm: no session holds the beam; write its id to Lease, and beats to "
        "SessionBeat"
    )
    with Session(ca) as session:
        session.fall_silent()
        ca.until(lambda: ca.get(BEAM + "BeatAge_RBV") > 0.4, "silence")
        ca.put(BEAM + "Arm", order("silent"))
        words = ca.text(BEAM + "Message_RBV")
        assert words.startswith("beam: Arm: the last beat of test came 0.")
        assert words.endswith("s ago (limit 0.4 s); write SessionBeat every 0.1 s")
        ca.put(BEAM + "Start", 1)
        assert "beam: Start: the last beat" in ca.text(BEAM + "Message_RBV")


def test_beam_belongs_to_one_session_until_it_is_silent(ca, session) -> None:
    ca.put(BEAM + "Lease", "other")
    assert ca.text(BEAM + "LeaseHolder_RBV") == "test"
    assert ca.text(BEAM + "Message_RBV").startswith(
        "beam: Lease: other can't have the beam: test holds it, and its last beat is 0."
    )
    session.fall_silent()
    ca.until(lambda: ca.get(BEAM + "BeatAge_RBV") > 2.0, "silence")
    ca.put(BEAM + "Lease", "other")
    assert ca.text(BEAM + "LeaseHolder_RBV") == "other"


def test_order_that_can_not_be_is_refused(ca, session, order) -> None:
    ca.put(BEAM + "Arm", order("bad", dwell_s=0.0))
    assert ca.text(BEAM + "Message_RBV") == (
        "beam: Arm: dwell_s 0 s is outside 1e-07..10 s; choose a value in between"
    )
    assert ca.text(BEAM + "State_RBV") == "blanked"
    ca.put(BEAM + "Start", 1)
    assert ca.text(BEAM + "Message_RBV").startswith("beam: Start: nothing is armed")


def test_current_is_measured_in_the_cup(ca) -> None:
    ca.put(BEAM + "MeasureCurrent", 1)
    assert ca.text(BEAM + "State_RBV") == "measuring"
    ca.until(lambda: ca.text(BEAM + "State_RBV") == "blanked", "measured")
    assert ca.get(BEAM + "Current_RBV") == pytest.approx(150.0, rel=0.04)
    assert ca.get(BEAM + "CurrentAge_RBV") < 5.0


def test_current_that_rises_ends_the_exposure_at_its_charge(ca, session, order) -> None:
    ca.put(LAB + "CurrentRise", 1.3)
    counter = expose(ca, order("rise", n_frames=5, max_charge_c=1.65e-10))
    ca.until(ended(ca, counter), "the maximum charge")
    assert ca.text(BEAM + "LastOutcome_RBV") == "max charge"
    assert ca.get(BEAM + "LastCharge_RBV") == pytest.approx(1.65e-10, rel=1e-9)
    ca.until(lambda: ca.get(LAB + "CurrentRise") == 0, "the fault is over")


def test_move_falls_and_rises_however_fast_time_runs(ca) -> None:
    seen = []
    done = ca.pv(STAGE + "AlphaDone_RBV")
    done.auto_monitor = True
    index = done.add_callback(lambda value=None, **_: seen.append(value))
    ca.put(LAB + "Factor", 1e5)
    try:
        ca.put(STAGE + "Alpha", 10.0)
        ca.until(lambda: seen[-2:] == [0, 1], "moving, then done")
        ca.put(STAGE + "Alpha", 10.0)
        ca.until(lambda: seen[-4:] == [0, 1, 0, 1], "done at once where it is")
    finally:
        done.remove_callback(index)
        done.auto_monitor = False
    assert ca.get(STAGE + "Alpha_RBV") == 10.0


def test_stop_halts_an_axis_and_tells_where(ca) -> None:
    ca.put(STAGE + "Alpha", 60.0)
    assert ca.get(STAGE + "AlphaDone_RBV") == 0
    ca.put(STAGE + "AlphaStop", 1)
    assert ca.get(STAGE + "AlphaDone_RBV") == 1
    at_deg = ca.get(STAGE + "Alpha_RBV")
    assert 0.0 < at_deg < 20.0
    assert ca.get(STAGE + "Alpha") == at_deg


def test_stuck_axis_never_arrives(ca) -> None:
    ca.put(LAB + "Mode", 1)
    ca.put(STAGE + "X", 1000.0)
    ca.put(LAB + "StageStuck", 1)
    ca.put(LAB + "Advance", 100.0)
    assert ca.get(STAGE + "XDone_RBV") == 0
    assert ca.get(STAGE + "X_RBV") < 1000.0
    ca.put(LAB + "StageStuck", 0)
    ca.put(LAB + "Advance", 100.0)
    ca.until(lambda: ca.get(STAGE + "XDone_RBV") == 1, "it goes on")
    assert ca.get(STAGE + "X_RBV") == 1000.0


def test_stage_refuses_what_lies_beyond_its_limits(ca) -> None:
    ca.put(STAGE + "Alpha", 71.0)
    assert ca.text(STAGE + "Message_RBV") == (
        "SIM:STAGE1:Alpha: 71 deg is outside -70..70 deg; choose a value in between"
    )
    ca.put(STAGE + "TempSet", -160.0)
    assert ca.text(STAGE + "Message_RBV") == ""
    assert ca.severity(STAGE + "Temp_RBV") == 0


def test_reset_puts_all_back_but_the_counter(ca, session, order) -> None:
    counter = expose(ca, order("reset"))
    ca.put(LAB + "StageTemp", -145.0)
    ca.put(LAB + "Reset", 1)
    assert ca.get(BEAM + "ExposureCounter_RBV") == counter + 1
    assert ca.text(BEAM + "State_RBV") == "blanked"
    assert ca.get(LAB + "StageTemp") == 0
    assert ca.get("SIM:TRUTH:FluenceMax_RBV") == 0


def test_fluence_map_is_written_on_request(ca, own_lab) -> None:
    ca.put("SIM:TRUTH:Save", 1)
    assert ca.text("SIM:TRUTH:Message_RBV") == ""
    assert (own_lab.directory / "truth" / "fluence.npy").exists()
