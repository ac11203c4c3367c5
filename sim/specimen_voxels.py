"""The matter of a specimen as a list of its voxels, ready to be projected."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.sim.phantom import Phantom, random_field
from cryoline.sim.phantom_knobs import ELEMENTS

__all__ = ["SpecimenVoxels", "list_voxels"]

_VOID_LENGTH_NM: Final = 6.0  # [A] size of the voids that the beam makes
_NEVER: Final = 2.0
_VOID_STREAM: Final = 1  # of the specimen's random streams


@dataclass(frozen=True)
class SpecimenVoxels:
    """Voxels that are not empty, ordered by z, x, y.

    place: (voxel, 3) indices z, x, y
    density: (voxel, element) atoms/nm3, in the order of ELEMENTS
    void_rank: (voxel,) the void fraction at which the voxel becomes a void
    """

    place: NDArray[np.int16]
    density: NDArray[np.float32]
    void_rank: NDArray[np.float32]
    shape: tuple[int, int, int]
    voxel_nm: float

    @property
    def atoms(self) -> NDArray[np.float64]:
        """(element,) atoms in all."""
        total: NDArray[np.float64] = self.density.sum(0, dtype=float)
        return total * self.voxel_nm**3


def list_voxels(phantom: Phantom, *, seed: int = 0) -> SpecimenVoxels:
    """Return a specimen's matter; the seed decides where the beam makes voids."""
    volumes = [phantom.elements[e] for e in ELEMENTS]
    shape = volumes[0].shape
    filled = np.zeros(shape, bool)
    for volume in volumes:
        filled |= volume > 0
    density = np.stack([volume[filled] for volume in volumes], axis=1)
    rng = np.random.default_rng([seed, _VOID_STREAM])
    field = random_field(shape, _VOID_LENGTH_NM, phantom.voxel_nm, rng)[filled]
    silicon = density[:, 0] > 0
    rank = np.full(len(density), _NEVER, np.float32)
    order = np.empty(silicon.sum())
    order[np.argsort(field[silicon])] = np.arange(len(order)) + 0.5
    rank[silicon] = order / max(len(order), 1)
    return SpecimenVoxels(
        np.argwhere(filled).astype(np.int16),
        density,
        rank,
        (shape[0], shape[1], shape[2]),
        phantom.voxel_nm,
    )
