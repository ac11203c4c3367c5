"""Fit a zero loss and a plasmon to each spectrum, in turns until both rest.

Each spectrum is a loop of its own, so that neither the others nor the number of threads
change a bit of it.
"""

import math
from typing import Any, Final

import numpy as np
from numba import njit

from cryoline.analysis.eels_climb import FINE, ROUGH, ZERO_LOSS, climb, new_work
from cryoline.analysis.eels_guess import (
    FWHM_PER_SIGMA,
    SIGNIFICANT,
    guess_plasmon,
    guess_zero_loss,
    means_of,
)
from cryoline.analysis.eels_loops import EXACT_ORDER
from cryoline.analysis.eels_profiles import DRUDE, loss_tails
from cryoline.analysis.eels_sums import pearson

__all__ = ["FITTED", "NOT_CONVERGED", "NO_PLASMON", "NO_ZERO_LOSS", "OUTPUTS", "fit"]

FITTED: Final = 0
NO_ZERO_LOSS: Final = 1
NO_PLASMON: Final = 2
NOT_CONVERGED: Final = 3

OUTPUTS: Final = (
    "zero_loss_ev", "zero_loss_sigma_ev", "zero_loss_counts", "resolution_ev",
    "energy_ev", "energy_sigma_ev", "width_ev", "width_sigma_ev",
    "amplitude", "amplitude_sigma", "background", "reduced_chi2",
)  # fmt: skip
"""What `fit` writes, one column each."""

_ROUNDS: Final = 8
_AT_REST: Final = 0.25
"""Standard deviations that energy, width and counts may have moved in the last turn.

What the zero loss makes of it, and they of that, is less by some orders.
"""

_LEAST_NOISE: Final = 1.0
"""Variance of the camera's noise, counts^2, that is assumed at the least.

Without it a level of next to no counts, which may come out below 0, has no likelihood;
with it the equations stay unbiased, and channels with few counts tell little anyhow.
"""

_REACH: Final = 4.0
"""Standard deviations of the zero loss that are fitted on either side."""

_CAREFUL: Final = 1.0
"""Damping of first steps where steps of full length have led nowhere."""

_MEAN_EV: Final = 0.25
"""What is taken together, where channels are finer, for guesses and first steps."""

_MEANS_A_WIDTH: Final = 5.0
"""Below that means say nothing of a line's shape."""


@njit(**EXACT_ORDER)
def _fit_zero_loss(  # type: ignore[no-untyped-def]
    model, counts, energy_ev, step_ev, search_ev, noise, close, damping, loss, zero,
    sigmas, work,
):  # fmt: skip
    """Fit within reach of where it was; return its electrons, 0 if there is none.

    A Drude plasmon's tail, if there is one yet, lies under it.
    """
    reach = _REACH * zero[2]
    first = max(np.searchsorted(energy_ev, zero[1] - reach), 0)
    last = max(np.searchsorted(energy_ev, zero[1] + reach), first + 5)
    if last > energy_ev.size:
        return 0.0
    x, tail = energy_ev[first:last], work.more[0][: last - first]
    if model == DRUDE and loss[2] > 0.0:
        for i in range(x.size):
            tail[i] = x[i] - zero[1]
        loss_tails(tail, loss[1], loss[2], zero[2], loss[0] * step_ev, tail)
    else:
        for i in range(x.size):
            tail[i] = 0.0
    gain = climb(
        ZERO_LOSS, 0.0, np.inf, step_ev, noise, 1, close, damping, x,
        counts[first:last], tail, zero, sigmas, work,
    )  # fmt: skip
    if not (gain >= 0.0 and zero[0] > SIGNIFICANT * sigmas[0]):
        return 0.0
    if not (abs(zero[1]) < search_ev and zero[2] > 0.0):
        return 0.0
    return zero[0] * zero[2] * math.sqrt(2.0 * math.pi) / step_ev


@njit(**EXACT_ORDER)
def _begin(  # type: ignore[no-untyped-def]
    model, sigma_ev, elastic, step_ev, noise, damping, x, counts, loss, sigmas, work
):
    """Guess a plasmon, and come near it: on means of channels if these are fine."""
    many = max(1, int(_MEAN_EV / step_ev * (1.0 + 1e-9)))
    more = work.more
    size = means_of(counts, x, many, more[2], more[3])
    means, places = more[2][:size], more[3][:size]
    guess_plasmon(means, places, step_ev, sigma_ev, more[0], loss)
    if size < 8 or loss[2] < _MEANS_A_WIDTH * many * step_ev:
        return
    # A mean over channels is a blur: of a line that is not narrow, as by a Gaussian.
    blur_ev = math.sqrt(sigma_ev**2 + step_ev**2 * (many * many - 1) / 12.0)
    guess = more[0][:4]
    for j in range(4):
        guess[j] = loss[j]
    if (
        climb(
            model, blur_ev, elastic, step_ev, noise, many, ROUGH, damping, places,
            means, means, loss, sigmas, work,
        ) < 0.0
    ):  # fmt: skip
        for j in range(4):
            loss[j] = guess[j]


