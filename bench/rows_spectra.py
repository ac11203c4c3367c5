"""Rows on energy-loss spectra: a Lorentzian plasmon on a level, 1024 channels.

Three tasks, with the same guesses for whoever wants one: a bare line in all channels;
the zero loss and the plasmon, blurred by it, with what scattered twice and thrice; and
that one by ours against the peers' bare line in a window of 300 channels.
"""

import numpy as np
from interleaved import Row, compare
from scipy import optimize, special

from cryoline.analysis.eels import fit_plasmon

__all__ = ["exactness", "rows"]

_CHANNELS = 1024
_STEP_EV = 0.05
_AXIS_EV = _STEP_EV * np.arange(_CHANNELS) - 10.0
_BARE_STEP_EV = 0.025
_BARE_AXIS_EV = _BARE_STEP_EV * np.arange(_CHANNELS) + 2.0
_TRUTH = np.array([15.0, 4.0, 6e5, 40.0, 0.0, 0.64, 2e6])
"""Energy and width, eV; counts; level, counts a channel; zero loss and its standard
deviation, eV; its counts. A second level, of 0, is under the zero loss."""
_GUESS = np.array([14.0, 5.0, 4e5, 20.0, 0.02, 0.7, 1.8e6, 1.0])
_WINDOW_EV = (9.0, 24.0)
_INSIDE = (_AXIS_EV >= _WINDOW_EV[0]) & (_AXIS_EV < _WINDOW_EV[1])
_REACH_EV = 4 * _TRUTH[5]
_FITTED = _INSIDE | (np.abs(_AXIS_EV) < _REACH_EV)
_OURS, _SCIPY, _HYPERSPY = 2048, 24, 48
_GOALS = (80.0, 200.0)
_SEEDS, _SPECTRA = 20, 5000


def rows() -> list[Row]:
    """Compare with scipy's curve_fit and hyperspy's multifit."""
    spectra = _spectra(_OURS, seed=1)
    bare = np.random.default_rng(3).poisson(
        _line(_BARE_AXIS_EV, *_TRUTH[:4], step_ev=_BARE_STEP_EV), (_OURS, _CHANNELS)
    )
    bare = bare.astype(float)
    everywhere = np.ones(_CHANNELS, bool)
    return [
        *_against(
            "EELS, bare line, 1024 channels",
            lambda: fit_plasmon(
                bare, _BARE_AXIS_EV, model="lorentzian", window_ev=(2.0, 27.6),
                deconvolved=True,
            ),
            (bare, _BARE_AXIS_EV, everywhere, _bare_line, _GUESS[:4]),
        ),
        *_against(
            "EELS, zero loss and plasmon, 1024 channels",
            lambda: fit_plasmon(spectra, _AXIS_EV, model="lorentzian"),
            (spectra, _AXIS_EV, _FITTED, _whole, _GUESS),
        ),
        *_against(
            "EELS, the same, against a bare line in 300 channels",
            lambda: fit_plasmon(spectra, _AXIS_EV, model="lorentzian"),
            (spectra, _AXIS_EV, _INSIDE, _line, _GUESS[:4]),
        ),
    ]  # fmt: skip


def exactness() -> dict[str, float]:
    """Return bias and spread of the energy over the bound of Cramer and Rao."""
    found = [
        fit_plasmon(_spectra(_SPECTRA, seed), _AXIS_EV, model="lorentzian")
        for seed in range(2, 2 + _SEEDS)
    ]
    off_ev = np.array([fit.energy_ev - _TRUTH[0] for fit in found])
    of_seed = off_ev.mean(1) / off_ev.std(1) * np.sqrt(_SPECTRA)
    steps = 1e-4 * np.maximum(np.abs(_TRUTH), 1.0)
    moves = steps[:, None] * np.eye(_TRUTH.size)
    slopes = [
        (_mean(_TRUTH + move) - _mean(_TRUTH - move)) / (2 * step)
        for move, step in zip(moves, steps, strict=True)
    ]
    # The two levels are parameters, too; _TRUTH moves both together.
    levels = [_INSIDE.astype(float), (_FITTED & ~_INSIDE).astype(float)]
    slopes_there = np.array([*slopes[:3], *slopes[4:], *levels])[:, _FITTED]
    information = (slopes_there / _mean(_TRUTH)[_FITTED]) @ slopes_there.T
    bound_ev = np.linalg.inv(information)[0, 0] ** 0.5
    return {
        f"eels_fitted_of_{off_ev.size}": float(sum(f.is_fitted.sum() for f in found)),
        "eels_bias_in_standard_errors": float(
            off_ev.mean() / off_ev.std() * np.sqrt(off_ev.size)
        ),
        "eels_bias_of_seeds_in_standard_errors_rms": float(
            np.sqrt(np.mean(of_seed**2))
        ),
        "eels_bias_uev": float(1e6 * off_ev.mean()),
        "eels_std_over_cramer_rao": float(off_ev.std() / bound_ev),
    }


