"""A beam's IOC as its contract tries it: a session that holds, beats, arms, exposes."""

import json
import math
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any, Final

from cryoline.acquisition.contract import Breach
from cryoline.acquisition.contract_pvs import ContractPVs
from cryoline.acquisition.errors import ConnectionFailed
from cryoline.devices.beam_panel import BeamState
from cryoline.devices.current_signal import current_in_pa
from cryoline.devices.exposure import Outcome

import epics  # isort: skip  # behind what sets it up

__all__ = ["UNITS", "BeamRig", "Ended"]

UNITS: Final = {
    "Energy_RBV": ("keV",),
    "Current_RBV": ("pA", "nA", "A"),
    "CurrentMax_RBV": ("pA", "nA", "A"),
    "CurrentAge_RBV": ("s",),
    "ExposureCounter_RBV": ("exposures",),
    "LastCharge_RBV": ("C",),
    "LastTime_RBV": ("s",),
    "LastFrames_RBV": ("frames",),
    "LogRequest": ("exposures",),
    "LogFirst_RBV": ("exposures",),
    "SessionBeat": ("beats",),
    "BeatAge_RBV": ("s",),
    "Heartbeat_RBV": ("beats",),
    "InstrumentTime_RBV": ("s",),
}
"""Units that a number may be in, by its name."""
_OTHERS: Final = (
    *("BootId_RBV", "Message_RBV", "MeasureCurrent", "Arm", "Start", "Blank", "Disarm"),
    *("State_RBV", "Blanked_RBV", "ArmedTicket_RBV", "LastTicket_RBV"),
    *("LastOutcome_RBV", "Log_RBV", "Lease", "LeaseHolder_RBV"),
    *("Interlock_RBV", "InterlockReason_RBV"),
)
_BEAT_S: Final = 0.1
_SILENT_S: Final = 2.0
_ANSWER_S: Final = 2.0
_MARGIN_S: Final = 3.0
_PIXELS: Final = 16
_LARGEST_S: Final = 1e9
_FAST: Final = 1.3
"""A clock that looks faster than this is; below it, nobody measured carefully."""


@dataclass(frozen=True)
class Ended:
    """An exposure as the instrument showed it the moment its counter had changed."""

    ticket: str
    counter: int
    charge_c: float
    beam_on_s: float
    frames: int
    outcome: Outcome

    def __str__(self) -> str:
        return (
            f"{self.outcome.name.lower().replace('_', ' ')} after "
            f"{self.beam_on_s:.3g} s, {self.frames} frames, {self.charge_c:.3g} C"
        )


