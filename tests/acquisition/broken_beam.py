"""A beam's IOC without a microscope, that breaks whichever promise it is told to.

    python broken_beam.py PORT

A second reading of docs/reference/pvs.md: it shares no code with the simulated beam,
only the records. `Break` names what it does wrong from then on; empty: nothing.
"""

import asyncio
import json
import math
import sys
import threading
import time
from typing import Any

from cryoline.ioc.process import set_server_environment

if __name__ == "__main__":
    set_server_environment(int(sys.argv[1]))

# Late: they load EPICS, whose environment must be set before.
from cryoline.ioc.dispatcher import Dispatcher
from cryoline.ioc.panel import Panel
from cryoline.ioc.serving import begin_serving

PREFIX = "BAD:BEAM1:"
CURRENT_PA = 150.0
NUMBERS = {
    "width_px": (1, 8192),
    "height_px": (1, 8192),
    "n_frames": (1, 10_000),
    "pixel_nm": (0.01, 1000.0),
    "dwell_s": (1e-7, 10.0),
    "flyback_s": (0.0, 1.0),
    "center_x_nm": (-1e5, 1e5),
    "center_y_nm": (-1e5, 1e5),
    "max_time_s": (1e-9, 1e6),
    "max_charge_c": (1e-18, 1.0),
}
BLANKED, ARMED, EXPOSING = 0, 1, 2
COMPLETE, CUT, MAX_CHARGE, MAX_TIME, DEAD_MAN = 1, 2, 3, 4, 5


class Refused(Exception):
    """What the message says."""


class SoftBeam:
    """The beam behind the records."""

    def __init__(self) -> None:
        self.breaks = ""
        self.holder = ""
        self.beat_s = -math.inf
        self.armed: dict[str, Any] | None = None
        self.begun_s: float | None = None
        self.measured_s = -1e9
        self.current = CURRENT_PA
        self.log: list[dict[str, Any]] = []
        self.tickets: set[str] = set()
        self.blank_at_s = math.inf

    def claim(self, session: str) -> None:
        taken = self.holder and time.monotonic() - self.beat_s < 2.0
        if session not in ("", self.holder) and taken and self.breaks != "any holder":
            raise Refused(f"{self.holder} has it")
        self.holder = session

    def arm(self, text: str) -> None:
        if not self.holder and self.breaks not in ("no lease", "silent"):
            raise Refused("no lease")
        if not self.holder and self.breaks == "silent":
            raise Refused("")
        if time.monotonic() - self.beat_s > 0.4 and self.breaks not in (
            "no beat",
            "no lease",
        ):
            raise Refused("no beat")
        try:
            order = json.loads(text)
        except ValueError:
            raise Refused("no JSON") from None
        if order.get("session", "") not in ("", self.holder):
            if self.breaks != "any session":
                raise Refused("another session holds the lease")
        for key, (low, high) in NUMBERS.items():
            if self.breaks == "defaults":
                order.setdefault(key, 1)
            if key not in order:
                raise Refused(f"{key} is missing")
            if self.breaks == "clamps":
                order[key] = min(max(order[key], low), high)
            if not low <= order[key] <= high:
                raise Refused(f"{key} is outside {low:g}..{high:g}")
        if not order.get("ticket"):
            raise Refused("ticket is missing")
        if order["ticket"] in self.tickets and self.breaks != "tickets":
            raise Refused("this ticket was exposed")
        self.armed = order

    def start(self) -> None:
        if self.armed is None:
            raise Refused("nothing is armed")
        self.begun_s = time.monotonic()

    def blank(self) -> None:
        if self.breaks == "blank by lease" and not self.holder:
            return
        if self.breaks == "slow blank":
            self.blank_at_s = time.monotonic() + 1.0
            return
        self.end(CUT)

    def disarm(self) -> None:
        if self.breaks != "no disarm" and self.begun_s is None:
            self.armed = None

    def measure(self) -> None:
        self.measured_s = time.monotonic()

    def look(self) -> None:
        """End what ends by itself."""
        if self.armed is None:
            return
        now_s = time.monotonic()
        limit_s = 1.0 if self.breaks == "slow dead-man" else 0.4
        if now_s > self.blank_at_s:
            self.blank_at_s = math.inf
            self.end(CUT)
        elif now_s - self.beat_s > limit_s:
            self.end(DEAD_MAN)
        elif self.begun_s is not None:
            ends = {
                COMPLETE: self.frame_s * (self.armed["n_frames"] + self.more_frames),
                MAX_TIME: self.armed["max_time_s"],
                MAX_CHARGE: self.armed["max_charge_c"] / (CURRENT_PA * 1e-12),
            }
            if self.breaks == "no max time":
                del ends[MAX_TIME]
            if self.breaks == "no max charge":
                del ends[MAX_CHARGE]
            outcome = min(ends, key=ends.__getitem__)
            if now_s - self.begun_s >= ends[outcome]:
                self.end(outcome, ends[outcome])

    @property
    def more_frames(self) -> int:
        return int(self.breaks == "another frame")

    @property
    def frame_s(self) -> float:
        armed = self.armed or {}
        return float(armed["width_px"] * armed["height_px"] * armed["dwell_s"])

    def end(self, outcome: int, on_s: float | None = None) -> None:
        order, begun_s = self.armed, self.begun_s
        if order is not None and begun_s is not None:
            on_s = time.monotonic() - begun_s if on_s is None else on_s
            scale = 2.0 if self.breaks == "charge" else 1.0
            self.tickets.add(order["ticket"])
            self.log.append(
                {
                    "ticket": order["ticket"],
                    "counter": len(self.log) + 1,
                    "boot_id": "soft-1",
                    "outcome": outcome,
                    "charge_c": scale * CURRENT_PA * 1e-12 * on_s,
                    "beam_on_s": on_s,
                    "frames": int(on_s / self.frame_s + 1e-6),
                }
            )
        self.armed = self.begun_s = None

    def record(self, counter: int) -> str:
        if self.breaks == "log":
            return json.dumps(self.log[-1]) if self.log else ""
        known = [record for record in self.log if record["counter"] == counter]
        return json.dumps(known[0]) if known else ""


