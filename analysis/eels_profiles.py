"""Profiles of a plasmon in an energy-loss spectrum, as numba sees them.

Sources: R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope,
3rd ed. (2011), 3.3 (Drude's loss function) and 4.1 (Poisson statistics of plural
scattering); J. A. C. Weideman, SIAM J. Numer. Anal. 31, 1497 (1994) for w(z).
"""

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "DRUDE",
    "LORENTZIAN",
    "drude",
    "loss_tail",
    "plasmon",
    "plasmons",
    "plural",
    "plural_losses",
    "voigt",
    "voigts",
]

DRUDE: Final = 0
LORENTZIAN: Final = 1

_TERMS: Final = 16
"""Of Weideman's series; w is then right to 3e-7, its real part to 1e-5."""

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


_LENGTH, _SERIES = _weideman(_TERMS)


@njit(cache=True, nogil=True, error_model="numpy")
def _faddeeva(z: complex) -> Any:
    """Return w(z) = exp(-z^2) erfc(-iz) in the upper half plane."""
    below = 1.0 / (_LENGTH - 1j * z)
    ratio = (_LENGTH + 1j * z) * below
    total = complex(_SERIES[0], 0.0)
    for term in range(1, _TERMS):
        total = total * ratio + _SERIES[term]
    return below * (2.0 * total * below + 1.0 / _ROOT_PI)


@njit(cache=True, nogil=True, error_model="numpy")
def voigt(x: float, half_width: float, sigma: float) -> Any:
    """Return h / (x^2 + h^2) blurred by a Gaussian, and its slopes by x and by h."""
    scale = 1.0 / (_ROOT_2 * sigma)
    z = complex(x * scale, half_width * scale)
    w = _faddeeva(z)
    slope = 2j / _ROOT_PI - 2.0 * z * w
    unit = _ROOT_PI * scale
    return unit * w.real, unit * scale * slope.real, -unit * scale * slope.imag


@njit(cache=True, nogil=True, error_model="numpy")
def voigts(x, place, half_width, sigma, rows):  # type: ignore[no-untyped-def]
    """Write `voigt` of each x - place, and its slopes by x and by h, to rows 0 to 2.

    rows: (7, channels at least). The same series, a term of all channels after the
    other, in plain numbers: so the compiler takes eight channels at once.
    """
    scale = 1.0 / (_ROOT_2 * sigma)
    height = half_width * scale
    value, by_x, by_half = rows[0], rows[1], rows[2]
    below_re, below_im, ratio_re, ratio_im = rows[3], rows[4], rows[5], rows[6]
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


@njit(cache=True, nogil=True, error_model="numpy")
def plasmons(model, x, energy_ev, width_ev, sigma_ev, rows):  # type: ignore[no-untyped-def]
    """Write `plasmon` of each channel, and its slopes, to rows 0 to 2, as `voigts`."""
    half = 0.5 * width_ev
    value, by_energy, by_width = rows[0], rows[1], rows[2]
    if model == LORENTZIAN:
        voigts(x, energy_ev, half, sigma_ev, rows)
        for i in range(x.size):
            value[i] /= math.pi
            by_energy[i] /= -math.pi
            by_width[i] *= 0.5 / math.pi
        return
    square = energy_ev * energy_ev
    place = math.sqrt(square - half * half)
    voigts(x, place, half, sigma_ev, rows)
    over = 1.0 / (2.0 * math.atan2(place, half))
    for i in range(x.size):
        mirror = x[i] + place
        below = 1.0 / (mirror * mirror + half * half)
        here = value[i] - half * below
        by_place = -by_energy[i] + 2.0 * half * mirror * below * below
        by_half = by_width[i] - (mirror * mirror - half * half) * below * below
        by_place -= here * over * 2.0 * half / square
        by_half += here * over * 2.0 * place / square
        value[i] = here * over
        by_energy[i] = by_place * energy_ev / place * over
        by_width[i] = 0.5 * (by_half - by_place * half / place) * over


@njit(cache=True, nogil=True, error_model="numpy")
def plasmon(model, loss_ev, energy_ev, width_ev, sigma_ev):  # type: ignore[no-untyped-def]
    """Return single losses per eV, of area 1, and the slopes by energy and width.

    Drude: E W Ep^2 / ((E^2 - Ep^2)^2 + (E W)^2), which is the difference of two
    Lorentzians at +-sqrt(Ep^2 - W^2 / 4), each W wide; its area is that above E = 0.
    The one at the plasmon is blurred by the resolution, sigma_ev.
    """
    half = 0.5 * width_ev
    if model == LORENTZIAN:
        value, by_x, by_half = voigt(loss_ev - energy_ev, half, sigma_ev)
        return value / math.pi, -by_x / math.pi, 0.5 * by_half / math.pi
    place = math.sqrt(energy_ev * energy_ev - half * half)
    value, by_x, by_half = voigt(loss_ev - place, half, sigma_ev)
    mirror = loss_ev + place
    below = 1.0 / (mirror * mirror + half * half)
    value -= half * below
    by_place = -by_x + 2.0 * half * mirror * below * below
    by_half -= (mirror * mirror - half * half) * below * below
    area = 2.0 * math.atan2(place, half)
    square = energy_ev * energy_ev
    by_place -= value / area * 2.0 * half / square
    by_half += value / area * 2.0 * place / square
    by_energy = by_place * energy_ev / place
    by_width = 0.5 * (by_half - by_place * half / place)
    return value / area, by_energy / area, by_width / area


