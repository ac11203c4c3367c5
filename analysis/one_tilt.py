"""A step of EM on one tilt alone, in one pass through the volume.

A ratio of a detector pixel is known as soon as the voxels that project between it and
its neighbours are summed. So the volume is walked through in strips, each what lies
between two pixels: a strip is read into the caches and summed, and the strip before it,
which is still there, is multiplied by the ratios on its two sides and written. Each
number is read from memory once, and written once.

Source: Hudson and Larkin, IEEE Trans. Med. Imaging 13, 601 (1994), with subsets of one.
"""

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryoline.analysis.lanes import LANES, renew, spread

__all__ = ["one_tilt"]

_LINE: Final = 64
_SMALLEST: Final = np.float32(1e-12)


@njit(cache=True, nogil=True, error_model="numpy")
def _fetch(volume, strip, cosine, sine, middle, keep, kept, places, left, right):  # type: ignore[no-untyped-def]
    """Copy the voxels whose u lies in strip .. strip + 1; return how many they are."""
    nz, nx = volume.shape[0], volume.shape[1]
    middle_z, middle_x = (nz - 1) / 2, (nx - 1) / 2
    count = 0
    for i in range(nz):
        rest = (i - middle_z) * sine + middle - middle_x * cosine
        # One voxel more on either side than may belong to it, then ask each of them.
        first = max(0, math.ceil((strip - rest) / cosine) - 1)
        last = min(nx, math.ceil((strip + 1 - rest) / cosine) + 1)
        for j in range(first, last):
            u = rest + j * cosine
            if math.floor(u) != strip or not keep[i, j]:
                continue
            share = np.float32(u - strip)
            places[count] = (i * nx + j) * LANES
            left[count], right[count] = np.float32(1) - share, share
            row, source = kept[count], volume[i, j]
            for s in range(LANES):
                row[s] = source[s]
            count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def one_tilt(
    volume: NDArray[np.float32],
    counts: NDArray[np.float32],
    background: NDArray[np.float32],
    exposure: float,
    strength: float,
    keep: NDArray[np.bool_],
    cosine: float,
    sine: float,
    report: NDArray[np.float64],
) -> Any:
    """Improve a block by one multiplicative step on one tilt, in place.

    volume: (z, x, LANES), >= 0, beginning on a multiple of 64 bytes
    counts, background: (u, LANES), >= 0
    exposure: counts expected per unit of projected volume
    strength: of the step, 1 for all that the tilt asks for: less is less noise
    keep: (z, x), False where the volume is 0 anyhow
    cosine: above 0
    report: (3,), sum of squared changes, of squares after them, log-likelihood before
    """
    nz = volume.shape[0]
    pixels = counts.shape[0]
    room = nz * (int(1 / cosine) + 2)
    numbers = volume.reshape(-1)
    # Of two strips in turn: what they hold, where it is, and the shares in the pixels.
    kept = np.empty((2, room, LANES), np.float32)
    places = np.empty((2, room), np.int64)
    left, right = np.empty((2, room), np.float32), np.empty((2, room), np.float32)
    nowhere = np.zeros(room, np.int64)
    found = np.zeros(2, np.int64)
    # Three pixels in turn, before the first there is none: its ratio is 1.
    sums, ratio = np.zeros(3 * LANES, np.float32), np.ones(2 * LANES, np.float32)
    square = np.zeros(2 * LANES, np.float32)
    moved = there = likelihood = 0.0
    middle = (pixels - 1) / 2
    for strip in range(-1, pixels + 1):
        now, before = strip & 1, (strip & 1) ^ 1
        if strip < pixels:
            found[now] = _fetch(
                volume, strip, cosine, sine, middle, keep, kept[now], places[now],
                left[now], right[now],
            )  # fmt: skip
            if found[now]:
                spread(
                    sums, nowhere, left[now], right[now], kept[now].reshape(-1), 0,
                    LANES, found[now],
                )  # fmt: skip
        # The sum of this pixel is complete; the strip before lies left of it.
        for s in range(LANES):
            ratio[s] = ratio[LANES + s]
            ratio[LANES + s] = np.float32(1)
            if 0 <= strip < pixels:
                rays = np.float32(exposure * sums[s] + background[strip, s])
                expected = max(rays, _SMALLEST)
                quotient = counts[strip, s] / expected
                ratio[LANES + s] = 1 + strength * (quotient - 1)
                likelihood -= float(expected)
                if counts[strip, s] > 0:
                    likelihood += float(counts[strip, s]) * math.log(expected)
            sums[s] = sums[LANES + s]
            sums[LANES + s] = 0
        if found[before] and strip > -1:
            renew(
                numbers, places[before], left[before], right[before], ratio, 0,
                kept[before].reshape(-1), found[before], square,
            )  # fmt: skip
            for s in range(LANES):
                moved += square[s]
                there += square[LANES + s]
            square[:] = 0
            found[before] = 0
    report[0], report[1], report[2] = moved, there, likelihood
