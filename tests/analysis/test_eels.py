"""Plasmon fits of simulated spectra, whose physics the simulator has on its own."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from cryoline.analysis import eels_plural, eels_profiles, eels_sums
from cryoline.analysis.eels import FitStatus, fit_plasmon
from cryoline.analysis.errors import KernelInputError
from cryoline.sim.eels_spectrum import LossSpecimen, expected_counts, record

AXIS_EV = 0.25 * np.arange(256) - 10.0
FWHM_EV = 1.5
SILICON = LossSpecimen(16.83, 3.7, 0.5)
LITHIATED = LossSpecimen(14.0, 4.0, 0.8)
# What is fitted, about: the zero loss and the plasmon, from 0.
FITTED = (np.abs(AXIS_EV) < 4 * FWHM_EV / 2.3548, (AXIS_EV > 9) & (AXIS_EV < 24))


@cache
def recordings(specimen: LossSpecimen, electrons: float, readout: float, n: int):
    """Spectra, and their zero losses: 50 within +-1 eV, spread over the channels."""
    rng = np.random.default_rng(5)
    zero_ev = np.tile(rng.uniform(-1, 1, 50), n // 50)
    expected = expected_counts(specimen, AXIS_EV, electrons, zero_ev=zero_ev[:50])
    spectra = record(np.tile(expected, (n // 50, 1)), rng, readout=readout)
    return spectra, zero_ev


def bound_ev(specimen: LossSpecimen, electrons: float, readout: float) -> float:
    """The least standard deviation of the energy, from the simulator's spectra.

    Fisher's information on eight parameters in the fitted channels, by differences:
    energy, width, thickness, electrons, zero loss, resolution, and a level in each.
    """

    def mean(energy, width, t, log_electrons, zero, fwhm, *levels):
        changed = replace(specimen, plasmon_ev=energy, width_ev=width, t_over_lambda=t)
        counts = expected_counts(
            changed,
            AXIS_EV,
            np.exp(log_electrons),
            zero_ev=zero,
            resolution_fwhm_ev=fwhm,
        )
        for level, part in zip(levels, FITTED, strict=True):
            counts = counts + level * part
        return counts[FITTED[0] | FITTED[1]]

    at = np.array(
        [
            specimen.plasmon_ev,
            specimen.width_ev,
            specimen.t_over_lambda,
            np.log(electrons),
            0.1,
            FWHM_EV,
            0.0,
            0.0,
        ]
    )
    slopes = np.array(
        [(mean(*(at + d)) - mean(*(at - d))) / 2e-4 for d in 1e-4 * np.eye(at.size)]
    )
    information = (slopes / (mean(*at) + readout**2)) @ slopes.T
    return float(np.sqrt(np.linalg.inv(information)[0, 0]))


@pytest.mark.parametrize(
    ("specimen", "electrons", "readout"),
    [
        (SILICON, 1e5, 0.0),
        (LITHIATED, 1e6, 2.0),
        (replace(LITHIATED, t_over_lambda=0.3), 2e4, 2.0),
    ],
)
def test_energies_are_unbiased_and_as_sharp_as_counts_allow(
    specimen, electrons, readout
) -> None:
    spectra, zero_ev = recordings(specimen, electrons, readout, 5_000)

    found = fit_plasmon(spectra, AXIS_EV, readout_sigma=readout)

    assert found.is_fitted.all()
    off_ev = found.energy_ev - specimen.plasmon_ev
    spread_ev = off_ev.std()
    assert abs(off_ev.mean()) < 2 * spread_ev / np.sqrt(off_ev.size)
    # 5,000 spectra know a standard deviation to 1 %.
    assert spread_ev < 1.02 * bound_ev(specimen, electrons, readout)
    assert found.energy_sigma_ev.mean() == pytest.approx(spread_ev, rel=0.03)
    assert found.reduced_chi2.mean() == pytest.approx(1.0, abs=0.02)
    assert found.zero_loss_ev == pytest.approx(zero_ev, abs=0.2)


def independent_model(loss_ev, energy_ev, width_ev, counts, level, sigma_ev, elastic):
    """Drude's losses, folded by sums on a fine grid; up to three of them."""
    step_ev = 0.02
    fine_ev = step_ev * np.arange(1, 3000)
    epsilon = 1 - energy_ev**2 / (fine_ev * (fine_ev + 1j * width_ev))
    single = (-1 / epsilon).imag
    far = width_ev * energy_ev**2 / (2 * fine_ev[-1] ** 2)  # the integral beyond
    single /= single.sum() * step_ev + far
    double = np.convolve(single, single)[: single.size] * step_ev
    triple = np.convolve(double, single)[: single.size] * step_ev
    losses = counts * single
    losses[1:] += counts**2 / (2 * elastic) * double[:-1]
    losses[2:] += counts**3 / (6 * elastic**2) * triple[:-2]
    reach = np.arange(-200, 201) * step_ev
    blur = np.exp(-0.5 * (reach / sigma_ev) ** 2)
    blurred = np.convolve(losses, blur / blur.sum(), mode="same")
    return level + 0.25 * np.interp(loss_ev, fine_ev, blurred)


