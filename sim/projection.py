"""What the beam sees of the specimen: its areal densities at a tilt.

A point (x, z) of the untilted specimen appears at u = x cos t + z sin t. Each voxel is
a cube: its shadow across the tilt axis is a trapezoid, which is shared out exactly
among the bins that it covers. So no mass is lost, and a solid has no ripples.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryoline.sim.damage import column_fluence, elements_left, void_fraction
from cryoline.sim.phantom_knobs import ELEMENTS
from cryoline.sim.specimen_voxels import SpecimenVoxels

__all__ = ["Projection", "project"]


@dataclass(frozen=True)
class Projection:
    """Areal densities on square bins of one voxel's width.

    atoms_per_nm2: (element, u, y); the array's centre is the specimen's origin
    """

    atoms_per_nm2: NDArray[np.float64]
    bin_nm: float

    @property
    def atoms(self) -> NDArray[np.float64]:
        """(element,) atoms in all."""
        total: NDArray[np.float64] = self.atoms_per_nm2.sum((1, 2))
        return total * self.bin_nm**2


def project(
    voxels: SpecimenVoxels,
    tilt_deg: float,
    *,
    fluence: NDArray[np.float32] | None = None,
    cell_nm: float = 1.0,
) -> Projection:
    """Project the specimen as the beam has left it.

    fluence: (y, x) e/nm2 on the untilted specimen plane; none: undamaged
    """
    n_z, n_x, n_y = voxels.shape
    if fluence is None:
        received = np.zeros((n_x, n_y))
    else:
        received = column_fluence(
            fluence, cell_nm, n_x=n_x, n_y=n_y, voxel_nm=voxels.voxel_nm
        )
    n_u = 2 * math.ceil(math.hypot(n_x, n_z) / 2) + 2
    sums = np.zeros((n_u, n_y, len(ELEMENTS)))
    _project(
        voxels.place,
        voxels.density,
        voxels.void_rank,
        np.ascontiguousarray(np.moveaxis(elements_left(received), 0, -1)),
        void_fraction(received),
        math.radians(tilt_deg),
        n_z,
        sums,
    )
    areal = np.ascontiguousarray(np.moveaxis(sums, -1, 0)) * voxels.voxel_nm
    return Projection(areal, voxels.voxel_nm)


@njit(cache=True)
def _part_below(offset: float, wide: float, narrow: float) -> float:
    """Return the part of a trapezoid that lies below an offset from its centre.

    It is two boxes of the half widths `wide` >= `narrow`, folded.
    """
    if narrow < 1e-9:
        return min(max((offset + wide) / (2 * wide), 0.0), 1.0)
    if offset <= -wide - narrow:
        return 0.0
    if offset >= wide + narrow:
        return 1.0
    if abs(offset) <= wide - narrow:
        return 0.5 + offset / (2 * wide)
    corner = wide + narrow - abs(offset)
    outside = corner * corner / (8 * wide * narrow)
    return outside if offset < 0 else 1.0 - outside


@njit(cache=True, nogil=True)
def _project(  # type: ignore[no-untyped-def]
    place, density, void_rank, left, voids, tilt_rad, n_z, sums
):
    """Add the voxels to sums (u, y, element), in lengths of one voxel."""
    cosine, sine = math.cos(tilt_rad), math.sin(tilt_rad)
    wide = max(abs(cosine), abs(sine)) / 2
    narrow = min(abs(cosine), abs(sine)) / 2
    n_u, _, n_elements = sums.shape
    n_x = left.shape[0]
    weight = np.zeros(4)
    first = 0
    last_z = last_x = -1
    for n in range(place.shape[0]):
        z, x, y = place[n, 0], place[n, 1], place[n, 2]
        if z != last_z or x != last_x:
            last_z, last_x = z, x
            center = (x - (n_x - 1) / 2) * cosine + (z - (n_z - 1) / 2) * sine
            center += n_u / 2
            first = math.floor(center - wide - narrow)
            below = 0.0
            for k in range(4):
                upto = _part_below(first + k + 1 - center, wide, narrow)
                weight[k] = upto - below
                below = upto
        is_void = void_rank[n] < voids[x, y]
        for element in range(n_elements):
            if is_void and element == 0:
                continue  # silicon is the first element
            amount = density[n, element] * left[x, y, element]
            if amount > 0:
                for k in range(4):
                    if weight[k] > 0:
                        sums[first + k, y, element] += weight[k] * amount
