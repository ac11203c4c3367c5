"""Can a session that dies overspend a specimen? Kills and freezes it, and counts.

    python bench/dose_faults.py [--json] [--kills 20] [--stops 20] [--seed 1]

A laboratory runs at clock factor 1. A real session, a process of its own, moves the
stage and exposes over and over; it is killed (SIGKILL) or frozen (SIGSTOP) at a
random moment of each phase in turn: reserve, armed, exposing, settling, moving. What
counts is what the laboratory's truth says, which neither the ledger nor the
instrument's counter reads: after every kill the ledger must hold at least the charge
that reached the specimen, and after reconciling at most one exposure more; and the
beam must be off within 0.5 s.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryoline.sim.laboratory import Lab, start_lab
from cryoline.sim.rpc import WorldClient

PHASES = ("reserve", "armed", "exposing", "settling", "moving")
LONGEST_S = {"reserve": 0.02, "armed": 0.05, "exposing": 0.9, "settling": 0.02}
"""How long after a phase's first sign the blow may come."""
BEAM_OFF_S = 0.5
SPECIMEN = "bench-wire"
FRAME: dict[str, Any] = {
    "width_px": 64,
    "height_px": 64,
    "pixel_nm": 17.0,
    "dwell_s": 2.4e-4,
}
"""0.98 s of beam on 1.1 um: at factor 1 long enough to be hit."""


@dataclass
class Tally:
    """What was seen over all blows."""

    kills: Counter[str] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)
    under_counts: int = 0
    max_over_count_exposures: float = 0.0
    beam_on_after_s: list[float] = field(default_factory=list)
    false_trips: int = 0
    exposures: int = 0

    def report(self) -> dict[str, Any]:
        """Return the figures as JSON types."""
        after = sorted(self.beam_on_after_s) or [0.0]
        return {
            "under_counts": self.under_counts,
            "max_over_count_exposures": round(self.max_over_count_exposures, 4),
            "beam_on_after_s": {
                "p50": round(statistics.median(after), 3),
                "p99": round(after[min(len(after) - 1, int(0.99 * len(after)))], 3),
                "max": round(after[-1], 3),
            },
            "beam_on_when_hit": sum(s > 0 for s in self.beam_on_after_s),
            "false_trips": self.false_trips,
            "exposures": self.exposures,
            "kills_by_phase": dict(self.kills),
            "stops_by_phase": dict(self.stops),
        }


class Victim:
    """A session that exposes until it is killed, and says in which phase it is."""

    def __init__(self, lab: Lab) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--victim", str(lab.directory)],
            stdout=subprocess.PIPE,
            env={**os.environ, **lab.epics_environment},
            text=True,
        )
        self.phase = ""
        self._entered: dict[str, threading.Event] = {
            name: threading.Event() for name in PHASES
        }
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101
        for line in self._process.stdout:
            self.phase = line.strip()
            if self.phase in self._entered:
                self._entered[self.phase].set()

    def await_phase(self, name: str) -> None:
        """Return the next time that this phase begins."""
        if not self.reaches(name):
            raise RuntimeError(f"the session never came to {name}; see its log")

    def reaches(self, name: str) -> bool:
        """Wait for the next time that this phase begins; False if it ends before."""
        self._entered[name].clear()
        deadline_s = time.monotonic() + 60.0
        while not self._entered[name].wait(0.2):
            if not self.is_alive or time.monotonic() > deadline_s:
                return False
        return True

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self._process.pid, number)

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None


class Referee:
    """Compares the ledger with the world's truth."""

    def __init__(self, lab: Lab, tally: Tally) -> None:
        from cryoline.acquisition.config import load_config
        from cryoline.acquisition.dose_reconcile import BeamLog
        from cryoline.devices import Beam
        from cryoline.devices.exposure import Exposure

        self.tally = tally
        self._config = load_config(lab.directory / "instrument.toml")
        self._world = WorldClient(lab.socket)
        self._exposure = Exposure(specimen=SPECIMEN, **FRAME)
        beam = Beam(lab.prefixes["beam"], name="beam")
        beam.wait_for_connection(timeout=10.0)
        self._log = BeamLog(beam)
        self._truth_pv = lab.prefixes["truth"] + "BeamCharge_RBV"
        self._counter = 0

    def now_s(self) -> float:
        """Return the instrument's time."""
        return float(self._world.call("beam.guard")["time_s"])

    def wait_until_off(self) -> None:
        """Return when the beam has been off for long enough to be counted."""
        tick = threading.Event()
        deadline_s = time.monotonic() + 10.0
        quiet = 0
        while quiet < 5:
            quiet = quiet + 1 if self._world.call("beam.guard")["state"] == 0 else 0
            if time.monotonic() > deadline_s:
                raise RuntimeError("the beam is still on 10 s after the blow")
            tick.wait(0.1)

    def new_records(self) -> list[dict[str, Any]]:
        """Return what the hardware has logged since the last call."""
        found = []
        while record := self._world.call("beam.record", counter=self._counter + 1):
            found.append(record)
            self._counter += 1
        self.tally.exposures += len(found)
        return found

    def count_beam_time(self, struck_s: float) -> None:
        """Note how long the beam stayed on after a blow, by the hardware's log."""
        after = [r["end_s"] - struck_s for r in self.new_records()]
        self.tally.beam_on_after_s.append(max([0.0, *after]))

    def compare(self) -> None:
        """Hold the ledger against the truth, before and after reconciling."""
        import epics

        from cryoline.acquisition.dose_config import open_ledger
        from cryoline.acquisition.dose_reconcile import reconcile
        from cryoline.acquisition.fluence import (
            fluence_of_charge_e_per_nm2,
            worst_fluence_e_per_nm2,
        )

        charge_c = epics.caget(self._truth_pv, timeout=10.0)
        truth = fluence_of_charge_e_per_nm2(charge_c, self._exposure.area_nm2)
        rounding = 1e-6 * truth + 1e-3 * self._counter  # each is booked to 1e-3 e/nm2
        with open_ledger(self._config) as ledger:
            before = ledger.usage(SPECIMEN, "region-1")
            if _total(before) < truth - rounding:
                self.tally.under_counts += 1
            reconcile(ledger, self._log)
            after = ledger.usage(SPECIMEN, "region-1")
        if _total(after) < truth - rounding:
            self.tally.under_counts += 1
        one = worst_fluence_e_per_nm2(self._exposure, 150.0)
        over = max(0.0, _total(after) - truth - rounding) / one
        self.tally.max_over_count_exposures = max(
            self.tally.max_over_count_exposures, over
        )

    def close(self) -> None:
        """Let go of the world."""
        self._world.close()


