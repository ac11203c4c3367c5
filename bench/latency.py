"""How long from a tilt's event to its map, and to the grown volume, readable in Tiled.

    python bench/latency.py [--json] [--tilts 25] [--pause 2] [--folder DIR]

A tilt series of He et al. (25 tilts of 512 x 512 px, their dose) is recorded as a
session records it, one tilt after the other, with a pause between them; Tiled,
publisher and analysis worker are the real processes on an empty data directory. The
clock runs from the moment when the tilt's event is on disk to the moment when a client,
who asks 30 times a second, has been given what a page shows: the tilt's maps
(4 x 512 x 512), and a slice of each element's volume (4 x 128^3) of all tilts so far.

A run of two tilts comes first, so that all is warm; its first tilt is told as `cold`.
At the end of the run: how long until the kept and the full volumes are in Tiled and
verified. Then the same tilts again without a pause, faster than the worker can draw: it
leaves out pictures, says how many, and keeps the same arrays to the byte.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tiled.client import from_uri

from cryoline.acquisition.config import Config, load_config
from cryoline.acquisition.journal_reader import read_documents
from cryoline.acquisition.process_identity import read_state
from cryoline.acquisition.run_key import derived_key
from cryoline.acquisition.services import SERVICES, Services
from cryoline.acquisition.tiled_server import TiledServer
from cryoline.sim.tilt_render import HE_ANGLES_DEG, RenderedTilt

from process_cpu import cpu_s  # isort: skip
from tilt_session import TiltSession, render  # isort: skip

GOALS_S = {"maps": 0.5, "volume": 2.0}
RUNS = {"maps": "element-maps", "volume": "element-volumes"}
PATIENCE_S = 180.0
POLL_S = 0.03


class CpuClock:
    """What each service has computed, CPU seconds."""

    def __init__(self, services: Services) -> None:
        found = {name: services.identity(name) for name in SERVICES}
        self._pids = {name: who.pid for name, who in found.items() if who}

    def read(self) -> dict[str, float]:
        """Return the seconds so far, this process's own as `client`."""
        found = {"client": time.process_time()}
        found |= {name: cpu_s(pid) for name, pid in self._pids.items()}
        return found


