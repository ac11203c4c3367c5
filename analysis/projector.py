"""The projector pair of a single tilt axis, and the EM iteration made of it.

Both read one list of `patches`, so that one is the other's adjoint. A block of LANES
slices is gone through tile by tile, and a tile through all tilts: its numbers stay in
the nearest cache, the rows of the detector that it falls on in the next. An iteration
visits a tile once: the ratios come back to it, it is multiplied by them, and at once
projected for the next iteration.
"""

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryoline.analysis.blocks import scratch
from cryoline.analysis.lanes import LANES, collect, spread
from cryoline.analysis.patches import PADDING, VOXELS, Patches

__all__ = [
    "SMALLEST",
    "add_back",
    "add_forward",
    "back",
    "em",
    "forward",
]

SMALLEST: Final = np.float32(1e-12)
"""Expected counts are at least this: a count where none can be must not divide by 0."""


@njit(cache=True, nogil=True)
def add_forward(
    tile: NDArray[np.float32],
    patches: Patches,
    t: int,
    out: NDArray[np.float32],
    ahead: NDArray[np.float32],
) -> None:
    """Add the projection of tile number t.

    tile: (voxel, LANES)
    ahead: the tile after it
    out: (tilt * (1 + u + 3), LANES); the padding catches what leaves the detector, and
        means nothing
    """
    first, end = patches.first_patch[t], patches.first_patch[t + 1]
    if first < end:
        spread(
            out.reshape(-1), tile.reshape(-1), patches.row, patches.other_row,
            patches.size, patches.voxel, patches.share, patches.other_share,
            ahead.reshape(-1), first, end, patches.first_entry[t],
        )  # fmt: skip


@njit(cache=True, nogil=True)
def add_back(
    padded: NDArray[np.float32],
    patches: Patches,
    t: int,
    tile: NDArray[np.float32],
) -> None:
    """Add the back projection on tile number t, the exact adjoint of `add_forward`.

    padded: (tilt * (1 + u + 3), LANES), its padding 0
    tile: (voxel, LANES)
    """
    first, end = patches.first_patch[t], patches.first_patch[t + 1]
    if first < end:
        collect(
            tile.reshape(-1), padded.reshape(-1), patches.row, patches.other_row,
            patches.size, patches.voxel, patches.share, patches.other_share,
            first, end, patches.first_entry[t],
        )  # fmt: skip


@njit(cache=True, nogil=True)
def forward(
    block: NDArray[np.float32], patches: Patches, out: NDArray[np.float32]
) -> None:
    """Project a block (tile, voxel, LANES); out: as of `add_forward`, overwritten."""
    out[:] = 0
    last = block.shape[0] - 1
    for t in range(last + 1):
        add_forward(block[t], patches, t, out, block[min(t + 1, last)])


@njit(cache=True, nogil=True)
def back(
    padded: NDArray[np.float32], patches: Patches, block: NDArray[np.float32]
) -> None:
    """Write the back projection on a block; padded: as of `add_back`."""
    block[:] = 0
    for t in range(block.shape[0]):
        add_back(padded, patches, t, block[t])


@njit(cache=True, nogil=True, error_model="numpy")
def _ratio(
    counts: NDArray[np.float32],
    background: NDArray[np.float32],
    exposure: NDArray[np.float32],
    expected: NDArray[np.float32],
    padded: NDArray[np.float32],
) -> None:
    """Write exposure * counts / expected counts, padded."""
    tilts, pixels, _ = counts.shape
    for a in range(tilts):
        first = a * (pixels + PADDING) + 1
        for k in range(pixels):
            for s in range(LANES):
                mean = exposure[a] * expected[first + k, s] + background[a, k, s]
                mean = max(mean, SMALLEST)
                padded[first + k, s] = exposure[a] * counts[a, k, s] / mean


@njit(cache=True, nogil=True, error_model="numpy")
def _log_likelihood(
    counts: NDArray[np.float32],
    background: NDArray[np.float32],
    exposure: NDArray[np.float32],
    expected: NDArray[np.float32],
) -> float:
    """Return that of a padded projection, but for what the volume can't change."""
    tilts, pixels, _ = counts.shape
    total = 0.0
    for a in range(tilts):
        first = a * (pixels + PADDING) + 1
        for k in range(pixels):
            for s in range(LANES):
                mean = exposure[a] * expected[first + k, s] + background[a, k, s]
                mean = max(mean, SMALLEST)
                total -= mean
                if counts[a, k, s] > 0:  # log counts! is left out
                    total += counts[a, k, s] * math.log(mean)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def em(
    block: NDArray[np.float32],
    counts: NDArray[np.float32],
    background: NDArray[np.float32],
    exposure: NDArray[np.float32],
    weight: NDArray[np.float32],
    patches: Patches,
    n_iter: int,
    report: NDArray[np.float64],
) -> None:
    """Improve a block by n_iter multiplicative steps (EM), in place.

    block: (tile, voxel, LANES), >= 0
    counts, background: (tilt, u, LANES), >= 0
    exposure: (tilt,), counts expected per unit of projected volume
    weight: (tile, voxel), the back projection of the exposure
    report: (3,) zeros, of the last step: sum of squared changes, of squares after it,
        log-likelihood before it
    """
    rows = counts.shape[0] * (counts.shape[1] + PADDING)
    expected, padded, step = scratch(rows), scratch(rows), scratch(VOXELS)
    moved, there = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    last = block.shape[0] - 1
    forward(block, patches, expected)
    for n in range(n_iter):
        is_last = n == n_iter - 1
        if is_last:
            report[2] = _log_likelihood(counts, background, exposure, expected)
        _ratio(counts, background, exposure, expected, padded)
        expected[:] = 0
        for t in range(last + 1):
            step[:] = 0
            add_back(padded, patches, t, step)
            moved[:], there[:] = 0, 0
            for v in range(VOXELS):
                is_seen = weight[t, v] > 0
                scale = np.float32(1) / weight[t, v] if is_seen else np.float32(0)
                for s in range(LANES):
                    old = block[t, v, s]
                    new = old * (step[v, s] * scale)
                    block[t, v, s] = new
                    if is_last:
                        moved[s] += (new - old) * (new - old)
                        there[s] += new * new
            for s in range(LANES):
                report[0] += moved[s]
                report[1] += there[s]
            if not is_last:
                add_forward(block[t], patches, t, expected, block[min(t + 1, last)])
