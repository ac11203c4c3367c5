"""Counts of each quadrant of an X-ray detector, and what all would count unshadowed.

A holder's bar hides the specimen from some quadrants at some tilts. Counts per second
compare only after division by the live time, and by the quadrants that see it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.eds import ENERGY_PER_CHANNEL_EV, Window, net_counts
from cryoline.analysis.errors import KernelInputError

__all__ = ["QuadrantCounts", "quadrant_counts"]

Array = NDArray[np.float64]

_FREE: Final = 2
"""Quadrants, at least, that no tilt of a holder shadows."""


@dataclass(frozen=True)
class QuadrantCounts:
    """Net counts by quadrant, and those of a whole detector."""

    elements: tuple[str, ...]
    net: Array
    """(quadrant, element)."""
    net_sigma: Array
    net_per_s: Array
    """(quadrant, element), per second of live time; NaN without live time."""
    in_view: Array
    """(quadrant,), part of each that saw the specimen: 0 to 1."""
    whole_per_s: Array
    """(element,), per second of live time, of all quadrants if none were shadowed."""
    whole_per_s_sigma: Array
    """By counting."""

    @property
    def live_quadrants(self) -> float:
        """How many saw the specimen; a half one counts a half."""
        return float(self.in_view.sum())


def quadrant_counts(
    spectra: ArrayLike,
    live_time_s: ArrayLike,
    windows: Sequence[Window],
    *,
    energy_per_channel_ev: float = ENERGY_PER_CHANNEL_EV,
) -> QuadrantCounts:
    """Return each quadrant's counts, and the whole detector's by those that see.

    The two that count most per second, at all energies, are taken to be free: a
    holder shadows one side at a time. What the others count less, they don't see.

    spectra: (quadrant, channel), counts
    live_time_s: (quadrant,), 0 for one that is switched off
    Raises KernelInputError if their numbers differ or a time is below 0.
    """
    counts, lapse = np.asarray(spectra, float), np.asarray(live_time_s, float)
    if counts.ndim != 2 or lapse.shape != counts.shape[:1]:
        raise KernelInputError(
            f"spectra {counts.shape} and live_time_s {lapse.shape}: give one live time "
            "a quadrant, (quadrant, channel) and (quadrant,)"
        )
    if not (np.isfinite(lapse).all() and (lapse >= 0).all()):
        raise KernelInputError(f"live_time_s {lapse.tolist()}: give 0 s or more")
    each = [
        net_counts(one, windows, energy_per_channel_ev=energy_per_channel_ev)
        for one in counts
    ]
    net = np.array([one.net for one in each])
    sigma = np.array([one.net_sigma for one in each])
    is_on = lapse > 0
    safe_s = np.where(is_on, lapse, 1.0)
    rate = np.where(is_on, counts.sum(axis=1) / safe_s, 0.0)
    free = np.sort(rate)[-_FREE:].mean()
    in_view = np.clip(rate / free, 0.0, 1.0) if free > 0 else is_on.astype(float)
    seen_s = float(in_view @ lapse)
    scale = len(counts) / seen_s if seen_s > 0 else np.nan
    return QuadrantCounts(
        tuple(window.element for window in windows),
        net,
        sigma,
        np.where(is_on[:, None], net / safe_s[:, None], np.nan),
        in_view,
        scale * net.sum(axis=0),
        scale * np.sqrt((sigma**2).sum(axis=0)),
    )
