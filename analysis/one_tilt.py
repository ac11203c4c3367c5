"""A step of EM on one tilt alone, in one pass through the volume.

A ratio of a detector pixel is known as soon as all voxels that fall on it are summed.
So tiles are taken in the order in which they fall on the detector: each is read and
projected, and those behind it whose pixels are complete by then, and which are still
in the caches, are multiplied and written. Each number is read from memory once, and
written once, 16 kB in a piece.

Source: Hudson and Larkin, IEEE Trans. Med. Imaging 13, 601 (1994), with subsets of one.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryoline.analysis.blocks import scratch
from cryoline.analysis.lanes import LANES, prefetch, renew
from cryoline.analysis.patches import PADDING, Patches
from cryoline.analysis.projector import SMALLEST, add_forward

__all__ = ["along_detector", "one_tilt"]


def along_detector(tiles: NDArray[np.int32], angle_rad: float) -> NDArray[np.intp]:
    """Return the order in which tiles (tile, 2) fall on the detector at a tilt."""
    z, x = tiles.T
    return np.argsort(x * np.cos(angle_rad) + z * np.sin(angle_rad), kind="stable")


@njit(cache=True, nogil=True, error_model="numpy")
def one_tilt(
    block: NDArray[np.float32],
    counts: NDArray[np.float32],
    background: NDArray[np.float32],
    exposure: float,
    strength: float,
    order: NDArray[np.intp],
    patches: Patches,
    report: NDArray[np.float64],
) -> None:
    """Improve a block by one multiplicative step on one tilt, in place.

    block: (tile, voxel, LANES), >= 0
    counts, background: (u, LANES), >= 0
    exposure: counts expected per unit of projected volume
    strength: of the step, 1 for all that the tilt asks for: less is less noise
    order: (tile,), of tiles by where they fall on the detector
    patches: of this tilt, of the tiles in their order
    report: (3,), sum of squared changes, of squares after them, log-likelihood before
    """
    pixels, tiles = counts.shape[0], order.size
    expected, padded = scratch(pixels + PADDING), scratch(pixels + PADDING)
    padded[:] = 1  # beside the detector nothing is asked for
    squares, total = scratch(2), np.zeros(2)
    likelihood = 0.0
    # The first pixel's row that tiles from here on fall on.
    open_row = np.full(tiles + 1, pixels + 1)
    for t in range(tiles - 1, -1, -1):
        open_row[t] = open_row[t + 1]
        if patches.first_patch[t] < patches.first_patch[t + 1]:
            open_row[t] = min(open_row[t], patches.row[patches.first_patch[t]])
    renewed, row = 0, 1
    for t in range(tiles):
        ahead = block[order[min(t + 1, tiles - 1)]]
        prefetch(ahead.reshape(-1))
        add_forward(block[order[t]], patches, t, expected, ahead)
        while row < open_row[t + 1]:
            k = row - 1
            for s in range(LANES):
                mean = np.float32(exposure * expected[row, s] + background[k, s])
                mean = max(mean, SMALLEST)
                padded[row, s] = 1 + strength * (counts[k, s] / mean - 1)
                likelihood -= float(mean)
                if counts[k, s] > 0:
                    likelihood += float(counts[k, s]) * math.log(mean)
            row += 1
        while renewed <= t:
            first = patches.first_patch[renewed]
            end = patches.first_patch[renewed + 1]
            if first < end:
                if row <= min(patches.row[end - 1] + 1, pixels):
                    break
                renew(
                    block[order[renewed]].reshape(-1), padded.reshape(-1),
                    squares.reshape(-1), patches.row, patches.size, patches.voxel,
                    patches.share, first, end, patches.first_entry[renewed],
                )  # fmt: skip
                for s in range(LANES):
                    total[0] += squares[0, s]
                    total[1] += squares[1, s]
                squares[:] = 0
            renewed += 1
    report[0], report[1], report[2] = total[0], total[1], likelihood
