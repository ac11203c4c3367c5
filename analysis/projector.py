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

A block is walked through in tiles of a few voxels along z and x: a tile, and the rows
of a tilt that it falls on, stay in the nearest cache.
"""

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryoline.analysis.lanes import LANES, collect, spread

__all__ = [
    "LANES",
    "PADDING",
    "aligned",
    "back",
    "em",
    "for_each_block",
    "forward",
    "from_blocks",
    "sensitivity",
    "tiles_of",
    "to_blocks",
]

PADDING: Final = 4
"""Rows of a projection beyond its pixels: one before them, one after, whose contents
are halves that leave the detector, and two for what falls beside it."""

_TILE: Final = 8
"""Voxels along z and along x: 16 kB of LANES slices, half of the nearest cache."""

_LINE: Final = 64
"""Bytes of a line of the cache."""

_SMALLEST: Final = np.float32(1e-12)
"""Expected counts are at least this: a count where none can be must not divide by 0."""


def tiles_of(support: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the first (z, x) of each tile where a support (z, x) allows anything."""
    z, x = np.nonzero(support)
    tiles = np.unique(np.stack([z, x], axis=1) // _TILE, axis=0)
    return np.ascontiguousarray(tiles * _TILE, np.int32)


def aligned(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return zeros that begin with a line of the cache: no row straddles two."""
    size = math.prod(shape)
    room = np.zeros(size + _LINE // 4, np.float32)
    first = (-room.ctypes.data % _LINE) // 4
    return room[first : first + size].reshape(shape)


def to_blocks(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return (element, a, b, y) as (element * block, a, b, LANES), padded with 0."""
    elements, rows, columns, slices = array.shape
    blocks = -(-slices // LANES)
    out = aligned((elements, blocks, rows, columns, LANES))
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


@njit(cache=True, nogil=True, inline="always")
def _slot(u: float, last: int, beside: int) -> Any:
    """Return the row of a padded projection for what lies at u, and the share right.

    u: from the axis, which is counted with one pixel of padding
    last: the last row whose right neighbour is in the padding
    beside: the first of two rows for what falls beside the detector
    """
    left = math.floor(u)
    inside = 0 <= left <= last
    return (int(left) if inside else beside), np.float32(u - left)


@njit(cache=True, nogil=True)
def _places(
    z: float,
    x: float,
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    rows: int,
    where: NDArray[np.int64],
    left: NDArray[np.float32],
    right: NDArray[np.float32],
) -> None:
    """Find where a voxel's row goes in the projection of each tilt, and how much.

    rows: of a padded projection; where: its first number in a flat one
    """
    middle, last, beside = (rows - PADDING + 1) / 2, rows - PADDING, rows - 2
    for a in range(cosines.size):
        u = x * cosines[a] + z * sines[a] + middle
        slot, share = _slot(u, last, beside)
        where[a] = (a * rows + slot) * LANES
        right[a] = share
        left[a] = np.float32(1) - share


@njit(cache=True, nogil=True)
def forward(
    volume: NDArray[np.float32],
    tiles: NDArray[np.int32],
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Project a block.

    volume: (z, x, LANES)
    tiles: as `tiles_of` finds them; the volume is 0 beside them
    out: (tilt, 1 + u + 3, LANES), overwritten; the padding catches what leaves the
        detector, and means nothing
    """
    middle_z, middle_x = (volume.shape[0] - 1) / 2, (volume.shape[1] - 1) / 2
    tilts, rows = out.shape[0], out.shape[1]
    middle, last, beside = (rows - PADDING + 1) / 2, rows - PADDING, rows - 2
    where = np.empty(_TILE, np.int64)
    left, right = np.empty(_TILE, np.float32), np.empty(_TILE, np.float32)
    room = np.empty((_TILE * _TILE + 1) * LANES, np.float32)
    skip = (-room.ctypes.data % _LINE) // 4
    tile = room[skip : skip + _TILE * _TILE * LANES].reshape(_TILE, _TILE, LANES)
    numbers, sums = tile.reshape(-1), out.reshape(-1)
    out[:] = 0
    for t in range(tiles.shape[0]):
        first_z, first_x = tiles[t, 0], tiles[t, 1]
        nz = min(_TILE, volume.shape[0] - first_z)
        nx = min(_TILE, volume.shape[1] - first_x)
        # In one piece: rows a power of two apart would throw each other out.
        for i in range(nz):
            tile[i, :nx] = volume[first_z + i, first_x : first_x + nx]
        for a in range(tilts):
            # Along the axis that is nearer to the ray: the sums change less often.
            is_steep = abs(cosines[a]) > abs(sines[a])
            if is_steep:
                lines, n, stride, apart = nx, nz, _TILE * LANES, LANES
                along, across = sines[a], cosines[a]
            else:
                lines, n, stride, apart = nz, nx, LANES, _TILE * LANES
                along, across = cosines[a], sines[a]
            start = (first_z - middle_z) * sines[a] + middle
            start += (first_x - middle_x) * cosines[a]
            for line in range(lines):
                for m in range(n):
                    slot, share = _slot(start + m * along, last, beside)
                    where[m] = (a * rows + slot) * LANES
                    right[m] = share
                    left[m] = np.float32(1) - share
                spread(sums, where, left, right, numbers, line * apart, stride, n)
                start += across


@njit(cache=True, nogil=True)
def back(
    padded: NDArray[np.float32],
    tiles: NDArray[np.int32],
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Write a block's back projection, the exact adjoint of `forward`.

    padded: (tilt, 1 + u + 3, LANES), its padding 0
    out: (z, x, LANES); only the tiles are written
    """
    middle_z, middle_x = (out.shape[0] - 1) / 2, (out.shape[1] - 1) / 2
    tilts, rows = padded.shape[0], padded.shape[1]
    where = np.empty(tilts, np.int64)
    left, right = np.empty(tilts, np.float32), np.empty(tilts, np.float32)
    sums, numbers = out.reshape(-1), padded.reshape(-1)
    for t in range(tiles.shape[0]):
        for j in range(tiles[t, 1], min(tiles[t, 1] + _TILE, out.shape[1])):
            for i in range(tiles[t, 0], min(tiles[t, 0] + _TILE, out.shape[0])):
                z, x = i - middle_z, j - middle_x
                _places(z, x, cosines, sines, rows, where, left, right)
                first = (i * out.shape[1] + j) * LANES
                collect(sums, first, where, left, right, numbers, tilts)


@njit(cache=True, nogil=True, error_model="numpy")
def _ratio(
    counts: NDArray[np.float32],
    background: NDArray[np.float32],
    exposure: NDArray[np.float32],
    padded: NDArray[np.float32],
) -> None:
    """Turn a padded projection into exposure * counts / expected counts."""
    tilts, pixels, _ = counts.shape
    for a in range(tilts):
        padded[a, 0, :] = 0
        padded[a, pixels + 1 :, :] = 0
        for k in range(pixels):
            for s in range(LANES):
                expected = exposure[a] * padded[a, k + 1, s] + background[a, k, s]
                expected = max(expected, _SMALLEST)
                padded[a, k + 1, s] = exposure[a] * counts[a, k, s] / expected


@njit(cache=True, nogil=True, error_model="numpy")
def _log_likelihood(
    counts: NDArray[np.float32],
    background: NDArray[np.float32],
    exposure: NDArray[np.float32],
    padded: NDArray[np.float32],
) -> float:
    """Return that of a padded projection, but for what the volume can't change."""
    tilts, pixels, _ = counts.shape
    total = 0.0
    for a in range(tilts):
        for k in range(pixels):
            for s in range(LANES):
                expected = exposure[a] * padded[a, k + 1, s] + background[a, k, s]
                expected = max(expected, _SMALLEST)
                total -= expected
                if counts[a, k, s] > 0:  # log counts! is left out
                    total += counts[a, k, s] * math.log(expected)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def em(
    volume: NDArray[np.float32],
    counts: NDArray[np.float32],
    background: NDArray[np.float32],
    exposure: NDArray[np.float32],
    weight: NDArray[np.float32],
    tiles: NDArray[np.int32],
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    n_iter: int,
    report: NDArray[np.float64],
) -> None:
    """Improve a block by n_iter multiplicative steps (EM), in place.

    volume: (z, x, LANES), >= 0, 0 beside the tiles
    counts, background: (tilt, u, LANES), >= 0
    exposure: (tilt,), counts expected per unit of projected volume
    weight: (z, x), the back projection of the exposure
    report: (3,), of the last step: sum of squared changes, of squares after it,
        log-likelihood before it
    """
    tilts, rows = counts.shape[0], counts.shape[1] + PADDING
    room = np.zeros((tilts * rows + 1) * LANES, np.float32)
    skip = (-room.ctypes.data % _LINE) // 4
    numbers = room[skip : skip + tilts * rows * LANES]
    padded = numbers.reshape(tilts, rows, LANES)
    where = np.empty(tilts, np.int64)
    left, right = np.empty(tilts, np.float32), np.empty(tilts, np.float32)
    step = np.empty(LANES, np.float32)
    moved, there = np.zeros(LANES), np.zeros(LANES)
    middle_z, middle_x = (volume.shape[0] - 1) / 2, (volume.shape[1] - 1) / 2
    for n in range(n_iter):
        is_last = n == n_iter - 1
        forward(volume, tiles, cosines, sines, padded)
        if is_last:
            report[2] = _log_likelihood(counts, background, exposure, padded)
        _ratio(counts, background, exposure, padded)
        for t in range(tiles.shape[0]):
            for j in range(tiles[t, 1], min(tiles[t, 1] + _TILE, volume.shape[1])):
                for i in range(tiles[t, 0], min(tiles[t, 0] + _TILE, volume.shape[0])):
                    if weight[i, j] <= 0:
                        volume[i, j, :] = 0
                        continue
                    z, x = i - middle_z, j - middle_x
                    _places(z, x, cosines, sines, rows, where, left, right)
                    collect(step, 0, where, left, right, numbers, tilts)
                    scale = np.float32(1) / weight[i, j]
                    if is_last:
                        for s in range(LANES):
                            old = volume[i, j, s]
                            new = old * (step[s] * scale)
                            moved[s] += (new - old) * (new - old)
                            there[s] += new * new
                    for s in range(LANES):
                        volume[i, j, s] *= step[s] * scale
    report[0], report[1] = moved.sum(), there.sum()


@njit(cache=True, nogil=True)
def sensitivity(
    exposure: NDArray[np.float32],
    pixels: int,
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Add to ``out`` (z, x) the counts that a unit in each voxel would give in all.

    What falls beside the detector gives none.
    """
    middle_z, middle_x = (out.shape[0] - 1) / 2, (out.shape[1] - 1) / 2
    middle_u = (pixels + 1) / 2
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = np.float32(0)
            for a in range(cosines.size):
                u = (j - middle_x) * cosines[a] + (i - middle_z) * sines[a] + middle_u
                k, right = _slot(u, pixels, -2)
                share = np.float32(0)
                if 1 <= k <= pixels:
                    share += np.float32(1) - right
                if 0 <= k < pixels:
                    share += right
                total += exposure[a] * share
            out[i, j] += total
