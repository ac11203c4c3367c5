"""The correlation of two images, weighted by what they share, at any small shift."""

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cryoline.analysis.correlation_sums import (
    faded,
    parts_at,
    slid,
    sums_of_cells,
    weighed,
)
from cryoline.analysis.fourier_sums import AROUND, FourierSum, newton

__all__ = ["Match", "fade"]

Place = NDArray[np.float64]

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

_REACH: Final = 6
"""Whole pixels that `Match.step` looks at on each side."""

_DARK: Final = 0.01
"""Of a window: what lies there can come from the other edge of the image."""


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

    one, two: (y, x) float32, of brightness about 1
    starts: where in each of them the part of ``shape`` begins that is compared
    """

    def __init__(
        self,
        one: NDArray[np.float32],
        two: NDArray[np.float32],
        starts: tuple[tuple[int, int], tuple[int, int]],
        shape: tuple[int, int],
    ) -> None:
        self._shape = shape
        self._fades = tuple(fade(n) for n in shape)
        whole = tuple(np.ones(n) for n in shape)
        first, second, plain = (
            fft.rfft2(faded(image, start, windows), overwrite_x=True)
            for image, start, windows in (
                (one, starts[0], self._fades),
                (two, starts[1], self._fades),
                (two, starts[1], whole),
            )
        )
        coherence = _coherence(first, second, shape)
        self.is_shared = bool(coherence.any())
        weight = 2 * coherence / (1 + coherence)
        cells, _ = _cells(*shape)
        # As one pass over the three: the filtered second image, and both correlations.
        shared, self._faded = weighed(first, second, plain, cells, weight)
        self._shared = FourierSum(shared, shape)
        self._filtered = fft.irfft2(plain, shape)
        self._squared = np.square(self._filtered)
        reach = _REACH + 1
        mean, square = (
            slid(image, self._fades, reach) for image in (self._filtered, self._squared)
        )
        self._seen = self._spread(mean, square)

    @classmethod
    def of(
        cls, one: NDArray[np.float32], two: NDArray[np.float32], by: NDArray[np.intp]
    ) -> "Match | None":
        """Return the match of what both show, or None if they share nothing.

        by: whole pixels (y, x) that the second is moved back
        """
        sides = list(zip(one.shape, by.tolist(), strict=True))
        if any(n - abs(d) < max(8, _SMALLEST_OVERLAP * n) for n, d in sides):
            return None
        # Of a length that the Fourier transform likes.
        rows, columns = (fft.prev_fast_len(n - abs(d), real=True) for n, d in sides)
        starts = [
            (n - abs(d) - size) // 2
            for (n, d), size in zip(sides, (rows, columns), strict=True)
        ]
        (y, x), (down, across) = starts, by.tolist()
        match = cls(
            one,
            two,
            (
                (y + max(0, -down), x + max(0, -across)),
                (y + max(0, down), x + max(0, across)),
            ),
            (rows, columns),
        )
        return match if match.is_shared else None

    def step(self) -> Place:
        """Return the best whole pixels, 0 to 6 on each side."""
        offsets = np.arange(-_REACH, _REACH + 1.0)
        match = self._shared.around(np.zeros(2), offsets)
        match /= np.sqrt(self._seen[1:-1, 1:-1])
        top = np.unravel_index(np.argmax(match), match.shape)
        return np.asarray(offsets[list(top)])

    def is_near(self, step: Place) -> bool:
        """Whether a shift brings from one edge to the other only what is dark there."""
        return all(
            abs(by) < _REACH and np.all(window[: int(abs(by))] < _DARK)
            for by, window in zip(step, self._fades, strict=True)
        )

    def top(self, step: Place) -> Place:
        """Return the best shift, in parts of a pixel, next to the best whole pixels."""
        # What the window sees varies slowly: it need not be looked at so far off.
        shared = self._shared.around(step, AROUND)
        best = np.unravel_index(np.argmax(shared), shared.shape)
        return newton(self._logarithm, step + AROUND[list(best)], AROUND[-1] / 4)

    def errors(self, place: Place) -> tuple[Place, Place]:
        """Return the standard error (y, x), px, of a shift, and the noise around it.

        At the best shift the slope of the correlation is 0, a sum of parts that
        cancel: their squares tell how far it could be off, and the curvature, what
        shift that is. What doesn't match there is also as large as what matches
        elsewhere by chance: the noise, as a part of the correlation, of what varies
        along each axis; the rest neither helps nor disturbs.
        """
        total, curvature, slope, odd = parts_at(self._faded, place, self._shape)
        error = np.full(2, math.inf)
        known = curvature > 0
        error[known] = np.sqrt(slope[known]) / curvature[known]
        return error, np.sqrt(odd) / total

    def ridge(self, place: Place, axis: int, noise: float) -> Place:
        """Return the offsets along an axis that match as well, within the noise.

        0 is always one of them.
        """
        size = self._shape[axis]
        reach = size // 4
        offsets = np.arange(-reach, reach + 1)
        whole = np.rint(place).astype(int)
        other = np.roll(self._fades[1 - axis], whole[1 - axis])
        axes = "yx,x->y" if axis == 0 else "yx,y->x"
        window = np.conj(fft.rfft(self._fades[axis]))
        mean, square = (
            fft.irfft(window * fft.rfft(np.einsum(axes, image, other)), size)
            for image in (self._filtered, self._squared)
        )
        match = self._shared.along(place, axis)[offsets]
        match /= np.sqrt(self._spread(mean, square)[(offsets + whole[axis]) % size])
        as_high = match > (1 - _AS_HIGH * noise) * match[reach]
        as_high[reach] = True
        return np.asarray(offsets[as_high], float)

    def _spread(self, mean: Place, square: Place) -> Place:
        """Return how much the window sees to vary, from sums over it."""
        area = math.prod(float(window.sum()) for window in self._fades)
        return np.maximum(square - mean**2 / area, 1e-30)

    def _seen_at(self, place: Place) -> tuple[float, Place, Place]:
        """Return what the window sees, and its slopes: parabolas through pixels."""
        whole = np.clip(np.rint(place), -_REACH, _REACH)
        (i, j), (down, across) = whole.astype(int) + _REACH, place - whole
        y, x = (
            np.array(
                [
                    [at * (at - 1) / 2, 1 - at**2, at * (at + 1) / 2],
                    [at - 0.5, -2 * at, at + 0.5],
                    [1.0, -2.0, 1.0],
                ]
            )
            for at in (down, across)
        )
        sums = y @ self._seen[i : i + 3, j : j + 3] @ x.T
        slope = np.array([sums[1, 0], sums[0, 1]])
        curvature = np.array([[sums[2, 0], sums[1, 1]], [sums[1, 1], sums[0, 2]]])
        return float(sums[0, 0]), slope, curvature

    def _logarithm(self, place: Place) -> tuple[float, Place, Place]:
        """Return the logarithm of the match, and its slopes."""
        value, slope, curvature = self._shared.slopes(place)
        if value <= 0:
            return -math.inf, np.zeros(2), np.eye(2)  # no top here
        seen, seen_slope, seen_curvature = self._seen_at(place)
        one, two = slope / value, seen_slope / seen
        return (
            math.log(value) - math.log(seen) / 2,
            one - two / 2,
            curvature / value
            - np.outer(one, one)
            - (seen_curvature / seen - np.outer(two, two)) / 2,
        )


def _coherence(
    first: NDArray[np.complex64], second: NDArray[np.complex64], shape: tuple[int, int]
) -> Place:
    """Return the coherence of two spectra, 0 to 1, of each ring and sector.

    Where it is lost in noise, the finer rings of that sector count as lost too.
    """
    cells, count = _cells(*shape)
    together, *powers = sums_of_cells(first, second, cells, count.size, shape[1])
    coherence = together / np.sqrt(np.maximum(powers[0] * powers[1], 1e-300))
    lost = (coherence < _SIGNIFICANT / np.sqrt(count)).reshape(-1, _SECTORS)
    # The innermost ring is too small to say so.
    lost[0] = coherence[:_SECTORS] <= 0
    coherence[np.logical_or.accumulate(lost, axis=0).ravel()] = 0.0
    return np.asarray(coherence)


@lru_cache(maxsize=4)
def _cells(rows: int, columns: int) -> tuple[NDArray[np.uint16], Place]:
    """Return the ring and sector of each part of a half spectrum, and their sizes."""
    qy, qx = fft.fftfreq(rows)[:, None], fft.rfftfreq(columns)
    width = _RING_MODES / min(rows, columns)
    rings = max(1, int(0.5 / width))
    ring = np.minimum((np.hypot(qy, qx) / width).astype(int), rings - 1)
    angle = np.arctan2(np.abs(qy), qx) / (np.pi / 2)
    sector = np.minimum((angle * _SECTORS).astype(int), _SECTORS - 1)
    cells = np.asarray(ring * _SECTORS + sector, np.uint16)
    half = np.bincount(cells.ravel(), minlength=rings * _SECTORS).astype(float)
    return cells, np.maximum(2 * half, 1.0)
