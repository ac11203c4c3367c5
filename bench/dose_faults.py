"""Can a session that dies overspend a specimen? Kills and freezes it, and counts.

    python bench/dose_faults.py [--json] [--kills 20] [--stops 20] [--seed 1]
                                [--state FILE [--resume]]

A laboratory runs at clock factor 1, its stage tilted. A real session, a process of its
own, moves the stage and exposes over and over; it is killed (SIGKILL) or frozen
(SIGSTOP) at a random moment of each phase in turn: reserve, armed, exposing, settling,
moving. After every kill the ledger's map is held against the world's, cell by cell:
that is where the charge truly fell, and neither the ledger nor the instrument's counter
reads it. Before and after reconciling the ledger may nowhere hold less, and after it at
most one exposure more; and the beam must be off within 0.5 s.

Cells are 8 nm. The specimen drifts, and the stage has play: a cell is compared with
the cells around it too, so what lies off by up to one cell is no error.

Before the first blow some exposures of 1 s are left alone. `overhead_share` is what the
ledger's own messages take of them (reserve, ask for the result, settle, all on disk);
`extra_share` is everything beyond the beam's own time: arming over EPICS, noticing the
end, reading and saving the event, which a plan without a ledger needs as well.

With a state file the figures so far are kept after each blow; --resume goes on.
"""

import argparse
import itertools
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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryoline.sim.fluence_map import CELL_NM
from cryoline.sim.laboratory import Lab, start_lab
from cryoline.sim.rpc import WorldClient

PHASES = ("reserve", "armed", "exposing", "settling", "moving")
LONGEST_S = {"reserve": 0.02, "armed": 0.05, "exposing": 0.9, "settling": 0.02}
"""How long after a phase's first sign the blow may come."""
BEAM_OFF_S = 0.5
SPECIMEN = "bench-wire"
TILT_DEG = 30.0
OPENING_S = 300.0
LOST_MAX = 5
LEDGER_MESSAGES = ("reserve_dose", "exposure_result", "settle_dose")
CALM = 15
"""Exposures that nobody disturbs, whose overhead is measured."""
FRAME: dict[str, Any] = {
    "width_px": 136,
    "height_px": 136,
    "pixel_nm": 8.0,
    "dwell_s": 1.0 / 136**2,
    "tilt_deg": TILT_DEG,
}
"""1 s of beam on 1.1 um: at factor 1 long enough to be hit. A line is a cell wide."""


@dataclass
class Tally:
    """What was seen over all blows."""

    blows: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    stops: dict[str, int] = field(default_factory=dict)
    under_counts: int = 0
    max_over_count_exposures: float = 0.0
    beam_on_after_s: list[float] = field(default_factory=list)
    false_trips: int = 0
    lost_sessions: int = 0
    """That ended or hung without a blow; said on standard error."""
    exposures: int = 0
    commits_ms: list[float] = field(default_factory=list)
    ledger_s: list[float] = field(default_factory=list)
    """What the ledger's messages took of an undisturbed exposure of 1 s."""
    extra_s: list[float] = field(default_factory=list)
    """What it took in all beyond its own time: EPICS, the event, the journal too."""

    def report(self) -> dict[str, Any]:
        """Return the figures as JSON types."""
        # Blows that met a blanked beam say nothing of how soon it is off.
        after = [seconds for seconds in self.beam_on_after_s if seconds > 0]
        return {
            "under_counts": self.under_counts,
            "max_over_count_exposures": round(self.max_over_count_exposures, 4),
            "beam_on_after_s": _quantiles(after, "p50", "p99", "max"),
            "beam_on_when_hit": len(after),
            "false_trips": self.false_trips,
            "lost_sessions": self.lost_sessions,
            "ledger_commit_ms": _quantiles(self.commits_ms, "p50", "p99"),
            "overhead_share": round(statistics.median(self.ledger_s or [0.0]), 4),
            "extra_share": round(statistics.median(self.extra_s or [0.0]), 4),
            "exposures": self.exposures,
            "kills_by_phase": self.kills,
            "stops_by_phase": self.stops,
        }