def test_a_fit_is_that_of_scipy_with_the_same_weights() -> None:
    spectra, _ = recordings(LITHIATED, 1e6, 2.0, 5_000)
    found = fit_plasmon(spectra[:6], AXIS_EV, readout_sigma=2.0)

    for row, spectrum in enumerate(spectra[:6]):
        loss_ev = AXIS_EV - found.zero_loss_ev[row]
        inside = (loss_ev >= 9) & (loss_ev < 24)
        sigma_ev = found.resolution_ev[row] / np.sqrt(8 * np.log(2))
        fixed = (sigma_ev, found.zero_loss_counts[row])

        def model(x, *parameters, fixed=fixed):
            return independent_model(x, *parameters, *fixed)

        x, y = loss_ev[inside], spectrum[inside]
        guess, errors = np.array([14.3, 4.5, 3e5, 10.0]), np.sqrt(y + 4)
        for _ in range(3):  # weights by the model, as the likelihood wants them
            guess, covariance = optimize.curve_fit(
                model, x, y, guess, sigma=errors, absolute_sigma=True
            )
            errors = np.sqrt(model(x, *guess) + 4)
        sigmas = np.sqrt(np.diag(covariance))
        names = ("energy_ev", "width_ev", "amplitude", "background")
        ours = np.array([getattr(found, name)[row] for name in names])
        assert (np.abs(ours - guess) < 0.1 * sigmas).all(), (ours - guess) / sigmas


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("loss_ev", [3.0, 9.5, 14.0, 22.0, 27.7])
def test_losses_to_several_plasmons_are_those_of_a_sum(loss_ev, n) -> None:
    def ours(counts):
        """One electron of the zero loss: the shapes alone, per 0.25 eV."""
        rows, nodes = np.zeros((9, 3)), np.empty((9, eels_plural.MOST_NODES))
        x = loss_ev + 0.25 * np.arange(3)
        eels_plural.plural_losses(
            eels_profiles.DRUDE, x, 0.25, 14.0, 4.0, 1e-9, counts, 1.0,
            tuple(nodes), tuple(rows),
        )  # fmt: skip
        return rows[0, 0]

    fine_ev = 0.005 * np.arange(1, 12_000)
    epsilon = 1 - 14.0**2 / (fine_ev * (fine_ev + 4j))
    single = (-1 / epsilon).imag
    single /= single.sum() * 0.005 + 4.0 * 14.0**2 / (2 * fine_ev[-1] ** 2)
    folded = single
    for _ in range(n - 1):
        folded = np.convolve(folded, single)[: single.size] * 0.005
    # the sum of k-th and m-th point lies k + m + n - 1 points from 0
    wanted = np.interp(loss_ev, fine_ev + 0.005 * (n - 1), folded)
    wanted *= 0.25 / (2 if n == 2 else 6)
    # Double losses go with the square of the counts, triple ones with the third power.
    of_n = 8 * ours(1.0) - ours(2.0) if n == 2 else ours(2.0) - 4 * ours(1.0)
    assert of_n / 4 == pytest.approx(wanted, rel=2e-3 if n == 2 else 2e-2)


def profile(x, half_width, sigma):
    """A blurred Lorentzian, and its slopes by x and half width."""
    rows = np.empty((9, 1))
    eels_profiles.voigts(np.array([x]), 0.0, half_width, sigma, tuple(rows))
    return rows[1:4, 0]


