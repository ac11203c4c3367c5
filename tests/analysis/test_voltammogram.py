"""Peaks of synthetic sweeps, with the noise of a real potentiostat."""

import math

import numpy as np
import pytest

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.voltammogram import scan_rate_mv_per_s, voltammogram_peaks


def sweep(first_v, last_v, peaks, *, baseline=None, range_a=None, seed=0, step_v=1e-3):
    """Gaussian peaks (potential, height, sigma), seen by a 16-bit potentiostat."""
    rows = round(abs(last_v - first_v) / step_v) + 1
    potential = np.linspace(first_v, last_v, rows)
    current = np.zeros(rows) if baseline is None else baseline(potential)
    for at_v, height_a, sigma_v in peaks:
        current += height_a * np.exp(-((potential - at_v) ** 2) / (2 * sigma_v**2))
    if range_a is not None:
        rng = np.random.default_rng(seed)
        current += rng.normal(0, 2e-5 * range_a, rows)
        bit = 2 * range_a / 2**16
        current = np.rint(current / bit) * bit
        potential = potential + rng.normal(0, 5e-6, rows)
    return potential, current


def plating(potential_v):
    """A current that grows towards the lower vertex, as lithiation's does."""
    return -10e-6 * np.exp(-potential_v / 0.04)


@pytest.mark.parametrize("range_a", [1e-5, 1e-4, 1e-3])
@pytest.mark.parametrize("seed", range(5))
def test_a_cathodic_peak_is_found_in_the_noise_of_its_range(range_a, seed) -> None:
    columns = sweep(
        2.8, 0.01, [(0.9, -0.7e-6, 0.11)], baseline=plating, range_a=range_a, seed=seed
    )

    (peak,) = voltammogram_peaks(*columns)

    assert peak.direction == "cathodic"
    assert peak.potential_v == pytest.approx(0.9, abs=0.01)
    assert peak.current_a == pytest.approx(-0.7e-6, rel=0.05)
    assert peak.prominence_a == pytest.approx(0.7e-6, rel=0.15)


@pytest.mark.parametrize("range_a", [1e-5, 1e-4, 1e-3])
def test_two_anodic_peaks_come_in_the_order_of_the_sweep(range_a) -> None:
    columns = sweep(
        0.01, 3.0, [(0.339, 2.8e-6, 0.045), (0.509, 2.7e-6, 0.05)], range_a=range_a
    )

    first, second = voltammogram_peaks(*columns)

    assert {first.direction, second.direction} == {"anodic"}
    assert first.potential_v == pytest.approx(0.339, abs=0.004)
    assert second.potential_v == pytest.approx(0.509, abs=0.004)
    assert first.current_a == pytest.approx(2.8e-6, rel=0.05)


def test_a_falling_sweep_meets_its_higher_peak_first() -> None:
    columns = sweep(3.0, 0.0, [(0.2, -1e-6, 0.04), (0.9, -1e-6, 0.1)])

    assert [p.potential_v for p in voltammogram_peaks(*columns)] == pytest.approx(
        [0.9, 0.2], abs=1e-3
    )


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_has_no_peaks(seed) -> None:
    # 1 mA range: noise of 20 nA and steps of 30 nA on no current at all
    assert voltammogram_peaks(*sweep(3.0, 0.01, [], range_a=1e-3, seed=seed)) == ()


def test_a_bump_below_the_prominence_asked_for_is_no_peak() -> None:
    columns = sweep(0.0, 2.0, [(0.5, 1e-6, 0.05), (1.5, 0.015e-6, 0.05)])

    assert [p.potential_v for p in voltammogram_peaks(*columns)] == pytest.approx([0.5])
    assert len(voltammogram_peaks(*columns, minimum_prominence=0.01)) == 2


def test_a_glitch_of_one_row_is_no_peak() -> None:
    potential, current = sweep(0.0, 2.0, [(0.5, 1e-6, 0.05)])
    current[1500] = 5e-6  # a change of range

    assert [
        p.potential_v for p in voltammogram_peaks(potential, current)
    ] == pytest.approx([0.5])


