"""Which net counts can't be trusted, because another element's line is in the way.

A background window that lies on a line of another element takes the line for
background; a line beside a window reaches into it. Both are found by looking whether
that line is there, not by what the sample is said to hold.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.eds import ENERGY_PER_CHANNEL_EV, NetCounts, Window, net_counts
from cryoline.analysis.errors import KernelInputError

__all__ = ["LINES_EV", "Suspicion", "suspicions"]

# [T] K alpha and the strongest L lines, as printed in the X-ray Data Booklet (LBNL).
LINES_EV: Final = {
    "C": 277.4, "N": 392.4, "O": 524.9, "Fe L": 705.0, "F": 676.8, "Cu L": 929.7,
    "Na": 1041.0, "Ga L": 1097.9, "Mg": 1253.6, "Al": 1486.7, "Si": 1739.7,
    "P": 2013.7, "Pt M": 2050.5, "S": 2307.8,
}  # fmt: skip
"""Lines that are looked for beside a window."""

_NOISE_EV: Final = 69.0
_PER_EV: Final = 2.45
"""Widths of lines: FWHM^2 = noise^2 + 2.45 eV x energy, 136 eV at Mn K alpha [T]."""
_REACH: Final = 2.8
"""Standard deviations of a line within which a window notices it [A]."""
_PRESENT: Final = 5.0
_MODEL: Final = 0.1
"""[A] How wrong the shape of a line may be that was taken off."""
_LOWEST_EV: Final = 100.0
"""[A] Below it a detector counts its own noise."""


class Suspicion(NamedTuple):
    """One reason why an element's net counts may be wrong."""

    element: str
    reason: str
    """A sentence."""


def suspicions(
    spectrum: ArrayLike,
    windows: Sequence[Window],
    *,
    energy_per_channel_ev: float = ENERGY_PER_CHANNEL_EV,
    offset_ev: float = 0.0,
    net: NetCounts | None = None,
) -> tuple[Suspicion, ...]:
    """Return what speaks against the net counts in these windows; empty if nothing.

    1. A side window that reaches below 100 eV, where there is no continuum.
    2. A side window, or the window itself, within 2.8 standard deviations of another
       element's line that stands out of this spectrum by five.
    3. Net counts below 0 by more than three standard deviations.

    net: `net_counts` of the same, if it is there already
    """
    counts: NDArray[np.float64] = np.asarray(spectrum, float)
    if counts.ndim != 1:
        raise KernelInputError(f"spectrum {counts.shape}: give one, (channel,)")
    centres_ev = offset_ev + energy_per_channel_ev * np.arange(0.5, counts.size)
    if net is None:
        net = net_counts(
            counts,
            windows,
            energy_per_channel_ev=energy_per_channel_ev,
            offset_ev=offset_ev,
        )
    own = {window.element for window in windows}
    present = _present(counts, centres_ev)
    found = []
    for number, window in enumerate(windows):
        for low_ev, high_ev in window.sides_ev:
            place = f"background window {low_ev:g} to {high_ev:g} eV"
            if low_ev < _LOWEST_EV:
                text = f"{place} reaches below {_LOWEST_EV:g} eV: there is no continuum"
                found.append(Suspicion(window.element, text))
            found += [
                Suspicion(window.element, f"{place} lies on the line of {name}")
                for name, line_ev in present.items()
                if name != window.element and _meet(line_ev, low_ev, high_ev)
            ]
        found += [
            Suspicion(
                window.element, f"the line of {name}, {line_ev:g} eV, reaches into it"
            )
            for name, line_ev in present.items()
            if name not in own and _meet(line_ev, window.low_ev, window.high_ev)
        ]
        if net.net[number] < -3 * net.net_sigma[number]:
            text = (
                f"net counts {net.net[number]:.0f} +- {net.net_sigma[number]:.0f} are "
                "below 0: its background was taken from a line"
            )
            found.append(Suspicion(window.element, text))
    return tuple(found)


def _sigma_ev(line_ev: float) -> float:
    return math.sqrt(_NOISE_EV**2 + _PER_EV * line_ev) / 2.3548


def _meet(line_ev: float, low_ev: float, high_ev: float) -> bool:
    """Return whether an interval lies within reach of a line."""
    reach_ev = _REACH * _sigma_ev(line_ev)
    return low_ev - reach_ev < line_ev < high_ev + reach_ev


def _present(
    counts: NDArray[np.float64], centres_ev: NDArray[np.float64]
) -> dict[str, float]:
    """Return the lines that a spectrum shows, the clearest first.

    Each is taken off before the next is looked for, so that the flank of a strong line
    is not taken for a weak one.
    """
    left, taken = counts.copy(), np.zeros_like(counts)
    found: dict[str, float] = {}
    while len(found) < len(LINES_EV):
        seen = {
            name: _excess(left, taken, centres_ev, line_ev)
            for name, line_ev in LINES_EV.items()
            if name not in found
        }
        name = max(seen, key=lambda one: seen[one][0])
        clear, above = seen[name]
        if clear < _PRESENT:
            break
        found[name] = LINES_EV[name]
        off = (centres_ev - LINES_EV[name]) / _sigma_ev(LINES_EV[name])
        shape = np.exp(-0.5 * off**2)
        line = above * shape / shape[np.abs(off) <= 1.0].sum()
        left, taken = left - line, taken + line
    return found


def _excess(
    left: NDArray[np.float64],
    taken: NDArray[np.float64],
    centres_ev: NDArray[np.float64],
    line_ev: float,
) -> tuple[float, float]:
    """Return by how many standard deviations a line stands out, and its counts.

    Beside it, between 2.5 and 3.5 standard deviations, the lower side counts: on the
    higher one may stand the next line.
    """
    off = (centres_ev - line_ev) / _sigma_ev(line_ev)
    middle = np.abs(off) <= 1.0
    sides = [(off >= low) & (off < low + 1.0) for low in (-3.5, 2.5)]
    if not middle.any() or not all(side.any() for side in sides):
        return 0.0, 0.0
    size = middle.sum()
    scale, level = min(
        ((size / side.sum(), max(left[side].sum(), 0.0)) for side in sides),
        key=lambda pair: pair[0] * pair[1],
    )
    above = float(left[middle].sum() - scale * level)
    off_by = _MODEL * taken[middle].sum()
    variance = np.abs(left[middle]).sum() + taken[middle].sum() + scale**2 * level
    return above / math.sqrt(max(variance + off_by**2, 1.0)), above
