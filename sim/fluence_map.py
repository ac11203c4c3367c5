"""What the specimen has truly received, on its own untilted plane.

The world's own account: nothing of the ledger's arithmetic is shared.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.analysis.constants import ELEMENTARY_CHARGE_C

__all__ = ["CELL_NM", "FluenceMap", "covered"]

CELL_NM: Final = 8.0
"""About four scan pixels of the widest field."""
_SHAPE: Final = (300, 400)  # y, x; room for a field of 1.1 um at 60 deg


def covered(low_nm: float, high_nm: float, cells: int) -> NDArray[np.float64]:
    """Return which part of each cell of a row lies in an interval, (cells,) 0..1.

    The row is centred on 0.

    >>> covered(-4.0, 12.0, 4).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    edges_nm = (np.arange(cells + 1) - cells / 2) * CELL_NM
    inside = np.minimum(edges_nm[1:], high_nm) - np.maximum(edges_nm[:-1], low_nm)
    return np.asarray(np.clip(inside / CELL_NM, 0.0, 1.0))


class FluenceMap:
    """Beam-normal fluence by cell, (y, x) e/nm2, centred on the specimen's origin."""

    def __init__(self) -> None:
        self.cells: NDArray[np.float64] = np.zeros(_SHAPE)
        self._max: float | None = 0.0

    @property
    def max_e_per_nm2(self) -> float:
        """The fluence of the cell that got most."""
        if self._max is None:
            self._max = float(self.cells.max())
        return self._max

    def deposit(
        self,
        charge_c: float,
        *,
        tilt_deg: float,
        low_nm: tuple[float, float],
        high_nm: tuple[float, float],
    ) -> None:
        """Spread a charge evenly over a field, given by two corners (x, y) of it.

        The corners are where the beam sees them, from the specimen's origin. On the
        specimen the field is wider across the tilt axis, by 1 / cos of the tilt; what
        counts there is the fluence normal to the beam. Parts of the field beyond the
        map are not recorded.
        """
        area_nm2 = (high_nm[0] - low_nm[0]) * (high_nm[1] - low_nm[1])
        if charge_c <= 0.0 or area_nm2 <= 0.0:
            return
        stretch = 1.0 / math.cos(math.radians(tilt_deg))
        across = covered(low_nm[0] * stretch, high_nm[0] * stretch, _SHAPE[1])
        along = covered(low_nm[1], high_nm[1], _SHAPE[0])
        x, y = np.flatnonzero(across), np.flatnonzero(along)
        if not len(x) or not len(y):
            return
        fluence = charge_c / ELEMENTARY_CHARGE_C / area_nm2
        hit = np.s_[y[0] : y[-1] + 1, x[0] : x[-1] + 1]
        self.cells[hit] += np.outer(
            fluence * along[y[0] : y[-1] + 1], across[x[0] : x[-1] + 1]
        )
        self._max = None
