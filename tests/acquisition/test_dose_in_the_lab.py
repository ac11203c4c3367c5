"""The ledger in real sessions: killed ones, and the panic button."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.dose_config import open_ledger
from cryoline.acquisition.fluence import fluence_of_charge_e_per_nm2
from cryoline.devices.exposure import Exposure

if TYPE_CHECKING:
    from conftest import Instrument

pytestmark = pytest.mark.lab

FACTOR = 10.0
FRAME: dict[str, Any] = {
    "width_px": 64,
    "height_px": 64,
    "pixel_nm": 17.0,
    "dwell_s": 2.5e-3,
}
"""A frame takes 10.2 s of instrument time, 1 s of the wall."""

PRELUDE = f"""
import os
from cryoline.acquisition.expose import expose_once
from cryoline.devices.exposure import Exposure
frame = Exposure(specimen=SPECIMEN, **{FRAME})
"""


@pytest.fixture
def slow(instrument: "Instrument", lab: Any) -> Iterator["Instrument"]:
    """Return the laboratory at a pace at which an exposure can be hit."""
    import epics

    epics.caput("SIM:LAB:Factor", FACTOR, wait=True, timeout=10)
    yield instrument
    epics.caput("SIM:BEAM1:Blank", 1, wait=True, timeout=10)
    instrument.reset()


@pytest.fixture
def ledger(slow: "Instrument") -> Iterator[DoseLedger]:
    with open_ledger(slow.config) as ledger:
        yield ledger


def script(specimen: str, body: str) -> tuple[str, ...]:
    text = PRELUDE.replace("SPECIMEN", repr(specimen)) + body
    return "shell", "-c", text


def expose_and_wait_for_beam(
    instrument: "Instrument", specimen: str, *, n_frames: int = 3
) -> subprocess.Popen[str]:
    """Start a session that exposes; return once the beam is on."""
    import epics

    body = (
        f"frame = frame.model_copy(update={{'n_frames': {n_frames}}})\n"
        "RE(expose_once(beam, [], frame))"
    )
    started = instrument.start(*script(specimen, body))
    deadline = time.monotonic() + 60
    while epics.caget("SIM:BEAM1:State_RBV", timeout=5) != 2:
        assert started.poll() is None, started.communicate()
        assert time.monotonic() < deadline
        epics.poll(0.02)
    return started


def test_blank_ends_an_exposure_at_once_and_the_ledger_knows(
    slow: "Instrument", ledger: DoseLedger
) -> None:
    import epics

    before_c = epics.caget("SIM:TRUTH:BeamCharge_RBV", timeout=5)
    session = expose_and_wait_for_beam(slow, "lab-2", n_frames=60)

    done = slow.cryoline("blank")

    assert done.returncode == 0, done.stderr
    assert "SIM:BEAM1: is blanked (" in done.stdout
    assert float(done.stdout.split("(")[1].split(" ms")[0]) < 1000
    assert epics.caget("SIM:BEAM1:Blanked_RBV", timeout=5) == 1
    session.communicate(timeout=60)
    assert epics.caget("SIM:BEAM1:LastOutcome_RBV", timeout=5) == 2
    shot_c = epics.caget("SIM:TRUTH:BeamCharge_RBV", timeout=5) - before_c
    area_nm2 = Exposure(specimen="lab-2", **FRAME).area_nm2
    shot = fluence_of_charge_e_per_nm2(shot_c, area_nm2)
    used, cells = ledger.usage("lab-2", "region-1"), ledger.fluence_map("lab-2")
    # Never less than the hardware has shot, and at most the rest of a line more.
    mean = cells.settled_e_per_nm2.sum() * cells.cell_nm**2 / area_nm2
    line_e = 160e-12 / 1.602e-19 * FRAME["width_px"] * FRAME["dwell_s"]
    assert -1e-4 * shot < mean - shot < line_e / area_nm2
    # Where the frame that was cut was scanned, a cell has it in full.
    assert shot <= used.settled_e_per_nm2 + 0.01
    assert used.reserved_e_per_nm2 == 0


def test_blank_says_that_a_frozen_beam_may_be_on(slow: "Instrument") -> None:
    pid = slow.lab.pid("beam")
    os.kill(pid, signal.SIGSTOP)
    try:
        done = slow.cryoline("blank")
    finally:
        os.kill(pid, signal.SIGCONT)

    assert done.returncode == 1
    message = " ".join(done.stderr.split())
    assert message.startswith("error: SIM:BEAM1:Blank: ")
    assert "THE BEAM MAY BE ON: close the column valve" in message


def test_what_a_killed_session_left_is_settled_by_the_next(
    slow: "Instrument", ledger: DoseLedger
) -> None:
    session = expose_and_wait_for_beam(slow, "lab-3")
    session.kill()
    session.communicate()
    (opened,) = ledger.open_tickets()
    assert not opened.is_owner_alive

    # The beam is off by the dead-man's switch, and the instrument has logged it.
    deadline = time.monotonic() + 10
    while (code := slow.cryoline("dose", "reconcile", "--json")).returncode:
        assert time.monotonic() < deadline, code

    done = json.loads(code.stdout)
    assert [s["ticket_uid"] for s in done["settled"]] == [opened.ticket.uid]
    used = ledger.usage("lab-3", "region-1")
    assert 0 < used.settled_e_per_nm2 < opened.ticket.reserved_e_per_nm2
    assert used.reserved_e_per_nm2 == 0


def test_what_was_reserved_and_never_armed_is_released_by_the_next_session(
    slow: "Instrument", ledger: DoseLedger
) -> None:
    done = slow.cryoline(
        *script(
            "lab-4",
            "series = session.ledger.open_series([frame] * 3, current_limit_pa=165)\n"
            "boot_id, counter = beam.position()\n"
            "session.ledger.reserve(frame, current_pa=150, current_limit_pa=165,\n"
            "    boot_id=boot_id, counter=counter, series=series)\n"
            "os._exit(0)\n",
        )
    )
    assert done.returncode == 0, done.stderr
    assert ledger.usage("lab-4", "region-1").reserved_e_per_nm2 > 0

    done = slow.cryoline("shell", "-c", "pass")

    assert done.returncode == 0, done.stderr
    used = ledger.usage("lab-4", "region-1")
    assert used.reserved_e_per_nm2 == used.settled_e_per_nm2 == 0
    kinds = [row.kind for row in ledger.history("lab-4")]
    assert kinds == ["series-open", "reserve", "release", "series-close"]
