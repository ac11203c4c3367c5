"""The profile of a beam that is defocused or parked: a disc, and a tail around it.

[A] 95 % of the charge lie evenly in a disc of the beam's diameter, the rest evenly in
a disc of twice that. A real one has fringes at its edge, and tails that depend on
apertures and aberrations: measure yours on vacuum.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["DISCS", "disc_points"]

DISCS: Final = ((0.95, 1.0), (0.05, 2.0))
"""Part of the charge, and diameter as a multiple of the beam's, of each disc."""
_GOLDEN_RAD: Final = math.pi * (3.0 - math.sqrt(5.0))

Array = NDArray[np.float64]


def disc_points(diameter_nm: float, number: int) -> Array:
    """Return points that cover a disc evenly, (number, 2), around 0.

    >>> bool(abs(disc_points(2.0, 100).mean(0)).max() < 0.02)
    True
    """
    k = np.arange(number)
    radius_nm = diameter_nm / 2 * np.sqrt((k + 0.5) / number)
    angle = _GOLDEN_RAD * k
    return np.stack((radius_nm * np.cos(angle), radius_nm * np.sin(angle)), axis=1)
