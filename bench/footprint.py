"""Measures the footprint of a field on 128 x 64 cells against scikit-image.

    pip install cryoline[bench]
    python bench/footprint.py [--json] [--rounds 15]

A turned field (four corners, none on a cell's edge) is laid over the cells: by
cryoline with the exact part of each cell, by scikit-image with whole cells only
(`draw.polygon`, `draw.polygon2mask`), and with 8 x 8 points a cell, which still is off
by up to a part in 16. All in one process, interleaved, in seconds of its processor;
medians, so that a busy machine slows all of them alike.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Final

import numpy as np
from skimage.draw import polygon, polygon2mask

from cryoline.analysis.coverage import cover
from cryoline.analysis.footprint import Footprint, Grid, deposit

ROWS: Final = 64
COLUMNS: Final = 128
GOAL_US: Final = 25.0
POINTS: Final = 8
CORNERS: Final = np.array([(9.3, 4.7), (121.6, 9.1), (118.2, 60.4), (5.9, 56.0)])
"""(x, y), cells."""


def by_polygon() -> np.ndarray:
    """Return the cells whose corner lies inside."""
    cells = np.zeros((ROWS, COLUMNS))
    cells[polygon(CORNERS[:, 1], CORNERS[:, 0], (ROWS, COLUMNS))] = 1.0
    return cells


def by_mask() -> np.ndarray:
    """Return the same by the other function."""
    return polygon2mask((ROWS, COLUMNS), CORNERS[:, ::-1])


def by_points() -> np.ndarray:
    """Return the part of the points of each cell that lie inside."""
    shape = (ROWS * POINTS, COLUMNS * POINTS)
    mask = polygon2mask(shape, CORNERS[:, ::-1] * POINTS)
    return mask.reshape(ROWS, POINTS, COLUMNS, POINTS).mean(axis=(1, 3))


def by_cryoline() -> np.ndarray:
    """Return the exact parts."""
    return cover(CORNERS, ROWS, COLUMNS)


PEERS: Final = {
    "skimage.draw.polygon": (by_polygon, 20),
    "skimage.draw.polygon2mask": (by_mask, 20),
    "skimage.draw.polygon2mask, 8 x 8 points a cell": (by_points, 1),
}


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Return the processor's time of one call."""
    begun = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - begun) / repeats


def charge_error() -> float:
    """Return by how much the sum of a map is off its charge, at the worst of many."""
    worst = 0.0
    for tilt_deg in range(-75, 76, 15):
        for rotation_deg in range(0, 180, 20):
            for beam_nm in (0.0, 180.0):
                footprint = Footprint(
                    3.1, 2.7, 311.0, 207.0, rotation_deg, tilt_deg, beam_nm
                )
                reach = footprint.reach_nm + 5
                cell_nm = 2 * reach / 64
                grid = Grid.upright((3.1 - reach, 2.7 - reach), cell_nm, 64, 64)
                normal_nm2 = grid.cell_nm2 * np.cos(np.radians(tilt_deg))
                charge = deposit(grid, [(footprint, 1.0)]).sum() * normal_nm2
                worst = max(worst, abs(charge / footprint.spread_nm2 - 1))
    return worst


def measure(rounds: int) -> list[dict[str, object]]:
    """Return one row for each peer, and one for the goal."""
    own: list[float] = []
    peers: dict[str, list[float]] = {name: [] for name in PEERS}
    x, y = CORNERS.T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    errors = {name: abs(call().sum() / area - 1) for name, (call, _) in PEERS.items()}
    by_cryoline()
    for _ in range(rounds):
        for name, (call, repeats) in PEERS.items():
            peers[name].append(seconds(call, repeats))
            own.append(seconds(by_cryoline, 1000))
    own_us = 1e6 * statistics.median(own)
    error = charge_error()
    rows: list[dict[str, object]] = [
        {
            "name": "footprint 128 x 64",
            "peer": name,
            "us": own_us,
            "peer_us": 1e6 * statistics.median(times),
            "peer_area_error": errors[name],
            "ratio": statistics.median(times) * 1e6 / own_us,
            "goal": f"<= {GOAL_US:g} us, charge to 1e-12",
            "met": bool(own_us <= GOAL_US and error <= 1e-12),
            "charge_error": error,
        }
        for name, times in peers.items()
    ]
    return rows


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="At least 7.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure(max(7, options.rounds))
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(
            f"{row['us']:6.1f} us; {row['peer']}: {row['peer_us']:8.1f} us, ratio "
            f"{row['ratio']:6.1f}, area off by {row['peer_area_error']:.1e} "
            f"(here {row['charge_error']:.0e}); goal {row['goal']}: "
            f"{'met' if row['met'] else 'NOT met'}"
        )


if __name__ == "__main__":
    main()
