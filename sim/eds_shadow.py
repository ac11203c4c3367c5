"""Which of the four EDS quadrants the holder's bar leaves in view at a tilt."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.sim.eds_lines import QUADRANTS

__all__ = ["quadrants_in_view"]

# [A] Quadrant k sits at azimuth 45 + 90 k deg from +x, 18 deg above the specimen. A
# negative tilt lifts the holder's edge on the side of +x: the bar cuts quadrants 0
# and 3 there beyond -40 deg; on the other side it is lower, and stays out of the way
# up to the stage's limit.
_EDGE_DEG: Final = np.array([-40.0, np.inf, np.inf, -40.0])
_WIDTH_DEG: Final = 2.0  # of the penumbra


def quadrants_in_view(tilt_deg: float) -> NDArray[np.float64]:
    """Return the part of each quadrant that sees the specimen, 0..1."""
    view = np.ones(QUADRANTS)
    cut = np.isfinite(_EDGE_DEG)
    past = np.clip((_EDGE_DEG[cut] - tilt_deg) / _WIDTH_DEG, -60.0, 60.0)
    view[cut] = 1.0 / (1.0 + np.exp(past))
    return view
