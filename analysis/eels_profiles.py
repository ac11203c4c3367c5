"""Profiles of a plasmon in an energy-loss spectrum, as numba sees them.

Each loop goes over channels, in plain numbers, and writes three rows at most: so the
compiler takes eight channels at once. (Of more it won't prove that they don't overlap.)
Sources: R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope,
3rd ed. (2011), 3.3 (Drude's loss function); J. A. C. Weideman, SIAM J. Numer. Anal. 31,
1497 (1994) for w(z) = exp(-z^2) erfc(-iz).
"""

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryoline.analysis.eels_loops import EXACT_ORDER, IN_ORDER

__all__ = ["DRUDE", "LORENTZIAN", "bells", "loss_tails", "plasmons", "voigts"]

DRUDE: Final = 0
LORENTZIAN: Final = 1

_TERMS: Final = 16
"""Of Weideman's series; w is then right to 3e-7, its real part to 1e-5."""

_NODES: Final = 10
"""Of the quadrature that does instead where it is as good."""

_WIDE: Final = 1.75
"""Half width, in root 2 of the blur's standard deviation, from which it is."""

_ROOT_PI: Final = math.sqrt(math.pi)
_ROOT_2: Final = math.sqrt(2.0)


def _weideman(terms: int) -> tuple[float, NDArray[np.float64]]:
    """Return the length of the series' map and its coefficients, highest first."""
    length = math.sqrt(terms / _ROOT_2)
    half = 2 * terms
    t = length * np.tan(np.arange(1 - half, half) * np.pi / half / 2)
    samples = np.concatenate([[0.0], np.exp(-t * t) * (length**2 + t * t)])
    series = np.fft.fft(np.fft.fftshift(samples)).real / (2 * half)
    return length, np.ascontiguousarray(series[terms:0:-1])


