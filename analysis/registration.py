"""How far one image of the specimen lies from another, to parts of a pixel.

The shift is that of the largest cross-correlation, weighted by what the two images
share: a phase correlation would weigh the noise of few counts like the specimen.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage

from cryoline.analysis.correlation import Match, fade
from cryoline.analysis.correlation_sums import faded
from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.fourier_sums import levelled

__all__ = ["Shift", "shift", "warm_up"]

_ATTEMPTS: Final = 8
"""Comparisons of what two images both show, until the whole pixels stay."""

_LONG_PX: Final = 8
"""[A] assumption: a longer peak is a ridge, on which noise alone makes the maximum."""

_LEAST_OVERLAP: Final = 0.25
"""[A] assumption: a first match of less of the area is held against its whole."""

_SMOOTH_PX: Final = 2.0
"""[A] assumption: width of the filter under which whole pixels are found first."""

_BINNED: Final = 128
"""Pixels of a side, from which on squares of four are enough under that filter."""


class Shift(NamedTuple):
    """How far the content of an image lies from that of the reference."""

    shift_px: tuple[float, float]
    """(y, x), pixels of the image."""
    confidence: float
    """0 to 1: how far the correlation stands above its next peak elsewhere. Below
    about 0.25 the two have nothing in common that was found; 0.5 is a good match."""
    sigma_px: tuple[float, float]
    """(y, x), standard error by what of the two does not match; large along a wire,
    infinite where nothing was found."""


_NOTHING: Final = Shift((0.0, 0.0), 0.0, (math.inf, math.inf))


def shift(
    reference: ArrayLike,
    image: ArrayLike,
    upsample: int = 100,
    *,
    reference_tilt_deg: float = 0.0,
    tilt_deg: float = 0.0,
) -> Shift:
    """Return how far the content of ``image`` lies from that of ``reference``.

    The negative of what skimage's phase_cross_correlation(reference, image) returns:
    an image whose content lies at larger y and x gives positive numbers.

    1. The image is stretched along x by the ratio of the cosines of the tilts, about
       its middle, so that a flat specimen looks as in the reference. A wire along the
       axis looks the same at all tilts: give no tilts then.
    2. Whole pixels, from the cross-correlation of the faded-out images.
    3. The same again of what both show, normalised, until nothing changes: in step 2
       the frame, which is common to both, draws the result to 0.
    4. Parts of a pixel, from the Fourier sum of that correlation around its peak
       (Guizar-Sicairos et al., Opt. Lett. 33, 156, 2008).
    5. Where the correlation is a ridge within its noise, as along a wire of few
       counts, the smallest shift on it is taken, and sigma_px says how long it is.

    reference, image: (y, x) of one shape, counts or brightness; tilt axis along y
    upsample: the result is a multiple of 1/upsample px (before the stretch is undone)
    Raises KernelInputError if shapes differ or a value is not finite. An image with
    nothing in it gives confidence 0.
    """
    one, two = levelled("reference", reference), levelled("image", image)
    if one.shape != two.shape:
        raise KernelInputError(
            f"reference {one.shape} and image {two.shape} differ; give the same field"
        )
    if upsample < 1:
        raise KernelInputError(f"upsample {upsample} is below 1; take 1 for pixels")
    stretch = _stretch(reference_tilt_deg, tilt_deg)
    two = _stretched(two, stretch)
    first, confidence = _whole_pixels(one, two)
    # Along a wire the first place may be anywhere, where nothing else is shared.
    for keep in ((1, 1), (0, 1), (1, 0), (0, 0)):
        whole = first * keep
        match = Match.of(one, two, whole)
        if match is not None:
            break
    step = np.zeros(2)
    for _ in range(_ATTEMPTS):
        if match is None:
            return _NOTHING
        step = match.step()
        if match.is_near(step):
            break
        whole = whole + step.astype(int)
        step = np.zeros(2)
        match = Match.of(one, two, whole)
    if match is None:
        return _NOTHING
    part = match.top(step)
    place = whole + np.round(part * upsample) / upsample
    sigma, noise = match.errors(part)
    for axis in range(2):
        ridge = match.ridge(part, axis, noise[axis]) + place[axis]
        if np.ptp(ridge) > _LONG_PX:
            sigma[axis] = np.ptp(ridge) / 4
            place[axis] = ridge[np.argmin(np.abs(ridge))]
    (y, x), (sigma_y, sigma_x) = place.tolist(), sigma.tolist()
    return Shift((y, x / stretch), confidence, (sigma_y, sigma_x / stretch))


def warm_up() -> None:
    """Compile the kernels, lest the first image of a series wait for them."""
    image = np.outer(*np.random.default_rng(1).standard_normal((2, 32)))
    shift(image, image)


def _stretch(reference_deg: float, tilt_deg: float) -> float:
    if not max(abs(reference_deg), abs(tilt_deg)) < 85:
        raise KernelInputError(
            f"tilts {reference_deg} and {tilt_deg} deg: within 5 deg of 90 deg nothing "
            "of a flat specimen can be matched"
        )
    return math.cos(math.radians(reference_deg)) / math.cos(math.radians(tilt_deg))


def _stretched(image: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Return the image stretched along x about its middle; its size stays."""
    if factor == 1.0:
        return image
    columns = image.shape[1]
    middle = (columns - 1) / 2
    source = np.clip((np.arange(columns) - middle) / factor + middle, 0, columns - 1)
    left = np.minimum(source.astype(int), columns - 2)
    right = (source - left).astype(np.float32)
    stretched: NDArray[np.float32] = (
        image[:, left] * (1 - right) + image[:, left + 1] * right
    )
    return stretched


