"""Windows and their backgrounds of each spectrum of a dense cube."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.eds import ENERGY_PER_CHANNEL_EV, Window, continuum_weights
from cryoline.analysis.eds_lanes import CHANNELS, fetch, masked_sum
from cryoline.analysis.errors import KernelInputError

__all__ = ["CubeMaps", "cube_maps"]

_LINE_BYTES: Final = 64

_BLOCK: Final = 64
"""Spectra whose sums are kept until they are mixed into maps, many at once."""

_AHEAD: Final = 4
"""Spectra by which memory is asked ahead of its use."""


class CubeMaps(NamedTuple):
    """What lies in the windows of each spectrum, and what of it is continuum."""

    elements: tuple[str, ...]
    gross: NDArray[np.float32]
    """(element, y, x), counts."""
    continuum: NDArray[np.float32]
    """(element, y, x), counts, from the windows' sides; below 0 nowhere."""


class _Parts(NamedTuple):
    """Runs of channels that all results weigh evenly, of CHANNELS at the most."""

    first: NDArray[np.int64]
    """(part,), channels; those looked at are within first + 0 .. CHANNELS."""
    masks: NDArray[np.uint32]
    """(part, CHANNELS), all bits for a channel that counts."""
    weights: NDArray[np.float32]
    """(part, result)."""


def cube_maps(
    cube: ArrayLike,
    windows: Sequence[Window],
    *,
    energy_per_channel_ev: float = ENERGY_PER_CHANNEL_EV,
    offset_ev: float = 0.0,
) -> CubeMaps:
    """Return the windows' counts and continuum of each spectrum.

    The same as `net_counts` finds in a single spectrum, pixel by pixel.

    cube: (y, x, channel), counts, whole numbers of 32 bits at most
    offset_ev: where the first channel begins
    Raises KernelInputError if it is not, or a window lies outside it.
    """
    counts = np.ascontiguousarray(cube)
    if counts.ndim != 3 or counts.dtype.kind not in "iu" or counts.itemsize > 4:
        raise KernelInputError(
            f"cube: {counts.ndim} axes of {counts.dtype}; give counts (y, x, channel), "
            "whole numbers of 32 bits at most"
        )
    height, width, channels = counts.shape
    if channels < CHANNELS:
        raise KernelInputError(f"cube: {channels} channels; give {CHANNELS} or more")
    parts = _parts(tuple(windows), channels, energy_per_channel_ev, offset_ev)
    per_line = _LINE_BYTES // counts.itemsize
    ends = np.concatenate([parts.first, parts.first + CHANNELS - 1])
    lines = np.unique(ends // per_line) * per_line
    maps = np.empty((2, len(windows), height, width), np.float32)
    _sum_windows(
        counts.reshape(-1), channels, *parts, lines, maps.reshape(2 * len(windows), -1)
    )
    np.maximum(maps[1], 0.0, out=maps[1])
    return CubeMaps(tuple(window.element for window in windows), maps[0], maps[1])


@lru_cache(maxsize=8)
def _parts(
    windows: tuple[Window, ...], channels: int, width_ev: float, offset_ev: float
) -> _Parts:
    """Return what is summed of each spectrum: gross of all windows, then continua."""
    centres_ev = offset_ev + np.arange(0.5, channels) * width_ev
    gross, continuum = np.empty((2, len(windows), channels))
    for row, window in enumerate(windows):
        inside = (centres_ev >= window.low_ev) & (centres_ev < window.high_ev)
        if not inside.any():
            raise KernelInputError(
                f"window {window.element} ({window.low_ev:g}..{window.high_ev:g} eV) "
                f"lies outside a cube of {channels} channels"
            )
        gross[row] = inside
        continuum[row] = continuum_weights(centres_ev, inside, window)
    table = np.concatenate([gross, continuum])
    changes = np.flatnonzero((table[:, 1:] != table[:, :-1]).any(axis=0)) + 1
    first, masks, weights = [], [], []
    for low, high in pairwise([0, *changes.tolist(), channels]):
        if not table[:, low].any():
            continue
        for start in range(low, high, CHANNELS):
            begin = min(start, channels - CHANNELS)  # never beyond the last channel
            place = begin + np.arange(CHANNELS)
            first.append(begin)
            masks.append(((place >= start) & (place < high)) * (2**32 - 1))
            weights.append(table[:, low])
    return _Parts(
        np.array(first, np.int64),
        np.array(masks, np.uint32),
        np.array(weights, np.float32),
    )


@njit(cache=True, nogil=True, boundscheck=False)
def _sum_windows(  # type: ignore[no-untyped-def]
    counts: NDArray[Any], channels, first, masks, weights, lines, out
):
    """Sum the parts of each spectrum, each once, and mix the sums: out (result, pixel).

    counts: flat; lines: of each spectrum, the places that stand for lines of memory
    """
    parts, pixels = first.size, out.shape[1]
    flat_masks = masks.reshape(-1)
    sums = np.empty((parts, _BLOCK), np.float32)
    for begin in range(0, pixels, _BLOCK):
        size = min(_BLOCK, pixels - begin)
        for pixel in range(size):
            start = (begin + pixel) * channels
            for line in lines:
                fetch(counts, start + _AHEAD * channels + line)
            for part in range(parts):
                sums[part, pixel] = masked_sum(
                    counts, start + first[part], flat_masks, CHANNELS * part
                )
        for result in range(out.shape[0]):
            row = out[result, begin : begin + size]
            row[:] = 0
            for part in range(parts):
                weight = weights[part, result]
                if weight != 0:
                    column = sums[part]
                    for pixel in range(size):
                        row[pixel] += weight * column[pixel]
