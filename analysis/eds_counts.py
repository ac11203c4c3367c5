"""Count X-ray events into maps and a spectrum, in one pass.

An event costs two sums in memory, whatever else is done; so all else is kept small. A
pixel's counts of all windows lie in one record of single bytes, most maps of records in
the second cache. A byte that comes full around is a carry of 256, noted and added to
the map itself.
"""

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryoline.analysis.errors import KernelInputError

__all__ = ["count_events"]

_RECORD: Final = 8
"""Counters in a word of a record."""

_LANES: Final = 8
_STEPS: Final = 96
"""Events are taken from so many places, so far apart: in the order of the scan,
neighbours are of one pixel, and each would wait for the sum of the one before."""

_BLOCK: Final = _LANES * _STEPS

_SPECTRA: Final = 2
"""That events add to in turn, for the same reason."""
_TWO: Final = np.uint64(_SPECTRA)


def count_events(
    y: NDArray[Any],
    x: NDArray[Any],
    channel: NDArray[Any],
    classes: NDArray[np.int64],
    shape: tuple[int, int],
) -> tuple[NDArray[np.uint32], NDArray[np.int64]] | None:
    """Return counts (class, y, x) and the spectrum; None if one lies outside.

    y, x, channel: (event,), of one kind of whole numbers; 16 bits are fastest
    classes: (channel,), the map a channel counts in, -1 for none
    Raises KernelInputError if the map has 2^32 counters and more.
    """
    maps = int(classes.max(initial=-1)) + 1
    pixels, words = shape[0] * shape[1], maps // _RECORD + 1
    record = words * _RECORD
    if pixels * record >= 2**32:
        raise KernelInputError(
            f"map {shape} of {maps} windows: {pixels * record} counters, 4e9 is the "
            "limit; count parts of it"
        )
    records = np.zeros((pixels, words), np.uint64)
    counts = np.zeros((maps, pixels), np.uint32)
    # What counts in no map goes to the last number of the record: no branch.
    table = np.where(classes < 0, record - 1, classes).astype(np.uint8)
    spectra = np.zeros((classes.size, _SPECTRA), np.uint32)
    # As unsigned numbers, those below 0 are beyond the largest of their kind.
    columns = [column.view(f"u{column.itemsize}") for column in (y, x, channel)]
    limits = [
        np.uint64(min(limit, np.iinfo(column.dtype).max + 1))
        for limit, column in zip((*shape, classes.size), (y, x, channel), strict=True)
    ]
    flat = records.view(np.uint8).reshape(-1)
    if not _count(*columns, *limits, table, record, flat, spectra.reshape(-1), counts):
        return None
    _spread(records, counts)
    return counts.reshape(maps, *shape), spectra.sum(axis=1, dtype=np.int64)


@njit(cache=True, nogil=True, boundscheck=False)
def _count(  # type: ignore[no-untyped-def]
    y, x, channel, height, width, channels, table, record, records, spectra, counts
):
    """Count each event once; False, and counts that mean nothing, if one is outside."""
    place = np.empty(_BLOCK, np.uint32)
    carries = np.empty(_BLOCK, np.uint32)
    step, row = np.uint32(record), np.uint32(width * np.uint64(record))
    for begin in range(0, y.size, _BLOCK):
        size = min(_BLOCK, y.size - begin)
        ys, xs = y[begin : begin + size], x[begin : begin + size]
        numbers = channel[begin : begin + size]
        top_y, top_x, top = ys[0], xs[0], numbers[0]
        for event in range(size):  # many at once, in vectors
            top_y, top_x = max(top_y, ys[event]), max(top_x, xs[event])
            top = max(top, numbers[event])
            place[event] = np.uint32(ys[event]) * row + np.uint32(xs[event]) * step
        if top_y >= height or top_x >= width or top >= channels:
            return False
        found = 0
        whole = np.uint64(_STEPS if size == _BLOCK else 0)
        for first in range(whole):
            for lane in range(_LANES):
                here = np.uint64(first) + np.uint64(lane * _STEPS)
                number = np.uint64(numbers[here])
                spectra[number * _TWO + np.uint64(lane % _SPECTRA)] += np.uint32(1)
                at = np.uint32(np.uint64(place[here]) + np.uint64(table[number]))
                records[at] += np.uint8(1)
                if records[at] == 0:
                    carries[found] = at
                    found += 1
        for event in range(whole * np.uint64(_LANES), np.uint64(size)):
            number = np.uint64(numbers[event])
            spectra[number * _TWO] += np.uint32(1)
            at = np.uint32(np.uint64(place[event]) + np.uint64(table[number]))
            records[at] += np.uint8(1)
            if records[at] == 0:
                carries[found] = at
                found += 1
        for at in carries[:found]:
            if at % step < counts.shape[0]:
                counts[at % step, at // step] += np.uint32(256)
    return True


@njit(cache=True, nogil=True, boundscheck=False)
def _spread(records, counts):  # type: ignore[no-untyped-def]
    """Add the counters of all records (pixel, word) to the maps (map, pixel)."""
    for number in range(counts.shape[0]):
        word, bits = number // _RECORD, np.uint64(8 * (number % _RECORD))
        row = counts[number]
        for pixel in range(row.size):
            row[pixel] += np.uint32((records[pixel, word] >> bits) & np.uint64(255))
