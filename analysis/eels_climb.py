"""The most likely four parameters of a line on a level, by Fisher scoring.

Each step solves the equations of weighted least squares, with the weights of the place
where it begins: at rest they are those of the likelihood under Poisson noise. A step
has to bring the spectrum nearer, as these weights have it; else it is damped. A
camera's own noise is taken as more of the same (counts and model both grow by its
variance).
"""

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryoline.analysis.eels_loops import EXACT_ORDER, IN_ORDER
from cryoline.analysis.eels_plural import MOST_NODES, plural_losses
from cryoline.analysis.eels_profiles import bells, plasmons
from cryoline.analysis.eels_sums import information, misfit

__all__ = ["FINE", "ROUGH", "ZERO_LOSS", "Work", "climb", "new_work"]

ZERO_LOSS: Final = -1
"""The model of a Gaussian; others are those of `eels_profiles`."""

FINE, ROUGH = 0.01, 0.1
"""Standard deviations that another step might move anything."""

_STEPS: Final = 100
_NEARLY_FREE, _STUCK = 1e-2, 1e12
"""Damping below which there is none, and above which there is no way."""

_SHORT: Final = 30.0
"""How much longer than what may be left the last step is at the most."""

_NOTHING: Final = 1e-9
"""Of chi2: a gain that is lost in rounding."""


Row = NDArray[np.float64]


class Work(NamedTuple):
    """Room for the fits of one spectrum after the other."""

    rows: tuple[Row, Row, Row, Row, Row, Row, Row, Row, Row]
    """As long as a spectrum: what is expected; slopes by counts (or height), energy and
    width; four more that models need; weights."""
    more: tuple[Row, Row, Row, Row]
    """As long, of who calls."""
    nodes: tuple[Row, Row, Row, Row, Row, Row, Row, Row, Row]
    """Of `plural_losses`."""
    matrix: NDArray[np.float64]
    """(4, 4): Fisher's information."""
    lower: NDArray[np.float64]
    """(4, 4): its factor."""
    score: Row
    step: Row
    trial: Row
    column: Row
    """(4,) each."""


@njit(cache=True, nogil=True)
def new_work(channels) -> Any:  # type: ignore[no-untyped-def]
    """Return room for spectra of so many channels."""
    a, b, c = (
        np.empty((9, channels)),
        np.empty((4, channels)),
        np.empty((9, MOST_NODES)),
    )
    d = np.empty((4, 4))
    return Work(
        (a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]),
        (b[0], b[1], b[2], b[3]),
        (c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8]),
        np.empty((4, 4)), np.empty((4, 4)), d[0], d[1], d[2], d[3],
    )  # fmt: skip


@njit(**IN_ORDER)
def _zero_loss_model(x, theta, tail, rows):  # type: ignore[no-untyped-def]
    """A Gaussian (height, place, sigma) on a level, and the plasmon's tail."""
    height, place, sigma, level = theta[0], theta[1], theta[2], theta[3]
    expected, bell, by_place, by_sigma = rows[0], rows[1], rows[2], rows[3]
    bells(x, place, sigma, bell)
    over, unit = 1.0 / sigma, height / sigma
    for i in range(x.size):
        expected[i] = height * bell[i] + level + tail[i]
    for i in range(x.size):
        u = (x[i] - place) * over
        slope = unit * bell[i] * u
        by_place[i] = slope
        by_sigma[i] = slope * u


@njit(**IN_ORDER)
def _add_level(x, counts, level, rows):  # type: ignore[no-untyped-def]
    """Write what is expected of single losses, on a level."""
    expected, single = rows[0], rows[1]
    for i in range(x.size):
        expected[i] = counts * single[i] + level


@njit(**EXACT_ORDER)
def _evaluate(  # type: ignore[no-untyped-def]
    model, sigma_ev, elastic, step_ev, x, theta, tail, nodes, rows
):
    """Write what is expected, and its slopes. False if there can be no such thing.

    The zero loss: height, place, sigma, level. A plasmon: counts, energy, width, level.
    """
    if model == ZERO_LOSS:
        if not theta[2] > 0.1 * step_ev:
            return False
        _zero_loss_model(x, theta, tail, rows)
        return True
    if not _is_inside(x, theta):
        return False
    counts, energy, width = theta[0], theta[1], theta[2]
    plasmons(model, x, energy, width, sigma_ev, step_ev, counts, rows)
    _add_level(x, counts, theta[3], rows)
    if elastic < np.inf:
        plural_losses(
            model, x, step_ev, energy, width, sigma_ev, counts, elastic, nodes, rows
        )
    return True


@njit(**EXACT_ORDER)
def _is_inside(x, theta):  # type: ignore[no-untyped-def]
    """Whether a plasmon lies in its window, and is narrower than high."""
    return x[0] < theta[1] < x[x.size - 1] and 0.0 < theta[2] < theta[1]


