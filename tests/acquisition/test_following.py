"""Positions from images: a wire that a stage moves about, drawn anew each time."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from cryoline.acquisition.errors import SpecimenLost
from cryoline.acquisition.following import Aim, Follower, drift_nm_per_min
from cryoline.acquisition.specimen import Specimen
from cryoline.acquisition.tilt_exposures import (
    Scan,
    TiltExposures,
    Tracking,
    tilt_exposures,
)
from cryoline.acquisition.tilt_schemes import Scheme, bidirectional
from cryoline.acquisition.tracking import Position

SCAN = Scan(width_px=128, height_px=96, pixel_nm=8.0)
SERIES = bidirectional(60, -60, 5)
HEIGHT_NM = 400.0


def tilts_of(scheme: Scheme, tracking: Tracking) -> tuple[TiltExposures, ...]:
    return tilt_exposures(Specimen(name="nw-01"), "r", scheme, SCAN, tracking)


def image_of(
    across_nm: float,
    along_nm: float,
    aim: Aim,
    rng: np.random.Generator,
    *,
    smooth: bool = False,
) -> NDArray[np.float64]:
    """Draw a wire along y at a place from the optical axis; knots unless smooth."""
    y, x = (
        (np.arange(n) - (n - 1) / 2) * SCAN.pixel_nm
        for n in (SCAN.height_px, SCAN.width_px)
    )
    x = x[None, :] - (across_nm - aim.across_nm)
    y = y[:, None] - (along_nm - aim.along_nm)
    wire = np.exp(-((x / 60.0) ** 2)) + 0 * y
    if not smooth:
        for knot in (-220.0, -90.0, 130.0, 260.0):
            wire = wire + np.exp(-(((x - 0.2 * knot) ** 2 + (y - knot) ** 2) / 40.0**2))
    return rng.poisson(40.0 * wire + 4.0).astype(float)


def shaken(rng: np.random.Generator, tilt: TiltExposures) -> tuple[float, float]:
    across = HEIGHT_NM * math.sin(math.radians(tilt.tilt_deg))
    if tilt.index == 0:
        return 0.0, 0.0
    return across + rng.normal(0, 30.0), rng.normal(0, 30.0)


def test_a_shaken_wire_is_followed_over_a_whole_series() -> None:
    """30 nm rms of wobble, 400 nm above the axis: known within a pixel of 8 nm."""
    rng = np.random.default_rng(5)
    tracking = Tracking()
    tilts = tilts_of(SERIES, tracking)
    follower = Follower(tilts[0], tracking)
    missed = []
    for tilt in tilts:
        true = shaken(rng, tilt)
        predicted = follower.predict(tilt)
        aim = Aim(predicted.across_nm, predicted.along_nm)
        found = follower.see(image_of(*true, aim, rng), aim, tilt)
        again = Aim(found.across_nm, found.along_nm)
        found = follower.see(image_of(*true, again, rng), again, tilt)
        follower.at_rest(found, tilt)
        missed.append((found.across_nm - true[0], found.along_nm - true[1]))

    assert np.sqrt(np.mean(np.square(missed), axis=0)).max() < SCAN.pixel_nm


def test_the_field_is_put_on_the_middle_of_the_specimen_from_the_first_tilt_on() -> (
    None
):
    """Else the volume would turn about another axis than the specimen does."""
    rng = np.random.default_rng(11)
    tracking = Tracking()
    tilts = tilts_of(SERIES, tracking)
    follower = Follower(tilts[0], tracking)

    first = follower.see(
        image_of(-70.0, 0, Aim(20.0, 0), rng, smooth=True), Aim(20.0, 0), tilts[0]
    )
    follower.at_rest(first, tilts[0])

    assert first.across_nm == pytest.approx(-70.0, abs=4.0)
    assert follower.predict(tilts[1]).across_nm == first.across_nm


@pytest.mark.parametrize("away_nm", [-440.0, 500.0])
def test_a_specimen_at_the_edge_of_the_first_image_is_led_to_the_middle(
    away_nm: float,
) -> None:
    """As after an hour of drift: once it was lost, by where it had been found."""
    rng = np.random.default_rng(12)
    tracking = Tracking()
    tilts = tilts_of(SERIES, tracking)
    follower = Follower(tilts[0], tracking)
    found = Position(0.0, 0.0, 0.0)
    for _ in range(3):
        aim = Aim(found.across_nm, found.along_nm)
        found = follower.see(image_of(away_nm, 0, aim, rng, smooth=True), aim, tilts[0])

    assert found.across_nm == pytest.approx(away_nm, abs=4.0)
    follower.at_rest(found, tilts[0])
    aim = Aim(found.across_nm, found.along_nm)
    next_one = image_of(away_nm + 50.0, 0, aim, rng, smooth=True)
    assert follower.see(next_one, aim, tilts[1]).across_nm == pytest.approx(
        away_nm + 50.0, abs=4.0
    )


def test_a_shift_along_a_smooth_wire_is_left_as_predicted() -> None:
    rng = np.random.default_rng(6)
    tracking = Tracking()
    tilts = tilts_of(SERIES, tracking)
    follower = Follower(tilts[0], tracking)
    for tilt in tilts[:2]:
        aim = Aim(0.0, 3.0)
        across = 50.0 if tilt.index else 0.0
        found = follower.see(image_of(across, 0, aim, rng, smooth=True), aim, tilt)

    assert found.along_nm == 3.0
    assert found.across_nm == pytest.approx(50.0, abs=4.0)


def test_a_new_aim_moves_the_image_but_not_the_specimen() -> None:
    rng = np.random.default_rng(7)
    tracking = Tracking()
    tilt = tilts_of(SERIES, tracking)[0]
    follower = Follower(tilt, tracking)
    follower.see(image_of(0, 0, Aim(0, 0), rng), Aim(0, 0), tilt)
    aim = Aim(70.0, -50.0)

    found = follower.see(image_of(0, 0, aim, rng), aim, tilt)

    assert found.across_nm == pytest.approx(0.0, abs=3.0)
    assert found.along_nm == pytest.approx(0.0, abs=3.0)


def test_an_image_without_the_specimen_ends_the_series() -> None:
    rng = np.random.default_rng(8)
    tracking = Tracking()
    tilts = tilts_of(SERIES, tracking)
    follower = Follower(tilts[0], tracking)
    follower.see(image_of(0, 0, Aim(0, 0), rng), Aim(0, 0), tilts[0])
    nothing = rng.poisson(4.0, (SCAN.height_px, SCAN.width_px)).astype(float)

    with pytest.raises(SpecimenLost) as caught:
        follower.see(nothing, Aim(0, 0), tilts[1])

    text = str(caught.value)
    assert text.startswith("tilt_series: at 5 deg the image resembles that of 0 deg")
    assert text.endswith("give tracking.height_nm, or take a larger field")


def test_a_specimen_that_is_about_to_leave_the_field_ends_the_series() -> None:
    rng = np.random.default_rng(9)
    tracking = Tracking()
    tilts = tilts_of(SERIES, tracking)
    follower = Follower(tilts[0], tracking)
    follower.see(image_of(0, 0, Aim(0, 0), rng), Aim(0, 0), tilts[0])

    with pytest.raises(SpecimenLost, match="across the tilt axis from where it was"):
        follower.see(image_of(430, 0, Aim(0, 0), rng), Aim(0, 0), tilts[1])


def test_images_are_skipped_only_when_asked_and_earned() -> None:
    rng = np.random.default_rng(10)
    for skip_below_nm, expected in ((0.0, 25), (15.0, 7)):
        tracking = Tracking(skip_below_nm=skip_below_nm)
        tilts = tilts_of(SERIES, tracking)
        follower = Follower(tilts[0], tracking)
        taken = 0
        for tilt in tilts:
            across = HEIGHT_NM * math.sin(math.radians(tilt.tilt_deg))
            predicted = follower.predict(tilt)
            if not follower.needs_image(tilt):
                assert predicted.across_nm == pytest.approx(across, abs=15.0)
                continue
            aim = Aim(predicted.across_nm, predicted.along_nm)
            found = follower.see(image_of(across, 0, aim, rng), aim, tilt)
            follower.at_rest(found, tilt)
            taken += 1
        assert taken <= expected


def test_drift_is_a_speed() -> None:
    before, now = Position(0, 10, 20), Position(0, 13, 24)

    assert drift_nm_per_min(before, now, 30.0) == pytest.approx(10.0)