def _total(usage: Any) -> float:
    """Return all that counts against the limit."""
    return float(usage.settled_e_per_nm2 + usage.reserved_e_per_nm2)


def run(kills: int, stops: int, seed: int) -> dict[str, Any]:
    """Strike as often as asked, over the phases in turn; return the figures."""
    rng = random.Random(seed)
    tally = Tally()
    blows = [(PHASES[k % len(PHASES)], signal.SIGSTOP) for k in range(stops)]
    blows += [(PHASES[k % len(PHASES)], signal.SIGKILL) for k in range(kills)]
    rng.shuffle(blows)
    with (
        tempfile.TemporaryDirectory() as home,
        start_lab(Path(home), factor=1.0) as lab,
    ):
        os.environ.update(lab.epics_environment)
        referee = Referee(lab, tally)
        victim: Victim | None = None
        try:
            for phase, number in blows:
                victim = (
                    victim if victim is not None and victim.is_alive else Victim(lab)
                )
                _strike(victim, phase, number, rng, referee)
        finally:
            if victim is not None:
                victim.end()
            referee.close()
    return tally.report()


def _strike(
    victim: Victim,
    phase: str,
    number: signal.Signals,
    rng: random.Random,
    referee: Referee,
) -> None:
    tick = threading.Event()
    victim.await_phase(phase)
    tick.wait(rng.uniform(0.0, LONGEST_S.get(phase, 0.3)))
    # What ended before the blow by itself must not count as a trip.
    for record in referee.new_records():
        referee.tally.false_trips += record["outcome"] == 5
    struck_s = referee.now_s()
    victim.send(number)
    if number is signal.SIGSTOP:
        referee.tally.stops[phase] += 1
        referee.wait_until_off()
        referee.count_beam_time(struck_s)
        victim.send(signal.SIGCONT)
        # It goes on by itself; or it ends, if it was frozen while it armed.
        if not (victim.reaches("reserve") and victim.reaches("settling")):
            victim.end()
            referee.wait_until_off()
            referee.compare()
        # What the blow itself cut is logged already; another trip would be false.
        for record in referee.new_records():
            referee.tally.false_trips += record["outcome"] == 5
        return
    referee.tally.kills[phase] += 1
    victim.end()
    referee.wait_until_off()
    referee.count_beam_time(struck_s)
    referee.compare()


def be_victim(directory: Path) -> None:
    """Expose for ever, telling each phase on standard output."""
    import bluesky.plan_stubs as bps
    import bluesky.preprocessors as bpp

    from cryoline.acquisition.config import load_config
    from cryoline.acquisition.expose import expose
    from cryoline.acquisition.session import open_session
    from cryoline.devices.exposure import Exposure

    session = open_session(load_config(directory / "instrument.toml"))
    beam, stage = session.devices["beam"], session.devices["stage"]
    haadf = session.devices["haadf"]
    exposure = Exposure(specimen=SPECIMEN, **FRAME)

    def tell(msg: Any) -> None:
        phase = {
            "reserve_dose": "reserve",
            "settle_dose": "settling",
            "set": "armed" if msg.obj is beam else "moving",
            "trigger": "exposing" if msg.obj is beam else "",
        }.get(msg.command, "")
        if phase:
            sys.stdout.write(f"{phase}\n")
            sys.stdout.flush()

    session.RE.msg_hook = tell

    @bpp.stage_decorator([haadf])
    @bpp.run_decorator(md={"specimen": SPECIMEN})
    def forever() -> Any:
        tilt_deg = 0.0
        while True:
            tilt_deg = 1.0 - tilt_deg
            yield from bps.mv(stage.alpha_deg, tilt_deg)
            yield from expose(beam, [haadf], exposure, retakes=3)

    session.RE(forever())


def main() -> int:
    """Run the bench, or be the session that it strikes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--victim", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.victim is not None:
        be_victim(options.victim)
        return 0
    figures = run(options.kills, options.stops, options.seed)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            print(f"{name:26} {value}")
    held = (
        figures["under_counts"] == 0
        and figures["max_over_count_exposures"] <= 1.0
        and figures["beam_on_after_s"]["max"] <= BEAM_OFF_S
        and figures["false_trips"] == 0
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
