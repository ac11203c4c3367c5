"""Deconvolution, windows and thickness against spectra that are known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoline.analysis.eels import (
    LITHIUM_K_EV,
    SECOND_PLASMON_EV,
    fit_plasmon,
    richardson_lucy,
    sharp_windows,
    thickness,
    window_map,
)
from cryoline.analysis.errors import KernelInputError
from cryoline.sim.eels_spectrum import LossSpecimen, expected_counts, record

AXIS_EV = 0.25 * np.arange(800) - 20.0
BELL = np.exp(-0.5 * (np.arange(-12, 13) * 0.25 / 0.6) ** 2)


def middle(spectrum):
    return (spectrum * AXIS_EV).sum() / spectrum.sum()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 40))
def test_deconvolution_keeps_counts_and_their_sign(seed, n_iter, width) -> None:
    rng = np.random.default_rng(seed)
    spectra = rng.poisson(rng.exponential(3.0, (3, 64))).astype(float)
    blur = rng.random(width)

    found = richardson_lucy(spectra, blur, n_iter)

    assert (found >= 0).all()
    assert found.sum(-1) == pytest.approx(spectra.sum(-1), rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 2**32 - 1))
def test_deconvolution_is_linear_in_scale_and_knows_no_order(factor, seed) -> None:
    rng = np.random.default_rng(seed)
    spectra = rng.poisson(20.0, (5, 64)).astype(float)
    order = rng.permutation(5)

    found = richardson_lucy(spectra, BELL, 5)

    assert richardson_lucy(factor * spectra, 3 * BELL, 5) == pytest.approx(
        factor * found, rel=1e-9
    )
    assert (richardson_lucy(spectra[order], BELL, 5, threads=2) == found[order]).all()


def test_deconvolution_finds_two_lines_that_the_blur_had_joined() -> None:
    known = np.zeros(200)
    known[[80, 86]] = 6e4, 4e4  # 1.5 eV apart, at 1.4 eV of resolution
    blurred = np.convolve(known, BELL / BELL.sum(), mode="same")
    between = blurred[83] / blurred[[80, 86]].min()

    found = richardson_lucy(blurred, BELL, 400)

    assert between > 0.8
    assert found[83] < 0.02 * found[[80, 86]].min()
    assert found[78:83].sum() == pytest.approx(6e4, rel=0.02)
    assert found[84:89].sum() == pytest.approx(4e4, rel=0.02)


def test_deconvolution_moves_nothing_where_the_zero_loss_is_lopsided() -> None:
    lopsided = np.concatenate([[1.0, 5.0, 20.0, 40.0], 30 * 0.7 ** np.arange(12)])
    known = np.zeros(300)
    known[150] = 1e5
    blurred = np.zeros(300)
    blurred[147:163] = 1e5 * lopsided / lopsided.sum()

    found = richardson_lucy(blurred, lopsided, 200)

    assert found.argmax() == 150
    assert found[150] > 0.9e5


def test_deconvolution_of_a_plasmon_gives_what_a_sharp_camera_sees() -> None:
    specimen = LossSpecimen(15.0, 3.0, 0.6)
    blunt = expected_counts(specimen, AXIS_EV, 1e6, resolution_fwhm_ev=2.0)
    sharp = expected_counts(specimen, AXIS_EV, 1e6, resolution_fwhm_ev=0.5)
    sigma_ev = math.sqrt(2.0**2 - 0.5**2) / math.sqrt(8 * math.log(2))
    kernel = np.exp(-0.5 * (0.25 * np.arange(-20, 21) / sigma_ev) ** 2)

    found = richardson_lucy(blunt, kernel, 60)

    inside = (AXIS_EV > 8) & (AXIS_EV < 40)
    before = np.abs(blunt - sharp)[inside].max()
    assert np.abs(found - sharp)[inside].max() < 0.1 * before


def test_a_window_counts_channels_that_its_limits_cut_by_their_part() -> None:
    flat = np.full((2, AXIS_EV.size), 8.0)  # 32 counts an eV

    found = window_map(flat, AXIS_EV, SECOND_PLASMON_EV, zero_loss_ev=[0.0, 0.1])

    assert found == pytest.approx([128.0, 128.0])
    assert window_map(flat[0], AXIS_EV, (10.0, 10.1)) == pytest.approx(3.2)
    step = np.where(AXIS_EV > 42, 8.0, 0.0)
    moved = window_map([step, step], AXIS_EV, (40, 44), zero_loss_ev=[0.0, 1.0])
    assert moved[1] - moved[0] == pytest.approx(32.0)
    hidden = window_map(flat, AXIS_EV, (40, 44), zero_loss_ev=[0.0, np.nan])
    assert np.isnan(hidden[1])
    assert hidden[0] == pytest.approx(128.0)


def test_maps_show_oxide_at_42_and_lithium_at_60_ev() -> None:
    plain = LossSpecimen(16.5, 4.0, 0.4)
    oxide = LossSpecimen(16.5, 4.0, 0.4, oxide=0.5)
    lithium = LossSpecimen(16.5, 4.0, 0.4, lithium_edge=0.2)
    rng = np.random.default_rng(3)
    spectra = np.stack(
        [
            record(expected_counts(s, AXIS_EV, 1e6), rng, readout=0.0)
            for s in (plain, oxide, lithium)
        ]
    )
    sharp = richardson_lucy(spectra, BELL, 10)

    second = window_map(sharp, AXIS_EV, SECOND_PLASMON_EV)
    edge = window_map(sharp, AXIS_EV, LITHIUM_K_EV, background_ev=(50.0, 58.0))

    assert second[1] > 1.5 * second[0]
    # Counting leaves some 70 counts of error in it.
    assert edge[2] > 1100
    assert abs(edge[0]) < 300


def test_windows_are_unmoved_by_the_camera_s_noise_and_where_the_zero_loss_is() -> None:
    specimen = LossSpecimen(16.5, 4.0, 0.4, oxide=0.5)
    rng = np.random.default_rng(5)
    zero_ev = rng.normal(0.0, 0.5, 200)
    mean = expected_counts(specimen, AXIS_EV, 1e5, zero_ev=zero_ev)
    windows = [SECOND_PLASMON_EV, LITHIUM_K_EV]

    still = sharp_windows(mean, AXIS_EV, windows, zero_loss_ev=zero_ev)
    noisy = sharp_windows(
        record(mean, rng, readout=3.0),
        AXIS_EV,
        windows,
        zero_loss_ev=zero_ev,
        readout_sigma=3.0,
    )

    for truth, found in zip(still, noisy, strict=True):
        error = found.std() / np.sqrt(found.size)
        assert found.mean() == pytest.approx(truth.mean(), abs=4 * error)
        assert error < 0.05 * truth.mean()
    # What is not on the axis is not known, and nothing is without a zero loss.
    off = sharp_windows(mean, AXIS_EV, [(175.0, 185.0)], zero_loss_ev=zero_ev)
    assert np.isnan(off[0]).all()
    lost = sharp_windows(mean[:2], AXIS_EV, windows, zero_loss_ev=np.nan)
    assert np.isnan(lost).all()


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 3.7])
def test_a_power_law_is_taken_off_whole(power) -> None:
    fine_ev = 0.025 * np.arange(8000) - 19.8875 - 0.225
    law = np.where(fine_ev > 5, 1e6 * np.maximum(fine_ev, 1.0) ** -power, 0.0)
    spectrum = law.reshape(-1, 10).sum(-1)

    net = window_map(spectrum, AXIS_EV, LITHIUM_K_EV, background_ev=(40.0, 56.0))
    gross = window_map(spectrum, AXIS_EV, LITHIUM_K_EV)

    assert abs(net) < 2e-4 * gross


def test_where_no_power_law_can_be_there_is_no_net_count() -> None:
    rising = np.maximum(AXIS_EV, 0.0)

    net = window_map(rising, AXIS_EV, LITHIUM_K_EV, background_ev=(50, 58))

    assert np.isnan(net)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 3.0), st.integers(-8, 8), st.floats(0.5, 1e6))
def test_thickness_is_exact_for_losses_by_poisson_s_law(t, channels, counts) -> None:
    # Each loss is 10 eV, the zero loss one channel wide: n losses by Poisson's law.
    spectrum = np.zeros(AXIS_EV.size)
    for n in range(18):
        at = 80 + channels + 40 * n
        spectrum[at] = counts * math.exp(-t) * t**n / math.factorial(n)

    found = thickness(spectrum, AXIS_EV, zero_loss_ev=0.25 * channels)

    assert found.t_over_lambda == pytest.approx(t, rel=1e-8)


def test_thickness_of_simulated_spectra_and_its_error() -> None:
    rng = np.random.default_rng(4)
    zero_ev = rng.uniform(-1, 1, 20)
    specimen = LossSpecimen(15.0, 3.0, 0.8)
    expected = expected_counts(specimen, AXIS_EV, 2e4, zero_ev=zero_ev)
    spectra = rng.poisson(np.tile(expected, (40, 1, 1))).astype(float)

    fit = fit_plasmon(spectra, AXIS_EV)
    found = thickness(spectra, AXIS_EV, zero_loss_ev=fit.zero_loss_ev, cut_ev=2.5)

    assert found.t_over_lambda.mean() == pytest.approx(0.8, abs=0.01)
    assert found.sigma.mean() == pytest.approx(found.t_over_lambda.std(), rel=0.08)


@pytest.mark.parametrize("t_over_lambda", [0.5, 2.0])
def test_the_camera_s_noise_is_in_the_error_of_thick_places_too(t_over_lambda) -> None:
    rng = np.random.default_rng(12)
    mean = expected_counts(LossSpecimen(15.0, 3.0, t_over_lambda), AXIS_EV, 1e6)
    spectra = mean + rng.normal(0.0, 60.0, (1500, AXIS_EV.size))
    spectra = spectra + rng.normal(0.0, np.sqrt(mean), spectra.shape)

    found = thickness(spectra, AXIS_EV, cut_ev=2.5, readout_sigma=60.0)

    assert found.sigma.mean() == pytest.approx(found.t_over_lambda.std(), rel=0.07)
    # Counting alone would be less than that.
    assert thickness(mean, AXIS_EV, cut_ev=2.5).sigma < 0.8 * found.sigma.mean()


def test_thickness_of_nothing_is_none() -> None:
    found = thickness(np.zeros((2, AXIS_EV.size)), AXIS_EV)

    assert np.isnan(found.t_over_lambda).all()
    assert np.isnan(found.sigma).all()


FLAT = np.ones(AXIS_EV.size)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: richardson_lucy(-FLAT, BELL), "spectra: 800 of 800 values are neg"),
        (lambda: richardson_lucy(FLAT, 0 * BELL), r"zero_loss \(25,\): give one zero"),
        (lambda: richardson_lucy(FLAT, [BELL]), r"zero_loss \(1, 25\): give one zero"),
        (lambda: richardson_lucy(FLAT, BELL, 0), "n_iter 0 is below 1"),
        (lambda: window_map(FLAT, AXIS_EV, (178, 182)), "edge at 182 eV, .* off the a"),
        (lambda: window_map(FLAT, AXIS_EV, (44, 40)), "44 to 40 eV is no interval"),
        (
            lambda: window_map(FLAT, AXIS_EV, (58, 62), background_ev=(50, 60)),
            "background_ev 50 to 60 eV: it has to end before the window, 58 eV",
        ),
        (
            lambda: window_map(FLAT, AXIS_EV, (58, 62), zero_loss_ev=[0.0, 1.0]),
            r"zero_loss_ev \(2,\) doesn't fit spectra \(\)",
        ),
        (lambda: thickness(FLAT, AXIS_EV + 30), "edge at 2 eV, .* off the axis, 10 to"),
        (lambda: thickness(FLAT, AXIS_EV[:-1]), r"energy_ev \(799,\) doesn't fit"),
    ],
)
def test_what_has_no_meaning_is_refused(call, text) -> None:
    with pytest.raises(KernelInputError, match=text):
        call()
