"""Element maps of single X-ray counts, and what of them are the element's own.

Windows are those of He et al. (EDS tomography study, SI). The background of a window
is a polynomial through windows beside it; a peak's tails in the windows of others are
solved for together, which matters for O and F.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import erf, sqrt
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from cryoline.analysis.columns import equal_columns
from cryoline.analysis.eds_counts import count_events
from cryoline.analysis.errors import KernelInputError

__all__ = [
    "HE_2021",
    "ElementMaps",
    "Events",
    "NetCounts",
    "Window",
    "background_maps",
    "continuum_weights",
    "element_maps",
    "net_counts",
    "windows_of",
]

ENERGY_PER_CHANNEL_EV: Final = 10.0
_FWHM_PER_SIGMA: Final = 2.3548


class Window(NamedTuple):
    """Where an element's counts are, and where its background is looked for, eV."""

    element: str
    low_ev: float
    high_ev: float
    line_ev: float
    fwhm_ev: float
    """Of the line as a detector of 136 eV at Mn K alpha shows it [T]."""
    sides_ev: tuple[tuple[float, float], ...]
    degree: int
    """Of the polynomial through the sides."""


# Windows and lines: He et al., SI. Sides are [A]: as near as the tails of the peaks
# allow, three standard deviations and more. Below F there is no such place, between
# the tail of O and the edge of the holder's L lines: its background is that above it.
HE_2021: Final = (
    Window("Si", 1662.0, 1818.0, 1739.7, 94.0, ((1480, 1600), (2160, 2300)), 1),
    Window("O", 461.0, 587.0, 524.9, 77.0, ((370, 420),), 0),
    Window("F", 626.0, 726.0, 676.8, 80.0, ((780, 830),), 0),
    Window("C", 231.0, 321.0, 277.4, 74.0, ((150, 190), (370, 420)), 1),
)
"""The four elements of He et al."""


def windows_of(values: Sequence[Mapping[str, Any]] | None) -> tuple[Window, ...]:
    """Return the windows that a run asks for; `HE_2021` if it doesn't.

    values: the fields of each `Window` by name, one for each element of `HE_2021`
    Raises KernelInputError if one is not a window, or of another element.
    """
    if values is None:
        return HE_2021
    try:
        windows = tuple(
            Window(**{**value, "sides_ev": tuple(map(tuple, value["sides_ev"]))})
            for value in values
        )
    except (TypeError, KeyError) as error:
        raise KernelInputError(
            f"windows {values!r}: {error}; give {', '.join(Window._fields)} of each"
        ) from error
    wanted = [window.element for window in HE_2021]
    if [window.element for window in windows] != wanted:
        raise KernelInputError(
            f"windows of {[w.element for w in windows]}; give one each of {wanted}"
        )
    return windows


class Events(NamedTuple):
    """Single counts, one row each: pixel and channel."""

    y: ArrayLike
    x: ArrayLike
    channel: ArrayLike


@dataclass(frozen=True)
class ElementMaps:
    """What lies in the windows, background and all."""

    elements: tuple[str, ...]
    counts: NDArray[np.uint32]
    """(element, y, x)."""
    side_counts: NDArray[np.uint32]
    """(y, x), in all side windows together: where the background comes from."""
    spectrum: NDArray[np.int64]
    """(channel,), of the whole map."""