@njit(**EXACT_ORDER)
def _hold_level(matrix, score):  # type: ignore[no-untyped-def]
    """Leave a level where it is: that under the zero loss is never below 0."""
    score[3] = matrix[3, 0] = matrix[3, 1] = matrix[3, 2] = 0.0
    matrix[3, 3] = 1.0


@njit(**EXACT_ORDER)
def _factor(matrix, damping, lower):  # type: ignore[no-untyped-def]
    """Factor the damped matrix (Cholesky); False if it has no inverse.

    The diagonal of the factor is written as one over it: so nobody divides.
    """
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
                lower[j, j] = 1.0 / math.sqrt(total)
            else:
                lower[j, k] = total * lower[k, k]
    return True


@njit(**EXACT_ORDER)
def _solve(lower, right, step):  # type: ignore[no-untyped-def]
    """Solve the factored equations."""
    for j in range(4):
        total = right[j]
        for k in range(j):
            total -= lower[j, k] * step[k]
        step[j] = total * lower[j, j]
    for j in range(3, -1, -1):
        total = step[j]
        for k in range(j + 1, 4):
            total -= lower[k, j] * step[k]
        step[j] = total * lower[j, j]


@njit(**EXACT_ORDER)
def _errors(lower, column, sigmas):  # type: ignore[no-untyped-def]
    """Write the standard deviations: roots of the inverse's diagonal.

    A column of the inverse factor after the other: of their squares it is the sum.
    """
    for k in range(4):
        square = column[k] = lower[k, k]
        square *= square
        for j in range(k + 1, 4):
            total = 0.0
            for m in range(k, j):
                total -= lower[j, m] * column[m]
            column[j] = total * lower[j, j]
            square += column[j] * column[j]
        sigmas[k] = math.sqrt(square)


@njit(**EXACT_ORDER)
def _is_last(model, x, gain, close, theta, lower, column, sigmas):  # type: ignore[no-untyped-def]
    """Whether after a step to theta nothing is left to gain; if so, write the errors.

    The next step is this one times noise, or its square: both by the line's own
    significance. If the model doesn't hold it may be a good part of this one.
    """
    moved = math.sqrt(max(gain, 0.0))
    if not (moved < _SHORT * close and (model == ZERO_LOSS or _is_inside(x, theta))):
        return False
    _errors(lower, column, sigmas)
    clear = max(abs(theta[0]) / sigmas[0], 1.0)
    return bool(moved * (1.0 + moved) < close * clear)


@njit(**EXACT_ORDER)
def climb(  # type: ignore[no-untyped-def]
    model, sigma_ev, elastic, step_ev, noise, many, close, damping, x, counts, tail,
    theta, sigmas, work,
) -> Any:  # fmt: skip
    """Move theta to the most likely place and write its errors; return what it gained.

    many: channels that each value is the mean of
    close: how near to rest it has to be, in standard deviations
    damping: of the first step
    Row 0 of work is what was expected before the last step, which gained what is
    returned, in chi2. Below 0: there is no such place.
    """
    rows, nodes, matrix, lower = work.rows, work.nodes, work.matrix, work.lower
    score, step, trial, column = work.score, work.step, work.trial, work.column
    floor = -0.9 * noise  # of the level under a zero loss
    gain, here = 0.0, np.inf
    weight = rows[8]
    for j in range(4):
        trial[j] = theta[j]
    for i in range(x.size):
        weight[i] = 0.0
    for _ in range(_STEPS):
        there = np.inf
        if _evaluate(model, sigma_ev, elastic, step_ev, x, trial, tail, nodes, rows):
            there = misfit(counts, noise, rows)
        if there < np.inf and there <= here * (1.0 + 1e-12):
            # Where the gain is less than foreseen, steps are too long.
            if here - there > 0.5 * gain or gain < _NOTHING:
                damping = damping * 0.05 if damping > _NEARLY_FREE else 0.0
            else:
                damping = max(8.0 * damping, 0.1)
            for j in range(4):
                theta[j] = trial[j]
            here = information(counts, noise, many, rows, matrix, score)
            if model == ZERO_LOSS and theta[3] <= floor and score[3] <= 0.0:
                _hold_level(matrix, score)
        elif here == np.inf:
            return -1.0
        else:
            damping = max(8.0 * damping, 0.01)
        while not _factor(matrix, damping, lower):
            damping = max(8.0 * damping, 0.01)
            if damping > _STUCK:
                return -1.0
        if damping > _STUCK:
            return -1.0
        _solve(lower, score, step)
        gain = 0.0
        for j in range(4):
            gain += step[j] * score[j]
            trial[j] = theta[j] + step[j]
        if model == ZERO_LOSS:
            trial[3] = max(trial[3], floor)
        if damping == 0.0 and _is_last(
            model, x, gain, close, trial, lower, column, sigmas
        ):
            for j in range(4):
                theta[j] = trial[j]
            return gain
    return -1.0
