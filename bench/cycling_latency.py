"""Measures how soon a cycle's result is in Tiled, and how the analysis' work grows.

    python bench/cycling_latency.py [--json] [--cycles 8] [--folder DIR]

Starts Tiled, publisher and analysis worker on an empty data directory and journals a
run as a session does, a page at a time, pausing between cycles. Of each cycle: the time
from the moment when the point that ends it is on disk (the next cycle's first point, or
the run's end) until a client that asks Tiled every 30 ms is given the cycle's row. The
first cycle is the first one that these processes ever see.

What publisher and worker take of a processor while nothing happens. And the analysis
alone, in this process: CPU time per point of records of 10,000 to
320,000 points in pages of 500.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import event_model
import numpy as np
from process_cpu import cpu_s

from cryoline.acquisition.config import Config, load_config
from cryoline.acquisition.journal import Journal
from cryoline.acquisition.run_key import derived_key, run_key
from cryoline.acquisition.services import Services
from cryoline.acquisition.tiled_access import connect
from cryoline.acquisition.tiled_server import TiledServer
from cryoline.analysis.live import CyclingRouter

ROWS = 1000
"""Of one cycle."""
PATIENCE_S = 60.0
ASK_S = 0.03


def points(cycles: int, rows: int = ROWS) -> dict[str, np.ndarray]:
    """Return a voltammogram with a peak each way."""
    half = rows // 2
    down = np.linspace(2.0, 0.1, half)
    current = 1e-5 * np.exp(-((down - 0.6) ** 2) / 0.02)
    one = np.r_[-current, 0.95 * current[::-1]]
    number = np.arange(cycles * rows)
    current_a = np.tile(one, cycles)
    return {
        "instrument_time_s": 5.0 * (1 + number),
        "potential_v": np.tile(np.r_[down, down[::-1]], cycles),
        "current_a": current_a,
        "charge_mah": np.cumsum(current_a * 5.0) / 3.6,
        "cycle_number": 1 + number // rows,
        "half_cycle": number // half,
    }


class Run:
    """The documents of a run in the making."""

    def __init__(self, scan_id: int = 1) -> None:
        bundle = event_model.compose_run(
            metadata={"scan_id": scan_id, "specimen": "bench", "plan_name": "bench"}
        )
        self.bundle = bundle
        kinds = {"cycle_number": "integer", "half_cycle": "integer"}
        keys = {
            f"pot_{name}": {
                "source": "bench",
                "dtype": kinds.get(name, "number"),
                "shape": [],
            }
            for name in points(0)
        }
        self.stream = bundle.compose_descriptor(name="points", data_keys=keys)
        self.rows = 0

    def page(self, columns: dict[str, np.ndarray], rows: slice) -> dict[str, Any]:
        """Return the next page."""
        data = {f"pot_{name}": c[rows].tolist() for name, c in columns.items()}
        count = len(data["pot_current_a"])
        now = [time.time()] * count
        first, self.rows = self.rows + 1, self.rows + count
        return dict(
            self.stream.compose_event_page(
                data=data,
                timestamps=dict.fromkeys(data, now),
                seq_num=list(range(first, first + count)),
                time=now,
                validate=False,  # it takes a hundred times as long as the analysis
            )
        )


class Table:
    """A stream of a derived run in Tiled, as a dashboard would look at it."""

    def __init__(self, root: Any, key: str, stream: str) -> None:
        self._path = ("derived", key, stream, "internal")
        self._root = root
        self._found: Any = None

    def wait_for(self, rows: int) -> float:
        """Ask until it has so many rows; return how long it took, s."""
        began = time.perf_counter()
        while self._rows() < rows:
            if time.perf_counter() - began > PATIENCE_S:
                raise TimeoutError(f"{'/'.join(self._path)}: no {rows} rows in Tiled")
            threading.Event().wait(ASK_S)
        return time.perf_counter() - began

    def _rows(self) -> int:
        try:
            self._found = self._found or self._root[self._path]
        except KeyError:
            return 0
        return int(self._found.read_table("seq_num").num_rows)


def latencies(config: Config, cycles: int) -> tuple[list[float], dict[str, float]]:
    """Return the seconds from each cycle's last point to its row in Tiled.

    And the per cent of a processor that the services take while they wait.
    """
    services = Services(config)
    services.up()
    try:
        server = TiledServer.from_config(config)
        root = connect(server.url(), server.api_key(), timeout_s=PATIENCE_S)
        columns, run = points(cycles), Run()
        journal = Journal(config.layout.raw_journal)
        journal("start", run.bundle.start_doc)
        journal("descriptor", run.stream.descriptor_doc)
        key = derived_key(run_key(run.bundle.start_doc), CyclingRouter.quantity)
        # A first half cycle takes hours: its row is there when the cycle ends.
        journal("event_page", run.page(columns, slice(0, ROWS // 2 + 1)))
        Table(root, key, "half_cycles").wait_for(1)
        journal("event_page", run.page(columns, slice(ROWS // 2 + 1, ROWS)))
        table = Table(root, key, "cycles")
        found = []
        for cycle in range(1, cycles + 1):
            threading.Event().wait(1.0)  # the services have caught up
            if cycle < cycles:
                rows = slice(cycle * ROWS, cycle * ROWS + 1)
                journal("event_page", run.page(columns, rows))
            else:
                journal("stop", run.bundle.compose_stop())
            found.append(table.wait_for(cycle))
            if cycle < cycles:
                rows = slice(cycle * ROWS + 1, (cycle + 1) * ROWS)
                journal("event_page", run.page(columns, rows))
        journal.close()
        root.context.close()
        threading.Event().wait(3.0)  # what is verified at a run's end
        return found, idle_percent(services)
    finally:
        services.down()


def idle_percent(services: Services) -> dict[str, float]:
    """Return what the services take of a processor in five seconds."""
    pids = {
        name: identity.pid
        for name in ("publisher", "analysis_worker")
        if (identity := services.identity(name)) is not None
    }
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    threading.Event().wait(5.0)
    return {name: 100 * (cpu_s(pid) - before[name]) / 5.0 for name, pid in pids.items()}


def work(rows: int) -> float:
    """Return the analysis' CPU time per point, us, in pages of 500."""
    columns, run = points(max(1, rows // ROWS)), Run()
    router = CyclingRouter(lambda name, doc: None)
    pages = [run.page(columns, slice(k, k + 500)) for k in range(0, rows, 500)]
    router("start", run.bundle.start_doc)
    router("descriptor", run.stream.descriptor_doc)
    began = time.process_time()
    for page in pages:
        router("event_page", page)
    router("stop", run.bundle.compose_stop())
    return 1e6 * (time.process_time() - began) / rows


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cycles", type=int, default=8)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "instrument.toml"
        path.write_text('[instrument]\nname = "bench"\nminimum_free_mb = 1\n')
        found, idle = latencies(load_config(path), options.cycles)
    work(10_000)
    per_point = {rows: work(rows) for rows in (10_000, 40_000, 160_000, 320_000)}
    result = {
        "cycle_in_tiled_s": found,
        "median_s": statistics.median(found),
        "longest_s": max(found),
        "idle_cpu_percent": idle,
        "analysis_us_per_point": per_point,
    }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(f"in Tiled after {result['median_s']:.3f} s, at most {max(found):.3f} s")
    for name, percent in idle.items():
        print(f"{name}: {percent:.1f} % of a processor while it waits")
    for rows, us in per_point.items():
        print(f"{rows:7d} points: {us:.2f} us a point")


if __name__ == "__main__":
    main()
