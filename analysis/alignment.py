"""Where the maps of a tilt series lie across the tilt axis, by their own counts.

The centre of a body's mass appears at ``x cos t + z sin t``, whatever its shape. What
a map's centre strays from that curve, the field was off: drift since the specimen was
looked for, and errors of tracking.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from cryoline.analysis.columns import equal_columns
from cryoline.analysis.errors import KernelInputError

__all__ = ["centre_across_px", "strays_px"]

_FLOOR: Final = 0.05
"""[A] assumption: a body ends where its profile falls below this part of its height."""

_SMOOTH_PX: Final = 9
"""[A] assumption: width of the mean under which its end is looked for."""

_WIDEST: Final = 0.6
"""[A] assumption: what takes more of the field is no body with a centre in it."""

_EMPTY: Final = 20
"""Per cent of the field, at least, that hold nothing but background [A]."""

_CURVE: Final = 2
"""Numbers that the curve has; fewer tilts than one more leave nothing to stray."""

_STEPS: Final = 20
_OUTLIER: Final = 2.0
"""Tilts that stray by more than this many times the median count less."""


def centre_across_px(image: ArrayLike) -> float:
    """Return where the counts of a map lie across the tilt axis, from its middle.

    image: (y, x) counts of one tilt, the tilt axis along y
    NaN if they are not one body with empty field on both sides.
    """
    counts = np.asarray(image, float)
    if counts.ndim != 2 or not np.isfinite(counts).all():
        raise KernelInputError(f"map {counts.shape}: give finite counts (y, x)")
    profile = counts.sum(axis=0)
    size = profile.size
    if size < 3 * _SMOOTH_PX:
        return math.nan
    smooth = ndimage.uniform_filter1d(profile, _SMOOTH_PX, mode="nearest")
    empty = np.percentile(smooth, _EMPTY)
    above, smooth = profile - empty, smooth - empty
    top = int(np.argmax(smooth))
    inside = smooth > _FLOOR * smooth[top]
    first = top - int(np.argmin(inside[top::-1])) if not inside[: top + 1].all() else 0
    last = top + int(np.argmin(inside[top:])) if not inside[top:].all() else size
    if (
        first <= _SMOOTH_PX
        or last >= size - _SMOOTH_PX
        or last - first > _WIDEST * size
    ):
        return math.nan
    # Some more on both sides, so that noise there is cut off at neither.
    margin = min(first, size - last, (last - first) // 2)
    body = slice(first - margin, last + margin)
    total = above[body].sum()
    if total <= 0:
        return math.nan
    place = np.arange(size)[body] - (size - 1) / 2
    return float((place * above[body]).sum() / total)


def strays_px(centres_px: ArrayLike, angles_deg: ArrayLike) -> NDArray[np.float64]:
    """Return how far each tilt's centre lies off the curve of one body, (tilt,).

    The curve ``x cos t + z sin t`` is fitted to the tilts so that few of them, however
    far off, don't move it. A centre that is not known (NaN) strays by 0, and where
    most are not known, or there are too few tilts, all do.
    """
    centres, angles = equal_columns(float, centres_px=centres_px, angles_deg=angles_deg)
    known = np.isfinite(centres)
    strays: NDArray[np.float64] = np.zeros(centres.size)
    if known.sum() <= max(_CURVE, centres.size / 2):
        return strays
    radians = np.deg2rad(angles[known])
    curve = np.column_stack([np.cos(radians), np.sin(radians)])
    weight = np.ones(radians.size)
    for _ in range(_STEPS):
        root = np.sqrt(weight)
        found, *_ = np.linalg.lstsq(root[:, None] * curve, root * centres[known])
        off = np.abs(centres[known] - curve @ found)
        limit = max(_OUTLIER * float(np.median(off)), 1e-6)
        weight = np.minimum(1.0, limit / np.maximum(off, limit))
    strays[known] = centres[known] - curve @ found
    return strays
