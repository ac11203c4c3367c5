"""HAADF and EDS through Channel Access, as a generic client uses them."""

import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cryoline.sim.rpc import WorldClient

pytestmark = pytest.mark.lab

BEAM, LAB = "SIM:BEAM1:", "SIM:LAB:"
HAADF, EDS = "SIM:HAADF1:", "SIM:EDS1:"
BOTH = (HAADF, EDS)
SCAN = {
    "width_px": 64,
    "height_px": 64,
    "pixel_nm": 4.0,
    "dwell_s": 1e-4,
    "n_frames": 4,
    "flyback_s": 0.0,
    "flyback_blanked": True,
    "center_x_nm": 0.0,
    "center_y_nm": 0.0,
    "max_time_s": 1e3,
    "max_charge_c": 1e-3,
}


@pytest.fixture
def world(own_lab) -> Iterator[WorldClient]:
    with WorldClient(own_lab.socket) as world:
        yield world


@pytest.fixture
def beating(ca) -> Iterator[None]:
    """A session that holds the beam."""
    end = threading.Event()

    def beat() -> None:
        import epics

        epics.ca.use_initial_context()
        pv = epics.PV(BEAM + "SessionBeat", auto_monitor=False)
        assert pv.wait_for_connection(10.0)
        while not end.wait(0.1):
            pv.put(1, wait=True, timeout=5.0)

    ca.put(BEAM + "Lease", "test")
    thread = threading.Thread(target=beat)
    thread.start()
    ca.until(lambda: ca.get(BEAM + "BeatAge_RBV") < 0.4, "a beat")
    yield
    end.set()
    thread.join()
    ca.put(BEAM + "Lease", "")


@pytest.fixture
def files(ca, tmp_path) -> Iterator[Path]:
    """Both detectors, each with an open file in a new directory."""
    for detector in BOTH:
        ca.put(detector + "Capture", 0)
        ca.put(detector + "FilePath", str(tmp_path))
        ca.put(detector + "FileName", f"{detector[4:-2].lower()}-1")
        ca.put(detector + "Capture", 1)
        assert ca.text(detector + "Message_RBV") == ""
        assert ca.get(detector + "Capture_RBV") == 1
    yield tmp_path
    for detector in BOTH:
        ca.put(detector + "Capture", 0)
        assert ca.text(detector + "State_RBV") == "idle"


@pytest.fixture
def expose(ca, world, beating) -> Callable[..., str]:
    """Make an exposure that the detectors given wait for; returns its ticket."""

    def expose(slot: int, detectors: tuple[str, ...] = BOTH, **changes: Any) -> str:
        ticket = uuid.uuid4().hex
        for detector in detectors:
            ca.put(detector + "Expect", ticket)
            ca.put(detector + "Slot", slot)
            ca.put(detector + "Acquire", 1)
            assert ca.text(detector + "Message_RBV") == ""
            assert ca.text(detector + "State_RBV") == "waiting"
        world.call("beam.arm", text=json.dumps({"ticket": ticket, **SCAN, **changes}))
        world.call("beam.start")
        return ticket

    return expose


def record(ca, expose: Callable[..., str], slot: int, **changes: Any) -> str:
    counters = {d: ca.get(d + "AcquireCounter_RBV") for d in BOTH}
    ticket = expose(slot, **changes)
    for detector, before in counters.items():
        ca.until(
            lambda d=detector, n=before: ca.get(d + "AcquireCounter_RBV") == n + 1,
            f"{detector} records",
        )
        assert ca.text(detector + "LastTicket_RBV") == ticket
        assert ca.get(detector + "LastSlot_RBV") == slot
    return ticket


def rows(path: Path, name: str) -> list[Any]:
    with h5py.File(path, "r", swmr=True) as file:
        data = file["entry"][name]
        text = h5py.check_string_dtype(data.dtype)
        return list((data.asstr() if text else data)[()])


