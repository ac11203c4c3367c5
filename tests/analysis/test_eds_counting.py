"""Errors of X-ray quantities against Poisson's variance by hand, and many draws."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr

from cryoline.analysis.eds import (
    HE_2021,
    Events,
    NetCounts,
    background_maps,
    element_maps,
    net_counts,
)
from cryoline.analysis.eds_quadrants import quadrant_counts
from cryoline.analysis.eds_quantities import (
    SIMULATED_STANDARD,
    RunningComposition,
    k_factors,
    weight_percent,
)

CENTRES_EV = 10.0 * np.arange(0.5, 1024)
ELEMENTS = ("Si", "O", "F", "C")
NET = np.array([9000.0, 4000.0, 2500.0, 900.0])
# Strong neighbours in each other's windows: errors that pull against each other.
COVARIANCE = 100.0 * np.array(
    [[90, 0, 0, 0], [0, 60, -30, 8], [0, -30, 40, 0], [0, 8, 0, 12.0]]
)


def of_nets(net: np.ndarray) -> NetCounts:
    zero = np.zeros(4)
    sigma = np.sqrt(np.diag(COVARIANCE))
    return NetCounts(ELEMENTS, net, zero, net, sigma, zero, COVARIANCE)


@pytest.mark.parametrize("element", ["Si", "O"])
def test_on_bare_continuum_the_error_is_that_of_window_and_sides(element) -> None:
    window = next(w for w in HE_2021 if w.element == element)
    counts, seen, level = np.full(1024, 100.0), [], 100.0
    for low_ev, high_ev in ((window.low_ev, window.high_ev), *window.sides_ev):
        seen.append(np.sum((CENTRES_EV >= low_ev) & (CENTRES_EV < high_ev)))
    n, *sides = seen
    if len(sides) == 2:  # a straight line between the middles of the sides
        low, high = (np.mean(side) for side in window.sides_ev)
        inside = (CENTRES_EV >= window.low_ev) & (CENTRES_EV < window.high_ev)
        upper = (CENTRES_EV[inside].mean() - low) / (high - low)
        shares = [1 - upper, upper]
    else:
        shares = [1.0]
    background = sum(
        (n * s) ** 2 * level / m for s, m in zip(shares, sides, strict=True)
    )

    found = net_counts(counts, [window])

    assert found.net[0] == pytest.approx(0.0, abs=1e-6)
    assert found.net_sigma[0] == pytest.approx(np.sqrt(n * level + background))


def test_a_continuum_that_slopes_is_taken_off_to_the_last_count() -> None:
    level = 2000.0 - 0.6 * CENTRES_EV
    silicon, *_, carbon = HE_2021
    line = np.zeros(1024)
    line[174], line[27] = 600.0, 900.0

    found = net_counts(level + line, [silicon, carbon])

    for row, (window, counts) in enumerate(((silicon, 600.0), (carbon, 900.0))):
        inside = (CENTRES_EV >= window.low_ev) & (CENTRES_EV < window.high_ev)
        assert found.continuum[row] == pytest.approx(level[inside].sum())
        assert found.gross[row] == pytest.approx(level[inside].sum() + counts)
        assert found.net[row] == pytest.approx(counts)
    assert found.peak_to_background == pytest.approx(
        [600.0 / found.continuum[0], 900.0 / found.continuum[1]]
    )


def test_tails_of_other_lines_are_background_and_an_offset_moves_all() -> None:
    oxygen = next(w for w in HE_2021 if w.element == "O")
    shape = np.exp(-0.5 * ((CENTRES_EV - oxygen.line_ev) / 32.7) ** 2)
    spectrum = 2.0 + 1e6 * shape / shape.sum()

    found = net_counts(spectrum, HE_2021)
    later = net_counts(np.r_[np.zeros(12), spectrum], HE_2021, offset_ev=-120.0)

    fluorine = found.elements.index("F")
    assert found.background[fluorine] > found.continuum[fluorine] + 500
    assert found.background + found.net == pytest.approx(found.gross)
    assert later.net == pytest.approx(found.net)
    assert later.net_sigma == pytest.approx(found.net_sigma)


def test_overlapping_lines_are_parted_to_the_last_count() -> None:
    edges_ev = 10.0 * np.arange(1025)
    oxygen, fluorine = (
        w._replace(sides_ev=((900.0, 950.0),)) for w in HE_2021 if w.element in "OF"
    )
    put_in = {oxygen: 1e6, fluorine: 2e4}
    spectrum = np.zeros(1024)
    for window, counts in put_in.items():
        below = ndtr((edges_ev - window.line_ev) / (window.fwhm_ev / 2.3548))
        spectrum += counts * np.diff(below)

    found = net_counts(spectrum, [oxygen, fluorine])

    for row, (window, counts) in enumerate(put_in.items()):
        first, last = np.ceil(np.array(window[1:3]) / 10 - 0.5) * 10
        edges = (np.array([first, last]) - window.line_ev) / (window.fwhm_ev / 2.3548)
        own = counts * np.diff(ndtr(edges))[0]
        assert found.net[row] == pytest.approx(own, abs=0.01)


def test_background_is_looked_for_in_the_channels_of_the_sides_only() -> None:
    one_each = np.arange(1024)
    zero = np.zeros(1024, int)

    maps = element_maps(Events(zero, zero, one_each), HE_2021, (1, 1))

    in_a_side = np.zeros(1024, bool)
    for low_ev, high_ev in {side for w in HE_2021 for side in w.sides_ev}:
        in_a_side[low_ev // 10 : high_ev // 10] = True
    assert maps.side_counts[0, 0] == in_a_side.sum()


def test_rare_background_is_spread_by_a_gaussian_of_the_width_asked() -> None:
    side = np.full(9, 39)  # a channel of the background of O
    maps = element_maps(Events(np.full(9, 32), np.full(9, 32), side), HE_2021, (65, 65))

    spread = background_maps(maps, [1.0, 1.0, 1.0, 1.0], sigma_px=5.0)[1]

    off = np.arange(65) - 32.0
    assert off**2 @ spread.sum(axis=1) == pytest.approx(25.0, rel=0.02)
    assert off**2 @ spread.sum(axis=0) == pytest.approx(25.0, rel=0.02)


def test_nets_that_share_a_background_err_together() -> None:
    rng = np.random.default_rng(4)
    drawn = np.array(
        [net_counts(rng.poisson(np.full(1024, 50.0)), HE_2021).net for _ in range(400)]
    )

    said = net_counts(np.full(1024, 50.0), HE_2021).net_covariance

    # Of O and C, whose background windows are one: far from independent.
    spread = np.cov(drawn.T)
    assert said[1, 3] / np.sqrt(said[1, 1] * said[3, 3]) > 0.2
    assert said[1, 3] == pytest.approx(spread[1, 3], rel=0.3)
    assert np.diag(said) == pytest.approx(np.diag(spread), rel=0.2)


def test_covariances_are_in_the_errors_of_weights_and_of_factors() -> None:
    rng = np.random.default_rng(5)
    nets = rng.multivariate_normal(NET, COVARIANCE, 4000)
    weights = {"Si": 28.0, "O": 16.0, "F": 19.0, "C": 12.0}
    amounts = np.array(list(weights.values())) / 28.0

    composition = weight_percent(of_nets(NET), SIMULATED_STANDARD)
    standard = k_factors(of_nets(NET), weights)

    parts = SIMULATED_STANDARD.factor * nets
    drawn = 100 * parts / parts.sum(axis=1, keepdims=True)
    assert composition.sigma == pytest.approx(np.std(drawn, axis=0), rel=0.06)
    factors = amounts * nets[:, :1] / nets
    assert standard.factor == pytest.approx(amounts * NET[0] / NET)
    assert standard.sigma[1:] == pytest.approx(np.std(factors, axis=0)[1:], rel=0.06)
    assert standard.sigma[0] == pytest.approx(0.0, abs=1e-12)


def test_a_covariance_with_the_reference_counts_in_a_factor() -> None:
    covariance = COVARIANCE.copy()
    covariance[0, 3] = covariance[3, 0] = 2500.0
    rng = np.random.default_rng(6)
    nets = rng.multivariate_normal(NET, covariance, 4000)

    found = k_factors(
        replace(of_nets(NET), net_covariance=covariance), dict.fromkeys(ELEMENTS, 1.0)
    )

    assert found.sigma[3] == pytest.approx(np.std(nets[:, 0] / nets[:, 3]), rel=0.06)


def test_four_quadrants_in_view_are_one_detector() -> None:
    rng = np.random.default_rng(7)
    spectra = np.tile(rng.poisson(40.0, 1024), (4, 1))

    found = quadrant_counts(spectra, np.full(4, 25.0), HE_2021)

    whole = net_counts(spectra.sum(axis=0), HE_2021)
    assert found.live_quadrants == pytest.approx(4.0)
    assert found.whole_per_s == pytest.approx(whole.net / 25.0)
    assert found.whole_per_s_sigma == pytest.approx(whole.net_sigma / 25.0)
    assert found.net_per_s.sum(axis=0) == pytest.approx(whole.net / 25.0)


def test_the_free_half_of_a_detector_is_a_mean_of_two() -> None:
    counts = np.zeros((4, 1024))
    counts[:, 170] = 1100.0, 900.0, 500.0, 0.0

    found = quadrant_counts(counts, np.full(4, 10.0), HE_2021)

    # 1100 and 900 differ by counting: both are free, and saw 1000 on the mean.
    assert found.in_view == pytest.approx([1.0, 0.9, 0.5, 0.0])


def test_stable_is_from_the_first_step_after_the_last_that_was_not() -> None:
    seconds = np.array([10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
    silicon = np.array([60.0, 50.4, 51.0, 50.2, 49.9, 50.0])
    sigma = np.array([3.0, 0.4, 0.4, 0.6, 0.45, 0.4])
    found = RunningComposition(("Si",), seconds, silicon[:, None], sigma[:, None])

    assert found.stable_after_s("Si", 0.5) == 50.0  # the error at 40 s is too large
    assert found.stable_after_s("Si", 0.7) == 40.0
    assert found.stable_after_s("Si", 20.0) == 10.0
    assert np.isnan(found.stable_after_s("Si", 0.3))
    # Half the error takes four times the time.
    assert found.time_for_s("Si", 0.2) == pytest.approx(240.0)
