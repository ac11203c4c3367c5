"""Can a session or an IOC that dies lose a point of a cell? Kills them, and counts.

    python bench/cycling_faults.py [--json] [--kills 100] [--ioc-kills 20] [--seed 1]
                                   [--protocol s0-25] [--channels 1]

A laboratory cycles a wafer by a protocol. Sessions, processes of their own
(`cryoline cycle`, then `cryoline resume`), are killed (SIGKILL) at a random moment
between their birth and some seconds of collecting; among them the potentiostat's IOC is
killed too, and started anew while the session goes on. At the end the runs of the
program in the journals are held against the instrument's own memory, point by point.
With more channels, those beside the first are cycled meanwhile (s0-1) by a session each
that nobody kills and that the dead IOC must not end; their points are judged alike:

    lost_points      in the instrument's memory, and in no journal
    doubled_points   in more than one run, or twice in one
    wrong_points     with other values than the instrument's
    excursions       beyond the safety limits by more than noise and one converter step
    runs             that the program was collected in; continuing: that say of which
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from cycling_memory import Channel, compare_all

from cryoline.sim.laboratory import Lab, start_lab
from cryoline.sim.rpc import WorldClient

FACTOR = 200.0
"""Slow enough that the program outlasts the kills; the end is run at 1e5."""
RUNNING, FINISHED = 2, 3
STARTUP_S = 180.0
COLLECTING_S = 3.0
"""After how much collecting at most a session is killed."""
_PAUSE = threading.Event()
DEVICE = "potentiostat"


class Cycling:
    """One program on one laboratory, and the sessions that come and go."""

    def __init__(
        self, lab: Lab, random_: random.Random, protocol: str, channels: int
    ) -> None:
        self._lab = lab
        self._protocol = protocol
        self._random = random_
        self._world = WorldClient(lab.socket)
        self._channel, *self._beside = (
            Channel(self._world, number + 1) for number in range(channels)
        )
        self._undisturbed: list[subprocess.Popen[bytes]] = []
        self._journals = lab.directory / "data" / "journal" / "raw"
        self._environment = {
            **os.environ,
            **lab.epics_environment,
            "CRYOLINE_CONFIG": str(lab.directory / "instrument.toml"),
        }
        self._startup_s = 8.0

    def begin_beside(self) -> None:
        """Start the sessions of the other channels, and wait until they collect."""
        for channel in self._beside:
            cell = f"bench-{channel.device}"
            arguments = ("cycle", "s0-1", "--specimen", cell, "--on", channel.device)
            self._undisturbed.append(self._cryoline(*arguments))
        _until(
            lambda: all(channel.state == RUNNING for channel in self._beside), STARTUP_S
        )

    def kill_a_session(self) -> None:
        """Start a session that goes on, and kill it at a random moment of its life."""
        begun = time.monotonic()
        before = self._count_runs()
        session = self._session()
        if self._random.random() < 0.3:  # before, or while, it opens its run
            _wait(self._random.uniform(0, self._startup_s))
        else:
            _until(
                lambda: self._count_runs() > before or session.poll() is not None,
                STARTUP_S,
            )
            self._startup_s = time.monotonic() - begun
            _wait(self._random.uniform(0, COLLECTING_S))
        session.kill()
        session.wait()

    def kill_the_ioc(self) -> None:
        """Kill the potentiostat's IOC under a session, which must go on by itself."""
        before = self._count_runs()
        session = self._session()
        _until(lambda: self._count_runs() > before, STARTUP_S)
        _wait(self._random.uniform(0, COLLECTING_S))
        os.kill(self._lab.pid(DEVICE), signal.SIGKILL)
        _wait(self._random.uniform(0, 1.0))
        self._lab.restart(DEVICE)
        _wait(COLLECTING_S)
        if session.poll() is not None:
            raise RuntimeError(f"a session ended with its IOC: {session.returncode}")
        session.kill()
        session.wait()

    def finish(self) -> None:
        """Let the program end, and collect what is left of it."""
        self._world.call("lab.factor", factor=1e5)
        if self._channel.state != RUNNING and not self._count_runs():
            raise RuntimeError("the program never ran")
        session = self._session()
        if session.wait(timeout=600) != 0:
            raise RuntimeError("the last session could not collect the rest")
        if self._channel.state != FINISHED:
            raise RuntimeError(f"the program ended in state {self._channel.state}")
        for undisturbed in self._undisturbed:
            if undisturbed.wait(timeout=600) != 0:
                raise RuntimeError("a session that nobody killed ended badly")

    def judge(self) -> dict[str, int]:
        """Hold the journals against the instrument's memory."""
        return compare_all((self._channel, *self._beside), self._journals)

    def close(self) -> None:
        """Let go of the world, and of every session."""
        self._world.close()
        for undisturbed in self._undisturbed:
            undisturbed.kill()
            undisturbed.wait()

    def _session(self) -> subprocess.Popen[bytes]:
        arguments = ["resume", DEVICE]
        if (
            self._channel.state != RUNNING
            and not self._channel.poll()["PointCount_RBV"]
        ):
            arguments = ["cycle", self._protocol, "--specimen", "bench-wafer"]
        return self._cryoline(*arguments)

    def _cryoline(self, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self._lab.directory / "log" / "bench-sessions.log").open("ab")
        with log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "cryoline.acquisition.cli"),
                    *(*arguments, "--wait-s", "0"),
                ],
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    def _count_runs(self) -> int:
        return len(list(self._journals.glob("*.jsonl")))


def _wait(seconds: float) -> None:
    _until(lambda: False, seconds, is_failure=False)


def _until(condition: Any, timeout_s: float, *, is_failure: bool = True) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            if is_failure:
                raise TimeoutError(f"nothing happened for {timeout_s:g} s")
            return
        _PAUSE.wait(0.02)


def run(options: argparse.Namespace, directory: Path) -> dict[str, int]:
    """Kill so many sessions and IOCs, in a random order, and judge the end."""
    seed, channels = options.seed, options.channels
    random_ = random.Random(seed)
    blows = ["session"] * options.kills + ["ioc"] * options.ioc_kills
    random_.shuffle(blows)
    with start_lab(directory, seed=seed, factor=FACTOR, channels=channels) as lab:
        cycling = Cycling(lab, random_, options.protocol, channels)
        try:
            cycling.begin_beside()
            for number, blow in enumerate(blows, start=1):
                if blow == "ioc":
                    cycling.kill_the_ioc()
                else:
                    cycling.kill_a_session()
                sys.stderr.write(f"\r{number} of {len(blows)} blows")
            sys.stderr.write("\n")
            cycling.finish()
            held = cycling.judge()
        finally:
            cycling.close()
    return {"kills": options.kills, "ioc_kills": options.ioc_kills, **held}


def main() -> int:
    """Run the bench; exit 0 if nothing was lost, doubled, or beyond a limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="of sessions")
    parser.add_argument("--ioc-kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--protocol", default="s0-25")
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="for a program to read")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cycling-faults-") as directory:
        figures = run(options, Path(directory))
    if options.json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        for name, value in figures.items():
            sys.stdout.write(f"{name:16} {value}\n")
    faults = ("lost_points", "doubled_points", "wrong_points", "excursions")
    return 1 if any(figures[name] for name in faults) else 0


if __name__ == "__main__":
    sys.exit(main())