@njit(cache=True, nogil=True, error_model="numpy")
def plural(model: int, loss_ev: float, energy_ev: float, width_ev: float) -> Any:
    """Return double losses per eV, of area 1: the profile folded with itself.

    Drude's in closed form, from the partial fractions of its four poles.
    """
    half = 0.5 * width_ev
    if model == LORENTZIAN:
        x = loss_ev - 2.0 * energy_ev
        return width_ev / (x * x + width_ev * width_ev) / math.pi
    if loss_ev <= 0.0:
        return 0.0
    place = math.sqrt(energy_ev * energy_ev - half * half)
    pole = complex(place, half)
    mirror = complex(-place, half)
    one = np.log(1.0 - loss_ev / pole)
    two = np.log(1.0 - loss_ev / mirror)
    beyond = loss_ev - 2.0 * place
    if abs(beyond) < 1e-4:
        ratio = place / (energy_ev * energy_ev)  # its limit
    else:
        ratio = one.real / beyond
    total = (one / (loss_ev - 2.0 * pole)).real + (two / (loss_ev - 2.0 * mirror)).real
    total -= ((one + two) / complex(loss_ev, -width_ev)).real
    total += (one + two).real / loss_ev
    total -= ratio + two.real / (loss_ev + 2.0 * place)
    area = 2.0 * math.atan2(place, half)
    return -total / (area * area)


@njit(cache=True, nogil=True, error_model="numpy")
def drude(loss_ev: float, energy_ev: float, width_ev: float) -> Any:
    """Return single losses per eV, of area 1, not blurred."""
    half = 0.5 * width_ev
    place = math.sqrt(energy_ev * energy_ev - half * half)
    away = loss_ev * loss_ev - energy_ev * energy_ev
    below = away * away + (loss_ev * width_ev) ** 2
    return loss_ev * width_ev * place / below / math.atan2(place, half)


@njit(cache=True, nogil=True, error_model="numpy")
def loss_tail(loss_ev, energy_ev, width_ev, sigma_ev):  # type: ignore[no-untyped-def]
    """Return what a Drude plasmon leaves under the zero loss, per eV.

    Near 0 the loss function rises in proportion to the loss, from 0; blurred by the
    resolution that is a ramp with a rounded foot.
    """
    near = 1e-3 * energy_ev
    slope = drude(max(abs(loss_ev), near), energy_ev, width_ev)
    slope /= max(abs(loss_ev), near)
    u = loss_ev / sigma_ev
    foot = u * 0.5 * math.erfc(-u / _ROOT_2)
    foot += math.exp(-0.5 * u * u) / (_ROOT_2 * _ROOT_PI)
    return slope * sigma_ev * foot


@njit(cache=True, nogil=True, error_model="numpy")
def plural_losses(  # type: ignore[no-untyped-def]
    model, x, step_ev, energy_ev, width_ev, sigma_ev, elastic
):
    """Return double and triple losses of one plasmon count to the 2nd and the 3rd.

    Poisson statistics: n losses have counts^n / (n! elastic^(n - 1)).
    """
    double, triple = 0.5 * step_ev / elastic, step_ev / 6.0 / elastic**2
    out = np.empty((x.size, 2))
    if model == LORENTZIAN:
        for i in range(x.size):
            for n in (2, 3):
                away, half = x[i] - n * energy_ev, 0.5 * n * width_ev
                out[i, n - 2] = half / (away * away + half * half) / math.pi
            out[i, 0] *= double
            out[i, 1] *= triple
        return out
    below = int(x[0] / step_ev)  # channels down to no loss
    size = below + x.size + 1
    twice = np.empty(size)
    for i in range(size):
        twice[i] = plural(model, x[0] + (i - below) * step_ev, energy_ev, width_ev)
    stride = max(1, int(min(0.25, width_ev / 8.0) / step_ev))
    once = np.empty(size // stride + 1)
    for j in range(once.size):
        once[j] = drude(j * stride * step_ev, energy_ev, width_ev)
    curve = 0.5 * (sigma_ev / step_ev) ** 2
    for i in range(x.size):
        k = below + i
        total = 0.0
        for j in range(1, k // stride + 1):
            total += once[j] * twice[k - j * stride]
        out[i, 1] = triple * total * stride * step_ev
        blur = curve * (twice[k + 1] - 2.0 * twice[k] + twice[k - 1]) if k > 0 else 0.0
        out[i, 0] = double * (twice[k] + blur)
    return out
