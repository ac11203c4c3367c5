"""Check what a reconstruction is given: shapes, signs, and numbers that are none."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.errors import KernelInputError

__all__ = [
    "background_of",
    "exposure_of",
    "radians",
    "steps_of",
    "support_of",
    "with_element",
]


def with_element(
    name: str, values: ArrayLike, axes: tuple[str, ...], *, negative: bool = False
) -> NDArray[np.float32]:
    """Return an array with the axis `element` first, checked.

    Raises KernelInputError if axes are missing, or values negative or not finite.
    """
    array = np.asarray(values)
    if array.ndim not in (len(axes), len(axes) + 1):
        raise KernelInputError(
            f"{name}: {array.ndim} axes; give ({', '.join(axes)}), or these after "
            "an axis for the elements"
        )
    array = np.ascontiguousarray(array, np.float32).reshape(
        array.shape if array.ndim > len(axes) else (1, *array.shape)
    )
    wrong = ~np.isfinite(array)
    if not negative:
        wrong |= array < 0
    if wrong.any():
        place = np.argwhere(wrong)[0].tolist()
        kind = "not finite" if negative else "negative or not finite"
        named = zip(("element", *axes), place, strict=True)
        at = ", ".join(f"{axis} {index}" for axis, index in named)
        raise KernelInputError(
            f"{name}: {np.count_nonzero(wrong)} of {array.size} values are {kind}, "
            f"the first at {at}; mend or leave out what the detector did not measure"
        )
    return array


def radians(angles_deg: ArrayLike, *, tilts: int | None = None) -> NDArray[np.float64]:
    """Return one finite angle a tilt, in radians.

    Raises KernelInputError if it can't be taken.
    """
    angles = np.asarray(angles_deg, float)
    if angles.ndim != 1 or not np.isfinite(angles).all():
        raise KernelInputError("angles_deg: give one finite angle a tilt, (tilt,)")
    if tilts is not None and angles.size != tilts:
        raise KernelInputError(
            f"{angles.size} angles don't fit {tilts} projections; give one each"
        )
    return np.asarray(np.deg2rad(angles), float)


def support_of(mask: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return where there may be something, (z, x) or (z, x, y); everywhere if None.

    Raises KernelInputError if it can't be taken.
    """
    if mask is None:
        return np.ones(shape[1:3], bool)
    support = np.asarray(mask, bool)
    if support.shape not in (shape[1:3], shape[1:]):
        raise KernelInputError(
            f"mask {support.shape} doesn't fit a volume {shape[1:]}; give (z, x) or "
            "(z, x, y)"
        )
    return support


def background_of(
    background: ArrayLike | None, shape: tuple[int, ...], axes: tuple[str, ...]
) -> NDArray[np.float32]:
    """Return the expected background of a shape, checked; 0 if None.

    Raises KernelInputError if it can't be taken.
    """
    if background is None:
        return np.zeros(shape, np.float32)
    rays = with_element("background", background, axes)
    if rays.shape != shape:
        raise KernelInputError(
            f"background {rays.shape} doesn't fit projections {shape}; give one value "
            "a pixel"
        )
    return rays


def exposure_of(
    exposure: ArrayLike | None, elements: int, tilts: int
) -> NDArray[np.float32]:
    """Return the exposure of each element and tilt, checked; 1 if None.

    Raises KernelInputError if it can't be taken.
    """
    if exposure is None:
        return np.ones((elements, tilts), np.float32)
    gains = np.asarray(exposure, np.float32)
    if gains.shape not in ((tilts,), (elements, tilts)):
        raise KernelInputError(
            f"exposure {gains.shape} doesn't fit; give ({tilts},), one a tilt, or "
            f"({elements}, {tilts}), one an element and tilt"
        )
    if not (np.isfinite(gains).all() and (gains > 0).all()):
        raise KernelInputError(
            "exposure: a tilt without exposure tells nothing; give values above 0"
        )
    return np.ascontiguousarray(np.broadcast_to(gains, (elements, tilts)))


def steps_of(n_iter: int) -> int:
    """Return a number of iterations, checked.

    Raises KernelInputError if it can't be taken.
    """
    if n_iter < 1:
        raise KernelInputError(f"n_iter {n_iter} is below 1; take at least one step")
    return int(n_iter)