@dataclass(frozen=True)
class NetCounts:
    """The elements' own counts in their windows, of one spectrum.

    All (element,). Errors are of counting only.
    """

    elements: tuple[str, ...]
    gross: NDArray[np.float64]
    background: NDArray[np.float64]
    """Continuum, and the tails of other elements' peaks."""
    net: NDArray[np.float64]
    net_sigma: NDArray[np.float64]
    continuum: NDArray[np.float64]
    """The polynomial's part of the background."""
    net_covariance: NDArray[np.float64]
    """(element, element): elements share side windows, and each other's tails."""

    @property
    def peak_to_background(self) -> NDArray[np.float64]:
        """Net counts over the continuum in the window; NaN if there is none."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = self.net / self.continuum
        return np.where(self.continuum > 0, ratio, np.nan)


def element_maps(
    events: Events,
    windows: Sequence[Window],
    shape: tuple[int, int],
    *,
    channels: int = 1024,
    energy_per_channel_ev: float = ENERGY_PER_CHANNEL_EV,
) -> ElementMaps:
    """Count events into a map for each window, in one pass.

    shape: (y, x) of the scan
    A channel belongs to a window that holds its middle. Raises KernelInputError if
    windows overlap, columns differ in length, or an event lies outside the map.
    """
    # As they come, if whole numbers: a copy would cost as much as counting.
    kinds = {np.asarray(column).dtype for column in events}
    kind: Any = kinds.pop() if len(kinds) == 1 else np.dtype(np.int64)
    y, x, channel = equal_columns(
        kind if kind.kind in "iu" and kind.isnative else np.int64,
        y=events.y,
        x=events.x,
        channel=events.channel,
    )
    classes = _classes(windows, channels, energy_per_channel_ev)
    found = count_events(y, x, channel, classes, shape)
    if found is None:
        sizes = zip(
            ("y", "x", "channel"), (y, x, channel), (*shape, channels), strict=True
        )
        raise KernelInputError(
            "events: "
            + ", ".join(
                f"{name} {values.min()}..{values.max()} is outside 0..{size - 1}"
                for name, values, size in sizes
                if not 0 <= values.min() <= values.max() < size
            )
            + "; is this the map's shape?"
        )
    counts, spectrum = found
    return ElementMaps(
        tuple(window.element for window in windows), counts[1:], counts[0], spectrum
    )


def net_counts(
    spectrum: ArrayLike,
    windows: Sequence[Window],
    *,
    energy_per_channel_ev: float = ENERGY_PER_CHANNEL_EV,
    offset_ev: float = 0.0,
) -> NetCounts:
    """Return each element's own counts in its window of a spectrum (channel,).

    offset_ev: where the first channel begins

    1. The continuum is a polynomial through the mean densities of the side windows,
       of degree 1 at the most, so that its error is that of their counts.
    2. What is above it is the sum of all lines' parts in the window (Gaussians),
       solved for together. ``net`` is the element's own part in its own window.

    Raises KernelInputError if a side window lies outside the spectrum.
    """
    (counts,) = equal_columns(float, spectrum=spectrum)
    centres_ev: NDArray[np.float64] = offset_ev + np.arange(0.5, counts.size) * float(
        energy_per_channel_ev
    )
    gross, continuum = np.empty((2, len(windows)))
    rows = np.empty((len(windows), counts.size))  # a window less its continuum
    edges_ev: list[tuple[float, float]] = []  # of the whole channels of each window
    for row, window in enumerate(windows):
        inside = (centres_ev >= window.low_ev) & (centres_ev < window.high_ev)
        if not inside.any():
            raise KernelInputError(
                f"window {window.element}: no channel between {window.low_ev:g} and "
                f"{window.high_ev:g} eV in a spectrum of {counts.size} channels"
            )
        channels = np.flatnonzero(inside)
        edges_ev.append(
            (
                float(offset_ev + channels[0] * energy_per_channel_ev),
                float(offset_ev + (channels[-1] + 1) * energy_per_channel_ev),
            )
        )
        gross[row] = counts[inside].sum()
        below = continuum_weights(centres_ev, inside, window)
        continuum[row] = max(float(below @ counts), 0.0)
        rows[row] = inside - below
    parts = np.array([[_part(line, *edges) for line in windows] for edges in edges_ev])
    solve = np.linalg.inv(parts)
    to_net = np.diag(parts)[:, None] * solve
    net = to_net @ (gross - continuum)
    weights = to_net @ rows
    covariance = (weights * counts) @ weights.T
    return NetCounts(
        tuple(window.element for window in windows),
        gross,
        gross - net,
        net,
        np.sqrt(np.diag(covariance)),
        continuum,
        covariance,
    )


def background_maps(
    maps: ElementMaps, continuum: ArrayLike, *, sigma_px: float = 4.0
) -> NDArray[np.float32]:
    """Return the continuum expected in each window and pixel, (element, y, x).

    For use in the model of a reconstruction, not to be subtracted. Spread as the
    counts of the side windows, smoothed: the continuum follows the matter.

    continuum: (element,), counts of the whole map
    sigma_px: of the Gaussian, as wide as the counts are rare
    """
    amounts = np.asarray(continuum, float)
    spread = ndimage.gaussian_filter(
        maps.side_counts.astype(np.float64), sigma_px, mode="nearest"
    )
    total = spread.sum()
    if total <= 0:
        spread, total = np.ones_like(spread), float(spread.size)
    shares = np.maximum(amounts, 0.0)[:, None, None] * (spread / total)
    return np.asarray(shares, np.float32)


def _classes(
    windows: Sequence[Window], channels: int, width_ev: float
) -> NDArray[np.int64]:
    """Return for each channel the map it counts in: 0 side, 1.. elements, -1 none."""
    centres_ev = (np.arange(channels) + 0.5) * width_ev
    classes = np.full(channels, -1, np.int64)
    for window in windows:
        for low_ev, high_ev in window.sides_ev:
            classes[(centres_ev >= low_ev) & (centres_ev < high_ev)] = 0
    taken = np.zeros(channels, bool)
    for number, window in enumerate(windows, 1):
        inside = (centres_ev >= window.low_ev) & (centres_ev < window.high_ev)
        if (taken & inside).any():
            raise KernelInputError(
                f"window {window.element} ({window.low_ev:g}..{window.high_ev:g} eV) "
                "overlaps another; each count belongs to one"
            )
        taken |= inside
        classes[inside] = number
    return classes


def continuum_weights(
    centres_ev: NDArray[np.float64], inside: NDArray[np.bool_], window: Window
) -> NDArray[np.float64]:
    """Return each channel's weight (channel,) in the continuum of a window."""
    middles, sides = [], []
    for low_ev, high_ev in window.sides_ev:
        side = (centres_ev >= low_ev) & (centres_ev < high_ev)
        if not side.any():
            raise KernelInputError(
                f"window {window.element}: its side {low_ev:g}..{high_ev:g} eV lies "
                "outside the spectrum"
            )
        middles.append(centres_ev[side].mean())
        sides.append(side / side.sum())
    if window.degree == 0 or len(middles) == 1:
        shares = np.full(len(middles), 1.0 / len(middles))
    else:
        # The straight line through both sides, at the window's middle: over the
        # window its mean is its middle.
        low, high = middles[0], middles[-1]
        upper = (centres_ev[inside].mean() - low) / (high - low)
        sides, shares = [sides[0], sides[-1]], np.array([1.0 - upper, upper])
    return np.asarray(inside.sum() * (shares @ np.array(sides)))


def _part(line: Window, low_ev: float, high_ev: float) -> float:
    """Return the part of a line's counts that lies between two energies."""
    sigma = line.fwhm_ev / _FWHM_PER_SIGMA * sqrt(2.0)
    low, high = (erf((edge - line.line_ev) / sigma) for edge in (low_ev, high_ev))
    return 0.5 * (high - low)
