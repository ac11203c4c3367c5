"""The projector pair of a single tilt axis, and the EM iteration made of it.

A point (x, z) of the untilted specimen appears at u = x cos t + z sin t; the slice
y stays. A voxel's content is shared between the two nearest detector pixels, in
proportion to its distance from them, so that mass is kept; what falls beside the
detector is lost, and never lands in one of its pixels.

All slices along the tilt axis have the same geometry. So arrays are kept as blocks
of LANES slices, these innermost: the weights of a voxel are found once a block, and
the inner loops run over contiguous numbers. A block is the work of one thread from
the first iteration to the last, so results are the same to the bit whatever the
number of threads.
"""

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "LANES",
    "back",
    "em",
    "for_each_block",
    "forward",
    "from_blocks",
    "sensitivity",
    "to_blocks",
]

LANES: Final = 64
"""Slices in a block: four 512-bit registers of float32."""

_SMALLEST: Final = np.float32(1e-12)
"""Expected counts are at least this: a count where none can be must not divide by 0."""


def to_blocks(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return (element, a, b, y) as (element * block, a, b, LANES), padded with 0."""
    elements, rows, columns, slices = array.shape
    blocks = -(-slices // LANES)
    out = np.zeros((elements, blocks, rows, columns, LANES), np.float32)
    for block in range(blocks):
        part = array[..., block * LANES : (block + 1) * LANES]
        out[:, block, :, :, : part.shape[-1]] = part
    return out.reshape(-1, rows, columns, LANES)


def from_blocks(blocks: NDArray[np.float32], slices: int) -> NDArray[np.float32]:
    """Return (element * block, a, b, LANES) as (element, a, b, y)."""
    count, rows, columns, _ = blocks.shape
    per_element = -(-slices // LANES)
    shape = (count // per_element, rows, columns, slices)
    out = np.empty(shape, np.float32)
    parts = blocks.reshape(-1, per_element, rows, columns, LANES)
    for block in range(per_element):
        here = out[..., block * LANES : (block + 1) * LANES]
        here[...] = parts[:, block, :, :, : here.shape[-1]]
    return out


def for_each_block(
    work: Callable[[int], None], blocks: Iterable[int], threads: int
) -> None:
    """Do the work of each block, in as many threads as asked for.

    The kernels let go of the interpreter's lock. Plain threads need none of numba's
    threading layers, which abort or hang where threads or forks meet in them.
    """
    if threads <= 1:
        for block in blocks:
            work(block)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, blocks))


@njit(cache=True, nogil=True)
def _place(along: float, middle: float) -> Any:
    """Return the detector pixel at or left of a point, and the share right of it.

    along: u of the point, from the axis
    middle: the axis on the detector, counted with one pixel of padding
    """
    u = along + middle
    left = math.floor(u)
    return int(left), np.float32(u - left)


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def forward(
    volume: NDArray[np.float32],
    columns: NDArray[np.int32],
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Project a block.

    volume: (z, x, LANES)
    columns: (n, 2), the (z, x) that may hold anything
    out: (tilt, 1 + u + 1, LANES), overwritten; the outer pixels catch what half
        leaves the detector, and mean nothing
    """
    middle_z, middle_x = (volume.shape[0] - 1) / 2, (volume.shape[1] - 1) / 2
    middle_u, last = (out.shape[1] - 1) / 2, out.shape[1] - 2
    out[:] = 0
    for c in range(columns.shape[0]):
        i, j = columns[c, 0], columns[c, 1]
        for a in range(cosines.size):
            u = (j - middle_x) * cosines[a] + (i - middle_z) * sines[a]
            k, right = _place(u, middle_u)
            if k < 0 or k > last:
                continue
            left = np.float32(1) - right
            for s in range(LANES):
                out[a, k, s] += left * volume[i, j, s]
            for s in range(LANES):
                out[a, k + 1, s] += right * volume[i, j, s]


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def back(
    padded: NDArray[np.float32],
    columns: NDArray[np.int32],
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Write a block's back projection, the exact adjoint of `forward`.

    padded: (tilt, 1 + u + 1, LANES), its outer pixels 0
    out: (z, x, LANES); only the columns are written
    """
    middle_z, middle_x = (out.shape[0] - 1) / 2, (out.shape[1] - 1) / 2
    middle_u, last = (padded.shape[1] - 1) / 2, padded.shape[1] - 2
    total = np.empty(LANES, np.float32)
    for c in range(columns.shape[0]):
        i, j = columns[c, 0], columns[c, 1]
        total[:] = 0
        for a in range(cosines.size):
            u = (j - middle_x) * cosines[a] + (i - middle_z) * sines[a]
            k, right = _place(u, middle_u)
            if k < 0 or k > last:
                continue
            left = np.float32(1) - right
            for s in range(LANES):
                total[s] += left * padded[a, k, s] + right * padded[a, k + 1, s]
        for s in range(LANES):
            out[i, j, s] = total[s]


@njit(cache=True, nogil=True, error_model="numpy")
def _ratio(
    counts: NDArray[np.float32],
    background: NDArray[np.float32],
    exposure: NDArray[np.float32],
    padded: NDArray[np.float32],
) -> float:
    """Turn a projection into exposure * counts / expected; return the log-likelihood.

    The likelihood leaves out what doesn't depend on the volume (log counts!).
    """
    tilts, pixels, _ = counts.shape
    likelihood = 0.0
    for a in range(tilts):
        padded[a, 0, :] = 0
        padded[a, pixels + 1, :] = 0
        for k in range(pixels):
            for s in range(LANES):
                expected = exposure[a] * padded[a, k + 1, s] + background[a, k, s]
                expected = max(expected, _SMALLEST)
                likelihood -= expected
                if counts[a, k, s] > 0:
                    likelihood += counts[a, k, s] * math.log(expected)
                padded[a, k + 1, s] = exposure[a] * counts[a, k, s] / expected
    return likelihood


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def em(
    volume: NDArray[np.float32],
    counts: NDArray[np.float32],
    background: NDArray[np.float32],
    exposure: NDArray[np.float32],
    weight: NDArray[np.float32],
    columns: NDArray[np.int32],
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    n_iter: int,
    report: NDArray[np.float64],
) -> None:
    """Improve a block by n_iter multiplicative steps (EM), in place.

    volume: (z, x, LANES), >= 0, 0 outside the columns
    counts, background: (tilt, u, LANES), >= 0
    exposure: (tilt,), counts expected per unit of projected volume
    weight: (z, x), the back projection of the exposure
    report: (3,), of the last step: sum of squared changes, of squares after it,
        log-likelihood before it
    """
    padded = np.zeros((counts.shape[0], counts.shape[1] + 2, LANES), np.float32)
    step = np.zeros_like(volume)
    for _ in range(n_iter):
        forward(volume, columns, cosines, sines, padded)
        report[2] = _ratio(counts, background, exposure, padded)
        back(padded, columns, cosines, sines, step)
        report[0] = report[1] = 0.0
        for c in range(columns.shape[0]):
            i, j = columns[c, 0], columns[c, 1]
            if weight[i, j] <= 0:
                volume[i, j, :] = 0
                continue
            scale = np.float32(1) / weight[i, j]
            for s in range(LANES):
                old = volume[i, j, s]
                new = old * step[i, j, s] * scale
                volume[i, j, s] = new
                report[0] += (new - old) * (new - old)
                report[1] += new * new


@njit(cache=True, nogil=True)
def sensitivity(
    exposure: NDArray[np.float32],
    pixels: int,
    columns: NDArray[np.int32],
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Add to ``out`` (z, x) the counts that a unit in each voxel would give in all.

    What falls beside the detector gives none.
    """
    middle_z, middle_x = (out.shape[0] - 1) / 2, (out.shape[1] - 1) / 2
    middle_u = (pixels + 1) / 2
    for c in range(columns.shape[0]):
        i, j = columns[c, 0], columns[c, 1]
        total = np.float32(0)
        for a in range(cosines.size):
            u = (j - middle_x) * cosines[a] + (i - middle_z) * sines[a]
            k, right = _place(u, middle_u)
            share = np.float32(0)
            if 1 <= k <= pixels:
                share += np.float32(1) - right
            if 0 <= k < pixels:
                share += right
            total += exposure[a] * share
        out[i, j] += total
