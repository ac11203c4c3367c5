"""The peaks and the scan rate of one sweep of a voltammogram.

Pure kernels. Oxidation (anodic) current is positive.
"""

import math
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import median_filter
from scipy.signal import find_peaks, savgol_filter

from cryoline.analysis.columns import equal_columns
from cryoline.analysis.errors import KernelInputError

__all__ = [
    "MINIMUM_PROMINENCE",
    "SMOOTHING_V",
    "Peak",
    "scan_rate_mv_per_s",
    "smooth_sweep",
    "voltammogram_peaks",
]

MINIMUM_PROMINENCE: Final = 0.02
"""[A] assumption: a peak stands out by this part of its sweep's current range."""

SMOOTHING_V: Final = 0.024
"""[A] assumption: width of the smoothing; silicon's peaks are 60 mV and wider."""

_NOISE_FACTOR: Final = 7.0
"""[A] assumption: a peak stands out by this many standard deviations of the noise."""

_GRID_V: Final = 0.002
_SMALLEST_GRID: Final = 7
_TOP: Final = 0.15
"""[A] assumption: a peak's potential is fitted to this upper part of its prominence."""

_STRAIGHTNESS: Final = 0.005
"""[A] assumption: a voltage scan strays from a straight line by this part of its span
(root mean square). A galvanostatic half cycle strays by several per cent."""


class Peak(NamedTuple):
    """One peak of one sweep."""

    direction: Literal["cathodic", "anodic"]
    potential_v: float
    current_a: float
    prominence_a: float
    baseline_a: float
    """Of the current at that potential, without the peak."""
    height_a: float
    """Current less baseline: negative for a cathodic peak."""


def scan_rate_mv_per_s(time_s: ArrayLike, potential_v: ArrayLike) -> float:
    """Return the signed rate of one voltage scan, or NaN if it is none.

    A scan is a straight line in time to 0.5 % of its span, at least 7 rows long.
    """
    time, potential = equal_columns(float, time_s=time_s, potential_v=potential_v)
    good = np.isfinite(time) & np.isfinite(potential)
    time, potential = time[good], potential[good]
    if time.size < _SMALLEST_GRID or not (np.ptp(time) > 0 and np.ptp(potential) > 0):
        return math.nan
    elapsed = time - time.mean()
    rate = float(elapsed @ potential / (elapsed @ elapsed))
    strays = np.std(potential - rate * elapsed)
    return 1e3 * rate if strays < _STRAIGHTNESS * np.ptp(potential) else math.nan


def voltammogram_peaks(
    potential_v: ArrayLike,
    current_a: ArrayLike,
    *,
    smoothing_v: float = SMOOTHING_V,
    minimum_prominence: float = MINIMUM_PROMINENCE,
) -> tuple[Peak, ...]:
    """Return the peaks of one sweep, in the order in which the sweep met them.

    A falling sweep gives cathodic peaks (minima of the current), a rising one anodic
    peaks (maxima).

    1. A median of three rows removes single outliers (changes of range).
    2. Rows are averaged on a grid of 2 mV (or of the rows' own spacing).
    3. A Savitzky-Golay filter of second order smooths over smoothing_v.
    4. A peak stands out by minimum_prominence of the sweep's current range, and by
       seven times the noise.
    5. Its potential is the vertex of a parabola through its upper 15 %.
    6. The baseline is a band stretched below the smoothed sweep, from end to end: it
       touches the feet of the peaks and bridges what stands between them.

    potential_v, current_a: (row,), one sweep; rows that are not finite are left out
    Raises KernelInputError if the rows turn back by more than a tenth of their span.

    Limits: finds peaks of 30 mV to 0.5 V full width, at least their width apart. A
    shoulder without a maximum of its own, and a maximum at either end of the sweep,
    are no peaks. Fewer than 7 grid points give none.
    """
    potential, current = equal_columns(
        float, potential_v=potential_v, current_a=current_a
    )
    good = np.isfinite(potential) & np.isfinite(current)
    potential, current = potential[good], current[good]
    if potential.size < _SMALLEST_GRID:
        return ()
    span, travel = np.ptp(potential), potential[-1] - potential[0]
    if abs(travel) < 0.9 * span:
        raise KernelInputError(
            f"rows from {potential[0]:.4f} V to {potential[-1]:.4f} V span "
            f"{span:.4f} V: more than one sweep; give the rows of one half cycle"
        )
    rising = bool(travel > 0)
    sign = 1.0 if rising else -1.0
    grid, smooth, noise = smooth_sweep(potential, sign * current, smoothing_v)
    if not grid.size:
        return ()
    least = max(minimum_prominence * float(np.ptp(smooth)), _NOISE_FACTOR * noise)
    if not least > 0:
        return ()
    places, found = find_peaks(smooth, prominence=least)
    band = _band_below(grid, smooth) if places.size else smooth
    peaks: list[Peak] = []
    before = -1
    for place, prominence in zip(places, found["prominences"], strict=True):
        # Two grid points of exactly one height, noise apart, are one flat top.
        if before >= 0 and smooth[before:place].min() > smooth[place] - least:
            continue
        before = place
        at_v, top = _vertex(grid, smooth, int(place), float(prominence))
        peaks.append(
            Peak(
                direction="anodic" if rising else "cathodic",
                potential_v=at_v,
                current_a=sign * top,
                prominence_a=float(prominence),
                baseline_a=sign * float(np.interp(at_v, grid, band)),
                height_a=sign * (top - float(np.interp(at_v, grid, band))),
            )
        )
    return tuple(peaks if rising else reversed(peaks))


