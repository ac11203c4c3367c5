"""Can a session or an IOC that dies lose a point of a cell? Kills them, and counts.

    python bench/cycling_faults.py [--json] [--kills 100] [--ioc-kills 20] [--seed 1]

A laboratory cycles a wafer by the protocol s0-25. Sessions, processes of their own
(`cryoline cycle`, then `cryoline resume`), are killed (SIGKILL) at a random moment
between their birth and some seconds of collecting; among them the potentiostat's IOC is
killed too, and started anew while the session goes on. At the end the runs of the
program in the journals are held against the instrument's own memory, point by point:

    lost_points      in the instrument's memory, and in no journal
    doubled_points   in more than one run, or twice in one
    wrong_points     with other values than the instrument's
    excursions       beyond the safety limits by more than noise and one converter step
    runs             that the program was collected in
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
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryoline.acquisition.journal_format import decode_line
from cryoline.ioc.points import COLUMNS
from cryoline.sim.laboratory import Lab, start_lab
from cryoline.sim.rpc import WorldClient

PROTOCOL = "s0-25"
FACTOR = 200.0
"""Slow enough that the program outlasts the kills; the end is run at 1e5."""
RUNNING, FINISHED = 2, 3
STARTUP_S = 180.0
COLLECTING_S = 3.0
"""After how much collecting at most a session is killed."""
NOISE_V = 1e-3
_PAUSE = threading.Event()
DEVICE = "potentiostat"


@dataclass
class Tally:
    """What was seen over all blows."""

    kills: int = 0
    ioc_kills: int = 0
    runs: int = 0
    points: int = 0
    lost_points: int = 0
    doubled_points: int = 0
    wrong_points: int = 0
    excursions: int = 0


class Cycling:
    """One program on one laboratory, and the sessions that come and go."""

    def __init__(self, lab: Lab, random_: random.Random) -> None:
        self._lab = lab
        self._random = random_
        self._world = WorldClient(lab.socket)
        self._journals = lab.directory / "data" / "journal" / "raw"
        self._environment = {
            **os.environ,
            **lab.epics_environment,
            "CRYOLINE_CONFIG": str(lab.directory / "instrument.toml"),
        }
        self._startup_s = 8.0

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
        if self._state() != RUNNING and not self._count_runs():
            raise RuntimeError("the program never ran")
        session = self._session()
        if session.wait(timeout=600) != 0:
            raise RuntimeError("the last session could not collect the rest")
        if self._state() != FINISHED:
            raise RuntimeError(f"the program ended in state {self._state()}")

    def judge(self, tally: Tally) -> None:
        """Hold the journals against the instrument's memory."""
        uid = self._poll()["ProgramUid_RBV"]
        kept: dict[int, dict[str, Any]] = {}
        seen: Counter[int] = Counter()
        for path in self._journals.glob("*.jsonl"):
            rows = list(_points(path, uid))
            tally.runs += bool(rows)
            for row in rows:
                seen[row["point_index"]] += 1
                kept[row["point_index"]] = row
        low_v, high_v, most_a = self._limits(uid)
        for true in self._memory():
            tally.points += 1
            index = int(true["point_index"])
            found = kept.get(index)
            tally.lost_points += found is None
            tally.wrong_points += found is not None and any(
                found[name] != true[name] for name in ("potential_v", "charge_mah")
            )
            inside_v = low_v - NOISE_V <= true["potential_v"] <= high_v + NOISE_V
            tally.excursions += not (inside_v and abs(true["current_a"]) <= most_a)
        tally.doubled_points = sum(count - 1 for count in seen.values())

    def close(self) -> None:
        """Let go of the world."""
        self._world.close()

    def _session(self) -> subprocess.Popen[bytes]:
        arguments = ["resume", DEVICE]
        if self._state() != RUNNING and not self._poll()["PointCount_RBV"]:
            arguments = ["cycle", PROTOCOL, "--specimen", "bench-wafer"]
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

    def _poll(self) -> dict[str, Any]:
        values: dict[str, Any] = self._world.call("poll", instrument=DEVICE)["values"][
            DEVICE
        ]
        return values

    def _state(self) -> int:
        return int(self._poll()["State_RBV"])

    def _count_runs(self) -> int:
        return len(list(self._journals.glob("*.jsonl")))

    def _limits(self, uid: str) -> tuple[float, float, float]:
        for path in self._journals.glob("*.jsonl"):
            with path.open("rb") as journal:
                start = decode_line(journal.readline())[1]
            if start.get("program", {}).get("uid") == uid:
                safety = start["program"]["safety"]
                return (
                    safety["potential_min_v"],
                    safety["potential_max_v"],
                    safety["current_max_a"],
                )
        raise RuntimeError(f"no run of program {uid}")

    def _memory(self) -> Iterator[dict[str, float]]:
        first = 0
        while rows := self._world.call("potentiostat.points", first=first)["rows"]:
            first += len(rows)
            for row in rows:
                yield dict(zip(COLUMNS, row, strict=True))


def _points(path: Path, uid: str) -> Iterator[dict[str, Any]]:
    """Yield the points of a program's run, by the names of their columns."""
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [decode_line(line) for line in lines if line.endswith(b"\n")]
    if not whole or (whole[0][1].get("program") or {}).get("uid") != uid:
        return
    prefix = f"{DEVICE}_"
    for name, doc in whole:
        if name == "event_page" and f"{prefix}point_index" in doc["data"]:
            names = [key.removeprefix(prefix) for key in doc["data"]]
            for values in zip(*doc["data"].values(), strict=True):
                yield dict(zip(names, values, strict=True))


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


def run(kills: int, ioc_kills: int, seed: int, directory: Path) -> Tally:
    """Kill so many sessions and IOCs, in a random order, and judge the end."""
    random_ = random.Random(seed)
    blows = ["session"] * kills + ["ioc"] * ioc_kills
    random_.shuffle(blows)
    tally = Tally()
    with start_lab(directory, seed=seed, factor=FACTOR) as lab:
        cycling = Cycling(lab, random_)
        try:
            for number, blow in enumerate(blows, start=1):
                if blow == "ioc":
                    cycling.kill_the_ioc()
                    tally.ioc_kills += 1
                else:
                    cycling.kill_a_session()
                    tally.kills += 1
                sys.stderr.write(f"\r{number} of {len(blows)} blows")
            sys.stderr.write("\n")
            cycling.finish()
            cycling.judge(tally)
        finally:
            cycling.close()
    return tally


def main() -> int:
    """Run the bench; exit 0 if nothing was lost, doubled, or beyond a limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="of sessions")
    parser.add_argument("--ioc-kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="for a program to read")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cycling-faults-") as directory:
        tally = run(options.kills, options.ioc_kills, options.seed, Path(directory))
    figures = asdict(tally)
    if options.json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        for name, value in figures.items():
            sys.stdout.write(f"{name:16} {value}\n")
    faults = ("lost_points", "doubled_points", "wrong_points", "excursions")
    return 1 if any(figures[name] for name in faults) else 0


if __name__ == "__main__":
    sys.exit(main())
