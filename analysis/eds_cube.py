"""Windows and their backgrounds of each spectrum of a dense cube."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.eds import ENERGY_PER_CHANNEL_EV, Window, continuum_weights
from cryoline.analysis.eds_counts import PART, sum_windows
from cryoline.analysis.errors import KernelInputError

__all__ = ["CubeMaps", "cube_maps"]


class CubeMaps(NamedTuple):
    """What lies in the windows of each spectrum, and what of it is continuum."""

    elements: tuple[str, ...]
    gross: NDArray[np.float32]
    """(element, y, x), counts."""
    continuum: NDArray[np.float32]
    """(element, y, x), counts, from the windows' sides; below 0 nowhere."""


def cube_maps(
    cube: ArrayLike,
    windows: Sequence[Window],
    *,
    energy_per_channel_ev: float = ENERGY_PER_CHANNEL_EV,
) -> CubeMaps:
    """Return the windows' counts and continuum of each spectrum.

    The same as `net_counts` finds in a single spectrum, pixel by pixel.

    cube: (y, x, channel), counts, whole numbers of 32 bits at most
    Raises KernelInputError if it is not, or a window lies outside it.
    """
    counts = np.ascontiguousarray(cube)
    if counts.ndim != 3 or counts.dtype.kind not in "iu" or counts.itemsize > 4:
        raise KernelInputError(
            f"cube: {counts.ndim} axes of {counts.dtype}; give counts (y, x, channel), "
            "whole numbers of 32 bits at most"
        )
    if counts.shape[2] < PART:
        raise KernelInputError(f"cube: {counts.shape[2]} channels; give {PART} or more")
    centres_ev = np.arange(0.5, counts.shape[2]) * energy_per_channel_ev
    weights = np.empty((2, len(windows), centres_ev.size))
    for row, window in enumerate(windows):
        inside = (centres_ev >= window.low_ev) & (centres_ev < window.high_ev)
        if not inside.any():
            raise KernelInputError(
                f"window {window.element} ({window.low_ev:g}..{window.high_ev:g} eV) "
                f"lies outside a cube of {centres_ev.size} channels"
            )
        weights[0, row] = inside
        weights[1, row] = continuum_weights(centres_ev, inside, window)
    table = weights.reshape(-1, centres_ev.size)
    first, masks, mix = _parts(table)
    out = np.empty((counts.shape[0] * counts.shape[1], len(table)), np.float32)
    sum_windows(counts.reshape(-1, centres_ev.size), first, masks, mix, out)
    maps = np.ascontiguousarray(out.T).reshape(2, len(windows), *counts.shape[:2])
    return CubeMaps(
        tuple(window.element for window in windows), maps[0], np.maximum(maps[1], 0.0)
    )


def _parts(
    table: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.float32]]:
    """Return runs of channels that every row of a table (row, channel) weighs evenly.

    Their first channels (part,), masks (part, PART), and weights (part, row).
    """
    channels = table.shape[1]
    changes = np.flatnonzero((table[:, 1:] != table[:, :-1]).any(axis=0)) + 1
    edges = [0, *changes.tolist(), channels]
    first, masks, mix = [], [], []
    for low, high in pairwise(edges):
        if not table[:, low].any():
            continue
        for start in range(low, high, PART):
            begin = min(start, channels - PART)  # never beyond the last channel
            place = begin + np.arange(PART)
            first.append(begin)
            masks.append((place >= start) & (place < high))
            mix.append(table[:, low])
    return (
        np.array(first, np.int64),
        np.array(masks, np.uint32),
        np.array(mix, np.float32),
    )
