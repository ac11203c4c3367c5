"""Count X-ray events into maps, and sum the windows of a spectrum image.

A pixel's counts of all windows lie in one record of 64 bytes, a line of the cache, so
that an event costs two look-ups and two sums, wherever the next one lies.
"""

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["PART", "count_events", "sum_windows"]

_RECORD: Final = 16
"""Numbers of 32 bits in a record."""

PART: Final = 16
"""Channels that are summed at once."""

_LANES: Final = 4
"""Spectra that events add to in turn: two events of one channel don't wait."""


def count_events(
    y: NDArray[Any],
    x: NDArray[Any],
    channel: NDArray[Any],
    classes: NDArray[np.int64],
    shape: tuple[int, int],
) -> tuple[NDArray[np.uint32], NDArray[np.int64]] | None:
    """Return counts (class, y, x) and the spectrum; None if one lies outside.

    y, x, channel: (event,), of whole numbers; in the order of the scan it is fastest
    classes: (channel,), the map a channel counts in, -1 for none
    """
    maps = int(classes.max(initial=-1)) + 1
    width = -(-(maps + 1) // _RECORD) * _RECORD
    records = np.zeros((shape[0] * shape[1], width), np.uint32)
    # What counts in no map goes to the last number of the record: no branch.
    table = np.where(classes < 0, width - 1, classes).astype(np.uint8)
    spectra = np.zeros((_LANES, classes.size), np.uint32)
    if not _count(y, x, channel, table, shape[0], shape[1], records, spectra):
        return None
    counts = np.ascontiguousarray(records[:, :maps].T).reshape(maps, *shape)
    return counts, spectra.sum(axis=0, dtype=np.int64)


@njit(cache=True, nogil=True, boundscheck=False)
def _count(y, x, channel, table, height, width, records, spectra):  # type: ignore[no-untyped-def]
    """Count each event once; False, and counts that mean nothing, if one is outside."""
    rows, columns, channels = np.uint64(height), np.uint64(width), np.uint64(table.size)
    flat, spectrum = records.reshape(-1), spectra.reshape(-1)
    record = np.uint64(records.shape[1])
    three = np.uint64(_LANES - 1)
    outside = False
    for event in range(y.size):
        # As unsigned numbers, those below 0 are too large as well.
        i, j = np.uint64(y[event]), np.uint64(x[event])
        k = np.uint64(channel[event])
        if i >= rows or j >= columns or k >= channels:
            outside = True
            break
        spectrum[(np.uint64(event) & three) * channels + k] += np.uint32(1)
        flat[(i * columns + j) * record + np.uint64(table[k])] += np.uint32(1)
    return not outside


@njit(cache=True, nogil=True, boundscheck=False)
def sum_windows(
    cube: NDArray[Any],
    first: NDArray[np.int64],
    masks: NDArray[np.uint32],
    weights: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Sum parts of each spectrum of a cube, each part once, and mix the sums.

    cube: (spectrum, channel), whole numbers
    first, masks: (part,) and (part, PART), 1 for what counts of channels first + 0 ..
    weights: (part, result)
    out: (spectrum, result), overwritten
    """
    for row in range(cube.shape[0]):
        spectrum, results = cube[row], out[row]
        results[:] = 0
        for part in range(first.size):
            begin = first[part]
            total = np.uint32(0)
            for k in range(PART):  # so many that registers hold them all
                total += np.uint32(spectrum[begin + k]) * masks[part, k]
            amount = np.float32(total)
            for result in range(results.size):
                results[result] += weights[part, result] * amount
