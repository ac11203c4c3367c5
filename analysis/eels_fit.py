"""Fit a zero loss and a plasmon to each spectrum, by Fisher scoring with damped steps.

The most likely parameters under Poisson noise; a camera's own noise is taken as more
of the same (counts and model both grow by its variance). Each spectrum is a loop of
its own, so that neither the others nor the number of threads change a bit of it.
"""

import math
from typing import Any, Final

import numpy as np
from numba import njit

from cryoline.analysis.eels_guess import (
    FWHM_PER_SIGMA,
    SIGNIFICANT,
    guess_plasmon,
    guess_zero_loss,
)
from cryoline.analysis.eels_profiles import DRUDE, loss_tail, plasmons, plural_losses
from cryoline.analysis.eels_sums import deviance, information

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

_STEPS: Final = 60
_ROUNDS: Final = 8
_AT_REST: Final = 0.25
"""Standard deviations that energy, width and counts may have moved in the last turn.

The next would move them by the square of it, about, for slopes are part of the model.
"""

_DONE: Final = 1e-7
"""A step is the last if it gains less likelihood than this."""

_LEAST_NOISE: Final = 1.0
"""Variance of the camera's noise, counts^2, that is assumed at the least.

Without it a level of next to no counts, which may come out below 0, has no likelihood;
with it the equations stay unbiased, and channels with few counts tell little anyhow.
"""

_REACH: Final = 4.0
"""Standard deviations of the zero loss that are fitted on either side."""


@njit(cache=True, nogil=True, error_model="numpy")
def _zero_loss_model(x, theta, extra, expected, slopes):  # type: ignore[no-untyped-def]
    """A Gaussian (height, place, sigma) on a level, and what else is known there."""
    height, place, sigma, level = theta[0], theta[1], theta[2], theta[3]
    for i in range(x.size):
        u = (x[i] - place) / sigma
        bell = math.exp(-0.5 * u * u)
        expected[i] = height * bell + level + extra[i, 0]
        slopes[0, i] = bell
        slopes[1, i] = height * bell * u / sigma
        slopes[2, i] = height * bell * u * u / sigma
        slopes[3, i] = 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _plasmon_model(  # type: ignore[no-untyped-def]
    model, sigma_ev, step_ev, x, theta, extra, expected, slopes, rows
):
    """A plasmon (energy, width, counts) on a level, and what scattered more often.

    extra: as `_straight` writes it
    """
    energy, width, counts, level = theta[0], theta[1], theta[2], theta[3]
    plasmons(model, x, energy, width, sigma_ev, rows)
    for i in range(x.size):
        unit = step_ev * rows[0, i]
        twice = extra[i, 0] + energy * extra[i, 1] + width * extra[i, 2]
        thrice = extra[i, 3] + energy * extra[i, 4] + width * extra[i, 5]
        square = counts * counts
        more = square * twice + counts * square * thrice
        expected[i] = counts * unit + more + level
        by_energy = step_ev * rows[1, i] + counts * (extra[i, 1] + counts * extra[i, 4])
        by_width = step_ev * rows[2, i] + counts * (extra[i, 2] + counts * extra[i, 5])
        slopes[0, i] = counts * by_energy
        slopes[1, i] = counts * by_width
        slopes[2, i] = unit + 2.0 * counts * twice + 3.0 * square * thrice
        slopes[3, i] = 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(  # type: ignore[no-untyped-def]
    kind, sigma_ev, step_ev, noise, x, counts, theta, extra, expected, slopes, rows
):
    """Return minus the log-likelihood (but for a constant); infinite if impossible."""
    if kind < 0:
        if theta[2] <= 0.1 * step_ev:
            return np.inf
        _zero_loss_model(x, theta, extra, expected, slopes)
    else:
        if not (x[0] < theta[0] < x[-1] and 0.0 < theta[1] < theta[0]):
            return np.inf
        _plasmon_model(kind, sigma_ev, step_ev, x, theta, extra, expected, slopes, rows)
    return deviance(counts, expected[: x.size], noise, rows[3:5])


