"""From a total to frames and back, against the numbers of the published formulas."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoline.acquisition.dose_plan import dose_of_series, plan_dose
from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.tilt_exposures import Scan, Tracking
from cryoline.acquisition.tilt_schemes import bidirectional

SERIES = bidirectional(60, -60, 5)
FINE = Scan(dwell_s=1e-8)
"""So short that whole frames share out as well as seconds do."""
NO_TRACKING = Tracking(dwell_s=1e-12)


def by_tilt(values: tuple[float, ...]) -> dict[float, float]:
    return dict(zip(SERIES.angles_deg, values, strict=True))


@pytest.mark.parametrize(
    ("factor", "at_0_deg", "at_60_deg"),
    [(1.0, 4.0e5, 4.0e5), (1.5, 3.469e5, 5.204e5), (2.0, 3.1024e5, 6.2049e5)],
)
def test_a_total_of_1e7_is_shared_out_by_the_weight_of_each_tilt(
    factor: float, at_0_deg: float, at_60_deg: float
) -> None:
    """+-60 deg by 5 deg; the sum of 1 / cos t is 32.23269."""
    scan = FINE.model_copy(update={"factor_at_60deg": factor})

    found = plan_dose(SERIES, scan, NO_TRACKING, total_e_per_nm2=1e7, current_pa=150.0)

    assert sum(
        1 / math.cos(math.radians(t)) for t in SERIES.angles_deg
    ) == pytest.approx(32.23269, abs=5e-6)
    for given_e_per_nm2 in (found.maps_e_per_nm2, found.shares_e_per_nm2):
        shared = by_tilt(given_e_per_nm2)
        assert shared[0] == pytest.approx(at_0_deg, rel=2e-4)
        assert shared[60] == shared[-60] == pytest.approx(at_60_deg, rel=2e-4)
    assert found.total_e_per_nm2 == pytest.approx(1e7, rel=1e-4)
    assert found.total_e_per_nm2 <= 1e7


@given(
    total=st.floats(3e5, 1e8),
    current_pa=st.floats(20, 400),
    factor=st.floats(1, 8),
    retries=st.integers(0, 5),
)
def test_the_total_is_never_passed_and_one_frame_more_would_pass_it(
    total: float, current_pa: float, factor: float, retries: int
) -> None:
    scan = Scan(factor_at_60deg=factor)
    tracking = Tracking(drift_retries=retries)
    try:
        found = plan_dose(
            SERIES, scan, tracking, total_e_per_nm2=total, current_pa=current_pa
        )
    except PlanRefused:
        one = Scan(n_frames=1)
        least = dose_of_series(SERIES, one, tracking, current_pa=current_pa)
        assert least.total_e_per_nm2 > total
        return

    frame_e_per_nm2 = current_pa * 1e-12 / 1.602176634e-19 * 19.767e-6 / 2.134**2
    assert found.total_e_per_nm2 <= total * (1 + 1e-9)
    assert found.total_e_per_nm2 + frame_e_per_nm2 > total * (1 - 1e-9)
    assert min(found.frames) >= 1


def test_the_way_back_gives_the_same_total() -> None:
    """22 frames a tilt at 150 pA are 2.24e6 e/nm2, with all tracking 2.32e6."""
    asked = dose_of_series(SERIES, current_pa=150.0)

    assert sum(asked.maps_e_per_nm2) == pytest.approx(2.235e6, rel=0.01)
    assert asked.tracking_e_per_nm2 == pytest.approx(4 / 109 * 2.235e6, rel=0.01)
    again = plan_dose(SERIES, total_e_per_nm2=asked.total_e_per_nm2, current_pa=150.0)
    assert again.frames == asked.frames == (22,) * 25


def test_a_total_that_is_less_than_a_frame_a_tilt_is_refused_with_numbers() -> None:
    with pytest.raises(PlanRefused) as caught:
        plan_dose(SERIES, total_e_per_nm2=1e5, current_pa=150.0)

    assert str(caught.value).startswith(
        "tilt series: one frame at each of 25 tilts and its tracking cost 1.84e+05 "
        "e/nm2 at 150 pA, total_e_per_nm2 = 1e+05 e/nm2; give more, or a shorter"
    )
