"""Shifts against images that were moved by a known amount."""

import math

import numpy as np
import pytest
from scipy import ndimage

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.registration import shift

RNG = np.random.default_rng


def moved(image, by):
    """The image with its content moved by (y, x), exact for a periodic one."""
    qy, qx = (np.fft.fftfreq(n) for n in image.shape)
    turn = np.exp(-2j * np.pi * (by[0] * qy[:, None] + by[1] * qx))
    return np.fft.ifft2(np.fft.fft2(image) * turn).real


def texture(seed, size=192, grain=3.0):
    return ndimage.gaussian_filter(RNG(seed).standard_normal((size, size)), grain)


def wire(by=(0.0, 0.0), *, counts, seed=None, straight=False, size=256):
    """A wire along y of Poisson counts; its bends tell where along y it is."""
    rows = np.arange(size) - by[0]
    bend = 0.0 if straight else 6 * np.sin(rows / 17.0) + 3 * np.sin(rows / 7.0 + 1)
    x = np.arange(size) - size / 2 - by[1]
    profile = np.exp(-(((x - np.reshape(bend, (-1, 1))) / 20.0) ** 4))
    image = counts * np.broadcast_to(profile, (size, size))
    return image if seed is None else RNG(seed).poisson(image)


@pytest.mark.parametrize("seed", range(20))
def test_parts_of_a_pixel_are_found_to_a_hundredth(seed) -> None:
    whole = texture(seed)
    by = RNG(seed).uniform(-12, 12, 2)
    frame = np.s_[32:160, 32:160]

    found = shift(whole[frame], moved(whole, by)[frame])

    # Half a step of the grid is 0.005; the rest is the frame.
    np.testing.assert_allclose(found.shift_px, by, atol=0.01)
    assert found.confidence > 0.3


def test_content_that_lies_farther_gives_positive_numbers() -> None:
    reference = np.zeros((64, 64))
    reference[20:30, 30:44] = texture(1)[:10, :14] + 1
    image = np.roll(reference, (3, -5), axis=(0, 1))

    assert shift(reference, image, 1).shift_px == (3.0, -5.0)
    assert shift(image, reference, 1).shift_px == (-3.0, 5.0)
    assert shift(reference, reference).shift_px == (0.0, 0.0)


@pytest.mark.parametrize("upsample", [1, 7, 10, 25, 100, 1000])
def test_the_result_is_on_the_grid_that_was_asked_for(upsample) -> None:
    whole = texture(3)
    by = (1.2345, -4.5678)

    found = shift(whole[20:170, 20:170], moved(whole, by)[20:170, 20:170], upsample)

    steps = np.array(found.shift_px) * upsample
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
    np.testing.assert_allclose(found.shift_px, by, atol=0.51 / upsample + 0.003)


@pytest.mark.parametrize(
    ("counts", "limit_px"), [(0.3, 0.4), (3.0, 0.2), (100.0, 0.05)]
)
def test_few_counts_are_enough_across_a_wire(counts, limit_px) -> None:
    errors, sigmas = [], []
    for seed in range(8):
        by = RNG(seed).uniform(-15, 15, 2)
        one = wire(counts=counts, seed=seed, size=192)
        two = wire(by, counts=counts, seed=seed + 99, size=192)
        found = shift(one, two)
        errors.append(abs(found.shift_px[1] - by[1]))
        sigmas.append(found.sigma_px[1])

    # Medians: where few counts leave the place along the wire open, a bend of it may
    # be matched with another one.
    assert np.median(errors) < limit_px
    assert np.median(errors) < 3 * np.median(sigmas)


def test_the_standard_error_tells_a_wire_s_two_directions_apart() -> None:
    bent = shift(wire(counts=50.0, seed=1), wire((4.0, -3.0), counts=50.0, seed=2))
    straight = shift(
        wire(counts=50.0, seed=1, straight=True),
        wire((4.0, -3.0), counts=50.0, seed=2, straight=True),
    )

    assert bent.shift_px == pytest.approx((4.0, -3.0), abs=0.3)
    assert bent.sigma_px[0] < 0.2
    # Nothing says where it is along y: the smallest shift is as good as any.
    assert straight.shift_px[0] == pytest.approx(0.0, abs=1.0)
    assert straight.sigma_px[0] > 20
    assert straight.shift_px[1] == pytest.approx(-3.0, abs=0.1)


def test_a_flat_specimen_is_matched_over_tilts_by_the_cosine() -> None:
    film = texture(5, size=256, grain=4.0)
    y, x = np.mgrid[:128, :128] - 63.5

    def view(tilt_deg, by):
        squeezed = (x - by[1]) / math.cos(math.radians(tilt_deg))
        at = [y - by[0] + 127.5, squeezed + 127.5]
        return ndimage.map_coordinates(film, at, order=3)

    reference, image = view(20.0, (0.0, 0.0)), view(35.0, (2.3, -4.6))

    found = shift(reference, image, reference_tilt_deg=20.0, tilt_deg=35.0)

    np.testing.assert_allclose(found.shift_px, (2.3, -4.6), atol=0.1)
    plain = shift(reference, image)
    assert found.confidence > plain.confidence


def test_brightness_and_offset_do_not_matter() -> None:
    whole = texture(8)
    one, two = whole[20:150, 20:150], moved(whole, (2.5, 1.5))[20:150, 20:150]

    assert shift(one, 7.0 * two + 300.0).shift_px == shift(one, two).shift_px


@pytest.mark.parametrize("seed", range(4))
def test_pure_noise_is_not_trusted(seed) -> None:
    one, two = RNG(seed).poisson(0.3, (2, 128, 128))

    found = shift(one, two)

    assert found.confidence < 0.25


@pytest.mark.parametrize("image", [np.zeros((32, 32)), np.full((32, 32), 5.0)])
def test_an_empty_image_has_no_confidence(image) -> None:
    found = shift(texture(2)[:32, :32], image)

    assert found.shift_px == (0.0, 0.0)
    assert found.confidence == 0.0
    assert found.sigma_px == (math.inf, math.inf)


@pytest.mark.parametrize(
    ("reference", "image", "options", "text"),
    [
        (np.zeros((32, 32)), np.zeros((32, 33)), {}, "differ; give the same field"),
        (np.zeros(32), np.zeros(32), {}, r"give an image \(y, x\)"),
        (np.full((32, 32), np.nan), np.zeros((32, 32)), {}, "mend dead pixels first"),
        (np.zeros((32, 32)), np.zeros((32, 32)), {"upsample": 0}, "upsample 0"),
        (np.zeros((32, 32)), np.zeros((32, 32)), {"tilt_deg": 88}, "of 90 deg"),
    ],
)
def test_bad_images_are_refused(reference, image, options, text) -> None:
    with pytest.raises(KernelInputError, match=text):
        shift(reference, image, **options)