def test_exposure_is_on_disk_when_its_counter_has_risen(ca, expose, files) -> None:
    ca.put(LAB + "Factor", 100.0)
    tickets = [record(ca, expose, slot) for slot in (0, 1)]
    again = record(ca, expose, 1)

    haadf, eds = files / "haadf-1.h5", files / "eds-1.h5"
    assert ca.text(HAADF + "FullFileName_RBV") == str(haadf)
    assert rows(haadf, "ticket") == rows(eds, "slots/ticket") == [tickets[0], again]
    assert rows(haadf, "discarded/ticket") == [tickets[1]]
    assert rows(eds, "discarded/ticket") == [tickets[1]]
    images = rows(haadf, "data/data")
    assert ca.get(HAADF + "ArrayMean_RBV") == pytest.approx(images[1].mean())
    assert (ca.get(HAADF + "Width_RBV"), ca.get(HAADF + "Height_RBV")) == (64, 64)
    assert images[0].max() > 2000  # the wire, and not only the offset of 1000
    for detector in BOTH:
        assert ca.get(detector + "Frames_RBV") == 4
        assert ca.get(detector + "LiveTime_RBV") == pytest.approx(
            4 * 64 * 64 * 1e-4, rel=0.01
        )
    first, last = ca.get(EDS + "FirstEvent_RBV"), ca.get(EDS + "LastEvent_RBV")
    assert last - first == ca.get(EDS + "Counts_RBV") > 100
    assert rows(eds, "slots/first_event")[1] == first
    assert rows(eds, "slots/last_event")[1] == last == len(rows(eds, "events/x"))
    assert ca.get(EDS + "FirstFrame_RBV") == 8
    assert ca.get(EDS + "FrameCount_RBV") == 4
    assert 0 < ca.get(EDS + "DeadTime_RBV") < 5


def test_detector_refuses_what_it_can_not_record(ca, files, beating, tmp_path) -> None:
    cases = [
        ("Acquire", 1, "haadf: Acquire needs a ticket in Expect: a detector records"),
        ("FilePath", "/elsewhere", "haadf: FilePath can't change while"),
        ("FileName", "other", "haadf: FileName can't change while"),
        ("Slot", -1, "SIM:HAADF1:Slot: -1 is outside 0..1e+06; choose a value in"),
    ]
    for name, value, words in cases:
        ca.put(HAADF + name, value)
        assert ca.text(HAADF + "Message_RBV").startswith(words)
        assert ca.severity(HAADF + "Message_RBV") == 1
    assert ca.text(HAADF + "FileName") == "haadf-1"

    ca.put(HAADF + "Expect", "a-ticket")
    ca.put(HAADF + "Acquire", 1)
    assert ca.text(HAADF + "State_RBV") == "waiting"
    for name, value in (("Acquire", 1), ("Expect", "another"), ("Slot", 3)):
        ca.put(HAADF + name, value)
        assert ca.text(HAADF + "Message_RBV") == (
            f"haadf: {name}: the detector waits for ticket a-ticket; let it be "
            "recorded, or write Cancel"
        )
    assert ca.text(HAADF + "Expect") == "a-ticket"
    ca.put(HAADF + "Cancel", 1)
    assert ca.text(HAADF + "State_RBV") == "idle"

    ca.put(HAADF + "Capture", 0)
    ca.put(HAADF + "Acquire", 1)
    assert ca.text(HAADF + "Message_RBV") == (
        "haadf: Acquire needs an open file; write 1 to Capture first"
    )
    for value, words in (("../up", "is no name of a file"), ("", "is no name")):
        ca.put(HAADF + "FileName", value)
        assert words in ca.text(HAADF + "Message_RBV")
    ca.put(HAADF + "FilePath", "relative")
    assert ca.text(HAADF + "Message_RBV") == (
        "haadf: FilePath 'relative' does not begin with /"
    )
    (tmp_path / "damaged.h5").write_bytes(b"no HDF5 at all" * 10)
    ca.put(HAADF + "FileName", "damaged")
    ca.put(HAADF + "Capture", 1)
    assert "it is left as it is. Choose another" in ca.text(HAADF + "Message_RBV")
    assert ca.get(HAADF + "Capture_RBV") == 0
    assert (tmp_path / "damaged.h5").read_bytes().startswith(b"no HDF5")


