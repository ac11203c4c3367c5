"""Element volumes of a tilt series: which counts go in, and how far it is iterated.

The field of a map is centred on the specimen by tracking, so the volume's middle is
the field's; what it drifted meanwhile is undone by its own counts. Counts of the whole
series are rare, a few in a voxel: the background is in the model, iterations are few,
and a Gaussian follows. Twenty plain iterations, as He et al. made, are noise on such
counts; they are an option.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from cryoline.analysis.alignment import centre_across_px, strays_px
from cryoline.analysis.eds import ElementMaps, background_maps
from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.tomography import (
    Convergence,
    OnlineReconstruction,
    stack_from_images,
)

__all__ = ["SeriesVolume", "VolumeSettings", "detector_share", "settings_of"]


@dataclass(frozen=True)
class VolumeSettings:
    """How volumes are made of maps. The defaults were found on simulated wires [A]."""

    size_voxels: int = 128
    bin_px: int = 2
    """Pixels a voxel; what lies outside ``size_voxels * bin_px`` pixels is cut off."""
    live_iterations: int = 6
    """With each tilt, over all so far, from an even volume."""
    final_iterations: int = 10
    """Of the volume at the end, from an even one."""
    align: bool = True
    """Move each map across the tilt axis by what its body strays from the others'."""
    sigma_voxels: float = 1.5
    """Of the Gaussian that follows the iterations."""
    full_bin_px: int = 1
    """Pixels a voxel of the full volumes at the end, of the same field; 0 for none."""
    background_sigma_px: float = 8.0
    """Of the Gaussian that spreads the side windows' few counts."""

    def __post_init__(self) -> None:
        if min(self.size_voxels, self.bin_px) < 1 or self.sigma_voxels < 0:
            raise KernelInputError(
                f"size_voxels {self.size_voxels}, bin_px {self.bin_px}, sigma_voxels "
                f"{self.sigma_voxels:g}: give 1, 1 and 0 or more"
            )
        if self.full_bin_px < 0 or self.bin_px % (self.full_bin_px or 1):
            raise KernelInputError(
                f"full_bin_px {self.full_bin_px} does not divide bin_px, "
                f"{self.bin_px}; give 1, or 0 for no full volumes"
            )

    @property
    def has_full(self) -> bool:
        """Whether full volumes are finer than the coarse one."""
        return 0 < self.full_bin_px < self.bin_px