def _quadrature(nodes: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return polynomials P and Q of z^2, highest first, with w(z) = i z P / Q.

    A sum of Lorentzians in place of their integral over a Gaussian, by Gauss and
    Hermite; on one fraction line.
    """
    places, weights = np.polynomial.hermite.hermgauss(nodes)
    squares, parts = places[places > 0] ** 2, 2.0 * weights[places > 0] / math.pi
    above = sum(part * np.poly(np.delete(squares, k)) for k, part in enumerate(parts))
    return tuple(map(float, np.atleast_1d(above))), tuple(map(float, np.poly(squares)))


_LENGTH, _SERIES = _weideman(_TERMS)
(_P0, _P1, _P2, _P3, _P4), (_, _Q1, _Q2, _Q3, _Q4, _Q5) = _quadrature(_NODES)

_FOOT: Final = 5.0
"""Standard deviations beyond which a blurred ramp is a ramp."""


def _even(terms: int) -> tuple[float, ...]:
    """Return the even part of a blurred ramp by 2 u^2 / 25 - 1, lowest term first."""
    u = np.linspace(0.0, _FOOT, 501)
    bell = np.exp(-0.5 * u * u) / (_ROOT_2 * _ROOT_PI)
    even = bell + 0.5 * u * np.array([math.erf(one / _ROOT_2) for one in u])
    x = 2.0 * (u / _FOOT) ** 2 - 1.0
    series = np.polynomial.Chebyshev.fit(x, even, terms - 1, domain=[-1, 1])
    return tuple(map(float, series.convert(kind=np.polynomial.Polynomial).coef))


_E0, _E1, _E2, _E3, _E4, _E5, _E6, _E7, _E8 = _even(9)


@njit(**IN_ORDER)
def bells(x, place, sigma, out):  # type: ignore[no-untyped-def]
    """Write exp(-u^2 / 2), u = (x - place) / sigma, by a series, squared six times.

    Right to 1e-12 up to u = 4; below 1e-17 beyond 9.
    """
    for i in range(x.size):
        u = (x[i] - place) / sigma
        v = -min(0.5 * u * u, 40.0) / 64.0
        e = 1.0 + v * (1 / 7) * (1.0 + v * (1 / 8))
        e = 1.0 + v * (1 / 4) * (1.0 + v * (1 / 5) * (1.0 + v * (1 / 6) * e))
        e = 1.0 + v * (1.0 + v * (1 / 2) * (1.0 + v * (1 / 3) * e))
        e *= e
        e *= e
        e *= e
        e *= e
        e *= e
        out[i] = e * e


@njit(**IN_ORDER)
def _lorentzians(x, place, half_width, rows):  # type: ignore[no-untyped-def]
    """Write what `voigts` does if there is no blur."""
    value, by_x, by_half = rows[1], rows[2], rows[3]
    for i in range(x.size):
        across = x[i] - place
        below = 1.0 / (across * across + half_width * half_width)
        value[i] = half_width * below
        by_x[i] = -2.0 * across * half_width * below * below
        by_half[i] = (across * across - half_width * half_width) * below * below


@njit(**IN_ORDER)
def _wide_voigts(x, place, half_width, sigma, rows):  # type: ignore[no-untyped-def]
    """Write what `voigts` does, by the quadrature.

    Real polynomials of the complex z^2 by a recurrence in real numbers.
    """
    scale = 1.0 / (_ROOT_2 * sigma)
    height = half_width * scale
    unit = _ROOT_PI * scale
    value, by_x, by_half = rows[1], rows[2], rows[3]
    for i in range(x.size):
        across = (x[i] - place) * scale
        re = across * across - height * height
        im = 2.0 * across * height
        twice, norm = 2.0 * re, re * re + im * im
        one = _Q1 + twice
        two = _Q2 + twice * one - norm
        one = _Q3 + twice * two - norm * one
        two = _Q4 + twice * one - norm * two
        q_re, q_im = _Q5 + re * two - norm * one, im * two
        one = _P1 + twice * _P0
        two = _P2 + twice * one - norm * _P0
        one = _P3 + twice * two - norm * one
        p_re, p_im = _P4 + re * one - norm * two, im * one
        zp_re = across * p_re - height * p_im
        zp_im = across * p_im + height * p_re
        below = 1.0 / (q_re * q_re + q_im * q_im)
        w_re = (zp_re * q_im - zp_im * q_re) * below
        w_im = (zp_re * q_re + zp_im * q_im) * below
        slope_re = -2.0 * (across * w_re - height * w_im)
        slope_im = 2.0 / _ROOT_PI - 2.0 * (across * w_im + height * w_re)
        value[i] = unit * w_re
        by_x[i] = unit * scale * slope_re
        by_half[i] = -unit * scale * slope_im


@njit(**IN_ORDER)
def _narrow_voigts(x, place, half_width, sigma, rows):  # type: ignore[no-untyped-def]
    """Write what `voigts` does, by the series, a term of all channels at a time."""
    scale = 1.0 / (_ROOT_2 * sigma)
    height = half_width * scale
    value, by_x, by_half = rows[1], rows[2], rows[3]
    below_re, below_im, ratio_re, ratio_im = rows[4], rows[5], rows[6], rows[7]
    size = x.size
    near = _LENGTH + height
    for i in range(size):
        across = (x[i] - place) * scale
        # 1 / (L - iz) with z = across + i height, then (L + iz) times it
        norm = 1.0 / (near * near + across * across)
        below_re[i], below_im[i] = near * norm, across * norm
        far = _LENGTH - height
        ratio_re[i] = (far * near - across * across) * norm
        ratio_im[i] = (far + near) * across * norm
        value[i], by_x[i] = _SERIES[0], 0.0
    for term in range(1, _TERMS):
        more = _SERIES[term]
        for i in range(size):
            re = value[i] * ratio_re[i] - by_x[i] * ratio_im[i] + more
            by_x[i] = value[i] * ratio_im[i] + by_x[i] * ratio_re[i]
            value[i] = re
    unit = _ROOT_PI * scale
    for i in range(size):
        re = 2.0 * (value[i] * below_re[i] - by_x[i] * below_im[i]) + 1.0 / _ROOT_PI
        im = 2.0 * (value[i] * below_im[i] + by_x[i] * below_re[i])
        w_re = below_re[i] * re - below_im[i] * im
        w_im = below_re[i] * im + below_im[i] * re
        across = (x[i] - place) * scale
        slope_re = -2.0 * (across * w_re - height * w_im)
        slope_im = 2.0 / _ROOT_PI - 2.0 * (across * w_im + height * w_re)
        value[i] = unit * w_re
        by_x[i] = unit * scale * slope_re
        by_half[i] = -unit * scale * slope_im


@njit(**EXACT_ORDER)
def voigts(x, place, half_width, sigma, rows):  # type: ignore[no-untyped-def]
    """Write h / (u^2 + h^2) blurred by a Gaussian, and its slopes by u and by h.

    u = x - place, h = half_width; sigma may be 0. Right to 1e-5 of the peak.
    rows: eight arrays as of `eels_climb.Work`; 1 to 3 get the result, then is room
    """
    if sigma == 0.0:
        _lorentzians(x, place, half_width, rows)
    elif half_width >= _WIDE * _ROOT_2 * sigma:
        _wide_voigts(x, place, half_width, sigma, rows)
    else:
        _narrow_voigts(x, place, half_width, sigma, rows)


@njit(**IN_ORDER)
def plasmons(model, x, energy_ev, width_ev, sigma_ev, step_ev, counts, rows):  # type: ignore[no-untyped-def]
    """Write single losses a channel, of 1 in all, and slopes of so many counts of them.

    Drude: E W Ep^2 / ((E^2 - Ep^2)^2 + (E W)^2), which is the difference of two
    Lorentzians at +-sqrt(Ep^2 - W^2 / 4), each W wide; its area is that above E = 0.
    The one at the plasmon is blurred by the resolution, sigma_ev. Rows as of `voigts`,
    the slopes by energy and by width.
    """
    half = 0.5 * width_ev
    value, by_energy, by_width = rows[1], rows[2], rows[3]
    if model == LORENTZIAN:
        voigts(x, energy_ev, half, sigma_ev, rows)
        over = step_ev / math.pi
        all_over = counts * over
        for i in range(x.size):
            value[i] *= over
            by_energy[i] *= -all_over
            by_width[i] *= 0.5 * all_over
        return
    square = energy_ev * energy_ev
    place = math.sqrt(square - half * half)
    voigts(x, place, half, sigma_ev, rows)
    over = 0.5 / math.atan2(place, half)
    area_by_place, area_by_half = (
        2.0 * over * half / square,
        2.0 * over * place / square,
    )
    by_place_of, by_half_of = energy_ev / place, half / place
    over *= step_ev
    all_over = counts * over
    for i in range(x.size):
        mirror = x[i] + place
        below = 1.0 / (mirror * mirror + half * half)
        here = value[i] - half * below
        by_place = -by_energy[i] + 2.0 * half * mirror * below * below
        by_half = by_width[i] - (mirror * mirror - half * half) * below * below
        by_place -= here * area_by_place
        by_half += here * area_by_half
        value[i] = here * over
        by_energy[i] = by_place * by_place_of * all_over
        by_width[i] = 0.5 * (by_half - by_place * by_half_of) * all_over


@njit(**IN_ORDER)
def loss_tails(x, energy_ev, width_ev, sigma_ev, scale, out):  # type: ignore[no-untyped-def]
    """Write what a Drude plasmon leaves under the zero loss, per eV, times scale.

    Near 0 the loss function rises in proportion to the loss, from 0; blurred by the
    resolution that is a ramp with a rounded foot.
    """
    half = 0.5 * width_ev
    square = energy_ev * energy_ev
    place = math.sqrt(square - half * half)
    unit = scale * sigma_ev * width_ev * place / math.atan2(place, half)
    for i in range(x.size):
        loss = x[i] * x[i]
        away = loss - square
        slope = unit / (away * away + loss * width_ev * width_ev)
        u = x[i] / sigma_ev
        u = min(max(u, -_FOOT), _FOOT)
        v = (2.0 / _FOOT**2) * u * u - 1.0
        even = _E5 + v * (_E6 + v * (_E7 + v * _E8))
        even = _E0 + v * (_E1 + v * (_E2 + v * (_E3 + v * (_E4 + v * even))))
        out[i] = slope * (0.5 * u + even + max(x[i] / sigma_ev - _FOOT, 0.0))