def _whole_pixels(
    one: NDArray[np.float32], two: NDArray[np.float32]
) -> tuple[NDArray[np.intp], float]:
    """Return a first shift (y, x), and how far its correlation stands out.

    What is joined to the peak above half its height belongs to it: along a wire, the
    correlation is a ridge.
    """
    by = 2 if min(one.shape) >= _BINNED else 1
    one, two = (_binned(image) if by == 2 else image for image in (one, two))
    fades = tuple(fade(n) for n in one.shape)
    spectra = [fft.rfft2(faded(image, (0, 0), fades)) for image in (one, two)]
    squares = fft.fftfreq(one.shape[0])[:, None] ** 2 + fft.rfftfreq(one.shape[1]) ** 2
    smooth = np.exp(-((2 * np.pi * _SMOOTH_PX / by) ** 2) * squares)
    product = np.conj(spectra[0]) * spectra[1] * smooth.astype(np.float32)
    plane = fft.irfft2(product, one.shape)
    # By how much of the frames overlaps: else a wire that fills them stays in place.
    overlap = np.outer(
        *(fft.irfft(np.abs(fft.rfft(window)) ** 2, window.size) for window in fades)
    )
    plane /= np.maximum(overlap, _LEAST_OVERLAP * overlap.max())
    plane = fft.fftshift(plane)
    top = np.unravel_index(np.argmax(plane), plane.shape)
    place = by * (np.array(top) - np.array(plane.shape) // 2)
    highest = float(plane[top])
    if highest <= 0:
        return place, 0.0
    labels, _ = ndimage.label(plane > 0.5 * highest, np.ones((3, 3)))
    others = plane[labels != labels[top]]
    second = float(others.max()) if others.size else 0.0
    return place, float(np.clip(1 - second / highest, 0, 1))


def _binned(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sums of squares of four pixels; what is left over is cut."""
    rows, columns = (n // 2 * 2 for n in image.shape)
    pairs = image[:rows:2, :columns] + image[1:rows:2, :columns]
    return np.asarray(pairs[:, ::2] + pairs[:, 1::2])
