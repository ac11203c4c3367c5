"""The correlation of two images, weighted by what they share, at any small shift."""

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

__all__ = ["Match", "fade"]

_TAPER: Final = 0.125
"""[A] assumption: this part of each edge fades out, lest the frame be matched."""

_SMALLEST_OVERLAP: Final = 0.125
"""[A] assumption: of each side; images that share less are not compared."""

_RING_MODES: Final = 8
"""Width of a ring of the spectrum, in modes of the shorter side."""

_SECTORS: Final = 6
"""Of each quadrant; each ring and sector is weighted by its coherence."""

_SIGNIFICANT: Final = 3.0
"""Standard deviations of pure noise; less coherence counts as none."""

_AS_HIGH: Final = 3.0
"""Standard deviations within which two correlations count as equal."""


def fade(size: int) -> NDArray[np.float64]:
    """Return a window that rises and falls by half a cosine at its ends."""
    width = max(1, round(_TAPER * size))
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(width) + 0.5) / width)
    return np.concatenate([rise, np.ones(size - 2 * width), rise[::-1]])


class Match:
    """How well two images match at any small shift of the second.

    1. The coherence of the two (what they share, as a part of what is there) is found
       in rings and sectors of the spectrum. By it the spectrum is weighted, as the
       most likely delay of two signals in noise wants it (Knapp and Carter, IEEE
       Trans. ASSP 24, 320, 1976); where there is no noise, nothing is weighted.
    2. The first image fades out at its edges, the second does not, so that its frame
       can't be matched.
    3. The correlation is divided by what the window sees of the second, lest a
       brighter place draw it.
    """

    def __init__(self, one: NDArray[np.float64], two: NDArray[np.float64]) -> None:
        fades = [fade(n) for n in one.shape]
        window = np.outer(*fades)
        self._shape = one.shape
        self._area = float(window.sum())
        faded = [(im - (im * window).sum() / self._area) * window for im in (one, two)]
        self._qy, self._qx = fft.fftfreq(one.shape[0]), fft.rfftfreq(one.shape[1])
        # A column of a half spectrum stands for two, but for the outer ones.
        self._modes = np.full((self._qy.size, self._qx.size), 2.0)
        self._modes[:, 0] = 1.0
        self._is_even = one.shape[1] % 2 == 0
        if self._is_even:
            self._modes[:, -1] = 1.0
        first, second = (fft.rfft2(im) for im in faded)
        coherence = self._shared_part(first, second)
        self.is_shared = bool(coherence.any())
        weight = 2 * coherence / (1 + coherence)
        filtered = fft.rfft2(two - two.mean()) * weight
        frame = np.conj(np.outer(fft.fft(fades[0]), fft.rfft(fades[1])))
        scale = self._modes / one.size
        self._shared = np.conj(first) * filtered * scale
        self._faded = np.conj(first) * second * weight * scale
        self._mean = frame * filtered * scale
        square = fft.irfft2(filtered, one.shape) ** 2
        self._square = frame * fft.rfft2(square) * scale

    @classmethod
    def of(
        cls, one: NDArray[np.float64], two: NDArray[np.float64], by: NDArray[np.intp]
    ) -> "Match | None":
        """Return the match of what both show, or None if they share nothing."""
        views = _overlap(one, two, by)
        match = None if views is None else cls(*views)
        return match if match is not None and match.is_shared else None

    def best(
        self, place: NDArray[np.float64], offsets: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the best shift among ``place`` + all pairs of offsets, px."""
        match = self._at(place[0] + offsets, place[1] + offsets)
        top = np.unravel_index(np.argmax(match), match.shape)
        return np.asarray(place + offsets[list(top)], float)

    def ridge(self, place: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        """Return the offsets along an axis that match as well, within the noise.

        0 is always one of them. What doesn't match at the best place is as large as
        what matches elsewhere by chance; but what hardly varies along the axis
        neither helps nor disturbs.
        """
        reach = self._shape[axis] // 4
        offsets = np.arange(-reach, reach + 1.0)
        places = [place[:1], place[1:]]
        places[axis] = place[axis] + offsets
        match = self._at(*places).ravel()
        q = (self._qy[:, None], self._qx[None, :])[axis]
        odd = (self._turned(place).imag * (np.abs(q) > 1.5 / self._shape[axis])) ** 2
        noise = math.sqrt(float(odd.sum())) / float(self._turned(place).real.sum())
        as_high = match > (1 - _AS_HIGH * noise) * match[reach]
        as_high[reach] = True
        return np.asarray(offsets[as_high], float)

    def _at(
        self, down: NDArray[np.float64], across: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the match at all pairs of shifts along y and along x."""
        rows = np.exp(2j * np.pi * np.outer(down, self._qy))
        columns = np.exp(2j * np.pi * np.outer(self._qx, across))
        spectra = (self._shared, self._mean, self._square)
        if down.size > across.size:
            sums = [rows @ (spectrum @ columns) for spectrum in spectra]
        else:
            sums = [(rows @ spectrum) @ columns for spectrum in spectra]
        shared, mean, square = (values.real for values in sums)
        seen = np.maximum(square - mean**2 / self._area, 1e-30)
        match: NDArray[np.float64] = shared / np.sqrt(seen)
        return match

    def _turned(self, place: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return the parts of the correlation as they meet at a place."""
        turn = np.exp(2j * np.pi * (place[0] * self._qy[:, None] + place[1] * self._qx))
        return np.asarray(self._faded * turn)

    def standard_error(self, place: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the standard error (y, x), px, of a shift found at ``place``.

        There the slope of the correlation is 0, a sum of parts that cancel: their
        squares tell how far it could be off, and the curvature, what shift that is.
        """
        parts = self._turned(place)
        errors = np.full(2, math.inf)
        for axis, q in enumerate((self._qy[:, None], self._qx[None, :])):
            curvature = float((parts.real * (2 * np.pi * q) ** 2).sum())
            slope = math.sqrt(float(((parts.imag * 2 * np.pi * q) ** 2).sum()))
            if curvature > 0:
                errors[axis] = slope / curvature
        return errors

    def _shared_part(
        self, first: NDArray[np.complex128], second: NDArray[np.complex128]
    ) -> NDArray[np.float64]:
        """Return the coherence of two spectra, 0 to 1, of each ring and sector.

        Where it is lost in noise, the finer rings of that sector count as lost too.
        """
        place, count = _cells(*first.shape, self._is_even)

        def summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
            weighted = (values * self._modes).ravel()
            total = np.bincount(place.ravel(), weighted, count.size)
            return np.asarray(total, float)

        together = summed((np.conj(first) * second).real)
        power = summed(np.abs(first) ** 2) * summed(np.abs(second) ** 2)
        coherence = together / np.sqrt(np.maximum(power, 1e-300))
        lost = (coherence < _SIGNIFICANT / np.sqrt(count)).reshape(-1, _SECTORS)
        # The innermost ring is too small to say so.
        lost[0] = coherence[:_SECTORS] <= 0
        coherence[np.logical_or.accumulate(lost, axis=0).ravel()] = 0.0
        shared: NDArray[np.float64] = coherence[place]
        return shared


@lru_cache(maxsize=4)
def _cells(
    rows: int, columns: int, even: bool
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the ring and sector of each part of a half spectrum, and their sizes."""
    qy = fft.fftfreq(rows)[:, None]
    qx = np.arange(columns) / (2 * columns - 1 - even)
    width = _RING_MODES / min(rows, 2 * columns - 1 - even)
    rings = max(1, int(0.5 / width))
    ring = np.minimum((np.hypot(qy, qx) / width).astype(int), rings - 1)
    angle = np.arctan2(np.abs(qy), qx) / (np.pi / 2)
    sector = np.minimum((angle * _SECTORS).astype(int), _SECTORS - 1)
    place = np.asarray(ring * _SECTORS + sector, np.intp)
    half = np.bincount(place.ravel(), minlength=rings * _SECTORS).astype(float)
    return place, np.maximum(2 * half, 1.0)


def _overlap(
    one: NDArray[np.float64], two: NDArray[np.float64], by: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return what both images show if the second is moved back by whole pixels."""
    sides = list(zip(one.shape, by.tolist(), strict=True))
    if any(n - abs(d) < max(8, _SMALLEST_OVERLAP * n) for n, d in sides):
        return None
    # Of a length that the Fourier transform likes.
    sizes = [fft.prev_fast_len(n - abs(d), real=True) for n, d in sides]
    starts = [
        (n - abs(d) - size) // 2 for (n, d), size in zip(sides, sizes, strict=True)
    ]
    first, second = (
        tuple(
            slice(start + max(0, sign * d), start + max(0, sign * d) + size)
            for (_, d), start, size in zip(sides, starts, sizes, strict=True)
        )
        for sign in (-1, 1)
    )
    return one[first], two[second]
