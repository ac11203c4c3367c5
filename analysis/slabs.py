"""Slices through volumes, by place in nm: whatever the voxels, the same of each."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.errors import KernelInputError

__all__ = ["AXES", "Slab", "Volumes", "find_wire"]

AXES: Final = ("z", "x", "y")
"""Of every volume; its centre is at 0 nm."""

_MATTER: Final = 0.5
"""[A] assumption: what is at least this part as dense as the densest is matter."""


class Slab(NamedTuple):
    """A slice, averaged over its thickness."""

    values: NDArray[np.float64]
    """(element, ...) the two axes that are left, in the order of AXES."""
    thickness_nm: float
    """Of whole voxels."""


class Volumes:
    """Some elements' volumes (element, z, x, y) about a common centre.

    Raises KernelInputError unless there is a finite value in each voxel.
    """

    def __init__(self, values: ArrayLike, voxel_nm: float) -> None:
        self.values: NDArray[np.float64] = np.asarray(values, float)
        self.voxel_nm = float(voxel_nm)
        if self.values.ndim != 4 or not self.values.size:
            raise KernelInputError(
                f"volumes {self.values.shape}: give (element, z, x, y)"
            )
        if not np.isfinite(self.values).all():
            wrong = np.count_nonzero(~np.isfinite(self.values))
            raise KernelInputError(
                f"volumes: {wrong} of {self.values.size} voxels are not finite; set "
                "what was not reconstructed to 0"
            )
        if not 0 < self.voxel_nm < np.inf:
            raise KernelInputError(
                f"volumes: voxels of {voxel_nm:g} nm; give a length above 0 nm"
            )

    def span_nm(self, axis: str) -> tuple[float, float]:
        """Return where they begin and end along an axis."""
        half_nm = 0.5 * self.voxel_nm * self.values.shape[1 + AXES.index(axis)]
        return -half_nm, half_nm

    def slab(self, axis: str, at_nm: float, thickness_nm: float) -> Slab:
        """Return the mean over a thickness along an axis, at least of one voxel.

        Raises KernelInputError if its middle is outside.
        """
        low_nm, high_nm = self.span_nm(axis)
        if not low_nm <= at_nm <= high_nm:
            raise KernelInputError(
                f"slice at {axis} = {at_nm:g} nm: the volume ends at {low_nm:g} and "
                f"{high_nm:g} nm; choose a place between"
            )
        number = 1 + AXES.index(axis)
        size = self.values.shape[number]
        count = min(max(round(thickness_nm / self.voxel_nm), 1), size)
        first = round((at_nm - low_nm) / self.voxel_nm - count / 2)
        first = min(max(first, 0), size - count)
        taken = self.values.take(range(first, first + count), axis=number)
        return Slab(taken.mean(axis=number), count * self.voxel_nm)


def find_wire(volumes: Volumes) -> tuple[tuple[float, float], float]:
    """Return the (z, x) of the middle of a wire along y, and its diameter, nm.

    All elements count alike, whatever their units.
    """
    sections = volumes.values.mean(axis=-1)
    highest = sections.max(axis=(1, 2), keepdims=True)
    section = (sections / np.where(highest > 0, highest, 1.0)).sum(axis=0)
    matter = np.argwhere(section >= _MATTER * section.max())
    middle = (np.array(section.shape) - 1) / 2
    z_nm, x_nm = (matter.mean(axis=0) - middle) * volumes.voxel_nm
    diameter_nm = (np.ptp(matter, axis=0).max() + 1) * volumes.voxel_nm
    return (float(z_nm), float(x_nm)), float(diameter_nm)
