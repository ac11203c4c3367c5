"""Where a body's counts lie across the tilt axis, and what strays from the others."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoline.analysis.alignment import centre_across_px, strays_px
from cryoline.analysis.errors import KernelInputError

ANGLES_DEG = np.array([*range(0, 61, 5), *range(-5, -61, -5)], float)


def body(centre, *, width=30.0, counts=0.5, background=0.02, seed=1, size=256):
    """Counts of a lopsided body along y, whose mass is centred there."""
    x = np.arange(size) - (size - 1) / 2 - centre
    lobe = np.exp(-(((x + 5) / width) ** 4)) + 2 * np.exp(-(((x - 10) / 6) ** 2))
    here = (lobe * x).sum() / lobe.sum()
    lobe = np.interp(x, x - here, lobe)
    image = np.broadcast_to(counts * lobe + background, (size, size))
    return np.random.default_rng(seed).poisson(image)


def curve(x_px, z_px):
    radians = np.deg2rad(ANGLES_DEG)
    return x_px * np.cos(radians) + z_px * np.sin(radians)


@pytest.mark.parametrize("centre", [-60.25, 0.0, 17.5, 71.0])
def test_a_body_s_centre_of_mass_is_found_in_few_counts(centre) -> None:
    # 13,000 counts with a standard deviation of 15 px: 0.13 px, and the background's.
    assert centre_across_px(body(centre)) == pytest.approx(centre, abs=0.6)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64)),
        np.random.default_rng(2).poisson(0.3, (256, 256)),
        body(115.0),
        body(0.0, width=120.0),
        np.ones((40, 16)),
    ],
    ids=["empty", "everywhere", "at the edge", "too wide", "too small"],
)
def test_no_body_with_empty_field_on_both_sides_has_no_centre(image) -> None:
    assert math.isnan(centre_across_px(image))


@settings(max_examples=30, deadline=None)
@given(st.floats(-50, 50), st.floats(-50, 50))
def test_nothing_strays_from_the_curve_of_a_body(x_px, z_px) -> None:
    np.testing.assert_allclose(strays_px(curve(x_px, z_px), ANGLES_DEG), 0.0, atol=1e-6)


def test_a_few_tilts_far_off_do_not_move_the_curve() -> None:
    # As a holder drifts that was put in lately.
    off = np.zeros(ANGLES_DEG.size)
    off[:4] = [9.0, 5.0, 3.0, 2.0]
    noise = np.random.default_rng(3).normal(0, 0.2, off.size)

    strays = strays_px(curve(12.0, -8.0) + off + noise, ANGLES_DEG)

    np.testing.assert_allclose(strays, off, atol=1.0)
    assert np.abs(strays[4:]).max() < 1.0


def test_an_unknown_centre_strays_by_nothing() -> None:
    centres = curve(12.0, -8.0)
    centres[7] = np.nan
    centres[3] += 4.0

    strays = strays_px(centres, ANGLES_DEG)

    assert strays[7] == 0.0
    assert strays[3] == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize("known", [0, 1, 2, 12])
def test_too_few_centres_tell_nothing(known) -> None:
    centres = np.full(ANGLES_DEG.size, np.nan)
    centres[:known] = np.arange(known) ** 2

    assert (strays_px(centres, ANGLES_DEG) == 0).all()
    assert (strays_px(centres[:2], ANGLES_DEG[:2]) == 0).all()


def test_a_map_that_is_none_is_refused() -> None:
    with pytest.raises(KernelInputError, match="give finite counts"):
        centre_across_px(np.full((64, 64), np.nan))
    with pytest.raises(KernelInputError, match="unequal rows"):
        strays_px([1.0, 2.0], [0.0])