def _against(name, ours, task) -> list[Row]:
    """Compare ours with peers that fit a model to the same spectra, weighted.

    task: spectra, axis, which channels, model(x, *parameters), its guess
    """
    spectra, axis_ev, channels, model, guess = task
    x, goals = axis_ev[channels], _GOALS

    def by_scipy() -> None:
        for spectrum in spectra[:_SCIPY]:
            y = spectrum[channels]
            optimize.curve_fit(model, x, y, guess, sigma=np.sqrt(y + 1))

    return compare(
        name,
        ours,
        {
            "scipy curve_fit": (by_scipy, _SCIPY / _OURS, goals[0]),
            "hyperspy multifit": (_hyperspy(*task), _HYPERSPY / _OURS, goals[1]),
        },
    )


def _line(x, energy, width, counts, level, *, step_ev=_STEP_EV):
    half = 0.5 * width
    return level + step_ev * counts / np.pi * half / ((x - energy) ** 2 + half**2)


def _bare_line(x, energy, width, counts, level):
    return _line(x, energy, width, counts, level, step_ev=_BARE_STEP_EV)


def _whole(x, energy, width, counts, level, zero, sigma, elastic, level_below=None):
    """A Gaussian on a level, and Lorentzians blurred by it on another."""
    level_below = level if level_below is None else level_below
    loss = x - zero
    above = loss > 5.0
    far, near = loss[above], loss[~above]
    out = np.empty_like(x)
    unit = _STEP_EV * elastic / (sigma * np.sqrt(2 * np.pi))
    out[~above] = unit * np.exp(-0.5 * (near / sigma) ** 2) + level_below
    half = 0.5 * width
    losses = counts * special.voigt_profile(far - energy, sigma, half)
    for n, part in ((2, counts**2 / (2 * elastic)), (3, counts**3 / (6 * elastic**2))):
        losses += part * n * half / np.pi / ((far - n * energy) ** 2 + (n * half) ** 2)
    out[above] = _STEP_EV * losses + level
    return out


def _mean(at: np.ndarray) -> np.ndarray:
    """Counts expected in each channel."""
    return _whole(_AXIS_EV, *at)


def _spectra(size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.poisson(_mean(_TRUTH), (size, _CHANNELS)).astype(float)


def _hyperspy(spectra, axis_ev, channels, model, guess):
    """Return the same by hyperspy; a line and a level of its own where that is all."""
    import hyperspy.api as hs
    from hyperspy.component import Component

    hs.preferences.General.show_progressbar = False
    some = spectra[:_HYPERSPY]
    signal = hs.signals.Signal1D(some)
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.offset = axis_ev[1] - axis_ev[0], axis_ev[0]
    signal.set_noise_variance(hs.signals.Signal1D(some + 1))
    fitted = signal.create_model()
    if guess.size == 4:
        line, level = hs.model.components1D.Lorentzian(), hs.model.components1D.Offset()
        fitted.extend([line, level])
        places = [line.centre, line.gamma, line.A, level.offset]
        start = guess * [1.0, 0.5, axis.scale, 1.0]
    else:

        class Whole(Component):
            def __init__(self) -> None:
                super().__init__([f"p{j}" for j in range(guess.size)])

            def function(self, x):
                return model(x, *(p.value for p in self.parameters))

        whole = Whole()
        places, start = whole.parameters, guess
        for place, value in zip(places, start, strict=True):
            place.value = value
        fitted.append(whole)
    edges = np.flatnonzero(np.diff(np.pad(channels.astype(int), 1)))
    keep = fitted.set_signal_range
    for first, last in edges.reshape(-1, 2):
        keep(float(axis_ev[first]), float(axis_ev[last - 1]))
        keep = fitted.add_signal_range

    def fit() -> None:
        for place, value in zip(places, start, strict=True):
            place.value = value
        fitted.assign_current_values_to_all()
        fitted.multifit(show_progressbar=False)

    return fit