class BeamRig(ContractPVs):
    """The PVs of a beam, and a session of the contract's own."""

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix, (*UNITS, *_OTHERS))
        self.session = f"contract-{uuid.uuid4().hex[:8]}"
        self.last_beat_s = 0.0
        """Wall time, monotonic, at which the last beat was sent."""
        self.found_state = int(self.get("State_RBV"))
        self.found_blanked = bool(self.get("Blanked_RBV"))
        self._end = threading.Event()
        self._beating: threading.Thread | None = None
        self._refuse_other_session()
        rate = self.instrument_rate()
        self.rate = rate if rate > _FAST else 1.0
        """Instrument time over wall time; 1 but for a simulated instrument."""

    # At rest -----------------------------------------------------------------------

    def come_to_rest(self) -> str:
        """Blank, give the beam back, and see that it is blanked."""
        self.fall_silent()
        self.put("Blank", 1)
        if self.get("LeaseHolder_RBV") != "":
            self.put("Lease", "")
        is_at_rest = self.until(
            lambda: self.get("State_RBV") == BeamState.BLANKED, timeout_s=_ANSWER_S
        )
        if is_at_rest is None:
            raise Breach(f"State_RBV is {self.state_name} {_ANSWER_S:g} s after Blank")
        return "blanked"

    @property
    def state_name(self) -> str:
        """The state in words."""
        state = int(self.get("State_RBV"))
        known = {int(s): s.name.lower() for s in BeamState}
        return known.get(state, f"{state}, which is none")

    # As a session ------------------------------------------------------------------

    def claim(self) -> None:
        """Take the lease, without beats."""
        self.put("Lease", self.session)
        if self.get("LeaseHolder_RBV") != self.session:
            raise Breach(f"Lease was refused: {self.get('Message_RBV')}")

    def hold(self) -> None:
        """Take the lease, and beat until `fall_silent`."""
        self.claim()
        self._end = threading.Event()
        self._beating = threading.Thread(target=self._beat, args=(self._end,))
        self._beating.start()
        if self.until(lambda: self.get("BeatAge_RBV") < 0.4, timeout_s=3.0) is None:
            raise Breach(
                f"BeatAge_RBV is {self.get('BeatAge_RBV'):.3g} s with a beat each "
                f"{_BEAT_S:g} s"
            )

    def fall_silent(self) -> None:
        """Beat no more; returns after the last beat was sent."""
        self._end.set()
        if self._beating is not None:
            self._beating.join()
            self._beating = None

    def order(self, *, wall_s: float, frames: int = 1, **changes: Any) -> str:
        """Return a text for Arm: so long an exposure in all, with a new ticket."""
        beam_s = wall_s * self.rate
        dwell_s = beam_s / frames / _PIXELS**2
        return json.dumps(
            {
                "ticket": f"contract-{uuid.uuid4().hex[:12]}",
                "width_px": _PIXELS,
                "height_px": _PIXELS,
                "pixel_nm": 20.0,
                "dwell_s": dwell_s,
                "n_frames": frames,
                "flyback_s": 0.0,
                "flyback_blanked": True,
                "center_x_nm": 0.0,
                "center_y_nm": 0.0,
                "max_time_s": 2 * beam_s,
                "max_charge_c": 2 * beam_s * self.current_max_pa * 1e-12,
                **changes,
            }
        )

    def arm(self, order: str) -> str:
        """Arm, and return the ticket; raises Breach if it was refused."""
        ticket = str(json.loads(order)["ticket"])
        self.put("Arm", order)
        if self.get("ArmedTicket_RBV") != ticket:
            raise Breach(f"Arm was refused: {self.get('Message_RBV')}")
        return ticket

    def refuses_to_arm(self, order: str, what: str) -> str:
        """Return the reason for a refusal; raises Breach if it armed, or gives none."""
        self.put("Arm", order)
        if armed := self.get("ArmedTicket_RBV"):
            raise Breach(f"{what}: it armed ticket {armed}")
        reason = str(self.get("Message_RBV"))
        if not reason:
            raise Breach(f"{what}: refused, and Message_RBV gives no reason")
        return reason

    def expose(self, order: str) -> str:
        """Hold, arm and start; returns the ticket."""
        self.hold()
        ticket = self.arm(order)
        self.put("Start", 1)
        return ticket

    def ended(self, counter: int, *, wall_s: float) -> Ended:
        """Wait until an exposure beyond a counter is counted; read it at once."""
        took_s = self.until(
            lambda: self.get("ExposureCounter_RBV") != counter,
            timeout_s=wall_s + _MARGIN_S,
        )
        found = Ended(
            ticket=str(self.get("LastTicket_RBV")),
            counter=int(self.get("ExposureCounter_RBV")),
            charge_c=float(self.get("LastCharge_RBV")),
            beam_on_s=float(self.get("LastTime_RBV")),
            frames=int(self.get("LastFrames_RBV")),
            outcome=_outcome(int(self.get("LastOutcome_RBV"))),
        )
        if took_s is None:
            raise Breach(
                f"no exposure was counted {wall_s + _MARGIN_S:.3g} s after Start; "
                f"State_RBV is {self.state_name}: {self.get('Message_RBV')}"
            )
        return found

    # Current -----------------------------------------------------------------------

    @property
    def current_max_pa(self) -> float:
        """The most that the source gives."""
        name = "CurrentMax_RBV"
        value = current_in_pa(self.get(name), self.unit(name), name)
        if not (math.isfinite(value) and value > 0):
            raise Breach(f"{name} is {value:g} pA; it must be above 0")
        return value

    def measured_current_pa(self) -> float:
        """Measure the current now."""
        self.put("MeasureCurrent", 1)
        is_over = self.until(
            lambda: self.get("State_RBV") != BeamState.MEASURING, timeout_s=60.0
        )
        if is_over is None:
            raise Breach("MeasureCurrent is not over after 60 s")
        value = current_in_pa(
            self.get("Current_RBV"), self.unit("Current_RBV"), "Current_RBV"
        )
        age_s = float(self.get("CurrentAge_RBV"))
        if not (math.isfinite(value) and value > 0 and age_s < _LARGEST_S):
            raise Breach(
                f"after MeasureCurrent: {value:g} pA, {age_s:g} s old: "
                f"{self.get('Message_RBV')}"
            )
        return value

    # -------------------------------------------------------------------------------

    def _refuse_other_session(self) -> None:
        holder = self.get("LeaseHolder_RBV")
        age_s = self.get("BeatAge_RBV")
        if holder and age_s < _SILENT_S:
            raise ConnectionFailed(
                f"{self.prefix}: session {holder} has the beam; end it before its IOC "
                "is tried"
            )

    def _beat(self, end: threading.Event) -> None:
        epics.ca.use_initial_context()
        beat = epics.PV(f"{self.prefix}SessionBeat", auto_monitor=False)
        beat.wait_for_connection(_ANSWER_S)
        beats = 0
        while not end.is_set():
            beats += 1
            self.last_beat_s = time.monotonic()
            beat.put(beats, wait=True, timeout=1.0)
            end.wait(_BEAT_S)


def _outcome(number: int) -> Outcome:
    try:
        return Outcome(number)
    except ValueError:
        raise Breach(f"LastOutcome_RBV is {number}, which is no outcome") from None