def test_full_disk_is_an_error_and_the_exposure_can_be_had_later(
    ca, expose, files
) -> None:
    ca.put(LAB + "Factor", 100.0)
    counters = {d: ca.get(d + "AcquireCounter_RBV") for d in BOTH}
    ca.put(LAB + "DiskFull", 1)
    ticket = expose(0)
    for detector in BOTH:
        ca.until(lambda d=detector: ca.text(d + "State_RBV") == "error", "an error")
        assert ca.severity(detector + "State_RBV") == 2
        message = ca.text(detector + "Message_RBV")
        assert "(No space left on device); free some space, then write Acq" in message
        assert ticket in message
        assert ca.get(detector + "AcquireCounter_RBV") == counters[detector]
    ca.put(LAB + "DiskFull", 0)
    for detector in BOTH:
        ca.put(detector + "Acquire", 1)
        ca.until(
            lambda d=detector: ca.get(d + "AcquireCounter_RBV") == counters[d] + 1,
            "the exposure is recorded after all",
        )
        assert ca.text(detector + "State_RBV") == "idle"
        assert ca.text(detector + "Message_RBV") == ""
    assert rows(files / "haadf-1.h5", "ticket") == [ticket]


def test_stale_frame_is_the_image_before(ca, expose, files) -> None:
    ca.put(LAB + "Factor", 100.0)
    record(ca, expose, 0)
    ca.put(LAB + "StaleFrame", 1)
    record(ca, expose, 1)
    ca.put(LAB + "StaleFrame", 0)
    record(ca, expose, 2)

    first, stale, fresh = rows(files / "haadf-1.h5", "data/data")
    assert (stale == first).all()
    assert (fresh != first).any()


def test_server_killed_in_the_exposure_leaves_a_file_that_goes_on(
    ca, own_lab, expose, files
) -> None:
    ca.put(LAB + "Factor", 100.0)
    first = record(ca, expose, 0)
    ca.put(LAB + "Factor", 1.0)
    ticket = expose(1, (HAADF,))
    os.kill(own_lab.pid("haadf"), signal.SIGKILL)
    own_lab.restart("haadf")
    ca.until(lambda: ca.pv(HAADF + "Capture").connected, "it is back")
    assert rows(files / "haadf-1.h5", "ticket") == [first]
    assert ca.text(HAADF + "State_RBV") == "idle"

    ca.put(HAADF + "FilePath", str(files))
    for name, value in (("FileName", "haadf-1"), ("Capture", 1), ("Expect", ticket)):
        ca.put(HAADF + name, value)
        assert ca.text(HAADF + "Message_RBV") == ""
    ca.put(HAADF + "Slot", 1)
    ca.put(HAADF + "Acquire", 1)
    ca.put(LAB + "Factor", 100.0)
    ca.until(lambda: ca.get(HAADF + "AcquireCounter_RBV") == 1, "the exposure is there")
    assert rows(files / "haadf-1.h5", "ticket") == [first, ticket]


def test_heart_beats_through_a_long_read_out(ca, expose, files) -> None:
    ca.put(LAB + "Factor", 1e6)  # over before any guard may look
    before = ca.get(HAADF + "AcquireCounter_RBV")
    expose(0, (HAADF,), width_px=2048, height_px=2048, dwell_s=1e-6, n_frames=200)
    ca.until(lambda: ca.text(HAADF + "State_RBV") == "reading out", "a read-out")
    began_s, seen = time.monotonic(), {ca.get(HAADF + "Heartbeat_RBV"): 0.0}

    def is_written() -> bool:
        beat = ca.get(HAADF + "Heartbeat_RBV")
        seen.setdefault(beat, time.monotonic() - began_s)
        return bool(ca.get(HAADF + "AcquireCounter_RBV") == before + 1)

    ca.until(is_written, "a large image")
    took_s = time.monotonic() - began_s
    pauses_s = np.diff([*seen.values(), took_s])
    assert took_s > 1.2, "too fast to show anything: make the exposure larger"
    # A late beat is made up for at once, so their number would show nothing.
    assert max(pauses_s) < 0.6 * took_s
