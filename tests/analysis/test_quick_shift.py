"""Shifts of periodic images that were moved by a known amount."""

import numpy as np
import pytest
from scipy import ndimage

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.quick_shift import QuickReference


def texture(seed, shape=(96, 128)):
    noise = np.random.default_rng(seed).standard_normal(shape)
    return ndimage.gaussian_filter(noise, 3.0, mode="wrap")


def moved(image, by):
    qy, qx = (np.fft.fftfreq(n) for n in image.shape)
    turn = np.exp(-2j * np.pi * (by[0] * qy[:, None] + by[1] * qx))
    return np.fft.ifft2(np.fft.fft2(image) * turn).real


@pytest.mark.parametrize("shape", [(96, 128), (75, 101)])
def test_a_known_shift_is_found_to_half_a_step(shape) -> None:
    image = texture(1, shape)
    reference = QuickReference(1e4 * image + 3e5)
    for seed in range(40):
        by = np.random.default_rng(seed).uniform(-37, 37, 2)
        found = reference.shift_px(moved(image, by))
        # Half a step, and what single precision leaves of the top of a parabola.
        np.testing.assert_allclose(found, by, atol=0.0055)


@pytest.mark.parametrize("upsample", [1, 7, 10, 25, 100])
def test_the_result_is_on_the_grid_that_was_asked_for(upsample) -> None:
    image, by = texture(2), (3.2345, -4.5678)

    found = QuickReference(image).shift_px(moved(image, by), upsample)

    steps = np.array(found) * upsample
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
    np.testing.assert_allclose(found, by, atol=0.51 / upsample + 0.001)


@pytest.mark.parametrize(
    ("image", "upsample", "text"),
    [
        (np.zeros((96, 127)), 100, "differ; give the same field"),
        (np.full((96, 128), np.nan), 100, "mend dead pixels first"),
        (np.zeros(96), 100, r"give an image \(y, x\)"),
        (np.zeros((96, 128)), 0, "upsample 0 is below 1"),
    ],
)
def test_bad_images_are_refused(image, upsample, text) -> None:
    with pytest.raises(KernelInputError, match=text):
        QuickReference(texture(3)).shift_px(image, upsample)
