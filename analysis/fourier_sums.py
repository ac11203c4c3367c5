"""The maximum of a correlation that is given by its Fourier transform, in one place.

Whole pixels come from one inverse transform, of half the size if the finer half of the
spectrum hardly matters. Parts of a pixel come from the sum itself, at a few places
around and then by Newton's method on its slopes: on a grid of hundredths, single
precision could not tell one number from the next.

Sums over the rows of a spectrum are made here, not by a BLAS: its threads cost more
than such small products do, and their number might show in the last bit.
"""

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from cryoline.analysis.errors import KernelInputError

__all__ = ["AROUND", "FourierSum", "levelled", "newton"]

Place = NDArray[np.float64]

AROUND: Final = np.array([0.0, -0.4, 0.4, -0.8, 0.8])
"""Px, around a whole pixel that is higher than others: near enough to any peak. Where
nothing is higher, the first of them is taken."""

_FINER: Final = 0.01
"""Of a peak's height: what finer waves may add or take at most, to be left out."""

_SMALLEST: Final = 64
"""Pixels of a side; of less, a transform of half the size saves nothing."""

_NEWTON_STEPS: Final = 5
_AT_REST_PX: Final = 1e-3
"""A step so short leaves its square, in parts of the peak's width."""


class FourierSum:
    """A real function of a shift (y, x) in pixels, periodic, by its half spectrum.

    spectrum: (y, half of x) complex64, as `scipy.fft.rfft2` orders it
    """

    def __init__(self, spectrum: NDArray[np.complex64], shape: tuple[int, int]) -> None:
        self._spectrum = spectrum
        self.shape = shape
        self._modes = _modes(shape[1])

    def highest(self) -> Place:
        """Return where it is highest, (y, x)."""
        coarse = self._halved()
        if coarse is not None:
            near, height = coarse.near_top()
            if self._finer() <= _FINER * height:
                ratio = np.divide(self.shape, coarse.shape)
                return self.top(near * ratio)
        return self.top(self.near_top()[0])

    def top(self, near: Place) -> Place:
        """Return the maximum next to a place that is on its slope."""
        return newton(self.slopes, near, AROUND[-1] / 2)

    def near_top(self) -> tuple[Place, float]:
        """Return a place within a fifth of a pixel of the highest, and its height."""
        plane = fft.irfft2(self._spectrum, self.shape)
        top = np.array(np.unravel_index(np.argmax(plane), plane.shape), float)
        size = np.array(self.shape)
        whole: Place = np.where(top > size // 2, top - size, top)
        values = self.around(whole, AROUND)
        best = np.unravel_index(np.argmax(values), values.shape)
        return np.asarray(whole + AROUND[list(best)]), float(values[best])

    def _halved(self) -> "FourierSum | None":
        """Return it without its finer waves, on pixels twice as large."""
        if min(self.shape) < _SMALLEST:
            return None
        rows, columns = (size // 2 for size in self.shape)
        low, across = (rows + 1) // 2, (columns + 1) // 2
        spectrum = np.zeros((rows, columns // 2 + 1), np.complex64)
        spectrum[:low, :across] = self._spectrum[:low, :across]
        spectrum[1 - low :, :across] = self._spectrum[1 - low :, :across]
        return FourierSum(spectrum, (rows, columns))

    def _finer(self) -> float:
        """Return the most that the waves which `_halved` leaves out add up to."""
        low, across = ((size // 2 + 1) // 2 for size in self.shape)
        return float(_sum_outside(self._spectrum.view(np.float32), low, 2 * across))

    def around(self, place: Place, offsets: NDArray[np.float64]) -> Place:
        """Return the function at ``place`` + all pairs of offsets, (y, x)."""
        key = tuple(offsets.tolist())
        rows, columns = (_turns(size, key) for size in self.shape)
        return self._contracted(place, rows, columns[:, : self._modes.size])

    def slopes(self, place: Place) -> tuple[float, Place, Place]:
        """Return value, first (2,) and second derivatives (2, 2) at a place."""
        rows, columns = (_powers(size) for size in self.shape)
        sums = self._contracted(place, rows, columns[:, : self._modes.size])
        slope = np.array([sums[1, 0], sums[0, 1]])
        mixed = sums[1, 1]
        curvature = np.array([[sums[2, 0], mixed], [mixed, sums[0, 2]]])
        return float(sums[0, 0]), slope, curvature

    def along(self, place: Place, axis: int) -> NDArray[np.float64]:
        """Return the function at ``place`` + 0, 1, 2 .. along an axis, all around."""
        down, across = self._turn(place)
        if axis == 0:
            sums = np.einsum("yx,x->y", self._spectrum, across * self._modes)
            return np.asarray(fft.ifft(sums * down).real * sums.size)
        sums = _row_sums(down[None, :].astype(np.complex64), self._spectrum)[0]
        return np.asarray(fft.irfft(sums * across, self.shape[1]) * self.shape[1])

    def _turn(self, place: Place) -> tuple[NDArray[np.complex128], ...]:
        """Return the phases that move a place to the origin, of rows and columns."""
        down, across = (
            np.exp(1j * at * _waves(size))
            for at, size in zip(place, self.shape, strict=True)
        )
        return down, across[: self._modes.size]

    def _contracted(
        self, place: Place, rows: NDArray[Any], columns: NDArray[Any]
    ) -> Place:
        down, across = self._turn(place)
        sums = _row_sums((rows * down).astype(np.complex64), self._spectrum)
        return np.asarray((sums @ (columns * (across * self._modes)).T).real)


def newton(function: Any, place: Place, reach: float) -> Place:
    """Return the maximum near a place, by Newton's method.

    function: of a place (y, x), its value, slopes (2,) and curvatures (2, 2)
    reach: the longest step along an axis. Where the function has no top, its place
    stays as far as it came.
    """
    for _ in range(_NEWTON_STEPS):
        _, slope, ((yy, yx), (_, xx)) = function(place)
        hollow = yy * xx - yx * yx
        if not (yy < 0 < hollow):
            break
        step = np.array([yx * slope[1] - xx * slope[0], yx * slope[0] - yy * slope[1]])
        step = np.clip(step / hollow, -reach, reach)
        place = place + step
        if np.abs(step).max() < _AT_REST_PX:
            break
    return place


def levelled(
    name: str, values: ArrayLike, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return an image less its mean, in units of its standard deviation.

    out: where to, if it has the image's shape; else new memory, whose first use costs
    Raises KernelInputError if it is no image (y, x), or a value is not finite.
    """
    image = np.ascontiguousarray(values)
    if image.dtype not in (np.float32, np.float64):
        image = image.astype(np.float64)
    if image.ndim != 2 or min(image.shape) < 8:
        raise KernelInputError(
            f"{name} of shape {image.shape}: give an image (y, x) of 8 pixels or more"
        )
    if out is None or out.shape != image.shape:
        out = np.empty(image.shape, np.float32)
    if not np.isfinite(_level(image, out)):
        raise KernelInputError(
            f"{name}: {np.count_nonzero(~np.isfinite(image))} of {image.size} values "
            "are not finite; mend dead pixels first"
        )
    return out


@njit(cache=True, nogil=True, boundscheck=False)
def _level(image, out):  # type: ignore[no-untyped-def]
    """Return the mean of the squares, which is finite if all values are."""
    # Sums of columns: a row at once, in an order that is always the same.
    sums, squares = np.zeros((2, image.shape[1]))
    for row in image:
        for column in range(row.size):
            sums[column] += row[column]
            squares[column] += np.float64(row[column]) * row[column]
    mean = sums.sum() / image.size
    deviation = np.sqrt(max(squares.sum() / image.size - mean * mean, 0.0))
    scale = 1 / deviation if deviation > 0 else 0.0
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            out[row, column] = (image[row, column] - mean) * scale
    return squares.sum()


@njit(cache=True, nogil=True, boundscheck=False)
def _sum_outside(spectrum, low, across):  # type: ignore[no-untyped-def]
    """Sum sizes of numbers of rows low .. -low, and right of a column in the others."""
    sums = np.zeros(spectrum.shape[1], np.float32)
    for k in range(spectrum.shape[0]):
        is_inside = k < low or k > spectrum.shape[0] - low
        for j in range(across if is_inside else 0, sums.size):
            sums[j] += abs(spectrum[k, j])
    return 2.0 * sums.sum()


@njit(cache=True, nogil=True, boundscheck=False, fastmath={"contract"})
def _sum_rows(real, imag, spectrum, one, two):  # type: ignore[no-untyped-def]
    """Add rows of a spectrum, times real and imaginary parts, four at a time.

    real, imag: (sum, row); spectrum: (row, number); one, two: (sum, number)
    """
    fours = spectrum.shape[0] // 4 * 4
    for number in range(real.shape[0]):
        one[number] = 0
        two[number] = 0
    for k in range(0, fours, 4):
        p, q, r, s = spectrum[k], spectrum[k + 1], spectrum[k + 2], spectrum[k + 3]
        for number in range(real.shape[0]):
            for factor, total in (
                (real[number], one[number]),
                (imag[number], two[number]),
            ):
                a, b, c, d = factor[k], factor[k + 1], factor[k + 2], factor[k + 3]
                for j in range(total.size):
                    total[j] += (a * p[j] + b * q[j]) + (c * r[j] + d * s[j])
    for k in range(fours, spectrum.shape[0]):
        for number in range(real.shape[0]):
            for j in range(spectrum.shape[1]):
                one[number, j] += real[number, k] * spectrum[k, j]
                two[number, j] += imag[number, k] * spectrum[k, j]


def _row_sums(
    factors: NDArray[np.complex64], spectrum: NDArray[np.complex64]
) -> NDArray[np.complex64]:
    """Return the product of two matrices, (sum, row) and (row, column)."""
    one, two = np.empty((2, len(factors), 2 * spectrum.shape[1]), np.float32)
    real, imag = (np.ascontiguousarray(part) for part in (factors.real, factors.imag))
    _sum_rows(real, imag, spectrum.view(np.float32), one, two)
    return np.asarray(one.view(np.complex64) + 1j * two.view(np.complex64))


@lru_cache(maxsize=8)
def _waves(size: int) -> NDArray[np.float64]:
    """Return the angular frequencies of a transform, radians a pixel."""
    return np.asarray(2 * np.pi * fft.fftfreq(size))


@lru_cache(maxsize=8)
def _powers(size: int) -> NDArray[np.complex128]:
    """Return what waves are multiplied by to give derivatives 0, 1 and 2."""
    waves = 1j * _waves(size)
    return np.array([np.ones(size), waves, waves**2])


@lru_cache(maxsize=8)
def _turns(size: int, offsets: tuple[float, ...]) -> NDArray[np.complex128]:
    """Return the phases of waves at offsets, (offset, wave)."""
    return np.asarray(np.exp(1j * np.outer(offsets, _waves(size))))


@lru_cache(maxsize=8)
def _modes(columns: int) -> NDArray[np.float64]:
    """Return how many columns of a spectrum each of its half stands for."""
    modes = np.full(columns // 2 + 1, 2.0)
    modes[0] = 1.0
    if columns % 2 == 0:
        modes[-1] = 1.0
    return modes
