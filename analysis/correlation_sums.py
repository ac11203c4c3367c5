"""The passes over images and spectra that a match of two images is made of.

Sums run down columns, a row at once: in vectors, and in an order that is always the
same.
"""

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["faded", "parts_at", "slid", "sums_of_cells", "weighed"]

Windows = tuple[NDArray[np.float64], ...]
"""Of y and x."""

_VARIES: Final = 1.5
"""Waves across an image: what has fewer hardly varies along it."""


def faded(
    image: NDArray[np.float32], start: tuple[int, int], windows: Windows
) -> NDArray[np.float32]:
    """Return a part of an image less its mean in a window, times that window.

    windows: of y and x, as long as the part
    """
    out = np.empty((windows[0].size, windows[1].size), np.float32)
    _fade(image, *start, *windows, out)
    return out


def slid(image: NDArray[np.float32], windows: Windows, reach: int) -> NDArray[Any]:
    """Return the sums of an image in a window that slides around it.

    ``[reach + i, reach + j]`` is that of the window moved by i and j pixels.
    """
    rows = np.zeros((2 * reach + 1, image.shape[1]))
    out = np.zeros((2 * reach + 1, 2 * reach + 1))
    _slide_down(image, windows[0].astype(np.float32), reach, rows)
    _slide_across(rows, windows[1], reach, out)
    return out


def sums_of_cells(
    first: NDArray[np.complex64],
    second: NDArray[np.complex64],
    cells: NDArray[np.uint16],
    count: int,
    columns: int,
) -> NDArray[np.float64]:
    """Return (3, cell): what two half spectra share, and the power of each.

    columns: of the images
    """
    out = np.zeros((3, count))
    _sum_cells(first, second, cells, columns % 2 == 0, out)
    return out


def weighed(
    first: NDArray[np.complex64],
    second: NDArray[np.complex64],
    plain: NDArray[np.complex64],
    cells: NDArray[np.uint16],
    weight: NDArray[np.float64],
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Weigh a half spectrum, in place, and return two correlations with ``first``.

    weight: (cell,)
    Those of ``plain``, weighed, and of ``second``, weighed.
    """
    shared, matched = np.empty((2, *first.shape), np.complex64)
    _weigh(first, second, plain, cells, weight.astype(np.float32), shared, matched)
    return shared, matched


def parts_at(
    spectrum: NDArray[np.complex64], place: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[float, NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return sums over the parts of a correlation as they meet at a place.

    Their total; and (y, x) the curvature, the squares of the slopes' parts, and those
    of what is odd there and varies along the axis.
    """
    waves = [2 * np.pi * np.fft.fftfreq(n) for n in shape]
    waves[1] = waves[1][: spectrum.shape[1]]
    modes = np.full(spectrum.shape[1], 2.0)
    modes[0] = 1.0
    if shape[1] % 2 == 0:
        modes[-1] = 1.0
    down = np.exp(1j * place[0] * waves[0])
    across = np.exp(1j * place[1] * waves[1]) * modes
    varies = [
        (np.abs(wave) > 2 * np.pi * _VARIES / n).astype(float)
        for wave, n in zip(waves, shape, strict=True)
    ]
    sums = np.zeros((5, spectrum.shape[1]))
    _turn(spectrum, down, across, waves[0] ** 2, varies[0], sums)
    even, curved, odd, sloped, varied = sums
    squares = waves[1] ** 2
    return (
        float(even.sum()),
        np.array([curved.sum(), (even * squares).sum()]),
        np.array([sloped.sum(), (odd * squares).sum()]),
        np.array([varied.sum(), (odd * varies[1]).sum()]),
    )


@njit(cache=True, nogil=True, boundscheck=False)
def _fade(image, top, left, down, across, out):  # type: ignore[no-untyped-def]
    rows, columns = out.shape
    sums = np.zeros(columns)
    for y in range(rows):
        row = image[top + y, left : left + columns]
        for x in range(columns):
            sums[x] += down[y] * row[x]
    mean = (sums * across).sum() / (down.sum() * across.sum())
    for y in range(rows):
        row = image[top + y, left : left + columns]
        for x in range(columns):
            out[y, x] = (row[x] - mean) * (down[y] * across[x])


@njit(cache=True, nogil=True, boundscheck=False)
def _slide_down(image, window, reach, rows):  # type: ignore[no-untyped-def]
    """Sum rows (move, x) of an image in a window along y."""
    size = image.shape[0]
    core = np.zeros(image.shape[1])
    for y in range(size):
        # Where the window stays 1 however it moves, all sums are the same.
        if reach <= y < size - reach and np.all(window[y - reach : y + reach + 1] == 1):
            for x in range(core.size):
                core[x] += image[y, x]
            continue
        for move in range(2 * reach + 1):
            factor = window[(y - move + reach) % size]
            for x in range(core.size):
                rows[move, x] += factor * image[y, x]
    for move in range(2 * reach + 1):
        for x in range(core.size):
            rows[move, x] += core[x]


@njit(cache=True, nogil=True, boundscheck=False)
def _slide_across(rows, window, reach, out):  # type: ignore[no-untyped-def]
    size = window.size
    for move in range(2 * reach + 1):
        for x in range(size):
            factor = window[(x - move + reach) % size]
            for row in range(rows.shape[0]):
                out[row, move] += factor * rows[row, x]


@njit(cache=True, nogil=True, boundscheck=False)
def _sum_cells(first, second, cells, is_even, out):  # type: ignore[no-untyped-def]
    last = first.shape[1] - 1
    for y in range(first.shape[0]):
        for x in range(first.shape[1]):
            # A column of a half spectrum stands for two, but for the outer ones.
            modes = 1.0 if x == 0 or (is_even and x == last) else 2.0
            a, b, cell = first[y, x], second[y, x], cells[y, x]
            out[0, cell] += modes * (a.real * b.real + a.imag * b.imag)
            out[1, cell] += modes * (a.real * a.real + a.imag * a.imag)
            out[2, cell] += modes * (b.real * b.real + b.imag * b.imag)


@njit(cache=True, nogil=True, boundscheck=False)
def _weigh(first, second, plain, cells, weight, shared, matched):  # type: ignore[no-untyped-def]
    for y in range(first.shape[0]):
        for x in range(first.shape[1]):
            by = weight[cells[y, x]]
            a, b, c = np.conj(first[y, x]), second[y, x], plain[y, x] * by
            plain[y, x] = c
            shared[y, x] = a * c
            matched[y, x] = a * b * by


@njit(cache=True, nogil=True, boundscheck=False)
def _turn(spectrum, down, across, squares, varies, sums):  # type: ignore[no-untyped-def]
    """Add, down each column, what `parts_at` is made of."""
    for y in range(spectrum.shape[0]):
        turn, square, varied = down[y], squares[y], varies[y]
        for x in range(spectrum.shape[1]):
            part = spectrum[y, x] * turn * across[x]
            odd = part.imag * part.imag
            sums[0, x] += part.real
            sums[1, x] += part.real * square
            sums[2, x] += odd
            sums[3, x] += odd * square
            sums[4, x] += odd * varied