@settings(max_examples=200, deadline=None)
@given(st.floats(-60, 60), st.floats(0.05, 10), st.floats(0.02, 2.0, exclude_min=True))
def test_a_blurred_lorentzian_is_scipy_s(x, half_width, sigma) -> None:
    value, by_x, by_half = profile(x, half_width, sigma)

    def wanted(x, half_width):
        return np.pi * special.voigt_profile(x, sigma, half_width)

    assert value == pytest.approx(wanted(x, half_width), rel=1e-4)
    # The series' error, relative to the peak, shows in slopes.
    scale = wanted(0.0, half_width)
    h = 1e-4 * half_width
    slope = (wanted(x + h, half_width) - wanted(x - h, half_width)) / (2 * h)
    assert by_x == pytest.approx(slope, rel=1e-3, abs=1e-4 * scale / sigma)
    slope = (wanted(x, half_width + h) - wanted(x, half_width - h)) / (2 * h)
    assert by_half == pytest.approx(slope, rel=1e-3, abs=1e-4 * scale / sigma)


@pytest.mark.parametrize("sigma", [0.0, 1e-3])
def test_a_lorentzian_needs_no_blur(sigma) -> None:
    value, by_x, by_half = profile(1.5, 2.0, sigma)

    assert value == pytest.approx(2.0 / 6.25, rel=1e-5)
    assert by_x == pytest.approx(-2 * 1.5 * 2.0 / 6.25**2, rel=1e-5)
    assert by_half == pytest.approx((1.5**2 - 2.0**2) / 6.25**2, rel=1e-5)


MODELS = [eels_profiles.DRUDE, eels_profiles.LORENTZIAN]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("sigma_ev", [0.0, 0.7, 1.6])
def test_slopes_are_those_of_what_is_expected(model, sigma_ev) -> None:
    x = np.linspace(9.0, 24.0, 77)

    def ours(counts, energy_ev, width_ev):
        rows, nodes = np.zeros((9, 77)), np.empty((9, eels_plural.MOST_NODES))
        eels_profiles.plasmons(
            model, x, energy_ev, width_ev, sigma_ev, 0.25, counts, tuple(rows)
        )
        rows[0] = counts * rows[1]
        eels_plural.plural_losses(
            model, x, 0.25, energy_ev, width_ev, sigma_ev, counts, 4.0, tuple(nodes),
            tuple(rows),
        )  # fmt: skip
        return rows

    at = np.array([1.3, 15.3, 4.1])
    for j, slope in enumerate(ours(*at)[1:4]):
        move = 1e-4 * at[j] * np.eye(3)[j]
        wanted = (ours(*(at + move))[0] - ours(*(at - move))[0]) / (2e-4 * at[j])
        # Slopes only lead the way, and weigh: what is expected is what has to be right.
        np.testing.assert_allclose(slope, wanted, atol=1e-2 * abs(wanted).max())


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 90), st.floats(-6, 15), st.floats(0.5, 9.0), st.integers(1, 9))
def test_sums_are_numpy_s(size, power, noise, many) -> None:
    rng = np.random.default_rng(size)
    expected = 10.0**power * rng.random(size) + 1e-3
    counts = rng.poisson(3.0, size).astype(float)
    slopes = np.vstack([rng.standard_normal((3, size)), np.ones(size)])
    rows, matrix, score = np.empty((9, 90)), np.zeros((4, 4)), np.empty(4)
    rows[0, :size], rows[1:4, :size] = expected, slopes[:3]

    ours = eels_sums.information(counts, noise, many, tuple(rows), matrix, score)
    again = eels_sums.misfit(counts, noise, tuple(rows))
    chi2 = eels_sums.pearson(counts, rows[0, :size], noise, 2.0)

    weight, off = many / (expected + noise), counts - expected
    assert ours == pytest.approx((weight * off**2).sum(), rel=1e-12)
    assert again == pytest.approx(ours, rel=1e-12)
    wanted = (off**2 / np.maximum(expected + noise, 2.0)).sum()
    assert chi2 == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(
        matrix, np.tril((slopes * weight) @ slopes.T), rtol=1e-9, atol=1e-12
    )
    assert score == pytest.approx((slopes * weight) @ off, rel=1e-9, abs=1e-9)
    rows[0, 0] = -noise
    assert eels_sums.misfit(counts, noise, tuple(rows)) == np.inf