def _quantiles(values: list[float], *names: str) -> dict[str, float]:
    parts = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    found = values or [0.0]
    return {name: round(float(np.quantile(found, parts[name])), 3) for name in names}


class Lost(Exception):
    """A session ended, or hangs, without a blow."""


class Victim:
    """A session that exposes until it is killed, and says in which phase it is."""

    def __init__(self, lab: Lab, tally: Tally, calm: int = 0) -> None:
        self._tally = tally
        self.has_begun = False
        command = [sys.executable, __file__, "--victim", str(lab.directory)]
        center = [str(nm) for nm in place_nm(lab)]
        self._process = subprocess.Popen(
            [*command, "--center", *center, "--calm", str(calm)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **lab.epics_environment},
            text=True,
        )
        self._entered: dict[str, threading.Event] = {
            name: threading.Event() for name in (*PHASES, "calm", "opened")
        }
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101
        for line in self._process.stdout:
            word, _, figure = line.strip().partition(" ")
            if word == "commit":
                self._tally.commits_ms.append(float(figure))
            elif word == "ledger":
                self._tally.ledger_s.append(float(figure))
            elif word == "extra":
                self._tally.extra_s.append(float(figure))
            elif word in self._entered:
                self._entered[word].set()

    def go(self) -> None:
        """Let it begin, once it has opened its session; that may take long."""
        if not self._entered["opened"].wait(OPENING_S):
            raise Lost("the session never opened")
        self.has_begun = True
        if self._process.stdin is not None:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()

    def await_phase(self, name: str) -> None:
        """Return the next time that this phase begins; raises Lost if it never does."""
        if not self.reaches(name):
            if self.is_alive:  # it says where it hangs
                self.send(signal.SIGUSR1)
                threading.Event().wait(2.0)
            raise Lost(f"the session never came to {name}")

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
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

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
        from cryoline.acquisition.dose_config import open_ledger
        from cryoline.acquisition.dose_reconcile import reconcile
        from cryoline.acquisition.fluence import worst_fluence_e_per_nm2

        truth = np.load(self._world.call("truth.save"))
        with open_ledger(self._config) as ledger:
            before = self._under_and_over(ledger, truth)
            reconcile(ledger, self._log)
            after = self._under_and_over(ledger, truth)
        self.tally.under_counts += int(before[0] > 0) + int(after[0] > 0)
        one = worst_fluence_e_per_nm2(self._exposure, 150.0)
        self.tally.max_over_count_exposures = max(
            self.tally.max_over_count_exposures, after[1] / one
        )

    def _under_and_over(
        self, ledger: Any, truth: NDArray[np.float64]
    ) -> tuple[float, float]:
        """Return by how much the ledger is below and above the truth at most, e/nm2."""
        if SPECIMEN not in ledger.specimens():
            return float(truth.max()), 0.0  # it died before its first reservation
        booked = ledger.fluence_map(SPECIMEN, cell_nm=CELL_NM)
        held = booked.settled_e_per_nm2 + booked.reserved_e_per_nm2
        rows, columns = (
            np.round((centers - first) / CELL_NM).astype(int)
            for centers, first in zip(
                (_centers_nm(n) for n in truth.shape),
                (booked.y_nm[0], booked.x_nm[0]),
                strict=True,
            )
        )
        # The ledger's map on the world's cells; beyond it nothing is booked.
        on_truth = np.zeros_like(truth)
        inside = np.ix_(
            (rows >= 0) & (rows < len(booked.y_nm)),
            (columns >= 0) & (columns < len(booked.x_nm)),
        )
        y, x = (
            index[(index >= 0) & (index < n)]
            for index, n in zip((rows, columns), held.shape, strict=True)
        )
        on_truth[inside] = held[np.ix_(y, x)]
        rounding = 1e-6 * truth + 1e-3 * (self._counter + 1)
        under = truth - _most_around(on_truth) - rounding
        over = on_truth - _most_around(truth) - rounding
        return float(under.max()), max(0.0, float(over.max()))

    def close(self) -> None:
        """Let go of the world."""
        self._world.close()


