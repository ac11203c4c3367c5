"""How far images of many counts lie from one reference, at the cost of two transforms.

The plain cross-correlation of periodic images, with the result of skimage's
`phase_cross_correlation(normalization=None)`; the reference's transform is kept. It
has no defence against few counts, frames and tilts:
`registration.shift` has, and costs more.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.fourier_sums import FourierSum, levelled

__all__ = ["QuickReference"]


class QuickReference:
    """An image that others are held against, in one thread at a time.

    image: (y, x), counts or brightness
    Raises KernelInputError if it is no image, or a value is not finite.
    """

    def __init__(self, image: ArrayLike) -> None:
        values = levelled("reference", image)
        self._shape = values.shape
        self._spectrum = np.conj(fft.rfft2(values))
        self._levelled = values

    def shift_px(self, image: ArrayLike, upsample: int = 100) -> tuple[float, float]:
        """Return how far (y, x) the content of an image lies from the reference's.

        upsample: the result is a multiple of 1/upsample px
        Raises KernelInputError if the image does not fit.
        """
        values = levelled("image", image, out=self._levelled)
        if values.shape != self._shape:
            raise KernelInputError(
                f"reference {self._shape} and image {values.shape} differ; give the "
                "same field"
            )
        if upsample < 1:
            raise KernelInputError(f"upsample {upsample} is below 1; take 1 for pixels")
        product = fft.rfft2(values)
        product *= self._spectrum
        place = FourierSum(product, self._shape).highest()
        y, x = (np.round(place * upsample) / upsample).tolist()
        return y, x
