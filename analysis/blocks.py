"""Volumes and projections as the projector wants them: LANES slices innermost.

All slices along the tilt axis have the same geometry, so a block of LANES slices is
worked on at once. A block is the work of one thread from the first iteration to the
last: results are the same to the bit whatever the number of threads. A block of a
volume is kept tile by tile, each in one piece.
"""

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryoline.analysis.lanes import LANES
from cryoline.analysis.patches import TILE, VOXELS

__all__ = [
    "aligned",
    "blocks_of",
    "for_each_block",
    "from_blocks",
    "from_tiles",
    "scratch",
    "to_blocks",
    "to_tiles",
]

_LINE: Final = 64
"""Bytes of a line of the cache."""


@njit(cache=True, nogil=True)
def scratch(rows: int) -> Any:
    """Return (rows, LANES) zeros that begin on a line of the cache, for kernels."""
    room = np.zeros((rows + 1) * LANES, np.float32)
    first = (-room.ctypes.data % _LINE) // 4
    return room[first : first + rows * LANES].reshape(rows, LANES)


def aligned(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return zeros (.., LANES) that begin on a line: no row straddles two."""
    zeros: NDArray[np.float32] = scratch(math.prod(shape[:-1]))
    return zeros.reshape(shape)


def blocks_of(slices: int) -> int:
    """Return how many blocks that many slices are."""
    return -(-slices // LANES)


def to_blocks(projections: NDArray[Any]) -> NDArray[np.float32]:
    """Return (element, tilt, u, y) as (element * block, tilt, u, LANES), 0 behind y."""
    elements, tilts, pixels, slices = projections.shape
    blocks = blocks_of(slices)
    out = aligned((elements, blocks, tilts, pixels, LANES))
    for block in range(blocks):
        part = projections[..., block * LANES : (block + 1) * LANES]
        out[:, block, :, :, : part.shape[-1]] = part
    return out.reshape(-1, tilts, pixels, LANES)


def from_blocks(blocks: NDArray[np.float32], slices: int) -> NDArray[np.float32]:
    """Return (element * block, tilt, u, LANES) as (element, tilt, u, y)."""
    count, tilts, pixels, _ = blocks.shape
    per_element = blocks_of(slices)
    out = np.empty((count // per_element, tilts, pixels, slices), np.float32)
    parts = blocks.reshape(-1, per_element, tilts, pixels, LANES)
    for block in range(per_element):
        here = out[..., block * LANES : (block + 1) * LANES]
        here[...] = parts[:, block, :, :, : here.shape[-1]]
    return out


def to_tiles(
    volume: NDArray[np.float32], tiles: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return (element, z, x, y) as (element * block, tile, voxel, LANES).

    What lies beside the tiles is left out; a tile is padded with 0.
    """
    elements, _, _, slices = volume.shape
    per_element = blocks_of(slices)
    out = aligned((elements * per_element, len(tiles), VOXELS, LANES))
    for number, block in enumerate(out):
        part = volume[number // per_element]
        first = number % per_element * LANES
        _cut(part[..., first : first + LANES], tiles, block)
    return out


def from_tiles(
    blocks: NDArray[np.float32],
    tiles: NDArray[np.int32],
    shape: tuple[int, ...],
) -> NDArray[np.float32]:
    """Return (element * block, tile, voxel, LANES) as (element, z, x, y), of a shape.

    It is 0 beside the tiles.
    """
    out = np.zeros(shape, np.float32)
    per_element = blocks_of(shape[3])
    for number, block in enumerate(blocks):
        part = out[number // per_element]
        first = number % per_element * LANES
        _join(block, tiles, part[..., first : first + LANES])
    return out


@njit(cache=True, nogil=True)
def _cut(
    volume: NDArray[np.float32], tiles: NDArray[np.int32], block: NDArray[np.float32]
) -> None:
    nz, nx, slices = volume.shape
    for t in range(tiles.shape[0]):
        for v in range(VOXELS):
            z, x = tiles[t, 0] + v // TILE, tiles[t, 1] + v % TILE
            if z < nz and x < nx:
                for s in range(slices):
                    block[t, v, s] = volume[z, x, s]


@njit(cache=True, nogil=True)
def _join(
    block: NDArray[np.float32], tiles: NDArray[np.int32], volume: NDArray[np.float32]
) -> None:
    nz, nx, slices = volume.shape
    for t in range(tiles.shape[0]):
        for v in range(VOXELS):
            z, x = tiles[t, 0] + v // TILE, tiles[t, 1] + v % TILE
            if z < nz and x < nx:
                for s in range(slices):
                    volume[z, x, s] = block[t, v, s]


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
