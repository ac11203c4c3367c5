"""Takes the picture of Tiled's page that the documentation shows.

    python docs/screenshots.py [--config LAB/instrument.toml] [--out docs/images]

Shows an element map of the newest derived run of a data directory, as the demo leaves
one; without a configuration, a drawn wire in a data directory that is thrown away.
Needs Chromium (``make screenshots`` installs it). Exits 1 if the page shows no map.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cryoline.acquisition.config import load_config
from cryoline.acquisition.derived_journal import DerivedJournal
from cryoline.acquisition.errors import CryolineError
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.replay import replay
from cryoline.acquisition.result_files import ResultFiles
from cryoline.acquisition.tiled_server import TiledServer

__all__ = ["main"]

PICTURE = "tiled-element-map.png"
QUANTITY = "element-maps"
SIZE = (1280, 900)
ATTEMPTS = 5
"""Each gives the page's scripts more time, which is not the wall's."""
GREY_LEVELS = 40
"""A map has more; a page that is still loading, or an error, has fewer [A]."""


def main() -> int:
    """Take the picture; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, help="instrument.toml of the data")
    parser.add_argument("--array", default="maps", help="which one of the run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    options = parser.parse_args()
    path = options.out.resolve() / PICTURE
    try:
        with _data(options.config, options.array) as server:
            key = _newest(server.layout)
            page = f"{server.url()}/ui/browse/derived/{key}/arrays/{options.array}"
            levels = _take(page, server.api_key(), path)
    except (CryolineError, subprocess.SubprocessError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if levels < GREY_LEVELS:
        sys.stderr.write(f"{path}: {page} shows no map ({levels} levels of grey)\n")
        return 1
    sys.stdout.write(f"{path}: {key}, {options.array}\n")
    return 0


@contextmanager
def _data(config: Path | None, array: str) -> Iterator[TiledServer]:
    """Serve published data; end what was started."""
    with tempfile.TemporaryDirectory() as folder:
        paths = None
        if config is not None:
            loaded = load_config(config)
            server, paths = TiledServer.from_config(loaded), loaded.path_map
        else:
            server = TiledServer(DataLayout(Path(folder)))
            _draw(server.layout, array)
        ran = server.identity() is not None
        server.start()
        try:
            replay(server.layout, server.url(), server.api_key(), paths=paths)
            yield server
        finally:
            if not ran:
                server.stop()


def _newest(layout: DataLayout) -> str:
    found = sorted(layout.derived_journal.glob(f"*_{QUANTITY}.jsonl"))
    if not found:
        raise CryolineError(
            f"{layout.derived_journal}: no run of {QUANTITY}; take a tilt series first"
        )
    return found[-1].stem


def _take(page: str, key: str, path: Path) -> int:
    """Take the picture until it shows a map; return its levels of grey."""
    levels = 0
    for attempt in range(1, ATTEMPTS + 1):
        with tempfile.TemporaryDirectory() as profile:
            command = [
                *("chromium", "--headless", "--no-sandbox", "--disable-gpu"),
                *("--disable-quic", "--no-first-run", "--disable-sync"),
                *("--disable-background-networking", "--disable-component-update"),
                f"--user-data-dir={profile}",
                f"--window-size={SIZE[0]},{SIZE[1]}",
                f"--virtual-time-budget={attempt * 10_000}",
                f"--screenshot={path}",
                # In the address, for this process alone: it is nowhere to be read.
                f"{page}?api_key={key}",
            ]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
        levels = _grey_levels(path)
        if levels >= GREY_LEVELS:
            break
    return levels


def _grey_levels(path: Path) -> int:
    """Return how many shades the middle of the page has that are grey."""
    from matplotlib.image import imread

    image: Any = imread(path)
    height, width = image.shape[:2]
    middle = image[height // 4 : 3 * height // 4, width // 3 : 2 * width // 3, :3]
    colours = np.round(middle.reshape(-1, 3) * 255).astype(int)
    grey = colours[np.ptp(colours, axis=1) <= 1]
    return len(np.unique(grey[:, 0]))


def _draw(layout: DataLayout, array: str) -> None:
    """Journal a derived run with a map of a wire and its shell, in counts."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:256, :256] * 2.134 - 273.0
    radius = 38.0 + 3.0 * np.sin(y / 60.0)
    depth = np.sqrt(np.clip(1.0 - ((x - y / 12.0) / radius) ** 2, 0.0, None))
    counts = rng.poisson(9.0 * depth + 0.05).astype("<f4")
    key = f"2026-01-01_drawn-wire_tilt-eds_000001_{QUANTITY}"
    journal = DerivedJournal(layout.derived_journal / f"{key}.jsonl")
    start = {"uid": "drawn", "time": 0.0, "quantity": QUANTITY, "specimen": "drawn"}
    what: dict[str, Any] = {"version": 1, "time": 0.0, "dims": ("y", "x")}
    what |= {"units": "counts", "scale_nm": 2.134, "live": True}
    journal("start", start)
    journal("result_file", ResultFiles(layout, "drawn").write(array, counts, **what))
    stop = {"uid": "end", "run_start": "drawn", "time": 0.0, "exit_status": "success"}
    journal("stop", stop)
    journal.close()


if __name__ == "__main__":
    sys.exit(main())
