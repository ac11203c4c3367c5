"""How far images of many counts lie from one reference, at the cost of two transforms.

The plain cross-correlation of periodic images, with the result of skimage's
`phase_cross_correlation(normalization=None)`; the reference's transform is kept. It
has no defence against few counts, frames and tilts:
`registration.shift` has, and costs more.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from cryoline.analysis.errors import KernelInputError

__all__ = ["QuickReference"]

_FIRST_STEP: Final = 10
"""Points a pixel at which the peak is looked for before its last place is."""

_REACH_TENTHS: Final = 8
"""Of a step, on both sides of the best place of the step before."""


class QuickReference:
    """An image that others are held against.

    image: (y, x), counts or brightness
    Raises KernelInputError if it is no image, or a value is not finite.
    """

    def __init__(self, image: ArrayLike) -> None:
        values = _image("reference", image)
        self._shape = values.shape
        self._spectrum = np.conj(_spectrum(values))
        self._qy, self._qx = fft.fftfreq(values.shape[0]), fft.rfftfreq(values.shape[1])
        # A column of a half spectrum stands for two, but for the outer ones.
        self._modes = np.full(self._qx.size, 2.0)
        self._modes[0] = 1.0
        if values.shape[1] % 2 == 0:
            self._modes[-1] = 1.0

    def shift_px(self, image: ArrayLike, upsample: int = 100) -> tuple[float, float]:
        """Return how far (y, x) the content of an image lies from the reference's.

        upsample: the result is a multiple of 1/upsample px
        Raises KernelInputError if the image does not fit.
        """
        values = _image("image", image)
        if values.shape != self._shape:
            raise KernelInputError(
                f"reference {self._shape} and image {values.shape} differ; give the "
                "same field"
            )
        if upsample < 1:
            raise KernelInputError(f"upsample {upsample} is below 1; take 1 for pixels")
        product = self._spectrum * _spectrum(values)
        plane = fft.irfft2(product, self._shape)
        top = np.array(np.unravel_index(np.argmax(plane), plane.shape), float)
        size = np.array(self._shape)
        place = np.where(top > size // 2, top - size, top)
        step = min(upsample, _FIRST_STEP)
        reach = -(-_REACH_TENTHS * step // 10)
        place = self._best(product, place, np.arange(-reach, reach + 1) / step)
        if upsample > step:
            grid = np.round(place * upsample)
            reach = -(-_REACH_TENTHS * upsample // (10 * step))
            around = np.arange(-reach, reach + 1) / upsample
            place = self._best(product, grid / upsample, around)
        y, x = (np.round(place * upsample) / upsample).tolist()
        return y, x

    def _best(
        self,
        product: NDArray[np.complex64],
        place: NDArray[np.float64],
        around: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return where the correlation is highest, at ``place`` + pairs of offsets."""
        down = 2j * np.pi * np.outer(place[0] + around, self._qy)
        across = 2j * np.pi * np.outer(self._qx, place[1] + around)
        rows = np.exp(down).astype(np.complex64)
        columns = (np.exp(across) * self._modes[:, None]).astype(np.complex64)
        match = ((rows @ product) @ columns).real
        top = np.unravel_index(np.argmax(match), match.shape)
        return np.asarray(place + around[list(top)], float)


def _image(name: str, values: ArrayLike) -> NDArray[np.float32]:
    image = np.asarray(values, np.float32)
    if image.ndim != 2 or min(image.shape) < 8:
        raise KernelInputError(
            f"{name} of shape {image.shape}: give an image (y, x) of 8 pixels or more"
        )
    if not np.isfinite(image.sum(dtype=float)):
        raise KernelInputError(
            f"{name}: {np.count_nonzero(~np.isfinite(image))} of {image.size} values "
            "are not finite; mend dead pixels first"
        )
    return image


def _spectrum(image: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Return the transform, scaled so that products neither vanish nor overflow."""
    rest = image - image.mean()
    level = float(np.linalg.norm(rest)) or 1.0
    rest *= np.float32(1 / level)
    spectrum: NDArray[np.complex64] = fft.rfft2(rest, overwrite_x=True)
    return spectrum
