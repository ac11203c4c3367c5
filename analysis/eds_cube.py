"""Windows and their backgrounds of each spectrum of a dense cube."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.eds import ENERGY_PER_CHANNEL_EV, Window, continuum_weights
from cryoline.analysis.eds_counts import sum_windows
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
    # Parts: neighbouring channels that all results take with the same weight.
    table = weights.reshape(-1, centres_ev.size)
    edges = np.flatnonzero((table[:, 1:] != table[:, :-1]).any(axis=0)) + 1
    first = np.concatenate([[0], edges]).astype(np.int64)
    last = np.append(edges, centres_ev.size).astype(np.int64)
    is_used = table[:, first].any(axis=0)
    first, last = first[is_used], last[is_used]
    out = np.empty((counts.shape[0] * counts.shape[1], len(table)), np.float32)
    mix = np.ascontiguousarray(table[:, first], np.float32)
    sum_windows(counts.reshape(-1, centres_ev.size), first, last, mix, out)
    maps = np.ascontiguousarray(out.T).reshape(2, len(windows), *counts.shape[:2])
    return CubeMaps(
        tuple(window.element for window in windows), maps[0], np.maximum(maps[1], 0.0)
    )
