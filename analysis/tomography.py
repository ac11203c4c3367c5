"""Volumes from tilted projections by expectation maximisation, at once or as they come.

Geometry: one tilt axis, y. A volume is (z, x, y), projections are (tilt, u, y), the
detector is centred on the axis, a pixel is as wide as a voxel. A point (x, z) of the
untilted specimen appears at ``u = x cos t + z sin t``: a positive tilt moves what lies
at +z towards +u. Detector images are (y, x); only `stack_from_images` turns them.
Everywhere an axis `element` may come first: its volumes share the geometry.

What the tilts don't show: beyond the highest tilt nothing is known (the missing wedge),
nothing is assumed, and the volume is smeared along z. In the corners, a voxel that
some tilts project beside the detector rests on the others; one that none sees is 0.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.blocks import (
    aligned,
    for_each_block,
    from_blocks,
    from_tiles,
    to_blocks,
    to_tiles,
)
from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.expectation import (
    PAPER_ITERATIONS,
    Convergence,
    Expectation,
)
from cryoline.analysis.guided import GuideSettings, guided_em
from cryoline.analysis.lanes import LANES
from cryoline.analysis.online import OnlineReconstruction
from cryoline.analysis.patches import PADDING, VOXELS, find_patches, tiles_of
from cryoline.analysis.projector import back, forward
from cryoline.analysis.tomography_input import (
    background_of,
    exposure_of,
    radians,
    steps_of,
    support_of,
    with_element,
)

__all__ = [
    "Convergence",
    "GuideSettings",
    "OnlineReconstruction",
    "backproject",
    "guided_em",
    "mlem",
    "project",
    "stack_from_images",
]

_VOLUME: Final = ("z", "x", "y")
_PROJECTIONS: Final = ("tilt", "u", "y")


def stack_from_images(images: ArrayLike) -> NDArray[np.float32]:
    """Return detector images (tilt, y, x) as projections (tilt, u, y).

    Further axes before these stay. Raises KernelInputError if there are too few.
    """
    stack = np.asarray(images, np.float32)
    if stack.ndim < 3:
        raise KernelInputError(
            f"images of shape {stack.shape} are no stack; give (tilt, y, x)"
        )
    return np.ascontiguousarray(stack.swapaxes(-1, -2))


def project(
    volume: ArrayLike,
    angles_deg: ArrayLike,
    *,
    width: int | None = None,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Return the projections (tilt, u, y) of a volume (z, x, y).

    width: pixels along u; as many as the volume has along x if None
    Raises KernelInputError if a value or an angle is not finite.
    """
    values = with_element("volume", volume, _VOLUME, negative=True)
    angles = radians(angles_deg)
    _, nz, nx, slices = values.shape
    support = np.ones((nz, nx), bool)
    tiles, pixels = tiles_of(support), width or nx
    patches = find_patches(support, tiles, pixels, angles)
    blocks = to_tiles(values, tiles)
    rows = pixels + PADDING
    padded = aligned((len(blocks), angles.size * rows, LANES))

    def work(block: int) -> None:
        forward(blocks[block], patches, padded[block])

    for_each_block(work, range(len(blocks)), threads)
    projections = padded.reshape(-1, angles.size, rows, LANES)[:, :, 1 : 1 + pixels]
    return _like(volume, from_blocks(projections, slices))


def backproject(
    projections: ArrayLike,
    angles_deg: ArrayLike,
    shape: tuple[int, ...],
    *,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Return the volume (z, x, y) that is the exact adjoint of `project`.

    shape: (z, x, y) of the volume; an axis `element` before them is passed over
    Raises KernelInputError if shapes don't fit, or if a value is not finite.
    """
    values = with_element("projections", projections, _PROJECTIONS, negative=True)
    angles = radians(angles_deg, tilts=values.shape[1])
    nz, nx, slices = shape[-3:]
    if slices != values.shape[3]:
        raise KernelInputError(
            f"a volume of {slices} slices doesn't fit projections of "
            f"{values.shape[3]}; y is the same in both"
        )
    support = np.ones((nz, nx), bool)
    tiles, pixels = tiles_of(support), values.shape[2]
    patches = find_patches(support, tiles, pixels, angles)
    padded = to_blocks(np.pad(values, ((0, 0), (0, 0), (1, PADDING - 1), (0, 0))))
    blocks = aligned((len(padded), len(tiles), VOXELS, LANES))

    def work(block: int) -> None:
        back(padded[block].reshape(-1, LANES), patches, blocks[block])

    for_each_block(work, range(len(blocks)), threads)
    return _like(projections, from_tiles(blocks, tiles, (len(values), nz, nx, slices)))


def mlem(
    projections: ArrayLike,
    angles_deg: ArrayLike,
    n_iter: int = PAPER_ITERATIONS,
    start: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    background: ArrayLike | None = None,
    *,
    exposure: ArrayLike | None = None,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Return the volume (z, x, y) after n_iter steps of expectation maximisation.

    A step multiplies the volume by the back projection of counts / expected counts,
    over that of the exposure (Shepp and Vardi 1982; He et al. 2021, Methods, whose 20
    steps are the default). On few counts these are too many: two to four steps and a
    filter come closer to the truth.

    projections: (tilt, u, y), counts as measured, background and all
    start: the volume to begin with; where it is 0 it stays 0. None: even
    mask: (z, x) or (z, x, y), False where there can be nothing
    background: of the projections' shape, expected counts that are not from within
        the volume; part of the model, never subtracted from the counts
    exposure: (tilt,) or (element, tilt), expected counts per unit of projected volume;
        1 if None

    The volume is as large as start or mask, else (u, u, y). Its unit is counts per
    voxel and unit of exposure. Bits don't depend on the number of threads.
    Raises KernelInputError if shapes don't fit, or anything is negative or not finite.
    """
    counts = with_element("projections", projections, _PROJECTIONS)
    elements, tilts, pixels, slices = counts.shape
    angles = radians(angles_deg, tilts=tilts)
    first = None if start is None else with_element("start", start, _VOLUME)
    nz, nx = pixels, pixels
    if first is not None:
        nz, nx = first.shape[1:3]
    elif mask is not None and np.ndim(mask) >= 2:
        nz, nx = np.shape(mask)[:2]
    shape = (elements, nz, nx, slices)
    if first is not None and first.shape != shape:
        raise KernelInputError(
            f"start: {first.shape} (element, z, x, y) doesn't fit projections "
            f"{counts.shape} (element, tilt, u, y)"
        )
    state = Expectation(shape, pixels, support_of(mask, shape), threads)
    state.extend(
        counts,
        angles,
        background_of(background, counts.shape, _PROJECTIONS),
        exposure_of(exposure, elements, tilts),
    )
    state.begin(first)
    state.iterate(steps_of(n_iter))
    return _like(projections, state.volume)


def _like(given: ArrayLike, result: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the result with an axis `element` if what was given has one."""
    return result if np.ndim(given) == 4 else result[0]
