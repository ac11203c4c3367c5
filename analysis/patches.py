"""Where the voxels of a volume fall on the detector, at all tilts.

A point (x, z) of the untilted specimen appears at u = x cos t + z sin t. A voxel's
content is shared between the two nearest detector pixels, in proportion to its distance
from them, so that mass is kept; what falls beside the detector is lost, and never lands
in one of its pixels.

A volume is cut into tiles of a few voxels along z and x, which stay in the nearest
cache while all tilts go over them. A patch is those voxels of a tile that fall between
the same two pixels at one tilt, and between the same two at the next: their rows on
the detector are fetched once for all of them. The geometry of all slices is the same,
so the patches are listed once, and a projection and its adjoint read one list.
"""

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "PADDING",
    "TILE",
    "VOXELS",
    "Patches",
    "find_patches",
    "sensitivity",
    "tiles_of",
]

PADDING: Final = 4
"""Rows of a projection beyond its pixels: one before them and one after, whose contents
are halves that leave the detector, and two for a tilt that doesn't see a voxel."""

TILE: Final = 8
"""Voxels along z and along x: 16 kB of rows, half of the nearest cache."""

VOXELS: Final = TILE * TILE

_STRIPS: Final = 16
"""More than the pixels that a tile of 8 x 8 voxels falls between, and one for none."""

_STEPS: Final = 2.0**20
"""Shares are whole parts of it: a row's is a difference, and must not be lost in it."""


class Patches(NamedTuple):
    """Those of all tiles, one after the other; what belongs to each is a range."""

    first_patch: NDArray[np.int64]
    """(tile + 1,)"""
    first_entry: NDArray[np.int64]
    """(tile + 1,)"""
    row: NDArray[np.uint32]
    """(patch,), of its first pixel in the padded projections, all tilts in one."""
    other_row: NDArray[np.uint32]
    """(patch,), at the next tilt."""
    size: NDArray[np.uint8]
    """(patch,), entries."""
    voxel: NDArray[np.uint8]
    """(entry,), in the tile."""
    share: NDArray[np.float32]
    """(entry,), of the pixel after the first; the first has the rest."""
    other_share: NDArray[np.float32]
    """(entry,), at the next tilt."""


def tiles_of(support: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the first (z, x) of each tile where a support (z, x) allows anything."""
    z, x = np.nonzero(support)
    tiles = np.unique(np.stack([z, x], axis=1) // TILE, axis=0)
    return np.ascontiguousarray(tiles * TILE, np.int32)


def find_patches(
    support: NDArray[np.bool_],
    tiles: NDArray[np.int32],
    pixels: int,
    angles_rad: NDArray[np.float64],
) -> Patches:
    """Return the patches of tiles (tile, 2) at some tilts.

    support: (z, x), False where a voxel has no entry
    pixels: of the detector along u
    """
    most = len(tiles) * -(-angles_rad.size // 2) * VOXELS
    # What is not written to costs no memory.
    found = Patches(
        np.zeros(len(tiles) + 1, np.int64),
        np.zeros(len(tiles) + 1, np.int64),
        np.empty(most, np.uint32),
        np.empty(most, np.uint32),
        np.empty(most, np.uint8),
        np.empty(most, np.uint8),
        np.empty(most, np.float32),
        np.empty(most, np.float32),
    )
    _find(support, tiles, pixels, np.cos(angles_rad), np.sin(angles_rad), found)
    return found


@njit(cache=True, nogil=True)
def _place(z: float, x: float, cosine: float, sine: float, pixels: int) -> Any:
    """Return the row before a voxel and the share of the row after it; -1: beside."""
    u = x * cosine + z * sine + (pixels + 1) / 2
    row = math.floor(u)
    share = np.rint((u - row) * _STEPS) / _STEPS
    if share >= 1:
        row, share = row + 1, 0.0
    return (int(row) if 0 <= row <= pixels else -1), np.float32(share)


@njit(cache=True, nogil=True)
def _find(
    support: NDArray[np.bool_],
    tiles: NDArray[np.int32],
    pixels: int,
    cosines: NDArray[np.float64],
    sines: NDArray[np.float64],
    found: Patches,
) -> None:
    nz, nx = support.shape
    tilts, rows = cosines.size, pixels + PADDING
    row = np.empty((2, VOXELS), np.int64)
    share = np.empty((2, VOXELS), np.float32)
    key = np.empty(VOXELS, np.int64)
    begin = np.zeros(_STRIPS * _STRIPS + 1, np.int64)
    base = np.zeros(2, np.int64)
    patch = entry = 0
    for t in range(tiles.shape[0]):
        found.first_patch[t], found.first_entry[t] = patch, entry
        for first in range(0, tilts, 2):
            row[:] = -1
            share[:] = 0
            for side in range(min(2, tilts - first)):
                a = first + side
                base[side] = rows
                for v in range(VOXELS):
                    z, x = tiles[t, 0] + v // TILE, tiles[t, 1] + v % TILE
                    if z < nz and x < nx and support[z, x]:
                        row[side, v], share[side, v] = _place(
                            z - (nz - 1) / 2, x - (nx - 1) / 2,
                            cosines[a], sines[a], pixels,
                        )  # fmt: skip
                        if row[side, v] >= 0:
                            base[side] = min(base[side], row[side, v])
            # Sort by the two rows, counted from 1 at the first of the tile; 0 is none.
            begin[:] = 0
            for v in range(VOXELS):
                key[v] = 0
                if row[0, v] >= 0:
                    key[v] += (row[0, v] - base[0] + 1) * _STRIPS
                if row[1, v] >= 0:
                    key[v] += row[1, v] - base[1] + 1
                if key[v] > 0:
                    begin[key[v] + 1] += 1
            nowhere = first * rows + rows - 2
            for k in range(_STRIPS * _STRIPS):
                count = begin[k + 1]
                if count > 0:
                    one, two = k // _STRIPS, k % _STRIPS
                    found.row[patch] = (
                        first * rows + base[0] + one - 1 if one > 0 else nowhere
                    )
                    found.other_row[patch] = (
                        (first + 1) * rows + base[1] + two - 1 if two > 0 else nowhere
                    )
                    found.size[patch] = count
                    patch += 1
                begin[k + 1] = begin[k] + count
            for v in range(VOXELS):
                if key[v] > 0:
                    e = entry + begin[key[v]]
                    begin[key[v]] += 1
                    found.voxel[e] = v
                    found.share[e], found.other_share[e] = share[0, v], share[1, v]
            entry += begin[_STRIPS * _STRIPS]
    found.first_patch[-1], found.first_entry[-1] = patch, entry


@njit(cache=True, nogil=True)
def sensitivity(
    gain: NDArray[np.float32], patches: Patches, out: NDArray[np.float32]
) -> None:
    """Add to ``out`` (tile, voxel) the counts that a unit in each would give in all.

    gain: (tilt * (1 + u + 3),), per unit of projected volume, 0 beside the detector
    """
    for t in range(out.shape[0]):
        entry = patches.first_entry[t]
        for p in range(patches.first_patch[t], patches.first_patch[t + 1]):
            one, two = patches.row[p], patches.other_row[p]
            for e in range(entry, entry + patches.size[p]):
                left, right = patches.share[e], patches.other_share[e]
                total = gain[one] + left * (gain[one + 1] - gain[one])
                total += gain[two] + right * (gain[two + 1] - gain[two])
                out[t, patches.voxel[e]] += total
            entry += patches.size[p]
