"""Element volumes of a tilt series: which counts go in, and how far it is iterated.

The field of a map is centred on the specimen (tracking sees to that), so the volume's
middle is the field's. Counts of the whole series are rare, a few in a voxel: the
background is in the model, iterations are few, and a Gaussian follows. Twenty plain
iterations, as He et al. made, are noise on such counts; they are an option.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from cryoline.analysis.eds import ElementMaps, background_maps
from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.tomography import (
    Convergence,
    OnlineReconstruction,
    mlem,
    stack_from_images,
)

__all__ = ["SeriesVolume", "VolumeSettings", "detector_share"]


@dataclass(frozen=True)
class VolumeSettings:
    """How volumes are made of maps. The defaults were found on simulated wires [A]."""

    size_voxels: int = 128
    bin_px: int = 2
    """Pixels a voxel; what lies outside ``size_voxels * bin_px`` pixels is cut off."""
    live_iterations: int = 1
    """A tilt, from the volume before."""
    final_iterations: int = 10
    """Of the volume at the end, from an even one."""
    sigma_voxels: float = 1.5
    """Of the Gaussian that follows the iterations."""
    background_sigma_px: float = 8.0
    """Of the Gaussian that spreads the side windows' few counts."""

    def __post_init__(self) -> None:
        if min(self.size_voxels, self.bin_px) < 1 or self.sigma_voxels < 0:
            raise KernelInputError(
                f"size_voxels {self.size_voxels}, bin_px {self.bin_px}, sigma_voxels "
                f"{self.sigma_voxels:g}: give 1, 1 and 0 or more"
            )


_HALF: Final = 2
"""Quadrants of four that no tilt of a holder shadows."""


def detector_share(quadrant_counts: ArrayLike) -> float:
    """Return the part of the detector that saw the specimen, 0 to 1.

    quadrant_counts: (quadrant,), counts of one tilt. The two with the most are taken
    to be free: a holder's bar shadows one side of a pair at a time.
    """
    counts = np.sort(np.asarray(quadrant_counts, float))
    if counts.size <= _HALF or counts[-_HALF:].sum() == 0:
        return 1.0
    free = counts[-_HALF:].mean()
    return float(counts.sum() / (counts.size * free))


class SeriesVolume:
    """Volumes (element, z, x, y) that grow with the tilts.

    Their unit is counts per voxel at an exposure of 1.
    """

    def __init__(
        self,
        settings: VolumeSettings | None = None,
        *,
        elements: int = 4,
        threads: int = 1,
    ) -> None:
        self.settings = settings or VolumeSettings()
        self._threads = threads
        size = self.settings.size_voxels
        self._growing = OnlineReconstruction(
            (elements, size, size, size),
            n_iter=self.settings.live_iterations,
            warm=True,
            threads=threads,
        )
        self._counts: list[NDArray[np.float32]] = []
        self._background: list[NDArray[np.float32]] = []
        self._angles_deg: list[float] = []
        self._exposure: list[float] = []

    def add(
        self,
        maps: ElementMaps,
        continuum: ArrayLike,
        angle_deg: float,
        *,
        exposure: float = 1.0,
    ) -> None:
        """Take the maps of the next tilt.

        continuum: (element,), counts of the background in each window
        exposure: charge times free detector, 1 for the first tilt, say
        Raises KernelInputError if the map is smaller than the volume.
        """
        background = background_maps(
            maps, continuum, sigma_px=self.settings.background_sigma_px
        )
        projection = self._projection(maps.counts)
        expected = self._projection(background)
        self._growing.add(projection, angle_deg, expected, exposure=exposure)
        self._counts.append(projection)
        self._background.append(expected)
        self._angles_deg.append(angle_deg)
        self._exposure.append(exposure)

    @property
    def convergence(self) -> Convergence:
        """How far the last step still moved the growing volume."""
        return self._growing.convergence

    def live(self) -> NDArray[np.float32]:
        """Return the volume that has grown with the tilts so far, filtered."""
        return self._filtered(self._growing.volume)

    def final(self) -> NDArray[np.float32]:
        """Return the volume of all tilts so far, from an even start, filtered.

        Raises KernelInputError if no tilt was added.
        """
        if not self._counts:
            raise KernelInputError("no tilt was added; add its maps first")
        volume = mlem(
            np.stack(self._counts, axis=1),
            self._angles_deg,
            self.settings.final_iterations,
            background=np.stack(self._background, axis=1),
            exposure=self._exposure,
            threads=self._threads,
        )
        return self._filtered(volume)

    def _projection(self, images: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return the middle of images (element, y, x), binned, as (element, u, y)."""
        size, width = self.settings.size_voxels, self.settings.bin_px
        whole = size * width
        rows, columns = images.shape[-2:]
        if min(rows, columns) < whole:
            raise KernelInputError(
                f"a map of {rows} x {columns} px is smaller than the volume, {size} "
                f"voxels of {width} px; choose fewer voxels or a smaller bin_px"
            )
        top, left = (rows - whole) // 2, (columns - whole) // 2
        middle = images[..., top : top + whole, left : left + whole]
        parts = middle.reshape(-1, size, width, size, width).astype(np.float32)
        return stack_from_images(parts.sum(axis=(2, 4)))

    def _filtered(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        sigma = (0.0, *(3 * (self.settings.sigma_voxels,)))
        filtered = ndimage.gaussian_filter(volume, sigma, mode="constant")
        return np.asarray(filtered, np.float32)
