"""A volume that grows with the tilts, of one element or of several at once.

The geometry is that of `tomography`, which exports it.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.expectation import (
    PAPER_ITERATIONS,
    Convergence,
    Expectation,
)
from cryoline.analysis.tomography_input import (
    background_of,
    exposure_of,
    radians,
    steps_of,
    support_of,
    with_element,
)

__all__ = ["OnlineReconstruction"]

_LEAST_COSINE: Final = 0.05

_PROJECTIONS: Final = ("tilt", "u", "y")
_TILT: Final = ("u", "y")


class OnlineReconstruction:
    """A volume that grows with the tilts, of one element or of several at once.

    Each added tilt brings n_iter steps of expectation maximisation over all tilts so
    far, from the volume before (``warm``) or from an even one. Not warm, the volume
    after the last tilt is that of `mlem` with n_iter, to the bit; warm, it is that of
    as many steps as were taken in all, on data that grew meanwhile.

    ``ordered``, a tilt costs one step on itself alone (ordered subsets), one pass
    through the volume whatever their number. Such a volume follows each tilt and does
    not come to rest; `settle` brings it to the batch result.

    shape: (z, x, y) or (element, z, x, y)
    n_iter: steps a tilt
    strength: of a step on one tilt, above 0 to 1: less is less noise, and later
    mask: (z, x) or (z, x, y), False where there can be nothing
    width: pixels of the detector along u; as many as along x if None
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        n_iter: int = 3,
        warm: bool = False,
        ordered: bool = False,
        strength: float = 0.5,
        mask: ArrayLike | None = None,
        width: int | None = None,
        threads: int = 1,
    ) -> None:
        if len(shape) not in (3, 4) or min(shape) < 1:
            raise KernelInputError(
                f"shape {shape}: give (z, x, y) or (element, z, x, y)"
            )
        self._many = len(shape) == 4
        elements, nz, nx, ny = shape if self._many else (1, *shape)
        whole = (elements, nz, nx, ny)
        self._n_iter = steps_of(n_iter)
        if not 0 < strength <= 1:
            raise KernelInputError(f"strength {strength:g} is outside 0..1; take 0.5")
        self._warm = warm
        self._ordered = ordered
        self._strength = float(strength)
        self._state = Expectation(whole, width or nx, support_of(mask, whole), threads)

    def add(
        self,
        projection: ArrayLike,
        angle_deg: float,
        background: ArrayLike | None = None,
        *,
        exposure: ArrayLike = 1.0,
    ) -> None:
        """Take the next tilt into the volume.

        projection: (u, y) or (element, u, y), counts as measured
        background: the same shape, expected counts that are not the specimen's
        exposure: expected counts per unit of volume, one for all elements or each
        Raises KernelInputError if shapes don't fit, or anything is negative or not
        finite; the volume is then as before.
        """
        elements, _, _, slices = self._state.shape
        size = (elements, self._state.pixels, slices)
        counts = with_element("projection", projection, _TILT)
        if counts.shape != size:
            axes = "(element, u, y)" if self._many else "(u, y)"
            raise KernelInputError(
                f"projection: {np.shape(projection)} doesn't fit; give {axes} = "
                f"{size if self._many else size[1:]}"
            )
        gains = np.broadcast_to(np.asarray(exposure, float), (elements,))
        self._take(
            counts[:, None],
            radians([angle_deg]),
            background_of(background, counts.shape, _TILT)[:, None],
            exposure_of(gains[:, None], elements, 1),
        )

    def extend(
        self,
        projections: ArrayLike,
        angles_deg: ArrayLike,
        background: ArrayLike | None = None,
        *,
        exposure: ArrayLike | None = None,
    ) -> None:
        """Take several tilts at once, and then n_iter steps.

        Arguments as those of `mlem`, and refused like those.
        """
        elements, _, _, slices = self._state.shape
        counts = with_element("projections", projections, _PROJECTIONS)
        size = (elements, counts.shape[1], self._state.pixels, slices)
        if counts.shape != size:
            raise KernelInputError(
                f"projections: {np.shape(projections)} don't fit; give (element, tilt, "
                f"u, y) = {size}"
            )
        self._take(
            counts,
            radians(angles_deg, tilts=counts.shape[1]),
            background_of(background, counts.shape, _PROJECTIONS),
            exposure_of(exposure, elements, counts.shape[1]),
        )

    def _take(
        self,
        counts: NDArray[np.float32],
        angles_rad: NDArray[np.float64],
        background: NDArray[np.float32],
        exposure: NDArray[np.float32],
    ) -> None:
        if self._ordered:
            self._follow(counts, angles_rad, background, exposure)
            return
        is_first = self._state.tilts == 0
        self._state.extend(counts, angles_rad, background, exposure)
        if not self._warm or is_first:
            self._state.begin()
        self._state.iterate(self._n_iter)

    def _follow(
        self,
        counts: NDArray[np.float32],
        angles_rad: NDArray[np.float64],
        background: NDArray[np.float32],
        exposure: NDArray[np.float32],
    ) -> None:
        """Take one step on each tilt, in the order given."""
        if not (np.cos(angles_rad) > _LEAST_COSINE).all():
            raise KernelInputError(
                f"angles_deg: {np.rad2deg(np.abs(angles_rad).max()):g} deg; a step on "
                "one tilt needs less than 87 deg, take ordered=False for more"
            )
        for tilt in range(angles_rad.size):
            part = slice(tilt, tilt + 1)
            self._state.extend(
                counts[:, part], angles_rad[part], background[:, part],
                exposure[:, part],
            )  # fmt: skip
            if self._state.tilts == 1:
                self._state.begin()
            self._state.step_on_last(self._strength)

    def settle(self, n_iter: int = PAPER_ITERATIONS) -> None:
        """Take n_iter steps on all tilts so far, from the volume as it is.

        From an ordered volume the default brings the likelihood of the counts to that
        of `mlem` with as many steps or above, for it begins nearer, and the volume to
        within a tenth of it (root mean square, on the counts of the test).
        Raises KernelInputError if no tilt was added.
        """
        if self._state.tilts == 0:
            raise KernelInputError("no tilt was added; add one first")
        self._state.iterate(steps_of(n_iter))

    @property
    def volume(self) -> NDArray[np.float32]:
        """Of the shape asked for, counts per voxel and unit of exposure; a copy."""
        volume = self._state.volume
        return volume if self._many else volume[0]

    @property
    def convergence(self) -> Convergence:
        """How far the last step still moved the volume."""
        return self._state.convergence
