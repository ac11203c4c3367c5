"""Maxima of correlations against sums over all waves, made without a transform."""

import numpy as np
import pytest
from scipy import fft

from cryoline.analysis.fourier_sums import FourierSum, newton

RNG = np.random.default_rng
SHAPES = [(24, 30), (21, 27), (24, 25)]


def waves(shape, place):
    """Each wave of a half spectrum at a place, by its own definition."""
    ky, kx = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])
    twice = np.where((kx > 0) & (kx < 0.5), 2.0, 1.0)
    return twice * np.exp(2j * np.pi * (ky * place[0] + kx * place[1]))


def directed(shape):
    """Which waves have a direction: not the finest of an even number of pixels."""
    ky, kx = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])
    return (np.abs(ky) < 0.5) & (kx < 0.5)


def spectrum_of(shape, seed=1):
    noise = fft.rfft2(RNG(seed).standard_normal(shape))
    return (noise * directed(shape)).astype(np.complex64)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sum_and_its_slopes_are_those_of_all_waves(shape) -> None:
    spectrum, place = spectrum_of(shape), np.array([3.3, -4.45])
    function = FourierSum(spectrum, shape)

    def at(y, x):
        return (spectrum * waves(shape, (y, x))).real.sum()

    value, slope, curvature = function.slopes(place)

    (y, x), h = place, 1e-3
    size = float(np.abs(spectrum).sum())
    assert value == pytest.approx(at(y, x), abs=1e-6 * size)
    wanted = [
        (at(y + h, x) - at(y - h, x)) / (2 * h),
        (at(y, x + h) - at(y, x - h)) / (2 * h),
    ]
    np.testing.assert_allclose(slope, wanted, atol=1e-5 * size)
    mixed = (at(y + h, x + h) - at(y + h, x - h)) - (
        at(y - h, x + h) - at(y - h, x - h)
    )
    assert curvature[0, 1] == curvature[1, 0]
    assert curvature[0, 1] == pytest.approx(mixed / (4 * h * h), abs=1e-5 * size)
    for axis, (p, m) in enumerate(
        ((at(y + h, x), at(y - h, x)), (at(y, x + h), at(y, x - h)))
    ):
        wanted_here = (p - 2 * at(y, x) + m) / h**2
        assert curvature[axis, axis] == pytest.approx(wanted_here, abs=1e-4 * size)
    for axis in range(2):
        along = function.along(place, axis)
        steps = np.eye(2)[axis] * np.arange(shape[axis])[:, None]
        wanted_all = [at(*(place + step)) for step in steps]
        np.testing.assert_allclose(along, wanted_all, atol=1e-6 * size)
    offsets = np.array([-1.5, 0.0, 0.25])
    wanted_grid = [[at(y + i, x + j) for j in offsets] for i in offsets]
    np.testing.assert_allclose(
        function.around(place, offsets), wanted_grid, atol=1e-6 * size
    )


@pytest.mark.parametrize("width_px", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("shape", [(96, 128), (75, 101)])
def test_a_peak_is_found_however_narrow(width_px, shape) -> None:
    # Of 0 px: all waves alike, none of which may be left out for speed.
    ky, kx = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])
    smooth = np.exp(-2 * (np.pi * width_px) ** 2 * (ky**2 + kx**2)) * directed(shape)
    for seed in range(10):
        by = RNG(seed).uniform(-30, 30, 2)
        turned = smooth * np.exp(-2j * np.pi * (ky * by[0] + kx * by[1]))

        found = FourierSum(turned.astype(np.complex64), shape).highest()

        np.testing.assert_allclose(found, by, atol=2e-3)


def test_fine_waves_that_matter_are_not_left_out() -> None:
    # Coarse waves alone have their maximum elsewhere, at 20 px.
    shape = (128, 128)
    ky, kx = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])
    is_fine = (np.abs(ky) > 0.3) | (kx > 0.3)
    coarse = 1.0 * ((np.abs(ky) < 0.2) & (kx < 0.2)) * np.exp(-2j * np.pi * 20 * kx)
    spectrum = coarse + is_fine * np.exp(-2j * np.pi * (7.3 * ky - 5.6 * kx))

    found = FourierSum(spectrum.astype(np.complex64), shape).highest()

    np.testing.assert_allclose(found, (7.3, -5.6), atol=0.02)


def test_where_nothing_is_higher_than_the_rest_the_place_stays() -> None:
    empty = FourierSum(np.zeros((64, 33), np.complex64), (64, 64))

    np.testing.assert_array_equal(empty.highest(), (0.0, 0.0))

    def slope(place):
        return 0.0, np.ones(2), np.zeros((2, 2))

    np.testing.assert_array_equal(newton(slope, np.ones(2), 0.4), np.ones(2))
