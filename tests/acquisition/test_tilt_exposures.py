"""What a series may cost, against the published doses and the rules of sharing."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.fluence import worst_fluence_e_per_nm2
from cryoline.acquisition.specimen import Specimen
from cryoline.acquisition.tilt_exposures import (
    Scan,
    Tracking,
    share_frames,
    tilt_exposures,
    worst_case_tilt_series,
)
from cryoline.acquisition.tilt_schemes import bidirectional, continuous
from cryoline.devices.exposure import Purpose

WIRE = Specimen(name="nw-01")
SERIES = bidirectional(60, -60, 5)


@pytest.mark.parametrize(
    ("pixel_nm", "e_per_nm2"), [(2.134, 2.24e6), (1.48, 4.65e6), (1.068, 8.92e6)]
)
def test_25_maps_of_114_s_at_150_pa_cost_what_the_dose_table_says(
    pixel_nm: float, e_per_nm2: float
) -> None:
    """The table of He et al.'s series, 2850 s on the three fields, to 1 %."""
    series = worst_case_tilt_series(WIRE, scheme=SERIES, scan=Scan(pixel_nm=pixel_nm))
    maps = [e for e in series if e.purpose is Purpose.RECORD]

    assert sum(e.beam_on_s for e in maps) == pytest.approx(2850.0, rel=1e-4)
    assert sum(worst_fluence_e_per_nm2(e, 150.0) for e in maps) == pytest.approx(
        e_per_nm2, rel=0.01
    )


def test_the_worst_case_counts_every_image_that_drift_may_ask_for() -> None:
    series = worst_case_tilt_series(
        WIRE, region="tip", scheme=SERIES, tracking=Tracking(drift_retries=3)
    )

    one_tilt = ["tracking"] * 5 + ["record"]
    assert [e.purpose for e in series] == one_tilt * 25
    assert {e.specimen for e in series} == {"nw-01"}
    assert {e.region for e in series} == {"tip"}
    tilts = [e.tilt_deg for e in series if e.purpose is Purpose.RECORD]
    assert tuple(tilts) == SERIES.angles_deg
    # An image of 4 us a pixel is 1/109 of a map.
    assert series[5].beam_on_s / series[0].beam_on_s == pytest.approx(109, abs=0.5)


def test_frames_follow_one_over_cosine_if_asked() -> None:
    frames = share_frames(SERIES, 22 * 25, factor_at_60deg=2.0)
    by_angle = dict(zip(SERIES.angles_deg, frames, strict=True))

    assert sum(frames) == 22 * 25
    assert by_angle[0] == 17  # 3.1024e5 of 1e7 e/nm2, of 550 frames: 17.06
    assert {by_angle[60], by_angle[-60]} <= {34, 35}  # 34.13, rest to the largest
    assert share_frames(SERIES, 22 * 25) == (22,) * 25


@given(
    n_frames=st.integers(1, 40),
    factor=st.floats(1, 50),
    step=st.floats(2, 30),
    center=st.integers(-20, 20),
)
def test_shared_frames_are_whole_never_none_and_in_total_those_asked(
    n_frames: int, factor: float, step: float, center: int
) -> None:
    scheme = bidirectional(60, -60, step, start_deg=center)
    total = n_frames * len(scheme.angles_deg)
    frames = share_frames(scheme, total, factor_at_60deg=factor)

    assert sum(frames) == n_frames * len(scheme.angles_deg)
    assert min(frames) >= 1
    order = sorted(
        zip((abs(t - center) for t in scheme.angles_deg), frames, strict=True)
    )
    steeper = [count for _, count in order]
    assert all(b >= a - 1 for a, b in pairwise(steeper))


def test_the_map_has_its_own_frames_and_tracking_one() -> None:
    scan = Scan(
        width_px=64, height_px=32, flyback_s=1e-4, flyback_blanked=False, n_frames=3
    )
    tilt = tilt_exposures(WIRE, "r", continuous(0, 10, 5), scan, Tracking())[2]

    assert (tilt.index, tilt.branch, tilt.tilt_deg) == (2, 0, 10.0)
    assert (tilt.record.n_frames, tilt.tracking.n_frames) == (3, 1)
    for exposure in (tilt.record, tilt.tracking):
        assert (exposure.width_px, exposure.height_px) == (64, 32)
        assert exposure.flyback_s == 1e-4
        assert not exposure.flyback_blanked


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (Scan, {"n_frames": 0}, "Scan: n_frames = 0: Input should be greater than"),
        (Scan, {"dwell_s": float("nan")}, "Scan: dwell_s = nan: Input should be"),
        (Scan, {"pixel": 2}, "Scan: pixel = 2: Extra inputs are not permitted"),
        (Scan, {"factor_at_60deg": 0.5}, "Scan: factor_at_60deg = 0.5: Input should"),
        (Tracking, {"drift_limit_nm_per_min": -1}, "Tracking: drift_limit_nm_per_min"),
        (Tracking, {"drift_retries": 1000}, "Tracking: drift_retries = 1000: Input"),
    ],
)
def test_settings_that_cant_be_are_refused(
    make: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(PlanRefused) as caught:
        make(**arguments)

    assert str(caught.value).startswith(message)