@njit(cache=True, nogil=True, error_model="numpy")
def _hold_level(matrix, score):  # type: ignore[no-untyped-def]
    """Leave a level where it is: that under the zero loss is never below 0."""
    score[3] = matrix[3, 0] = matrix[3, 1] = matrix[3, 2] = 0.0
    matrix[3, 3] = 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _factor(matrix, damping, lower):  # type: ignore[no-untyped-def]
    """Factor the damped matrix (Cholesky); False if it has no inverse."""
    for j in range(4):
        for k in range(j + 1):
            total = matrix[j, k]
            if j == k:
                total *= 1.0 + damping
            floor = 1e-13 * total
            for m in range(k):
                total -= lower[j, m] * lower[k, m]
            if j == k:
                if not total > floor:
                    return False
                lower[j, j] = math.sqrt(total)
            else:
                lower[j, k] = total / lower[k, k]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _solve(lower, right, step):  # type: ignore[no-untyped-def]
    """Solve the factored equations."""
    for j in range(4):
        total = right[j]
        for k in range(j):
            total -= lower[j, k] * step[k]
        step[j] = total / lower[j, j]
    for j in range(3, -1, -1):
        total = step[j]
        for k in range(j + 1, 4):
            total -= lower[k, j] * step[k]
        step[j] = total / lower[j, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _climb(  # type: ignore[no-untyped-def]
    kind, sigma_ev, step_ev, noise, x, counts, extra, theta, sigmas,
    expected, slopes, rows, matrix, lower, vectors,
):  # fmt: skip
    """Move theta to the most likely place; write its errors. False if there is none."""
    size = x.size
    score, step, trial = vectors[0], vectors[1], vectors[2]
    here = _evaluate(
        kind, sigma_ev, step_ev, noise, x, counts, theta, extra, expected, slopes, rows
    )
    if not here < np.inf:
        return False
    damping = 1e-3
    floor = -0.9 * noise  # of the level under a zero loss
    done = False
    for _ in range(_STEPS):
        information(counts, expected[:size], noise, slopes, rows[3:5], matrix, score)
        if kind < 0 and theta[3] <= floor and score[3] <= 0.0:
            _hold_level(matrix, score)
        while True:
            gain = 0.0
            there = np.inf
            if _factor(matrix, damping, lower):
                _solve(lower, score, step)
                for j in range(4):
                    gain += 0.5 * step[j] * score[j]
                    trial[j] = theta[j] + step[j]
                if kind < 0:
                    trial[3] = max(trial[3], floor)
                there = _evaluate(
                    kind, sigma_ev, step_ev, noise, x, counts, trial, extra,
                    expected, slopes, rows,
                )  # fmt: skip
            if there <= here + 1e-12 * abs(here):
                break
            damping *= 8.0
            if damping > 1e12:
                return False
        for j in range(4):
            theta[j] = trial[j]
        # A damped step is short: only one that is nearly free and gains nothing is at
        # the top. Where the gain is less than foreseen, steps are too long.
        done = gain < _DONE and damping < 2.0
        if here - there > 0.5 * gain:
            damping = max(damping * 0.05, 1e-9)
        else:
            damping = max(damping * 8.0, 0.1)
        here = there
        if done:
            break
    if not done:
        return False
    information(counts, expected[:size], noise, slopes, rows[3:5], matrix, score)
    if kind < 0 and theta[3] <= floor:
        _hold_level(matrix, score)
    if not _factor(matrix, 0.0, lower):
        return False
    for j in range(4):
        for k in range(4):
            score[k] = 1.0 if k == j else 0.0
        _solve(lower, score, step)
        sigmas[j] = math.sqrt(step[j])
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _straight(  # type: ignore[no-untyped-def]
    turn, model, x, step_ev, energy_ev, width_ev, sigma_ev, elastic
):
    """Return plural losses as straight functions of energy and width, near these.

    (channel, 6): constant, by energy and by width, of double and of triple losses;
    constants only in the first turn, at a guess
    """
    h = 1e-3 * width_ev
    here = plural_losses(model, x, step_ev, energy_ev, width_ev, sigma_ev, elastic)
    out = np.zeros((x.size, 6))
    if turn == 0:
        out[:, 0], out[:, 3] = here[:, 0], here[:, 1]
        return out
    up = plural_losses(model, x, step_ev, energy_ev + h, width_ev, sigma_ev, elastic)
    wide = plural_losses(model, x, step_ev, energy_ev, width_ev + h, sigma_ev, elastic)
    for i in range(x.size):
        for n in range(2):
            by_energy = (up[i, n] - here[i, n]) / h
            by_width = (wide[i, n] - here[i, n]) / h
            out[i, 3 * n] = here[i, n] - by_energy * energy_ev - by_width * width_ev
            out[i, 3 * n + 1] = by_energy
            out[i, 3 * n + 2] = by_width
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_one(  # type: ignore[no-untyped-def]
    counts, energy_ev, model, low_ev, high_ev, search_ev, readout, out
):
    """Fit one spectrum; write OUTPUTS and return how it went.

    The zero loss stands on the plasmon's tail, and the plasmon on what of it scattered
    twice, known from both; so they take turns until the energy rests.
    """
    noise = max(readout, _LEAST_NOISE)
    step_ev = (energy_ev[-1] - energy_ev[0]) / (energy_ev.size - 1)
    expected = np.empty(counts.size)
    slopes = np.empty((4, counts.size))
    rows = np.empty((7, counts.size))
    matrix, lower, vectors = np.empty((4, 4)), np.empty((4, 4)), np.empty((3, 4))
    zero, zero_sigmas = np.empty(4), np.empty(4)
    loss, loss_sigmas = np.empty(4), np.empty(4)
    if not guess_zero_loss(counts, energy_ev, search_ev, noise, zero):
        return NO_ZERO_LOSS
    before = np.zeros(4)
    for turn in range(_ROUNDS):
        reach = _REACH * zero[2]
        first = max(np.searchsorted(energy_ev, zero[1] - reach), 0)
        last = max(np.searchsorted(energy_ev, zero[1] + reach), first + 5)
        if last > energy_ev.size:
            return NO_ZERO_LOSS
        x = energy_ev[first:last]
        extra = np.zeros((x.size, 1))
        if turn > 0 and model == DRUDE:
            for i in range(x.size):
                extra[i, 0] = (
                    loss[2]
                    * step_ev
                    * loss_tail(x[i] - zero[1], loss[0], loss[1], zero[2])
                )
        if not (
            _climb(
                -1, 0.0, step_ev, noise, x, counts[first:last], extra, zero,
                zero_sigmas, expected, slopes, rows, matrix, lower, vectors,
            )
            and zero[0] > SIGNIFICANT * zero_sigmas[0]
            and abs(zero[1]) < search_ev
        ):  # fmt: skip
            return NO_ZERO_LOSS
        elastic = zero[0] * zero[2] * math.sqrt(2.0 * math.pi) / step_ev
        out[0], out[1], out[2] = zero[1], zero_sigmas[1], elastic
        out[3] = zero[2] * FWHM_PER_SIGMA

        first = np.searchsorted(energy_ev, zero[1] + low_ev)
        last = np.searchsorted(energy_ev, zero[1] + high_ev)
        if last - first < 8:
            return NO_PLASMON
        x = energy_ev[first:last] - zero[1]
        if turn == 0:
            guess_plasmon(counts[first:last], x, step_ev, loss)
        extra = _straight(turn, model, x, step_ev, loss[0], loss[1], zero[2], elastic)
        if not _climb(
            model, zero[2], step_ev, noise, x, counts[first:last], extra, loss,
            loss_sigmas, expected, slopes, rows, matrix, lower, vectors,
        ):  # fmt: skip
            return NOT_CONVERGED
        moved = 0.0
        for j in range(3):
            moved = max(moved, abs(loss[j] - before[j]) / loss_sigmas[j])
            before[j] = loss[j]
        if moved < _AT_REST:
            break
    if not loss[2] > SIGNIFICANT * loss_sigmas[2]:
        return NO_PLASMON
    square = 0.0
    for i in range(x.size):
        off = counts[first + i] - expected[i]
        square += off * off / max(expected[i] + readout, 0.5 * _LEAST_NOISE)
    out[4], out[5] = loss[0], math.hypot(loss_sigmas[0], zero_sigmas[1])
    out[6], out[7] = loss[1], loss_sigmas[1]
    out[8], out[9], out[10] = loss[2], loss_sigmas[2], loss[3]
    out[11] = square / (x.size - 4)
    return FITTED


@njit(cache=True, nogil=True, error_model="numpy")
def fit(  # type: ignore[no-untyped-def]
    spectra, energy_ev, model, low_ev, high_ev, search_ev, readout, out, status
) -> Any:
    """Fit (spectrum, channel) into out (spectrum, OUTPUTS) and status (spectrum,)."""
    for row in range(spectra.shape[0]):
        status[row] = _fit_one(
            spectra[row],
            energy_ev,
            model,
            low_ev,
            high_ev,
            search_ev,
            readout,
            out[row],
        )