def test_a_lorentzian_is_fitted_to_a_lorentzian() -> None:
    rng = np.random.default_rng(6)
    sigma_ev = FWHM_EV / np.sqrt(8 * np.log(2))
    zero = 1e5 * 0.25 * special.voigt_profile(AXIS_EV + 0.3, sigma_ev, 0.0)
    loss = special.voigt_profile(AXIS_EV - 14.2 + 0.3, sigma_ev, 2.0)
    inside = AXIS_EV > 7  # in the model a Lorentzian ends nowhere, in nature it does
    expected = zero + 3e4 * 0.25 * loss * inside + 2.0
    double = special.voigt_profile(AXIS_EV - 28.4 + 0.3, sigma_ev, 4.0)
    expected += 3e4**2 / 2e5 * 0.25 * double * inside

    found = fit_plasmon(
        rng.poisson(expected, (1000, AXIS_EV.size)), AXIS_EV, model="lorentzian"
    )

    assert found.is_fitted.all()
    for name, wanted in (("energy_ev", 14.2), ("width_ev", 4.0), ("amplitude", 3e4)):
        values = getattr(found, name)
        assert abs(values.mean() - wanted) < 0.15 * values.std(), name


@pytest.mark.parametrize("model", ["lorentzian", "drude"])
@pytest.mark.parametrize("step_ev", [0.25, 0.03])
def test_a_line_without_blur_or_plural_losses_is_fitted_alone(model, step_ev) -> None:
    rng = np.random.default_rng(9)
    axis_ev = np.arange(5.0, 33.0, step_ev)
    half = 2.0
    if model == "lorentzian":
        line = half / np.pi / ((axis_ev - 15.0) ** 2 + half**2)
    else:
        epsilon = 1 - 15.0**2 / (axis_ev * (axis_ev + 4j))
        place = np.sqrt(15.0**2 - half**2)
        line = (-1 / epsilon).imag * place / 15.0**2 / np.arctan2(place, half)
    spectra = rng.poisson(5e4 * step_ev * line + 5.0, (1000, axis_ev.size))

    found = fit_plasmon(
        spectra, axis_ev, model=model, window_ev=(5.0, 33.0), deconvolved=True
    )

    assert found.is_fitted.all()
    assert found.reduced_chi2.mean() == pytest.approx(1.0, abs=0.02)
    for values, sigma, wanted in (
        (found.energy_ev, found.energy_sigma_ev, 15.0),
        (found.width_ev, found.width_sigma_ev, 4.0),
        (found.amplitude, found.amplitude_sigma, 5e4),
    ):
        error = values.std() / np.sqrt(values.size)
        assert abs(values.mean() - wanted) < 3 * error
        assert sigma.mean() == pytest.approx(values.std(), rel=0.08)
    assert (found.zero_loss_ev == 0).all()
    assert (found.resolution_ev == 0).all()
    assert np.isnan(found.zero_loss_counts).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(-16, 16), st.integers(0, 2**32 - 1))
def test_a_moved_axis_moves_the_zero_loss_and_nothing_else(channels, seed) -> None:
    expected = expected_counts(LITHIATED, AXIS_EV, 1e5)
    spectrum = record(expected, np.random.default_rng(seed), readout=0.0)

    here = fit_plasmon(spectrum, AXIS_EV)
    there = fit_plasmon(spectrum, AXIS_EV + 0.25 * channels)

    assert there.zero_loss_ev == pytest.approx(here.zero_loss_ev + 0.25 * channels)
    for name in ("energy_ev", "width_ev", "amplitude", "energy_sigma_ev"):
        assert getattr(there, name) == pytest.approx(getattr(here, name), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.floats(2.0, 1000.0), st.integers(0, 2**32 - 1))
def test_more_counts_of_one_shape_sharpen_and_do_not_move(factor, seed) -> None:
    expected = expected_counts(LITHIATED, AXIS_EV, 1e6)
    spectrum = record(expected, np.random.default_rng(seed), readout=0.0)

    one = fit_plasmon(spectrum, AXIS_EV)
    more = fit_plasmon(factor * spectrum, AXIS_EV)

    # Not exact: the least noise of a channel that is assumed does not grow.
    assert abs(more.energy_ev - one.energy_ev) < 0.1 * one.energy_sigma_ev
    assert more.amplitude == pytest.approx(factor * one.amplitude, rel=2e-3)
    assert more.energy_sigma_ev == pytest.approx(
        one.energy_sigma_ev / np.sqrt(factor), rel=1e-2
    )