class Client:
    """Somebody who looks on in Tiled."""

    def __init__(self, config: Config) -> None:
        server = TiledServer.from_config(config)
        self._tiled = from_uri(server.url(), api_key=server.api_key())

    def has_maps(self, key: str, version: int) -> bool:
        """Whether the maps of this tilt can be read; they have been then."""
        node = self._array(key, "maps", version)
        return node is not None and bool(np.asarray(node.read()).any())

    def has_volume(self, key: str, version: int) -> bool:
        """Whether the volume with this tilt can be read; its middle has been then."""
        node = self._array(key, "volume", version)
        if node is None:
            return False
        middle = node.shape[1] // 2
        return bool(np.asarray(node[:, middle]).any())

    def whole_volume_s(self, key: str) -> float:
        """Return how long it takes to read all of the volume."""
        began = time.monotonic()
        self._tiled["derived", derived_key(key, RUNS["volume"])]["arrays"].base[
            "volume"
        ].read()
        return time.monotonic() - began

    def rows(self, key: str) -> dict[str, int]:
        """Read every table of the derived runs; return how many rows each has."""
        found = {}
        for quantity in RUNS.values():
            run = self._tiled["derived", derived_key(key, quantity)]
            for stream in run:
                if stream != "arrays":
                    table = run[stream].base["internal"].read()
                    found[f"{quantity}/{stream}"] = len(table)
        return found

    def arrays(self, key: str) -> dict[str, list[int]]:
        """Return the shape of each array of the volumes, of which a slice was read."""
        name = derived_key(key, RUNS["volume"])
        nodes = self._tiled["derived", name]["arrays"].base
        shapes = {}
        for key_, node in nodes.items():
            if not np.asarray(node[..., node.shape[-2] // 2, :]).any():
                raise SystemExit(f"{name}: {key_} is empty")
            shapes[key_] = list(node.shape)
        return shapes

    def is_complete(self, key: str) -> bool:
        """Whether both derived runs have ended, and were verified."""
        try:
            names = [derived_key(key, quantity) for quantity in RUNS.values()]
            return all("stop" in self._tiled["derived", n].metadata for n in names)
        except KeyError:
            return False

    def close(self) -> None:
        """Let go of the server."""
        self._tiled.context.close()

    def _array(self, key: str, name: str, version: int) -> Any:
        run = derived_key(key, RUNS[name])
        try:
            node = self._tiled["derived", run, "arrays", name]
        except KeyError:
            return None
        return node if node.metadata["version"] >= version else None


def wait_for(condition: Callable[[], bool]) -> None:
    """Ask 30 times a second."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE_S:
            raise SystemExit(f"not there after {PATIENCE_S:g} s; see the logs")
        pause(POLL_S)


def pause(seconds: float) -> None:
    """Let the others work."""
    threading.Event().wait(seconds)


@contextmanager
def served(config: Config) -> Iterator[Client]:
    """Have the services up, and the worker warm."""
    services = Services(config)
    services.up()
    client = Client(config)
    try:
        wait_for(lambda: worker_state(config).get("state") == "ready")
        yield client
    finally:
        client.close()
        services.down()


def worker_state(config: Config) -> dict[str, Any]:
    """Return what the worker says of itself."""
    return read_state(config.layout.services / "analysis_worker.json") or {}


def paced(
    config: Config,
    client: Client,
    tilts: Sequence[RenderedTilt],
    pause_s: float,
    scan_id: int,
) -> tuple[str, dict[str, list[float]]]:
    """Record a run tilt after tilt; return its key and the seconds of each."""
    session = TiltSession(config.layout, tilts, scan_id=scan_id)
    found: dict[str, list[float]] = {"maps": [], "volume": []}
    for number in range(1, len(tilts) + 1):
        pause(pause_s)
        began = session.expose()
        wait_for(lambda n=number: client.has_maps(session.key, n))  # type: ignore[misc]
        found["maps"].append(time.monotonic() - began)
        wait_for(lambda n=number: client.has_volume(session.key, n))  # type: ignore[misc]
        found["volume"].append(time.monotonic() - began)
    found["whole_volume"] = [client.whole_volume_s(session.key)]
    began = session.end()
    wait_for(lambda: client.is_complete(session.key))
    found["end"] = [time.monotonic() - began]
    return session.key, found


def at_once(config: Config, client: Client, tilts: Sequence[RenderedTilt]) -> str:
    """Record a run without a pause; return its key when all is in Tiled."""
    session = TiltSession(config.layout, tilts, scan_id=3)
    for _ in tilts:
        session.expose()
    session.end()
    wait_for(lambda: client.is_complete(session.key))
    return session.key


def kept(config: Config, key: str) -> list[Any]:
    """Return all that a run's derived journals say but uids, times, and live ones."""
    found: list[Any] = []
    for quantity in RUNS.values():
        path = config.layout.derived_journal / f"{derived_key(key, quantity)}.jsonl"
        for name, doc in read_documents(path):
            if name == "result_file" and not doc["live"]:
                found.append((doc["key"], doc["version"], doc["sha256"]))
            elif name in ("event", "event_page"):
                found.append(repr(doc["data"]))
    return found


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Return the middle, the 99th percentile and the longest, s."""
    p50, p99 = np.percentile(values, [50, 99])
    return {
        "p50_s": round(float(p50), 3),
        "p99_s": round(float(p99), 3),
        "longest_s": round(max(values), 3),
    }


def measure(config: Config, count: int, pause_s: float) -> dict[str, Any]:
    """Return the figures."""
    tilts = render(count)
    with served(config) as client:
        _, cold = paced(config, client, tilts[:2], pause_s, 1)
        clock = CpuClock(Services(config))
        before = clock.read()
        slow, found = paced(config, client, tilts, pause_s, 2)
        after = clock.read()
        rows, arrays = client.rows(slow), client.arrays(slow)
        began = time.monotonic()
        fast = at_once(config, client, tilts)
        fast_s = time.monotonic() - began
        dropped = worker_state(config)["dropped_pictures"]
    result: dict[str, Any] = {
        "tilts": count,
        "pause_s": pause_s,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }
    for name, goal_s in GOALS_S.items():
        figures = quantiles(found[name])
        is_met = figures["p99_s"] <= goal_s
        result[name] = {**figures, "goal_s": goal_s, "met": is_met}
    result["maps"]["each_s"] = [round(s, 3) for s in found["maps"]]
    result["volume"]["each_s"] = [round(s, 3) for s in found["volume"]]
    result["rows"], result["arrays"] = rows, arrays
    result["cold"] = {name: round(cold[name][0], 3) for name in GOALS_S}
    result["cpu_s"] = {name: round(after[name] - before[name], 1) for name in after}
    result["whole_volume_read_s"] = round(found["whole_volume"][0], 2)
    result["end_of_run_s"] = round(found["end"][0], 2)
    result["at_once"] = {
        "took_s": round(fast_s, 1),
        "pictures_left_out": {
            name: sum(n for run, n in dropped.items() if run.endswith(name))
            for name in RUNS.values()
        },
        "left_out_when_paced": sum(
            n for run, n in dropped.items() if run.startswith(slow)
        ),
        "same_data": kept(config, fast) == kept(config, slow),
    }
    return result


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tilts", type=int, default=len(HE_ANGLES_DEG))
    parser.add_argument("--pause", type=float, default=2.0, help="s between tilts")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "instrument.toml"
        path.write_text('[instrument]\nname = "bench"\nminimum_free_mb = 1\n')
        result = measure(load_config(path), options.tilts, options.pause)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for name, value in result.items():
        print(f"{name:20s} {value}")


if __name__ == "__main__":
    main()
