"""Sums over channels, eight at once: the likelihood, and Fisher's information.

The compiler may take the terms of a sum in any order here, and here only. The order
is the same for every spectrum of a length, so that results don't depend on others.
"""

import math
from typing import Final

import numpy as np
from numba import njit

__all__ = ["deviance", "information"]

_ORDER: Final = {"reassoc", "contract", "nsz"}
_LOG_2: Final = math.log(2.0)
_ROOT_2: Final = math.sqrt(2.0)
_BIAS: Final = 1023
_DIGITS: Final = (1 << 52) - 1
_ONE: Final = _BIAS << 52


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_ORDER)
def deviance(counts, expected, noise, rows):  # type: ignore[no-untyped-def]
    """Return minus the log-likelihood but for a constant; infinite if impossible.

    rows: (2, channels at least), written to. The logarithm is that of the mantissa, by
    its series in (f - 1) / (f + 1) to 1e-15, and of the exponent.
    """
    size = expected.size
    mean, log = rows[0], rows[1]
    least = np.inf
    for i in range(size):
        mean[i] = expected[i] + noise
        least = min(least, mean[i])
    if not least > 1e-300:
        return np.inf
    bits = mean.view(np.int64)
    for i in range(size):
        log[i] = (bits[i] >> 52) - _BIAS
        bits[i] = (bits[i] & _DIGITS) | _ONE
    total = 0.0
    for i in range(size):
        high = mean[i] > _ROOT_2
        f = 0.5 * mean[i] if high else mean[i]
        s = (f - 1.0) / (f + 1.0)
        q = s * s
        series = 1 / 17 + q * (1 / 19 + q / 21)
        series = 1 / 11 + q * (1 / 13 + q * (1 / 15 + q * series))
        series = 1 / 5 + q * (1 / 7 + q * (1 / 9 + q * series))
        value = 2.0 * s * (1.0 + q * (1 / 3 + q * series))
        value += (log[i] + 1.0 if high else log[i]) * _LOG_2
        total += expected[i] + noise - (counts[i] + noise) * value
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_ORDER)
def information(counts, expected, noise, slopes, rows, matrix, score):  # type: ignore[no-untyped-def]
    """Sum Fisher's information (the lower half) and the score over channels.

    slopes: (parameter, channels at least)
    """
    size = counts.size
    weight, part = rows[0], rows[1]
    for i in range(size):
        weight[i] = 1.0 / (expected[i] + noise)
    for j in range(score.size):
        one = slopes[j]
        total = 0.0
        for i in range(size):
            part[i] = one[i] * weight[i]
            total += part[i] * (counts[i] - expected[i])
        score[j] = total
        for k in range(j + 1):
            other = slopes[k]
            total = 0.0
            for i in range(size):
                total += part[i] * other[i]
            matrix[j, k] = total
