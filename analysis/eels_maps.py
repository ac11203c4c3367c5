"""Energy-loss spectra without a model: deconvolution, windows, thickness.

Sources: W. H. Richardson, J. Opt. Soc. Am. 62, 55 (1972); L. B. Lucy, Astron. J. 79,
745 (1974); R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron
Microscope, 3rd ed. (2011), 4.4 (power law) and 5.1 (log-ratio).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.blocks import for_each_block
from cryoline.analysis.eels_input import axis_of, counts_of, interval_of
from cryoline.analysis.errors import KernelInputError

__all__ = [
    "LITHIUM_K_EV",
    "SECOND_PLASMON_EV",
    "Thickness",
    "mean_zero_loss",
    "richardson_lucy",
    "sharp_windows",
    "thickness",
    "window_map",
]

Array = NDArray[np.float64]

SECOND_PLASMON_EV: Final = (40.0, 44.0)
"""Second plasmon of Li2O and lithium silicates, 42 +- 2 eV [S2]."""

LITHIUM_K_EV: Final = (58.0, 62.0)
"""Edge of lithium, 60 +- 2 eV [S2]."""

_SMALLEST: Final = 1e-12
"""Of the expected counts: a count where none can be must not divide by 0."""


@dataclass(frozen=True)
class Thickness:
    """Of the spectra's shape without the channel."""

    t_over_lambda: Array
    """In mean free paths of inelastic scattering; NaN where nothing was counted."""
    sigma: Array
    """By counting."""


def richardson_lucy(
    spectra: ArrayLike, zero_loss: ArrayLike, n_iter: int = 15, *, threads: int = 1
) -> Array:
    """Return spectra (..., channel) with the zero loss's blur taken out, n_iter steps.

    Each step multiplies by the back projection of counts / expected counts. All counts
    stay, to rounding, and none is negative. What the blur would carry off the axis is
    as if it fell on it. More steps sharpen noise too; 15 is [A], [S2] gives none.

    zero_loss: (channel,), alone and cut off where it ends; of any length and scale. Its
        highest channel is its origin, so energies stay as they are.
    Raises KernelInputError if it holds no counts, or anything is negative or not
    finite, or n_iter below 1.
    """
    counts = counts_of("spectra", spectra)
    blur = counts_of("zero_loss", zero_loss)
    if blur.ndim != 1 or blur.sum() <= 0:
        raise KernelInputError(
            f"zero_loss {blur.shape}: give one zero loss with counts, (channel,)"
        )
    if n_iter < 1:
        raise KernelInputError(f"n_iter {n_iter} is below 1; take at least one step")
    held = np.flatnonzero(blur)
    kernel = blur[held[0] : held[-1] + 1] / blur.sum()
    origin = int(blur.argmax() - held[0])
    rows = counts.reshape(-1, counts.shape[-1])
    out = np.empty_like(rows)

    def work(row: int) -> None:
        _richardson_lucy(rows[row], kernel, origin, int(n_iter), out[row])

    for_each_block(work, range(len(rows)), threads)
    return out.reshape(counts.shape)


@njit(cache=True, nogil=True, error_model="numpy")
def _richardson_lucy(counts, kernel, origin, n_iter, out):  # type: ignore[no-untyped-def]
    """Deconvolve one spectrum."""
    size = counts.size
    stays = np.zeros(size)  # part of a channel's blur that is on the axis
    total = 0.0
    for j in range(size):
        for k in range(max(0, origin - j), min(kernel.size, size + origin - j)):
            stays[j] += kernel[k]
        stays[j] = max(stays[j], _SMALLEST)
        total += counts[j]
    expected = np.empty(size)
    for j in range(size):
        out[j] = total / size
    for _ in range(n_iter):
        expected[:] = 0.0
        for j in range(size):
            unit = out[j] / stays[j]
            for k in range(max(0, origin - j), min(kernel.size, size + origin - j)):
                expected[j + k - origin] += unit * kernel[k]
        for i in range(size):
            expected[i] = counts[i] / max(expected[i], _SMALLEST)
        for j in range(size):
            back = 0.0
            for k in range(max(0, origin - j), min(kernel.size, size + origin - j)):
                back += expected[j + k - origin] * kernel[k]
            out[j] *= back / stays[j]