def _centers_nm(cells: int) -> NDArray[np.float64]:
    """Return where the cells of an axis of the world's map lie."""
    return np.asarray((np.arange(cells) - cells / 2 + 0.5) * CELL_NM)


def _most_around(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest of each cell and the eight around it."""
    most = cells.copy()
    for axis in (0, 1):
        padded = np.pad(most, [(1, 1) if k == axis else (0, 0) for k in (0, 1)])
        lines = np.moveaxis(padded, axis, 0)
        three = np.maximum(np.maximum(lines[:-2], lines[1:-1]), lines[2:])
        most = np.moveaxis(three, 0, axis)
    return most


def tilt_stage(lab: Lab) -> None:
    """Tilt the stage, and take up its play in height."""
    stage = lab.prefixes["stage"]
    for axis, target in (("Alpha", TILT_DEG), ("Z", 1.0)):
        epics_put(f"{stage}{axis}", target)
        await_value(f"{stage}{axis}Done_RBV", 1)


def place_nm(lab: Lab) -> tuple[float, float]:
    """Return where the beam must be to meet the specimen: what tracking finds out."""
    truth = lab.prefixes["truth"]
    x_nm, y_nm = (epics_get(f"{truth}Shift{axis}_RBV") for axis in "XY")
    return x_nm, y_nm


def epics_get(name: str) -> float:
    """Return a number that a PV shows now."""
    import ophyd  # noqa: F401  it tells pyepics which library to load

    import epics  # isort: skip

    return float(epics.caget(name, timeout=10.0, use_monitor=False))


def epics_put(name: str, value: float) -> None:
    """Write a number, and wait until it was taken."""
    import ophyd  # noqa: F401

    import epics  # isort: skip

    epics.caput(name, value, wait=True, timeout=10.0)


def await_value(name: str, value: float) -> None:
    """Return when a PV shows a value."""
    tick = threading.Event()
    while epics_get(name) != value:
        tick.wait(0.1)


def run(
    kills: int,
    stops: int,
    seed: int,
    calm: int = CALM,
    state: Path | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Strike as often as asked, over the phases in turn; return the figures."""
    rng = random.Random(seed)
    blows = [(PHASES[k % len(PHASES)], signal.SIGSTOP) for k in range(stops)]
    blows += [(PHASES[k % len(PHASES)], signal.SIGKILL) for k in range(kills)]
    rng.shuffle(blows)
    tally = Tally()
    if state is not None and resume and state.exists():
        tally = Tally(**json.loads(state.read_text()))
        rng.seed(seed + tally.blows)
    with (
        tempfile.TemporaryDirectory() as home,
        start_lab(Path(home), factor=1.0) as lab,
    ):
        os.environ.update(lab.epics_environment)
        tilt_stage(lab)
        referee = Referee(lab, tally)
        waiting = Victim(lab, tally, calm=0 if tally.extra_s else calm)
        victim: Victim | None = None
        try:
            while tally.blows < len(blows):
                phase, number = blows[tally.blows]
                if victim is None or not victim.is_alive:
                    # The next one opens its session meanwhile, which takes seconds.
                    victim, waiting = waiting, Victim(lab, tally)
                try:
                    if not victim.has_begun:
                        victim.go()
                        if calm and not tally.extra_s:
                            victim.await_phase("calm")
                    _strike(victim, phase, number, rng, referee)
                except Lost as error:
                    print(f"{error}; the next one goes on", file=sys.stderr)
                    tally.lost_sessions += 1
                    if tally.lost_sessions > LOST_MAX:
                        raise
                    victim.end()
                    referee.wait_until_off()
                    referee.compare()
                    continue
                tally.blows += 1
                if state is not None:
                    state.with_suffix(".new").write_text(json.dumps(asdict(tally)))
                    state.with_suffix(".new").replace(state)
        finally:
            for session in (victim, waiting):
                if session is not None:
                    session.end()
            referee.close()
    return tally.report()


def _count(tally: dict[str, int], phase: str) -> None:
    tally[phase] = tally.get(phase, 0) + 1


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
        _count(referee.tally.stops, phase)
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
    _count(referee.tally.kills, phase)
    victim.end()
    referee.wait_until_off()
    referee.count_beam_time(struck_s)
    referee.compare()


def be_victim(directory: Path, center_nm: tuple[float, float], calm: int) -> None:
    """Expose for ever, telling each phase on standard output."""
    import faulthandler

    import bluesky.plan_stubs as bps
    import bluesky.preprocessors as bpp

    from cryoline.acquisition.config import load_config
    from cryoline.acquisition.expose import expose
    from cryoline.acquisition.session import open_session
    from cryoline.devices.exposure import Exposure

    faulthandler.register(signal.SIGUSR1)
    session = open_session(load_config(directory / "instrument.toml"))
    beam, stage = session.devices["beam"], session.devices["stage"]
    haadf = session.devices["haadf"]
    exposure = Exposure(
        specimen=SPECIMEN,
        center_x_nm=center_nm[0],
        center_y_nm=center_nm[1],
        **FRAME,
    )

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def tell(msg: Any) -> None:
        phase = {
            "reserve_dose": "reserve",
            "settle_dose": "settling",
            "set": "armed" if msg.obj is beam else "moving",
            "trigger": "exposing" if msg.obj is beam else "",
        }.get(msg.command, "")
        if phase:
            say(phase)

    def timed(commit: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            begun_s = time.perf_counter()
            answer = commit(*args, **kwargs)
            say(f"commit {1e3 * (time.perf_counter() - begun_s):.3f}")
            return answer

        return call

    ledger: Any = session.dose.ledger if session.dose else None
    ledger.reserve, ledger.settle = timed(ledger.reserve), timed(ledger.settle)
    say("opened")
    sys.stdin.readline()

    messages: list[tuple[str, float]] = []

    @bpp.run_decorator(md={"specimen": SPECIMEN})
    def undisturbed() -> Any:
        for _ in range(calm):
            messages.clear()
            begun_s = time.perf_counter()
            yield from expose(beam, [], exposure)
            took_s = time.perf_counter() - begun_s
            ledger_s = sum(
                until_s - since_s
                for (name, since_s), (_, until_s) in itertools.pairwise(messages)
                if name in LEDGER_MESSAGES
            )
            say(f"ledger {ledger_s:.4f}")
            say(f"extra {took_s - exposure.duration_s:.4f}")

    @bpp.stage_decorator([haadf])
    @bpp.run_decorator(md={"specimen": SPECIMEN})
    def forever() -> Any:
        z_nm = 0.0
        while True:
            z_nm = 1.0 - z_nm
            yield from bps.mv(stage.z_nm, z_nm)
            yield from expose(beam, [haadf], exposure, retakes=3)

    if calm:
        session.RE.msg_hook = lambda msg: messages.append(
            (msg.command, time.perf_counter())
        )
        session.RE(undisturbed())
        say("calm")
    session.RE.msg_hook = tell
    session.RE(forever())


def main() -> int:
    """Run the bench, or be the session that it strikes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state", type=Path, help="keep the figures so far in it")
    parser.add_argument("--resume", action="store_true", help="go on from --state")
    parser.add_argument(
        "--calm", type=int, default=CALM, help="undisturbed exposures, for the overhead"
    )
    parser.add_argument("--victim", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--center", type=float, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.victim is not None:
        be_victim(options.victim, options.center, options.calm)
        return 0
    figures = run(
        options.kills,
        options.stops,
        options.seed,
        options.calm,
        options.state,
        options.resume,
    )
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
        and figures["lost_sessions"] == 0
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
