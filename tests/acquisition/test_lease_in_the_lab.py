"""Two sessions at one beam: one has it, however the other is stopped and goes on."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from cryoline.acquisition.dose_config import open_ledger

if TYPE_CHECKING:
    from conftest import Instrument

pytestmark = pytest.mark.lab

SCRIPT = """
import sys
from cryoline.acquisition.expose import expose_once
from cryoline.devices.exposure import Exposure

print("SESSION", session.dose.beat.session, flush=True)
for line in sys.stdin:
    frame = Exposure(
        specimen="lease-1", width_px=64, height_px=64, pixel_nm=17.0, dwell_s=2.5e-3,
        n_frames=int(line),
    )
    try:
        RE(expose_once(beam, [], frame))
        print("EXPOSED", flush=True)
    except Exception as error:
        print("REFUSED", *str(error).split(), flush=True)
"""
"""Exposes as many frames as it is told; a frame takes 1 s of the wall."""


class Session:
    """A session in a process of its own, told what to do line by line."""

    def __init__(self, instrument: "Instrument") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cryoline.acquisition.cli", "shell", "-c", SCRIPT],
            env=instrument.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.name = ""

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._lines.put(line.strip())

    def expose(self, n_frames: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{n_frames}\n")
        self.process.stdin.flush()

    def answer(self, timeout_s: float = 60) -> str:
        deadline = time.monotonic() + timeout_s
        while True:
            line = self._lines.get(timeout=max(0.01, deadline - time.monotonic()))
            if line.startswith(("SESSION", "EXPOSED", "REFUSED")):
                return line


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 30) -> None:
    import epics

    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        epics.poll(0.02)


def shown(name: str) -> Any:
    import epics

    return epics.caget(f"SIM:BEAM1:{name}", timeout=5)


@pytest.fixture
def two(instrument: "Instrument", lab: Any) -> Iterator[tuple[Session, Session]]:
    import epics

    epics.caput("SIM:LAB:Factor", 10.0, wait=True, timeout=10)
    sessions = Session(instrument), Session(instrument)
    try:
        for session in sessions:
            session.name = session.answer().split()[1]
        yield sessions
    finally:
        for session in sessions:
            session.end()
        epics.caput("SIM:BEAM1:Blank", 1, wait=True, timeout=10)
        instrument.reset()


def test_two_sessions_never_arm_one_beam(
    instrument: "Instrument", two: tuple[Session, Session]
) -> None:
    first, second = two
    first.expose(60)
    wait_for(lambda: shown("State_RBV") == 2, "the first exposes")
    assert shown("LeaseHolder_RBV") == first.name

    second.expose(1)
    assert second.answer() == (
        f"REFUSED SIM:BEAM1:Lease: session {first.name} has the beam; end it, or wait "
        "until it has been silent for 2 s"
    )
    assert shown("State_RBV") == 2  # which did the first no harm

    # Frozen: it loses the beam, and learns it when it goes on.
    os.kill(first.process.pid, signal.SIGSTOP)
    wait_for(lambda: shown("LastOutcome_RBV") == 5, "the dead-man blanks")
    second.expose(3)
    wait_for(lambda: shown("State_RBV") == 2, "the second exposes")
    assert shown("LeaseHolder_RBV") == second.name
    os.kill(first.process.pid, signal.SIGCONT)
    # It means to repeat what the dead-man has cut, and gives up after 5 s.
    assert f"session {second.name} has the beam" in first.answer()
    assert second.answer() == "EXPOSED"
    assert shown("LastOutcome_RBV") == 1
    assert shown("LastFrames_RBV") == 3

    # Killed: its lease is old after 2 s, and what it left is settled.
    second.expose(60)
    wait_for(lambda: shown("State_RBV") == 2, "the second exposes")
    second.process.kill()
    second.process.wait()
    first.expose(1)
    assert first.answer() == "EXPOSED"
    with open_ledger(instrument.config) as ledger:
        assert ledger.unsettled() == []


def test_a_session_that_has_lost_the_beam_arms_nothing(
    instrument: "Instrument", lab: Any
) -> None:
    import epics

    order = (
        '{"session": "frozen", "ticket": "t", "width_px": 1, "height_px": 1, '
        '"n_frames": 1, "pixel_nm": 1, "dwell_s": 1, "flyback_s": 0, '
        '"flyback_blanked": true, "center_x_nm": 0, "center_y_nm": 0, '
        '"max_time_s": 1, "max_charge_c": 1e-9}'
    )

    def claimed() -> bool:
        epics.caput("SIM:BEAM1:Lease", "awake", wait=True, timeout=10)
        return bool(shown("LeaseHolder_RBV") == "awake")

    try:
        wait_for(claimed, "a session of before is silent for 2 s")
        epics.caput("SIM:BEAM1:SessionBeat", 1, wait=True, timeout=10)
        # Its own view of the lease may be of before; the instrument's is not.
        epics.PV("SIM:BEAM1:Arm").put(order, wait=True, timeout=10)

        assert shown("ArmedTicket_RBV") == ""
        assert epics.caget("SIM:BEAM1:Message_RBV", as_string=True, timeout=5) == (
            "beam: Arm: session frozen has lost the beam to awake; end that one, or "
            "wait until it has been silent for 2 s"
        )
    finally:
        epics.caput("SIM:BEAM1:Lease", "", wait=True, timeout=10)