class _Below:
    """How many counts of each spectrum lie below an energy."""

    def __init__(self, counts: Array, axis: Array) -> None:
        self._axis = axis
        self._sums = np.zeros((*counts.shape[:-1], axis.size + 1))
        np.cumsum(counts, axis=-1, out=self._sums[..., 1:])

    def __call__(self, edges_ev: Array) -> Array:
        """Return them; edges (...) in eV, NaN for NaN.

        Raises KernelInputError if an edge is outside the axis.
        """
        axis = self._axis
        step_ev = (axis[-1] - axis[0]) / (axis.size - 1)
        place = (edges_ev - axis[0]) / step_ev + 0.5  # in channels from the start
        off = (place < -1e-6) | (place > axis.size + 1e-6)
        if off.any():
            raise KernelInputError(
                f"edge at {edges_ev[off].flat[0]:g} eV, zero loss counted in, is off "
                f"the axis, {axis[0]:g} to {axis[-1]:g} eV; record more, or ask less"
            )
        held = np.clip(np.nan_to_num(place), 0, axis.size)
        left = np.minimum(held.astype(np.intp), axis.size - 1)
        ends = np.stack([left, left + 1], -1)
        pair = np.take_along_axis(self._sums, ends, -1)
        counts = pair[..., 0] + (held - left) * (pair[..., 1] - pair[..., 0])
        return np.where(np.isnan(edges_ev), np.nan, counts)


