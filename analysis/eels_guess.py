"""Where a fit of an energy-loss spectrum begins."""

import math
from typing import Any, Final

import numpy as np
from numba import njit

from cryoline.analysis.eels_loops import EXACT_ORDER

__all__ = [
    "FWHM_PER_SIGMA",
    "SIGNIFICANT",
    "guess_plasmon",
    "guess_zero_loss",
    "means_of",
]

SIGNIFICANT: Final = 5.0
"""Standard deviations below which there is nothing to fit."""

FWHM_PER_SIGMA: Final = math.sqrt(8.0 * math.log(2.0))
"""Of a Gaussian."""


@njit(**EXACT_ORDER)
def _half(counts, top, half):  # type: ignore[no-untyped-def]
    """Return where counts fall to half on either side, in channels, between them."""
    first, last = top, top
    while first > 0 and counts[first] > half:
        first -= 1
    while last < counts.size - 1 and counts[last] > half:
        last += 1
    left, right = float(first), float(last)
    if first < top and counts[first] < half:
        left += (half - counts[first]) / (counts[first + 1] - counts[first])
    if last > top and counts[last] < half:
        right -= (half - counts[last]) / (counts[last - 1] - counts[last])
    return left, right


@njit(**EXACT_ORDER)
def guess_zero_loss(counts, energy_ev, search_ev, noise, theta):  # type: ignore[no-untyped-def]
    """Guess the zero loss from the highest channel near 0; False if none stands out."""
    first = np.searchsorted(energy_ev, -search_ev)
    last = np.searchsorted(energy_ev, search_ev)
    top = first
    total = 0.0
    for i in range(first, last):
        total += counts[i]
        if counts[i] > counts[top]:
            top = i
    high = counts[top]
    level = total / (last - first)
    if top == first or top == last - 1:
        return False
    if not high - level > SIGNIFICANT * math.sqrt(max(high, 0.0) + noise):
        return False
    left, right = _half(counts, top, 0.5 * high)
    step = energy_ev[1] - energy_ev[0]
    theta[0] = high
    theta[1] = energy_ev[0] + 0.5 * (left + right) * step
    theta[2] = max(right - left, 1.0) * step / FWHM_PER_SIGMA
    theta[3] = 0.0
    return True


@njit(**EXACT_ORDER)
def means_of(counts, x, many, mean_counts, mean_x) -> Any:  # type: ignore[no-untyped-def]
    """Write means of so many channels each, and where they lie; return their number.

    Channels that are left over at the end are left out.
    """
    size = x.size // many
    for j in range(size):
        total = 0.0
        for i in range(j * many, (j + 1) * many):
            total += counts[i]
        mean_counts[j] = total / many
        mean_x[j] = 0.5 * (x[j * many] + x[(j + 1) * many - 1])
    return size


@njit(**EXACT_ORDER)
def guess_plasmon(counts, x, step_ev, sigma_ev, means, theta):  # type: ignore[no-untyped-def]
    """Guess a plasmon from running means over 1 eV.

    counts: a channel, of channels step_ev wide; x: where they lie, perhaps less densely
    """
    size = x.size
    apart_ev = x[1] - x[0]
    reach = min(max(1, int(0.5 / apart_ev)), (size - 1) // 2)
    top = reach
    total = 0.0
    for k in range(reach):
        total += counts[k]
    for i in range(size):
        low, high = max(0, i - reach), min(size, i + reach + 1)
        if i + reach < size:
            total += counts[i + reach]
        if low > 0:
            total -= counts[low - 1]
        means[i] = total / (high - low)
    for i in range(reach, size - reach):
        if means[i] > means[top]:
            top = i
    base = max(min(means[0], means[size - 1]), 0.0)
    half = 0.5 * (means[top] + base)
    left, right = _half(means[:size], top, half)
    theta[1] = x[top]
    if left > 0.0 and right < size - 1:
        theta[1] = x[0] + 0.5 * (left + right) * apart_ev
    # of a Lorentzian that was blurred to this
    width = max((right - left) * apart_ev, 2.0 * apart_ev)
    width -= min((FWHM_PER_SIGMA * sigma_ev) ** 2 / width, 0.5 * width)
    theta[2] = min(width, 0.5 * theta[1])
    theta[0] = max(means[top] - base, 1e-3) * 0.5 * math.pi * theta[2] / step_ev
    theta[3] = base + 1e-3