def smooth_sweep(
    potential: NDArray[np.float64],
    height: NDArray[np.float64],
    smoothing_v: float = SMOOTHING_V,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return a sweep on a grid of rising potential, smoothed, and its noise.

    Empty if the sweep is too short to be smoothed.
    """
    grid, height, step = _on_grid(potential, median_filter(height, 3))
    window = max(5, 2 * round(smoothing_v / step / 2) + 1)
    if grid.size < max(_SMALLEST_GRID, window):
        return np.empty(0), np.empty(0), math.nan
    smooth = np.asarray(savgol_filter(height, window, 2), dtype=float)
    return grid, smooth, _noise(height - smooth)


def _band_below(
    grid: NDArray[np.float64], height: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the lower convex hull of a curve, at each of its points."""
    corners: list[int] = []
    for k in range(grid.size):
        while len(corners) > 1:
            a, b = corners[-2:]
            turn = (grid[b] - grid[a]) * (height[k] - height[a])
            if turn > (grid[k] - grid[a]) * (height[b] - height[a]):
                break
            corners.pop()
        corners.append(k)
    return np.asarray(np.interp(grid, grid[corners], height[corners]))


def _on_grid(
    potential: NDArray[np.float64], height: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Average rows in equal steps of rising potential; interpolate empty steps."""
    step = max(_GRID_V, float(np.median(np.abs(np.diff(potential)))))
    low = float(potential.min())
    place = np.rint((potential - low) / step).astype(np.intp)
    count = np.bincount(place)
    filled = np.flatnonzero(count)
    mean = np.bincount(place, weights=height)[filled] / count[filled]
    steps = np.arange(count.size)
    heights: NDArray[np.float64] = np.interp(steps, filled, mean)
    places: NDArray[np.float64] = low + step * steps.astype(np.float64)
    return places, heights, step


def _noise(residual: NDArray[np.float64]) -> float:
    """Return the standard deviation of what smoothing removed, outliers left out.

    A mean of moduli, not their median: where the noise is below one bit of the
    instrument, more than half of the moduli may be zero.
    """
    moduli = np.sort(np.abs(residual))
    return math.sqrt(math.pi / 2) * float(moduli[: -(moduli.size // 50) or None].mean())


def _vertex(
    grid: NDArray[np.float64],
    smooth: NDArray[np.float64],
    place: int,
    prominence: float,
) -> tuple[float, float]:
    """Return potential and height of the parabola through a peak's upper part."""
    high = smooth >= smooth[place] - _TOP * prominence
    first = last = place
    while first > 0 and high[first - 1]:
        first -= 1
    while last < smooth.size - 1 and high[last + 1]:
        last += 1
    first, last = (
        min(first, max(place - 1, 0)),
        max(last, min(place + 1, smooth.size - 1)),
    )
    x = grid[first : last + 1] - grid[place]
    a, b, c = np.polyfit(x, smooth[first : last + 1], 2)
    vertex = -b / (2 * a) if a < 0 else 0.0
    if not x[0] <= vertex <= x[-1]:
        return float(grid[place]), float(smooth[place])
    return float(grid[place] + vertex), float(c + vertex * (b + a * vertex))
