"""Does a dying Tiled hold up an acquisition? Runs with and without, interleaved.

    python bench/stall.py [--json] [--pairs 5] [--events 300]

Each pair is a quiet run and one in whose middle the Tiled server is killed
(SIGKILL; in one more pair frozen by SIGSTOP). A real RunEngine takes readings of
soft devices, the journal is its first subscriber, publisher and Tiled are
processes. What counts is the largest gap between two documents, as a ratio within
the pair; and that afterwards Tiled holds every journaled row once.
"""

import argparse
import json
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky import RunEngine
from ophyd import Component, Device, DeviceStatus, Signal

from cryoline.acquisition.config import load_config
from cryoline.acquisition.journal import Journal
from cryoline.acquisition.replay import replay
from cryoline.acquisition.services import Services
from cryoline.acquisition.tiled_access import connect
from cryoline.acquisition.tiled_server import TiledServer

PERIOD_S = 0.01
"""Between two readings: faster than any instrument here sends events."""


class Sensor(Device):
    """A soft instrument that takes PERIOD_S for a reading."""

    potential = Component(Signal, value=0.0)
    current = Component(Signal, value=0.0)

    def trigger(self) -> DeviceStatus:
        """Take a reading; done after PERIOD_S."""
        status = DeviceStatus(self)

        def finish() -> None:
            self.potential.put(time.time() % 3.0)
            status.set_finished()

        threading.Timer(PERIOD_S, finish).start()
        return status


class Bench:
    """One data directory with its services, and a RunEngine that writes to it."""

    def __init__(self, folder: Path, events: int) -> None:
        path = folder / "instrument.toml"
        path.write_text('[instrument]\nname = "bench"\n', encoding="utf-8")
        self.config = load_config(path)
        self.services = Services(self.config)
        self.server = TiledServer.from_config(self.config)
        self.events = events
        self.engine = RunEngine({"specimen": "none", "technique": "bench"})
        self.engine.subscribe(Journal(self.config.layout.raw_journal))
        self.engine.subscribe(self._note)
        self.sensor = Sensor(name="sensor")
        self.times_s: list[float] = []
        self.at_middle: Callable[[], None] | None = None

    def largest_gap_s(self, at_middle: Callable[[], None] | None = None) -> float:
        """Take one run; return the longest time between two documents."""
        self.times_s, self.at_middle = [], at_middle
        self.engine(self._plan())
        return float(np.diff(self.times_s).max())

    def _note(self, name: str, doc: dict[str, Any]) -> None:
        self.times_s.append(time.perf_counter())

    @bpp.run_decorator()
    def _plan(self) -> Iterator[Any]:
        for number in range(self.events):
            if number == self.events // 2 and self.at_middle:
                self.at_middle()
            yield from bps.trigger_and_read([self.sensor])

    def disturb(self, number: signal.Signals) -> Callable[[], None]:
        """Return what sends a signal to the Tiled server."""
        identity = self.server.identity()
        if identity is None:
            raise SystemExit("the Tiled server is not running")
        return lambda: os.kill(identity.pid, number)

    def pair(self, number: signal.Signals) -> dict[str, Any]:
        """Take a quiet and a disturbed run, and mend the server afterwards."""
        quiet = self.largest_gap_s()
        disturbed = self.largest_gap_s(self.disturb(number))
        if number is signal.SIGSTOP:
            self.disturb(signal.SIGCONT)()
        else:
            self.services.up(("tiled",))
        return {
            "signal": number.name,
            "quiet_gap_ms": round(quiet * 1e3, 2),
            "disturbed_gap_ms": round(disturbed * 1e3, 2),
            "ratio": round(disturbed / quiet, 3),
        }

    def rows(self) -> dict[str, int]:
        """Return the rows in the journal and in Tiled, when all is published."""
        key = self.server.api_key()
        runs = replay(self.config.layout, self.server.url(), key, timeout_s=120)
        root = connect(self.server.url(), key)
        journal = tiled = doubled = 0
        for run in runs:
            for stream, rows in run.journal_rows.items():
                numbers = root["raw", run.key, stream, "internal"].seq_nums()
                journal += rows
                tiled += len(numbers)
                doubled += len(numbers) - len(np.unique(numbers))
        root.context.close()
        return {
            "runs": len(runs),
            "verified": sum(run.is_exact for run in runs),
            "rows_journal": journal,
            "rows_tiled": tiled,
            "rows_doubled": doubled,
        }


def main() -> None:
    """Run the bench and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--events", type=int, default=300, help="a run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.events)
        try:
            bench.services.up(("tiled", "publisher"))
            bench.largest_gap_s()  # warm up: imports, first files
            pairs = [bench.pair(signal.SIGKILL) for _ in range(options.pairs)]
            frozen = bench.pair(signal.SIGSTOP)
            rows = bench.rows()
        finally:
            bench.services.down(("tiled", "publisher"))
    result = {
        "pairs": pairs,
        "frozen_pair": frozen,
        "median_ratio": statistics.median(pair["ratio"] for pair in pairs),
        "largest_disturbed_gap_ms": max(
            pair["disturbed_gap_ms"] for pair in [*pairs, frozen]
        ),
        **rows,
    }
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        for pair in [*pairs, frozen]:
            print(pair)
        print({name: result[name] for name in ("median_ratio", *rows)})


if __name__ == "__main__":
    main()
