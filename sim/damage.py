"""What electrons do to the specimen: it loses the SEI, then its silicon gets voids.

Everything depends on the fluence that a column of the untilted specimen has received
by all exposures together. Shapes and thresholds are [A], made to give what [S1] saw:
nothing at 7.7e6 e/nm2, some voids and most of the SEI at 8.9e6, ruin above 1e7.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.sim.phantom_knobs import ELEMENTS

__all__ = ["column_fluence", "elements_left", "void_fraction", "warm_factor"]

Array = NDArray[np.float64]

_VOID_MIDDLE: Final = 1.3e7  # e/nm2, where half of the silicon is voids
_VOID_WIDTH: Final = 1.0e6
_LOSS_EXPONENT: Final = 6.0
# e/nm2, where 1/e is left: carbon and fluorine go before oxygen. Silicon stays.
_LOSS_AT: Final = {"C": 1.32e7, "F": 1.35e7, "P": 1.35e7, "O": 1.40e7}
_COLD_DEGC: Final = -140.0
_WARM_DEGC: Final = 20.0
_WARM_FACTOR: Final = 5.0


def void_fraction(fluence_e_per_nm2: ArrayLike) -> Array:
    """Return the part of the silicon that has become voids."""
    fluence = np.asarray(fluence_e_per_nm2, dtype=float)
    excess = np.clip((fluence - _VOID_MIDDLE) / _VOID_WIDTH, -60.0, 60.0)
    return np.where(fluence > 0, 1.0 / (1.0 + np.exp(-excess)), 0.0)


def elements_left(fluence_e_per_nm2: ArrayLike) -> Array:
    """Return the part of each element that is left where there are no voids.

    (element, ...), in the order of ELEMENTS
    """
    fluence = np.asarray(fluence_e_per_nm2, dtype=float)
    left = [
        np.exp(-((fluence / _LOSS_AT[e]) ** _LOSS_EXPONENT))
        if e in _LOSS_AT
        else np.ones_like(fluence)
        for e in ELEMENTS
    ]
    return np.stack(left)


def warm_factor(temperature_degc: float) -> float:
    """Return by how much a fluence counts more than at cryogenic temperature.

    1 up to -140 degC, 5 at room temperature, linear between. Weight an increment of
    the fluence map with it.
    """
    warm = (temperature_degc - _COLD_DEGC) / (_WARM_DEGC - _COLD_DEGC)
    return 1.0 + (_WARM_FACTOR - 1.0) * min(max(warm, 0.0), 1.0)


def column_fluence(
    fluence: NDArray[np.float32],
    cell_nm: float,
    *,
    n_x: int,
    n_y: int,
    voxel_nm: float,
) -> Array:
    """Return the fluence of each column (x, y) of a volume; outside the map it is 0.

    fluence: (y, x) on cells whose common centre is the specimen's origin
    """

    def cells(n_voxels: int, n_cells: int) -> Any:
        position_nm = (np.arange(n_voxels) - (n_voxels - 1) / 2) * voxel_nm
        return np.floor(position_nm / cell_nm + n_cells / 2).astype(np.intp)

    rows, columns = cells(n_y, fluence.shape[0]), cells(n_x, fluence.shape[1])
    inside_y = (rows >= 0) & (rows < fluence.shape[0])
    inside_x = (columns >= 0) & (columns < fluence.shape[1])
    found = np.zeros((n_x, n_y))
    found[np.ix_(inside_x, inside_y)] = fluence[
        np.ix_(rows[inside_y], columns[inside_x])
    ].T
    return found
