"""Volumes from tilted projections by SIRT: least squares, for what is no count.

x <- x + relaxation C A^T R (b - A x), R and C the inverse sums of rows and columns of
the projector A: Gilbert, J. Theor. Biol. 36, 105 (1972); Gregor and Benson, IEEE Trans.
Med. Imaging 27, 918 (2008), who show that it converges for relaxations below 2. Bright
counts of the HAADF image suit it; X-ray counts want `tomography.mlem`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.tomography import backproject, project
from cryoline.analysis.tomography_input import (
    radians,
    steps_of,
    support_of,
    with_element,
)

__all__ = ["sirt"]

_VOLUME = ("z", "x", "y")
_PROJECTIONS = ("tilt", "u", "y")


def sirt(
    projections: ArrayLike,
    angles_deg: ArrayLike,
    n_iter: int = 20,
    start: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    *,
    relaxation: float = 1.0,
    non_negative: bool = True,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Return the volume (z, x, y) after n_iter steps of SIRT.

    The geometry is that of `tomography`; an axis `element` may come first.

    projections: (tilt, u, y), may be negative
    start: the volume to begin with, of (u, u, y); 0 if None
    mask: (z, x) or (z, x, y), False where there can be nothing
    relaxation: above 0, below 2
    non_negative: set to 0 what a step makes negative
    Bits don't depend on the number of threads. Raises KernelInputError if shapes don't
    fit or a value is not finite.
    """
    measured = with_element("projections", projections, _PROJECTIONS, negative=True)
    elements, tilts, pixels, slices = measured.shape
    radians(angles_deg, tilts=tilts)
    shape = (elements, pixels, pixels, slices)
    if not 0 < relaxation < 2:
        raise KernelInputError(
            f"relaxation {relaxation:g} is outside 0..2, where steps converge; take 1"
        )
    support = support_of(mask, shape)
    allowed = np.asarray(
        support[:, :, None] if support.ndim == 2 else support, np.float32
    )
    volume = np.zeros(shape, np.float32)
    if start is not None:
        first = with_element("start", start, _VOLUME, negative=True)
        if first.shape != shape:
            raise KernelInputError(
                f"start {first.shape} doesn't fit; give (element, z, x, y) = {shape}"
            )
        volume = first * allowed
    rows = _inverse(
        project(np.broadcast_to(allowed, shape[1:]), angles_deg, threads=threads)
    )
    seen = backproject(np.ones_like(measured[0]), angles_deg, shape, threads=threads)
    columns = _inverse(seen) * allowed * np.float32(relaxation)
    for _ in range(steps_of(n_iter)):
        rest = measured - project(volume, angles_deg, threads=threads)
        rest *= rows
        volume += columns * backproject(rest, angles_deg, shape, threads=threads)
        if non_negative:
            np.maximum(volume, 0.0, out=volume)
    return volume if np.ndim(projections) == 4 else volume[0]


def _inverse(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 / sums, 0 where there is next to nothing."""
    is_there = sums > 1e-6
    return np.where(is_there, 1 / np.where(is_there, sums, 1), 0).astype(np.float32)
