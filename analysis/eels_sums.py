"""Sums over channels, eight at once: the misfit, and Fisher's information.

The compiler may take the terms of a sum in any order here, and here only. The order
is the same for every spectrum of a length, so that results don't depend on others.
"""

import numpy as np
from numba import njit

from cryoline.analysis.eels_loops import ANY_ORDER

__all__ = ["information", "misfit", "pearson"]


@njit(**ANY_ORDER)
def misfit(counts, noise, rows):  # type: ignore[no-untyped-def]
    """Return squared distances, weighted; infinite if less than nothing is expected.

    noise: variance of the camera's own, counts^2
    rows: as of `eels_climb.Work`
    """
    expected, weight = rows[0], rows[8]
    total = 0.0
    impossible = 0
    for i in range(counts.size):
        off = counts[i] - expected[i]
        total += weight[i] * off * off
        impossible += expected[i] + noise <= 1e-300
    return np.inf if impossible > 0 else total


@njit(**ANY_ORDER)
def information(counts, noise, many, rows, matrix, score):  # type: ignore[no-untyped-def]
    """Sum Fisher's information (the lower half) and the score; return the misfit.

    many: channels that each value is the mean of
    rows: as of `eels_climb.Work`; the fourth parameter is a level, of slope 1
    """
    expected, one, two, three, weight = rows[0], rows[1], rows[2], rows[3], rows[8]
    total = 0.0
    s0 = s1 = s2 = s3 = 0.0
    m00 = m10 = m11 = m20 = m21 = m22 = m30 = m31 = m32 = m33 = 0.0
    for i in range(counts.size):
        w = many / (expected[i] + noise)
        weight[i] = w
        off = counts[i] - expected[i]
        total += w * off * off
        a, b, c = one[i], two[i], three[i]
        wa, wb, wc = w * a, w * b, w * c
        s0 += wa * off
        s1 += wb * off
        s2 += wc * off
        s3 += w * off
        m00 += wa * a
        m10 += wb * a
        m11 += wb * b
        m20 += wc * a
        m21 += wc * b
        m22 += wc * c
        m30 += wa
        m31 += wb
        m32 += wc
        m33 += w
    score[0], score[1], score[2], score[3] = s0, s1, s2, s3
    matrix[0, 0] = m00
    matrix[1, 0], matrix[1, 1] = m10, m11
    matrix[2, 0], matrix[2, 1], matrix[2, 2] = m20, m21, m22
    matrix[3, 0], matrix[3, 1], matrix[3, 2], matrix[3, 3] = m30, m31, m32, m33
    return total


@njit(**ANY_ORDER)
def pearson(counts, expected, readout, least):  # type: ignore[no-untyped-def]
    """Return Pearson's chi2; no channel's variance is taken below least."""
    total = 0.0
    for i in range(counts.size):
        off = counts[i] - expected[i]
        total += off * off / max(expected[i] + readout, least)
    return total