def settings_of(
    values: Mapping[str, Any] | None, default: VolumeSettings
) -> VolumeSettings:
    """Return the settings that a run asks for, the default's where it doesn't.

    Raises KernelInputError for a setting that there is not.
    """
    try:
        return replace(default, **(values or {}))
    except TypeError as error:
        known = ", ".join(field.name for field in fields(VolumeSettings))
        raise KernelInputError(
            f"volume settings {values!r}: {error}; there are {known}"
        ) from error


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
        self._elements = elements
        self._threads = threads
        self._counts: list[NDArray[np.float32]] = []
        self._background: list[NDArray[np.float32]] = []
        self._angles_deg: list[float] = []
        self._exposure: list[float] = []
        self._centres_px: list[float] = []
        self._growing: OnlineReconstruction | None = None

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
        rows, columns = maps.counts.shape[-2:]
        whole = self.settings.size_voxels * self.settings.bin_px
        if min(rows, columns) < whole:
            raise KernelInputError(
                f"a map of {rows} x {columns} px is smaller than the volume, "
                f"{self.settings.size_voxels} voxels of {self.settings.bin_px} px; "
                "choose fewer voxels or a smaller bin_px"
            )
        background = background_maps(
            maps, continuum, sigma_px=self.settings.background_sigma_px
        )
        # Only the rows that are needed; all columns, because the map may yet move.
        top = (rows - whole) // 2
        self._counts.append(maps.counts[:, top : top + whole].astype(np.float32))
        self._background.append(background[:, top : top + whole])
        self._angles_deg.append(angle_deg)
        self._exposure.append(exposure)
        self._centres_px.append(centre_across_px(maps.counts.sum(axis=0)))
        self._growing = None

    @property
    def convergence(self) -> Convergence:
        """How far the last step still moved the volume of the tilts so far."""
        return self._so_far().convergence

    @property
    def strays_px(self) -> NDArray[np.float64]:
        """(tilt,), how far each map lay off across the tilt axis, and was moved."""
        if not self.settings.align:
            return np.zeros(len(self._centres_px))
        return strays_px(self._centres_px, self._angles_deg)

    def live(self) -> NDArray[np.float32]:
        """Return the volume of the tilts so far after few steps, filtered."""
        return self._filtered(self._so_far().volume)

    def final(self) -> NDArray[np.float32]:
        """Return the volume of all tilts so far, from an even start, filtered.

        Raises KernelInputError if no tilt was added.
        """
        if not self._counts:
            raise KernelInputError("no tilt was added; add its maps first")
        finished = self._reconstruction(self.settings.final_iterations)
        return self._filtered(finished.volume)

    def full(self, element: int) -> NDArray[np.float32]:
        """Return one element's final volume (z, x, y) in voxels of ``full_bin_px``.

        The field is that of the coarse one, the Gaussian as wide in nm: it holds as few
        counts, and tells nothing finer apart. One element at a time, for the memory: of
        256^3 voxels it takes 0.3 GB meanwhile.

        Raises KernelInputError if no tilt was added, or no full volume is asked for.
        """
        if not self._counts or not self.settings.full_bin_px:
            raise KernelInputError(
                f"{len(self._counts)} tilts, full_bin_px {self.settings.full_bin_px}: "
                "add a tilt first, and ask for voxels of 1 px or more"
            )
        width = self.settings.full_bin_px
        finished = self._reconstruction(
            self.settings.final_iterations, slice(element, element + 1), width
        )
        wider = self.settings.bin_px / width
        one: NDArray[np.float32] = self._filtered(finished.volume, wider)[0]
        return one

    def _so_far(self) -> OnlineReconstruction:
        """Return the volume after few steps; made when it is first asked for."""
        if self._growing is None:
            self._growing = self._reconstruction(self.settings.live_iterations)
        return self._growing

    def _reconstruction(
        self,
        n_iter: int,
        elements: slice = slice(None),
        width: int | None = None,
    ) -> OnlineReconstruction:
        """Return the volume of all tilts so far after n_iter steps.

        width: pixels a voxel, ``bin_px`` if None
        """
        width = width or self.settings.bin_px
        size = self.settings.size_voxels * self.settings.bin_px // width
        count = len(range(self._elements)[elements])
        made = OnlineReconstruction(
            (count, size, size, size), n_iter=n_iter, threads=self._threads
        )
        if self._counts:
            moves = np.rint(self.strays_px).astype(int).tolist()
            made.extend(
                self._projections(self._counts, moves, elements, size, width),
                self._angles_deg,
                self._projections(self._background, moves, elements, size, width),
                exposure=self._exposure,
            )
        return made

    def _projections(
        self,
        images: list[NDArray[np.float32]],
        moves: list[int],
        elements: slice,
        size: int,
        width: int,
    ) -> NDArray[np.float32]:
        """Return the middle of images, moved and binned, as (element, tilt, u, y)."""
        out = np.empty(
            (len(range(self._elements)[elements]), len(images), size, size), np.float32
        )
        for tilt, (image, move) in enumerate(zip(images, moves, strict=True)):
            room = image.shape[-1] - size * width
            left = min(max(room // 2 + move, 0), room)
            middle = image[elements, :, left : left + size * width]
            parts = middle.reshape(-1, size, width, size, width)
            out[:, tilt] = parts.sum(axis=(2, 4))
        return stack_from_images(out)

    def _filtered(
        self, volume: NDArray[np.float32], wider: float = 1.0
    ) -> NDArray[np.float32]:
        sigma = (0.0, *(3 * (wider * self.settings.sigma_voxels,)))
        filtered = ndimage.gaussian_filter(volume, sigma, mode="constant")
        return np.asarray(filtered, np.float32)
