"""Incremental capacity (dQ/dV) of a half cycle, and where its first reduction begins.

Pure kernels. Oxidation (delithiation) is positive, in dQ/dV too: charge per volt of
potential passed through, whichever way the potential goes.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.columns import equal_columns
from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.voltammogram import smooth_sweep, voltammogram_peaks

__all__ = [
    "INCREMENT_V",
    "Incremental",
    "Onset",
    "incremental_capacity",
    "reduction_onset",
]

INCREMENT_V: Final = 0.005
"""[A] assumption: width of the steps; silicon's peaks are 60 mV and wider."""

_FLANK: Final = (0.3, 0.7)
"""[A] assumption: of a peak's height, where its flank is straight."""

_SMALLEST: Final = 0.002
"""[A] assumption: at constant current, the SEI's peak beside a plateau's."""

_QUIET: Final = 0.05
"""[A] assumption: the baseline is the lowest of this part of the rows before a peak."""


class Incremental(NamedTuple):
    """Charge per potential, on steps whose edges are multiples of their width."""

    potential_v: NDArray[np.float64]
    """Middles of the steps, rising."""
    dq_dv_mah_per_v: NDArray[np.float64]


class Onset(NamedTuple):
    """Where the first reduction of a falling sweep begins."""

    onset_v: float
    """Where the tangent of the flank meets the baseline."""
    peak_v: float
    flank_v: float
    """The middle of the stretch that the tangent is laid on."""


def incremental_capacity(
    potential_v: ArrayLike,
    charge_mah: ArrayLike,
    *,
    charge_before_mah: float | None = None,
    step_v: float = INCREMENT_V,
) -> Incremental:
    """Return dQ/dV of one half cycle; its integral is the half cycle's charge.

    Where the potential goes back (noise, a rest), the charge counts where the potential
    then stood furthest: no step is counted twice and none is lost.

    potential_v, charge_mah: (row,); the charge is a counter; rows that are not finite
        are left out
    charge_before_mah: the counter before the first row; None if that is the reference
    Raises KernelInputError if step_v is not above 0.
    """
    if not step_v > 0:
        raise KernelInputError(f"step {step_v} V is not above 0 V; give its width")
    potential, charge = equal_columns(
        float, potential_v=potential_v, charge_mah=charge_mah
    )
    good = np.isfinite(potential) & np.isfinite(charge)
    potential, charge = potential[good], charge[good]
    empty = np.empty(0)
    if potential.size < 2 or np.ptp(potential) < step_v:
        return Incremental(empty, empty)
    before_mah = float(charge[0] if charge_before_mah is None else charge_before_mah)
    rising = bool(charge[-1] >= before_mah)
    furthest = np.maximum.accumulate(potential if rising else -potential)
    # Of rows at one potential, the last has the charge with which it was left.
    last = np.flatnonzero(np.r_[np.diff(furthest) > 0, True])
    reached, passed = furthest[last], charge[last]
    first = np.floor(reached[0] / step_v)
    edges = step_v * np.arange(first, np.ceil(reached[-1] / step_v) + 1)
    reached = np.concatenate([edges[:1], reached])
    passed = np.concatenate([[before_mah], passed])
    per_volt = np.diff(np.interp(edges, reached, passed)) / step_v
    middles = edges[:-1] + step_v / 2
    if rising:
        return Incremental(middles, per_volt)
    return Incremental(-middles[::-1], per_volt[::-1])


def reduction_onset(potential_v: ArrayLike, current_a: ArrayLike) -> Onset | None:
    """Return where the first reduction of a falling sweep begins, None without one.

    In a fresh cell's first sweep it is the SEI's. By the tangent: the line through the
    flank of the first cathodic peak, from 30 to 70 % of its height, meets the baseline,
    which is the mean of the quietest 5 % of the rows before the peak.

    potential_v, current_a: (row,), one sweep. Of a record at constant current, dQ/dV
        takes the current's place.
    """
    potential, current = equal_columns(
        float, potential_v=potential_v, current_a=current_a
    )
    peaks = voltammogram_peaks(potential, current, minimum_prominence=_SMALLEST)
    if not peaks or peaks[0].direction != "cathodic":
        return None
    grid, smooth, _ = smooth_sweep(potential, -current)
    before = grid >= peaks[0].potential_v
    x, height = grid[before], smooth[before]
    quiet = np.sort(height)
    baseline = float(quiet[: max(1, round(_QUIET * quiet.size))].mean())
    share = (height - baseline) / (height[0] - baseline)
    # From the peak outwards, to where the flank first is this low.
    first, last = (int(np.argmax(share < part)) for part in _FLANK[::-1])
    if not 0 < first <= last:
        return None
    # With the rows on either side: a flank may be steeper than the grid is fine.
    flank = slice(first - 1, last + 1)
    slope, offset = np.polyfit(x[flank], height[flank], 1)
    if not slope < 0:
        return None
    return Onset(
        onset_v=float((baseline - offset) / slope),
        peak_v=peaks[0].potential_v,
        flank_v=float(x[(first + last) // 2]),
    )