@njit(**EXACT_ORDER)
def _fit_one(  # type: ignore[no-untyped-def]
    counts, energy_ev, model, low_ev, high_ev, search_ev, readout, damping, out,
    thetas, work,
):  # fmt: skip
    """Fit one spectrum; write OUTPUTS and return how it went.

    The zero loss stands on the plasmon's tail, and the plasmon on what of it scattered
    twice, known from both; so they take turns until the energy rests. Where search_ev
    is 0 there is no zero loss: the spectrum lies at 0, without blur or plural losses.
    """
    noise = max(readout, _LEAST_NOISE)
    step_ev = (energy_ev[energy_ev.size - 1] - energy_ev[0]) / (energy_ev.size - 1)
    zero, zero_sigmas = thetas[0], thetas[1]
    loss, loss_sigmas, before = thetas[2], thetas[3], thetas[4]
    zero[1] = zero[2] = loss[2] = 0.0
    elastic, gain = np.inf, 0.0
    sharp = search_ev == 0.0
    if not sharp and not guess_zero_loss(counts, energy_ev, search_ev, noise, zero):
        return NO_ZERO_LOSS
    first, size = 0, 0
    for turn in range(_ROUNDS):
        if not sharp:
            elastic = _fit_zero_loss(
                model, counts, energy_ev, step_ev, search_ev, noise,
                ROUGH if turn == 0 else FINE, damping, loss, zero, zero_sigmas, work,
            )  # fmt: skip
            if elastic == 0.0:
                return NO_ZERO_LOSS
            out[0], out[1], out[2] = zero[1], zero_sigmas[1], elastic
            out[3] = zero[2] * FWHM_PER_SIGMA
        first = np.searchsorted(energy_ev, zero[1] + low_ev)
        size = np.searchsorted(energy_ev, zero[1] + high_ev) - first
        if size < 8:
            return NO_PLASMON
        x, here = work.more[1][:size], counts[first : first + size]
        for i in range(size):
            x[i] = energy_ev[first + i] - zero[1]
        if turn == 0:
            _begin(
                model, zero[2], elastic, step_ev, noise, damping, x, here, loss,
                loss_sigmas, work,
            )  # fmt: skip
            for j in range(3):
                before[j] = loss[j]
            if not sharp:
                continue
        gain = climb(
            model, zero[2], elastic, step_ev, noise, 1, FINE, damping, x, here, here,
            loss, loss_sigmas, work,
        )  # fmt: skip
        if gain < 0.0:
            return NOT_CONVERGED
        moved = 0.0
        for j in range(3):
            moved = max(moved, abs(loss[j] - before[j]) / loss_sigmas[j])
            before[j] = loss[j]
        if model != DRUDE or moved < _AT_REST:
            break
    if not loss[0] > SIGNIFICANT * loss_sigmas[0]:
        return NO_PLASMON
    here, expected = counts[first : first + size], work.rows[0][:size]
    chi2 = pearson(here, expected, readout, 0.5 * _LEAST_NOISE) - gain
    if sharp:
        out[0] = out[1] = out[3] = 0.0
    out[4], out[5] = loss[1], math.hypot(loss_sigmas[1], zero_sigmas[1])
    out[6], out[7] = loss[2], loss_sigmas[2]
    out[8], out[9], out[10] = loss[0], loss_sigmas[0], loss[3]
    out[11] = max(chi2, 0.0) / (size - 4)
    return FITTED


@njit(cache=True, nogil=True)
def fit(  # type: ignore[no-untyped-def]
    spectra, energy_ev, model, low_ev, high_ev, search_ev, readout, out, status
) -> Any:
    """Fit (spectrum, channel) into out (spectrum, OUTPUTS) and status (spectrum,)."""
    work, thetas = new_work(spectra.shape[1]), np.zeros((5, 4))
    for row in range(spectra.shape[0]):
        status[row] = NOT_CONVERGED
        for damping in (0.0, _CAREFUL):
            how = _fit_one(
                spectra[row], energy_ev, model, low_ev, high_ev, search_ev, readout,
                damping, out[row], thetas, work,
            )  # fmt: skip
            status[row] = min(status[row], how)
            if how == FITTED or how == NO_ZERO_LOSS:
                break
