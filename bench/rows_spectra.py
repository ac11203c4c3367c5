"""Rows on energy-loss spectra: a Lorentzian plasmon on a level, 1024 channels."""

import numpy as np
from interleaved import Row, compare
from scipy import optimize

from cryoline.analysis.eels import fit_plasmon

__all__ = ["exactness", "rows"]

_STEP_EV, _CHANNELS = 0.05, 1024
_AXIS_EV = _STEP_EV * np.arange(_CHANNELS) - 10.0
_ZERO_COUNTS, _SIGMA_EV = 2e6, 0.64
_TRUTH = (15.0, 4.0, 6e5, 40.0)
"""Energy and width, eV; counts; level, counts a channel."""
_WINDOW_EV = (9.0, 24.0)
_OURS, _SCIPY, _HYPERSPY = 512, 24, 64


def rows() -> list[Row]:
    """Compare with scipy's curve_fit and hyperspy's multifit of a Lorentzian.

    Ours finds and fits the zero loss as well, blurs by it and counts double losses.
    """
    spectra = _spectra(_OURS, seed=1)
    inside = (_AXIS_EV >= _WINDOW_EV[0]) & (_AXIS_EV < _WINDOW_EV[1])
    x = _AXIS_EV[inside]
    guess = (14.0, 5.0, 4e5, 20.0)

    def by_scipy() -> None:
        for spectrum in spectra[:_SCIPY]:
            y = spectrum[inside]
            optimize.curve_fit(_lorentzian, x, y, guess, sigma=np.sqrt(y + 1))

    return compare(
        "EELS, plasmon and zero loss, 1024 channels",
        lambda: fit_plasmon(spectra, _AXIS_EV, model="lorentzian"),
        {
            "scipy curve_fit": (by_scipy, _SCIPY / _OURS, 80.0),
            "hyperspy multifit": (_hyperspy(spectra, guess), _HYPERSPY / _OURS, 200.0),
        },
    )


def exactness() -> dict[str, float]:
    """Return bias and spread of the energy over the bound of Cramer and Rao."""
    found = fit_plasmon(_spectra(5000, seed=2), _AXIS_EV, model="lorentzian")
    off_ev = found.energy_ev - _TRUTH[0]
    at = np.array([*_TRUTH, 0.0, _SIGMA_EV, np.log(_ZERO_COUNTS)])
    fitted = (np.abs(_AXIS_EV) < 4 * _SIGMA_EV) | (
        (_AXIS_EV > _WINDOW_EV[0]) & (_AXIS_EV < _WINDOW_EV[1])
    )
    found_slopes = []
    for j, step in enumerate(1e-4 * np.maximum(np.abs(at), 1.0)):
        move = step * np.eye(at.size)[j]
        found_slopes.append((_mean(at + move) - _mean(at - move))[fitted] / (2 * step))
    slopes = np.array(found_slopes)
    bound = np.linalg.inv((slopes / _mean(at)[fitted]) @ slopes.T)[0, 0] ** 0.5
    return {
        "eels_fitted_of_5000": float(found.is_fitted.sum()),
        "eels_bias_in_standard_errors": float(
            off_ev.mean() / (off_ev.std() / np.sqrt(off_ev.size))
        ),
        "eels_std_over_cramer_rao": float(off_ev.std() / bound),
    }


def _lorentzian(x, energy, width, counts, level):
    half = 0.5 * width
    return level + _STEP_EV * counts / np.pi * half / ((x - energy) ** 2 + half**2)


def _mean(at: np.ndarray) -> np.ndarray:
    """Counts expected: a Gaussian, and Lorentzians blurred by it, on a level."""
    from scipy.special import voigt_profile

    energy, width, counts, level, zero, sigma, log_elastic = at
    elastic, loss = np.exp(log_elastic), _AXIS_EV - zero
    bell = np.exp(-0.5 * (loss / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    shape = voigt_profile(loss - energy, sigma, width / 2)
    more = [
        counts**n / (factorial * elastic ** (n - 1))
        * (n * width / 2) / ((loss - n * energy) ** 2 + (n * width / 2) ** 2) / np.pi
        for n, factorial in ((2, 2.0), (3, 6.0))
    ]  # fmt: skip
    losses = (counts * shape + sum(more)) * (loss > 5.0)
    return _STEP_EV * (elastic * bell + losses) + level


def _spectra(size: int, seed: int) -> np.ndarray:
    at = np.array([*_TRUTH, 0.0, _SIGMA_EV, np.log(_ZERO_COUNTS)])
    rng = np.random.default_rng(seed)
    return rng.poisson(_mean(at), (size, _CHANNELS)).astype(float)


def _hyperspy(spectra: np.ndarray, guess: tuple[float, ...]):
    import hyperspy.api as hs

    hs.preferences.General.show_progressbar = False
    signal = hs.signals.Signal1D(spectra[:_HYPERSPY])
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.offset = _STEP_EV, _AXIS_EV[0]
    model = signal.create_model()
    line, level = hs.model.components1D.Lorentzian(), hs.model.components1D.Offset()
    model.extend([line, level])
    model.set_signal_range(*_WINDOW_EV)

    def fit() -> None:
        line.centre.value, line.gamma.value = guess[0], guess[1] / 2
        line.A.value, level.offset.value = guess[2] * _STEP_EV, guess[3]
        model.assign_current_values_to_all()
        model.multifit(show_progressbar=False)

    return fit