def test_each_spectrum_is_on_its_own_and_threads_change_no_bit() -> None:
    spectra = recordings(LITHIATED, 1e6, 2.0, 5_000)[0][:600]
    order = np.random.default_rng(7).permutation(600)

    one = fit_plasmon(spectra, AXIS_EV, readout_sigma=2.0)
    two = fit_plasmon(spectra[order], AXIS_EV, readout_sigma=2.0, threads=3)
    as_map = fit_plasmon(spectra.reshape(20, 30, -1), AXIS_EV, readout_sigma=2.0)
    alone = fit_plasmon(spectra[17], AXIS_EV, readout_sigma=2.0)

    for name in ("energy_ev", "width_ev", "amplitude", "reduced_chi2"):
        values = getattr(one, name)
        assert (values[order] == getattr(two, name)).all()
        assert (values.reshape(20, 30) == getattr(as_map, name)).all()
        assert values[17] == getattr(alone, name)
        assert getattr(alone, name).shape == ()


def test_spectra_without_a_result_say_why_and_hold_nan() -> None:
    rng = np.random.default_rng(8)
    good = record(expected_counts(LITHIATED, AXIS_EV, 1e5), rng, readout=0.0)
    vacuum = replace(LITHIATED, t_over_lambda=0.0)
    empty = record(expected_counts(vacuum, AXIS_EV, 1e5), rng, readout=0.0)
    dark = rng.poisson(3.0, AXIS_EV.size).astype(float)

    found = fit_plasmon([good, empty, dark, np.zeros_like(dark)], AXIS_EV)

    assert found.status[0] == FitStatus.FITTED
    assert found.status[1] in (FitStatus.NO_PLASMON, FitStatus.NOT_CONVERGED)
    assert (found.status[2:] == FitStatus.NO_ZERO_LOSS).all()
    assert (np.isnan(found.energy_ev) == ~found.is_fitted).all()
    assert np.isnan(found.amplitude[1:]).all()
    assert found.zero_loss_ev[1] == pytest.approx(0.0, abs=0.02)
    assert np.isnan(found.zero_loss_ev[2:]).all()


FINE = expected_counts(LITHIATED, AXIS_EV, 1e5)
NAN, BELOW = FINE.copy(), FINE.copy()
NAN[3], BELOW[5] = np.nan, -1.0


@pytest.mark.parametrize(
    ("spectra", "axis_ev", "options", "text"),
    [
        (NAN, AXIS_EV, {}, r"1 of 256 values are negative or not finite.* at \(3,\)"),
        (BELOW, AXIS_EV, {}, r"the first, -1, at \(5,\); mend .* readout noise"),
        (BELOW, AXIS_EV, {"readout_sigma": 0.1}, "below -0.8 counts or not finite"),
        (FINE, AXIS_EV[1:], {}, r"energy_ev \(255,\) doesn't fit .* 256 channels"),
        (FINE, AXIS_EV[::-1], {}, "not increasing from channel to channel"),
        (FINE, AXIS_EV**3, {}, "channels from .* eV wide; give channels of one width"),
        (FINE, AXIS_EV + 30, {}, "20 to 83.75 eV holds no zero loss within 5 eV of 0"),
        (np.zeros(256), AXIS_EV, {}, "none of 1 has a zero loss within 5 eV of 0"),
        (np.zeros((0, 256)), AXIS_EV, {}, "holds no spectrum"),
        (FINE[:8], AXIS_EV[:8], {}, "8 channels are no spectrum"),
        ("abc", AXIS_EV, {}, "spectra: not an array of counts"),
        (FINE, AXIS_EV, {"model": "gauss"}, "give one of drude, lorentzian"),
        (FINE, AXIS_EV, {"window_ev": (24, 9)}, "24 to 9 eV is no interval"),
        (FINE, AXIS_EV, {"window_ev": (4, 9)}, "looked for below the plasmon"),
        (FINE, AXIS_EV, {"readout_sigma": -1}, "readout_sigma -1: give counts"),
    ],
)
def test_what_can_t_be_fitted_is_refused(spectra, axis_ev, options, text) -> None:
    with pytest.raises(KernelInputError, match=text):
        fit_plasmon(spectra, axis_ev, **options)