def test_a_top_of_two_equal_points_is_one_peak() -> None:
    # Seen with 30 nA bits: both points have the prominence of the whole peak.
    columns = sweep(
        2.8, 0.01, [(0.9, -0.7e-6, 0.11)], baseline=plating, range_a=1e-3, seed=19
    )

    assert len(voltammogram_peaks(*columns)) == 1


def test_maxima_at_the_ends_and_lost_rows_are_no_peaks() -> None:
    potential, current = sweep(2.8, 0.01, [(0.9, -0.7e-6, 0.11)], baseline=plating)
    current[::7] = math.nan

    (peak,) = voltammogram_peaks(potential, current)

    assert peak.potential_v == pytest.approx(0.9, abs=2e-3)


def test_a_coarse_sweep_is_searched_on_its_own_grid() -> None:
    columns = sweep(0.0, 1.8, [(0.7, 1e-4, 0.15)], step_v=0.07)

    (peak,) = voltammogram_peaks(*columns)

    assert peak.potential_v == pytest.approx(0.7, abs=0.02)


def test_too_few_rows_have_no_peaks() -> None:
    assert voltammogram_peaks([0.0, 0.1, 0.2], [0.0, 1.0, 0.0]) == ()
    assert voltammogram_peaks([], []) == ()


def test_refuses_more_than_one_sweep() -> None:
    potential = np.r_[np.linspace(3, 0, 300), np.linspace(0, 3, 300)]

    with pytest.raises(KernelInputError, match="more than one sweep"):
        voltammogram_peaks(potential, np.zeros(600))


@pytest.mark.parametrize("rate", [0.2, -0.2, 100.0])
def test_scan_rate_of_a_straight_line_is_its_slope(rate) -> None:
    time = np.linspace(5e4, 5e4 + 2000 / abs(rate), 500)
    potential = 1.0 + rate * 1e-3 * (time - time[0])
    potential += np.random.default_rng(0).normal(0, 5e-4, 500)

    assert scan_rate_mv_per_s(time, potential) == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize(("stray", "is_scan"), [(0.003, True), (0.02, False)])
def test_a_scan_is_straight_to_half_a_per_cent_of_its_span(stray, is_scan) -> None:
    time = np.linspace(0.0, 1000.0, 2001)
    wave = np.sqrt(2) * stray * np.sin(2 * np.pi * time / 100)

    rate = scan_rate_mv_per_s(time, 0.5 + 1e-3 * time + wave)

    assert np.isfinite(rate) == is_scan


@pytest.mark.parametrize("falling", [True, False])
def test_current_is_baseline_and_height_with_their_signs(falling) -> None:
    potential = np.linspace(1.5, 0.0, 3001) if falling else np.linspace(0.0, 1.5, 3001)
    sign = -1.0 if falling else 1.0
    level = 2e-6 + 1e-6 * potential
    bell = 5e-6 * np.exp(-0.5 * ((potential - 0.8) / 0.04) ** 2)

    (peak,) = voltammogram_peaks(potential, sign * (level + bell))

    assert peak.direction == ("cathodic" if falling else "anodic")
    assert peak.potential_v == pytest.approx(0.8, abs=2e-3)
    assert peak.baseline_a == pytest.approx(sign * 2.8e-6, rel=0.01)
    assert peak.height_a == pytest.approx(sign * 5e-6, rel=0.03)
    assert peak.current_a == pytest.approx(peak.baseline_a + peak.height_a)


def test_a_galvanostatic_half_cycle_is_no_scan() -> None:
    time = np.linspace(0, 3600, 300)
    plateau = 0.4 + 0.3 * np.tanh((1800 - time) / 600)

    assert math.isnan(scan_rate_mv_per_s(time, plateau))
    assert math.isnan(scan_rate_mv_per_s(time, np.full(300, 0.4)))
    assert math.isnan(scan_rate_mv_per_s([0.0, 1.0], [0.0, 1.0]))
