"""Check the energy-loss spectra that a kernel is given."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.errors import KernelInputError

__all__ = ["axis_of", "counts_of", "interval_of"]

Array = NDArray[np.float64]

_EVEN = 1e-3
"""Channels may differ in width by this part; a file's float32 axis does."""


def counts_of(name: str, spectra: ArrayLike, *, least: float = 0.0) -> Array:
    """Return spectra (..., channel) as contiguous float64 counts, none below least.

    Raises KernelInputError if a value is below it or not finite, or there is none.
    """
    try:
        counts = np.ascontiguousarray(spectra, np.float64)
    except (TypeError, ValueError) as error:
        raise KernelInputError(
            f"{name}: not an array of counts, (..., channel): {error}"
        ) from error
    if np.ndim(spectra) < 1 or counts.size == 0:
        raise KernelInputError(
            f"{name}: shape {np.shape(spectra)} holds no spectrum; give (..., channel)"
        )
    if not (counts.min() >= least and counts.max() < np.inf):
        wrong = ~np.isfinite(counts) | (counts < least)
        place = tuple(np.argwhere(wrong)[0].tolist())
        limit = "negative" if least == 0 else f"below {least:g} counts"
        raise KernelInputError(
            f"{name}: {np.count_nonzero(wrong)} of {counts.size} values are {limit} or "
            f"not finite, the first, {counts[place]:g}, at {place}; mend or leave out "
            "what the camera did not measure, and say its readout noise if it has any"
        )
    return counts


def axis_of(energy_ev: ArrayLike, channels: int) -> Array:
    """Return an energy axis (channel,) that rises evenly, one energy a channel.

    Raises KernelInputError if it does not.
    """
    axis = np.ascontiguousarray(energy_ev, np.float64)
    if np.ndim(energy_ev) != 1 or axis.size != channels:
        raise KernelInputError(
            f"energy_ev {np.shape(energy_ev)} doesn't fit spectra of {channels} "
            "channels; give one energy a channel"
        )
    if axis.size < 16:
        raise KernelInputError(f"{axis.size} channels are no spectrum; give 16 or more")
    steps = np.diff(axis)
    if not (np.isfinite(axis).all() and (steps > 0).all()):
        raise KernelInputError(
            "energy_ev: not increasing from channel to channel; sort the channels by "
            "energy"
        )
    if np.ptp(steps) > _EVEN * steps.mean():
        raise KernelInputError(
            f"energy_ev: channels from {steps.min():g} to {steps.max():g} eV wide; "
            "give channels of one width"
        )
    return axis


def interval_of(name: str, interval_ev: tuple[float, float]) -> tuple[float, float]:
    """Return a finite (low, high) in eV. Raises KernelInputError if it is none."""
    low, high = (float(edge) for edge in interval_ev)
    if not (np.isfinite([low, high]).all() and low < high):
        raise KernelInputError(f"{name}: {low:g} to {high:g} eV is no interval")
    return low, high