def _zero_of(zero_loss_ev: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return one zero loss a spectrum. Raises KernelInputError if they don't fit."""
    try:
        return np.broadcast_to(np.asarray(zero_loss_ev, float), shape)
    except ValueError as error:
        raise KernelInputError(
            f"zero_loss_ev {np.shape(zero_loss_ev)} doesn't fit spectra {shape}; give "
            "one, or one a spectrum"
        ) from error


def window_map(
    spectra: ArrayLike,
    energy_ev: ArrayLike,
    window_ev: tuple[float, float],
    *,
    zero_loss_ev: ArrayLike = 0.0,
    background_ev: tuple[float, float] | None = None,
) -> Array:
    """Return the counts in a window of each spectrum, `SECOND_PLASMON_EV` for one.

    Channels that a limit cuts count by their part. [S2] maps what `richardson_lucy`
    returns; its channels share counts, so their errors are not those of counting.

    zero_loss_ev: () or (...), from where the window counts (`PlasmonFit`); NaN for NaN
    background_ev: before the window; the power law through both halves of it is taken
        off. NaN where a half is empty or it does not fall.
    Raises KernelInputError if a window leaves the axis, or input can't be taken.
    """
    counts = counts_of("spectra", spectra)
    axis = axis_of(energy_ev, counts.shape[-1])
    shape = counts.shape[:-1]
    zero = _zero_of(zero_loss_ev, shape)
    below = _Below(counts, axis)

    def until(edge_ev: float) -> Array:
        """Count below an edge."""
        return below(zero + edge_ev)

    low, high = interval_of("window_ev", window_ev)
    inside = until(high) - until(low)
    if background_ev is not None:
        first, last = interval_of("background_ev", background_ev)
        if not 0 < first < last <= low:
            raise KernelInputError(
                f"background_ev {first:g} to {last:g} eV: it has to end before the "
                f"window, {low:g} eV, and begin above 0"
            )
        middle = 0.5 * (first + last)
        one, two = until(middle) - until(first), until(last) - until(middle)
        inside = inside - _power_law(one, two, (first, middle, last), (low, high))
    return inside


def mean_zero_loss(
    spectra: ArrayLike,
    energy_ev: ArrayLike,
    zero_loss_ev: ArrayLike,
    *,
    cut_ev: float = 2.0,
    readout_sigma: float = 0.0,
) -> Array | None:
    """Return the zero loss of all spectra together, (channel,), for `richardson_lucy`.

    Each is laid on the others to the channel; what is more than cut_ev off is no part
    of it. None if no spectrum has one, or none whole on the axis.

    zero_loss_ev: (...), where it is (`PlasmonFit.zero_loss_ev`)
    """
    counts = counts_of("spectra", spectra, least=-8.0 * readout_sigma)
    axis = axis_of(energy_ev, counts.shape[-1])
    zero = _zero_of(zero_loss_ev, counts.shape[:-1]).ravel()
    step_ev = (axis[-1] - axis[0]) / (axis.size - 1)
    reach = int(np.ceil(cut_ev / step_ev))
    place = (zero - axis[0]) / step_ev
    is_whole = (place >= reach) & (place < axis.size - reach - 0.5)  # False for NaN
    if not is_whole.any():
        return None
    first = np.rint(place[is_whole]).astype(np.intp) - reach
    channels = first[:, None] + np.arange(2 * reach + 1)
    rows = counts.reshape(-1, axis.size)[is_whole]
    total = np.take_along_axis(rows, channels, 1).sum(axis=0)
    return np.maximum(total, 0.0) if total.max() > 0 else None


def sharp_windows(
    spectra: ArrayLike,
    energy_ev: ArrayLike,
    windows_ev: Sequence[tuple[float, float]],
    *,
    zero_loss_ev: ArrayLike = 0.0,
    cut_ev: float = 2.0,
    n_iter: int = 15,
    readout_sigma: float = 0.0,
) -> list[Array]:
    """Return the counts in windows of the deconvolved spectra, as [S2] maps them.

    The blur is the `mean_zero_loss`. A camera's noise makes values below 0, which no
    deconvolution takes: a level is added before and taken off after. NaN where a
    spectrum has no zero loss, or a window is not on the axis.
    """
    counts = counts_of("spectra", spectra, least=-8.0 * readout_sigma)
    axis = axis_of(energy_ev, counts.shape[-1])
    zero = _zero_of(zero_loss_ev, counts.shape[:-1])
    blur = mean_zero_loss(
        counts, axis, zero, cut_ev=cut_ev, readout_sigma=readout_sigma
    )
    if blur is None:
        return [np.full(zero.shape, np.nan) for _ in windows_ev]
    # Four deviations: what still is below 0 would shift a channel by 1e-5 of one.
    level = max(4.0 * readout_sigma, readout_sigma**2)
    sharp = richardson_lucy(np.maximum(counts + level, 0.0), blur, n_iter)
    half_ev = 0.5 * (axis[-1] - axis[0]) / (axis.size - 1)
    found = []
    for low_ev, high_ev in windows_ev:
        is_on_axis = (zero + low_ev >= axis[0] - half_ev) & (
            zero + high_ev <= axis[-1] + half_ev
        )
        place = np.where(is_on_axis, zero, np.nan)
        inside = window_map(sharp, axis, (low_ev, high_ev), zero_loss_ev=place)
        found.append(inside - level * (high_ev - low_ev) / (2.0 * half_ev))
    return found


def _power_law(
    one: Array,
    two: Array,
    edges_ev: tuple[float, float, float],
    window_ev: tuple[float, float],
) -> Array:
    """Return what a power law through two areas has in a window.

    The ratio of the areas fixes the power, by bisection: it rises with it.
    """

    def area(low: float, high: float, power: Array) -> Array:
        # of (E / first)^-power; 1 - power is never 0 to rounding
        rest = 1.0 - power
        rest = np.where(np.abs(rest) < 1e-9, 1e-9, rest)
        ends = [np.power(edge / edges_ev[0], rest) for edge in (low, high)]
        return np.asarray((ends[1] - ends[0]) / rest)

    first, middle, last = edges_ev
    usable = (two > 0) & (one > two)
    ratio = np.where(usable, one, 2.0) / np.where(usable, two, 1.0)
    low, high = np.zeros(ratio.shape), np.full(ratio.shape, 60.0)
    for _ in range(60):
        power = 0.5 * (low + high)
        is_low = area(first, middle, power) < ratio * area(middle, last, power)
        low, high = np.where(is_low, power, low), np.where(is_low, high, power)
    power = 0.5 * (low + high)
    counts = (one + two) * area(*window_ev, power) / area(first, last, power)
    return np.where(usable, counts, np.nan)


def thickness(
    spectra: ArrayLike,
    energy_ev: ArrayLike,
    *,
    zero_loss_ev: ArrayLike = 0.0,
    cut_ev: float = 2.0,
    readout_sigma: float = 0.0,
) -> Thickness:
    """Return t / lambda of each spectrum, ln(all counts / counts of the zero loss).

    The axis has to reach from before the zero loss to where hardly a count is left.
    What lost less than cut_ev counts as zero loss, and its tail beyond as loss.

    zero_loss_ev: () or (...), where it is (`PlasmonFit.zero_loss_ev`)
    readout_sigma: the camera's own noise, counts; values below 0 need one. It is
        part of the error.
    Raises KernelInputError if a cut is off the axis, or input can't be taken.
    """
    counts = counts_of("spectra", spectra, least=-8.0 * readout_sigma)
    axis = axis_of(energy_ev, counts.shape[-1])
    cut = _zero_of(zero_loss_ev, counts.shape[:-1]) + cut_ev
    elastic = _Below(counts, axis)(cut)
    step_ev = (axis[-1] - axis[0]) / (axis.size - 1)
    channels = (cut - axis[0]) / step_ev + 0.5  # that the zero loss is read in
    total = counts.sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(total / elastic)
        variance = (total - elastic) / (elastic * total)
        # Of the total and of the zero loss, which is part of it.
        noise = axis.size / total**2 + channels * (1 - 2 * elastic / total) / elastic**2
        sigma = np.sqrt(np.maximum(variance, 0.0) + readout_sigma**2 * noise)
    known = (elastic > 0) & (total > 0)
    return Thickness(np.where(known, ratio, np.nan), np.where(known, sigma, np.nan))
