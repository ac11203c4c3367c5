"""dQ/dV against analytic charges, and the tangent's onset against one drawn by hand."""

import numpy as np
import pytest

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.incremental import incremental_capacity, reduction_onset


def test_dq_dv_of_a_logistic_charge_is_its_derivative() -> None:
    potential = np.linspace(0.0, 1.0, 20_001)
    charge = 2.0 / (1 + np.exp(-(potential - 0.45) / 0.03))

    found = incremental_capacity(potential, charge)

    x = (found.potential_v - 0.45) / 0.03
    expected = 2.0 / 0.03 * np.exp(-x) / (1 + np.exp(-x)) ** 2
    # A mean over 5 mV of a curve of 30 mV is off by (5/30)^2/24 of its curvature.
    np.testing.assert_allclose(
        found.dq_dv_mah_per_v, expected, atol=3e-3 * expected.max()
    )


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("noise_v", [0.0, 1e-3])
def test_its_integral_is_the_charge_with_noise_plateaus_and_rests(
    falling, noise_v
) -> None:
    rng = np.random.default_rng(3)
    potential = np.r_[np.linspace(0.1, 0.4, 400), np.full(300, 0.4)]
    potential = np.r_[potential, np.linspace(0.4, 1.5, 500), np.full(50, 1.3)]
    potential = potential + noise_v * rng.standard_normal(potential.size)
    charge = np.r_[np.linspace(0, 2.5, 1200), np.full(50, 2.5)]
    if falling:
        potential, charge = 1.6 - potential, -charge

    found = incremental_capacity(potential, charge, charge_before_mah=-0.0)

    total = 0.005 * found.dq_dv_mah_per_v.sum()
    assert total == pytest.approx(-2.5 if falling else 2.5, rel=1e-12)
    assert (np.diff(found.potential_v) > 0).all()
    sign = -1 if falling else 1
    assert (sign * found.dq_dv_mah_per_v >= -1e-12).all()
    plateau_v = 1.2 if falling else 0.4
    at = found.potential_v[np.argmax(np.abs(found.dq_dv_mah_per_v))]
    assert at == pytest.approx(plateau_v, abs=0.0051)


def test_steps_lie_on_multiples_of_their_width() -> None:
    found = incremental_capacity([0.0123, 0.2], [0.0, 1.0], step_v=0.01)

    np.testing.assert_allclose(found.potential_v, np.arange(0.015, 0.2, 0.01))


def test_too_little_gives_nothing_and_no_width_is_refused() -> None:
    assert incremental_capacity([0.1], [1.0]).potential_v.size == 0
    assert incremental_capacity([0.1, 0.1001], [1.0, 2.0]).potential_v.size == 0
    with pytest.raises(KernelInputError, match="step 0 V is not above 0 V"):
        incremental_capacity([0.1, 0.9], [1.0, 2.0], step_v=0)


def test_onset_is_where_the_flanks_tangent_meets_the_baseline() -> None:
    potential = np.linspace(2.5, 0.3, 4400)
    # A triangle: from nothing at 1.2 V to its top at 0.9 V, on a baseline of 2 uA.
    ramp = np.clip((1.2 - potential) / 0.3, 0, 1) - 2 * np.clip(0.9 - potential, 0, 0.5)
    current = -2e-6 - 10e-6 * np.maximum(ramp, 0)

    onset = reduction_onset(potential, current)

    assert onset is not None
    assert onset.onset_v == pytest.approx(1.2, abs=0.005)
    assert onset.peak_v == pytest.approx(0.9, abs=0.03)
    assert 0.9 < onset.flank_v < 1.2


def test_the_tangent_lies_on_the_middle_of_the_flank_not_on_foot_or_shoulder() -> None:
    potential = np.linspace(2.5, 0.3, 4400)
    # A slow foot to 25 %, a steep flank to 75 %, a shoulder to the top at 0.7 V.
    corners_v, height = [0.5, 0.7, 0.9, 1.0, 1.3], [0.0, 1.0, 0.75, 0.25, 0.0]
    current = -1e-6 - 10e-6 * np.interp(potential, corners_v, height)

    onset = reduction_onset(potential, current)

    assert onset is not None
    assert onset.onset_v == pytest.approx(1.05, abs=0.005)
    assert onset.flank_v == pytest.approx(0.95, abs=0.02)


def test_no_reduction_has_no_onset() -> None:
    potential = np.linspace(2.5, 0.3, 2000)
    assert reduction_onset(potential, np.full(2000, -1e-6)) is None
    peak = np.exp(-((potential - 0.9) ** 2) / 0.01)
    assert reduction_onset(potential[::-1], peak) is None  # an oxidation
