"""Kills the analysis worker at random times in a tilt series, and compares the ends.

    python bench/live_faults.py [--json] [--kills 20] [--tilts 6] [--seed 1]

Workers are the real process, `python -m cryoline.acquisition.analysis_worker`. One run
of X-ray maps is recorded, and followed once by a worker that nobody disturbs. Then it
is followed again, tilt after tilt, by workers that get SIGKILL at random times, and the
next one at once. The derived journals (but the lines of live pictures) and every array
have to be the same to the byte. Exits with status 1 if they are not.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from cryoline.acquisition.config import Config, load_config
from cryoline.acquisition.journal_format import decode_line
from cryoline.acquisition.process_identity import read_state

from tilt_session import TiltSession, render  # isort: skip

SETTINGS = {"size_voxels": 64, "bin_px": 2}
PATIENCE_S = 300.0


class Worker:
    """The worker's process."""

    def __init__(self, config: Config) -> None:
        self._state = config.layout.services / "analysis_worker.json"
        module = "cryoline.acquisition.analysis_worker"
        command = [sys.executable, "-m", module, "--config", str(config.path)]
        self._process = subprocess.Popen(command)

    def is_done(self) -> bool:
        """Whether this worker has finished with the run."""
        state = read_state(self._state) or {}
        is_own = state.get("pid") == self._process.pid
        runs = set(state.get("runs", {}).values()) if is_own else set()
        if "failed" in runs:
            raise SystemExit(f"an analysis failed: {state['failed']}")
        return runs == {"done"}

    def end(self, number: signal.Signals) -> None:
        """Signal it, and wait for it."""
        self._process.send_signal(number)
        self._process.wait()


def follow(config: Config, lines: list[bytes], key: str, kills: int, seed: int) -> int:
    """Have workers follow the run; return how much of it had come at the last kill."""
    rng = random.Random(seed)
    path = config.layout.raw_journal / f"{key}.jsonl"
    path.write_bytes(lines[0])
    told = 1
    for _ in range(kills):
        worker = Worker(config)
        # A part of the run within this life; starting takes two seconds of it.
        end = time.monotonic() + rng.uniform(2.0, 6.0)
        while time.monotonic() < end:
            if rng.random() < 0.2 and told < len(lines) - 1:
                with path.open("ab") as journal:
                    journal.write(lines[told])
                told += 1
            threading.Event().wait(0.1)
        worker.end(signal.SIGKILL)
    with path.open("ab") as journal:
        journal.write(b"".join(lines[told:]))
    worker = Worker(config)
    began = time.monotonic()
    while not worker.is_done():
        if time.monotonic() - began > PATIENCE_S:
            raise SystemExit("the worker did not end in time")
        threading.Event().wait(0.1)
    worker.end(signal.SIGTERM)
    return told


def end_of(config: Config) -> dict[str, Any]:
    """Return all that is left of a run but the lines that tell of live pictures."""
    layout = config.layout
    left: dict[str, Any] = {}
    for path in layout.derived_journal.iterdir():
        lines = path.read_bytes().splitlines(keepends=True)
        left[path.name] = [
            line for line in lines if not decode_line(line)[1].get("live")
        ]
    for path in layout.results.rglob("*.*"):
        left[str(path.relative_to(layout.results))] = path.read_bytes()
    return left


def main() -> None:
    """Print what was found; exit with 1 if a kill left a trace."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--tilts", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instrument.toml"
        path.write_text('[instrument]\nname = "bench"\n')
        config = load_config(path)
        tilts = render(options.tilts, width_px=256, pixel_nm=4.268)
        session = TiltSession(config.layout, tilts, volume_settings=SETTINGS)
        for _ in tilts:
            session.expose()
        session.end()
        journal = config.layout.raw_journal / f"{session.key}.jsonl"
        lines = journal.read_bytes().splitlines(keepends=True)
        ends = []
        for kills in (0, options.kills):
            told = follow(config, lines, session.key, kills, options.seed)
            ends.append(end_of(config))
            for gone in (config.layout.derived_journal, config.layout.results):
                shutil.rmtree(gone)
    result = {
        "kills": options.kills,
        "documents_at_the_last_kill": told,
        "documents": len(lines),
        "files": len(ends[0]),
        "same": ends[0] == ends[1],
    }
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        for name, value in result.items():
            print(f"{name:28s} {value}")
    if not result["same"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