class Server:
    """The records of the beam."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        dispatcher = Dispatcher(self.loop)
        self.panel = Panel(PREFIX, dispatcher)
        self.beam = SoftBeam()
        self.beats = 0
        self._declare()
        begin_serving(dispatcher)

    def _declare(self) -> None:
        panel, beam = self.panel, self.beam
        panel.count("Heartbeat_RBV", "", "beats")
        panel.number("InstrumentTime_RBV", "", "s", 0, 1e12)
        panel.number("Energy_RBV", "", "keV", 0, 300)
        panel.number("Current_RBV", "", "pA", -1e9, 1e9)
        panel.number("CurrentAge_RBV", "", "s", 0, 1e9)
        panel.constant("CurrentMax_RBV", "", "pA", 500.0)
        panel.count("ExposureCounter_RBV", "", "exposures")
        panel.number("LastCharge_RBV", "", "C", 0, 1, precision=15)
        panel.number("LastTime_RBV", "", "s", 0, 1e6)
        panel.count("LastFrames_RBV", "", "frames")
        panel.count("LogFirst_RBV", "", "exposures")
        panel.number("BeatAge_RBV", "", "s", 0, 1e9)
        for name in ("BootId_RBV", "ArmedTicket_RBV", "LastTicket_RBV"):
            panel.text(name, "")
        panel.text("LeaseHolder_RBV", "")
        panel.choice("State_RBV", "", "blanked", "armed", "exposing", "measuring")
        panel.flag("Blanked_RBV", "", "beam on", "blanked")
        panel.flag("Interlock_RBV", "", "ok", "tripped")
        panel.long_text("InterlockReason_RBV", "", 256)
        outcomes = ("none", "complete", "cut", "max charge", "max time", "dead-man")
        panel.choice("LastOutcome_RBV", "", *outcomes, "interlock")
        panel.long_text("Log_RBV", "", 2048)
        panel.set_beat("SessionBeat", "", self._beat)
        panel.set_text("Arm", "", 2048, self._asked(beam.arm))
        panel.set_text("Lease", "", 40, self._asked(beam.claim))
        for name, do in (
            ("Start", beam.start),
            ("Blank", beam.blank),
            ("Disarm", beam.disarm),
            ("MeasureCurrent", beam.measure),
        ):
            panel.set_flag(name, "", "idle", "do", self._asked(lambda _, do=do: do()))
        panel.set_number(
            "LogRequest", "", "exposures", 0, 2**31 - 1, self._request, whole=True
        )
        panel.set_text("Break", "", 40, self._break)
        panel.set_number("Current", "", "pA", -1e9, 1e9, self._set_current)
        panel.set_text("Unit", "", 40, self._set_unit)

    def _beat(self) -> None:
        self.beam.beat_s = time.monotonic()

    def _asked(self, do: Any) -> Any:
        async def handle(value: Any) -> None:
            try:
                do(value)
            except Refused as refusal:
                self.panel.refuse(str(refusal))
            else:
                self.panel.accept()
            self._show(at_once=True)

        return handle

    async def _request(self, counter: int) -> None:
        self.panel.accept()
        self.panel.show_value("Log_RBV", self.beam.record(counter), at_once=True)

    async def _break(self, what: str) -> None:
        self.beam.breaks = what
        if what == "armed at start":
            self.beam.armed = {"ticket": "ghost"}
            self.beam.beat_s = math.inf
        self._show(at_once=True)

    async def _set_current(self, value: float) -> None:
        self.beam.current = value

    async def _set_unit(self, unit: str) -> None:
        record = self.panel._records["Current_RBV"]  # noqa: SLF001  no IOC does that
        record.set_field("EGU", unit)

    def _show(self, *, at_once: bool) -> None:
        beam, now_s = self.beam, time.monotonic()
        last = beam.log[-1] if beam.log else {}
        shown: dict[str, Any] = {
            "Energy_RBV": 200.0,
            "Current_RBV": beam.current,
            "CurrentAge_RBV": min(now_s - beam.measured_s, 1e9),
            "State_RBV": EXPOSING
            if beam.begun_s is not None
            else (ARMED if beam.armed else BLANKED),
            "Blanked_RBV": beam.begun_s is None,
            "ArmedTicket_RBV": beam.armed["ticket"] if beam.armed else "",
            "LeaseHolder_RBV": beam.holder,
            "BeatAge_RBV": max(0.0, min(now_s - beam.beat_s, 1e9)),
            "LogFirst_RBV": 1 if last else 0,
            "BootId_RBV": "soft-1",
        }
        if beam.breaks != "clock":
            shown["InstrumentTime_RBV"] = now_s
        counted = {"ExposureCounter_RBV": len(beam.log)}
        results = {
            "LastTicket_RBV": last.get("ticket", ""),
            "LastCharge_RBV": last.get("charge_c", 0.0),
            "LastTime_RBV": last.get("beam_on_s", 0.0),
            "LastFrames_RBV": last.get("frames", 0),
            "LastOutcome_RBV": last.get("outcome", 0),
        }
        if beam.breaks != "counter first":
            shown |= results | counted
        else:
            shown |= counted
            self.loop.call_later(0.2, self.panel.show, results)
        self.panel.show(shown, at_once=at_once)

    async def serve(self) -> None:
        turn = 0
        while True:
            self.beam.look()
            self._show(at_once=False)
            turn += 1
            self.panel.show_value("Heartbeat_RBV", turn // 25)
            await asyncio.sleep(0.02)

    def run(self) -> None:
        """Serve until standard input ends."""
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self.serve(), self.loop)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    Server().run()
