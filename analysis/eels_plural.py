"""Losses to two and three plasmons, from the profile of one.

What scattered n times has, by Poisson's law, counts^n / (n! elastic^(n - 1)) electrons
(R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed.,
2011, 4.1), and the profile folded n - 1 times with itself.
"""

import math
from typing import Final

from numba import njit

from cryoline.analysis.eels_loops import IN_ORDER
from cryoline.analysis.eels_profiles import LORENTZIAN

__all__ = ["MOST_NODES", "NODE_ROWS", "plural_losses"]

MOST_NODES: Final = 256
"""Between no loss and the last channel."""

NODE_ROWS: Final = 9
"""Of work at nodes."""

_NODES_A_WIDTH: Final = 6.0
"""A sum over nodes is then an integral to 1e-8, and a cubic between them right to 4e-4
of the peak."""


@njit(**IN_ORDER)
def _lorentzians(x, step_ev, energy_ev, width_ev, counts, elastic, rows):  # type: ignore[no-untyped-def]
    """Add what `plural_losses` does: a Lorentzian folded is one, n times as wide."""
    value, by_counts, by_energy, by_width = rows[0], rows[1], rows[2], rows[3]
    below_2, below_3 = rows[4], rows[5]
    half_2, half_3 = width_ev, 1.5 * width_ev
    for i in range(x.size):
        away_2, away_3 = x[i] - 2.0 * energy_ev, x[i] - 3.0 * energy_ev
        one, other = (
            away_2 * away_2 + half_2 * half_2,
            away_3 * away_3 + half_3 * half_3,
        )
        over = 1.0 / (one * other)
        below_2[i] = other * over
        below_3[i] = one * over
    two = step_ev * counts * counts / (2.0 * math.pi * elastic)
    three = step_ev * counts**3 / (6.0 * math.pi * elastic * elastic)
    twice, thrice = half_2 * two, half_3 * three
    of_twice, of_thrice = 2.0 * twice / counts, 3.0 * thrice / counts
    for i in range(x.size):
        value[i] += twice * below_2[i] + thrice * below_3[i]
        by_counts[i] += of_twice * below_2[i] + of_thrice * below_3[i]
    for i in range(x.size):
        away_2, away_3 = x[i] - 2.0 * energy_ev, x[i] - 3.0 * energy_ev
        square_2, square_3 = (
            two * below_2[i] * below_2[i],
            three * below_3[i] * below_3[i],
        )
        by_energy[i] += (
            4.0 * half_2 * away_2 * square_2 + 6.0 * half_3 * away_3 * square_3
        )
        by_width[i] += (away_2 * away_2 - half_2 * half_2) * square_2 + 1.5 * (
            away_3 * away_3 - half_3 * half_3
        ) * square_3


@njit(**IN_ORDER)
def _drude(energy_ev, width_ev, delta_ev, size, once, by_energy, by_width):  # type: ignore[no-untyped-def]
    """Write single losses, of area 1, and their slopes, at nodes; return that at 0."""
    half = 0.5 * width_ev
    square = energy_ev * energy_ev
    place = math.sqrt(square - half * half)
    area = math.atan2(place, half)
    unit = width_ev * place / area
    log_by_energy = energy_ev / (place * place) - half / (energy_ev * place * area)
    log_by_width = 1.0 / width_ev - 0.5 * half / (place * place)
    log_by_width += 0.5 / (place * area)
    for j in range(size):
        loss = j * delta_ev
        away = loss * loss - square
        below = 1.0 / (away * away + loss * loss * width_ev * width_ev)
        here = unit * loss * below
        once[j] = here
        by_energy[j] = here * (log_by_energy + 4.0 * energy_ev * away * below)
        by_width[j] = here * (log_by_width - 2.0 * width_ev * loss * loss * below)
    return unit / (square * square)


@njit(**IN_ORDER)
def _fold(one, other, delta_ev, size, out):  # type: ignore[no-untyped-def]
    """Write sums over the nodes of one(t) other(E - t); both are 0 at 0."""
    for k in range(size):
        out[k] = 0.0
    for j in range(1, size):
        here = delta_ev * one[j]
        for k in range(size - j):
            out[k + j] += here * other[k]


@njit(**IN_ORDER)
def _between(x, delta_ev, size, nodes, rows):  # type: ignore[no-untyped-def]
    """Add four curves at channels: a cubic through the first's nodes, else lines."""
    value, by_counts, by_energy, by_width = nodes[0], nodes[1], nodes[2], nodes[3]
    out, out_counts, out_energy, out_width = rows[0], rows[1], rows[2], rows[3]
    over = 1.0 / delta_ev
    for i in range(x.size):
        at = x[i] * over
        k = min(max(int(at), 1), size - 3)
        f = at - k
        a, b = f * (f - 1.0) * (1 / 6), (f + 1.0) * (f - 2.0) * 0.5
        inner = b * ((f - 1.0) * value[k] - f * value[k + 1])
        outer = a * ((f + 1.0) * value[k + 2] - (f - 2.0) * value[k - 1])
        out[i] += inner + outer
        out_counts[i] += by_counts[k] + f * (by_counts[k + 1] - by_counts[k])
        out_energy[i] += by_energy[k] + f * (by_energy[k + 1] - by_energy[k])
        out_width[i] += by_width[k] + f * (by_width[k + 1] - by_width[k])


@njit(**IN_ORDER)
def plural_losses(  # type: ignore[no-untyped-def]
    model, x, step_ev, energy_ev, width_ev, sigma_ev, counts, elastic, nodes, rows
):
    """Add double and triple losses of so many single ones, counts a channel.

    x: (channel,), losses above 0
    nodes: NODE_ROWS arrays of MOST_NODES, written to
    rows: as of `eels_climb.Work`; 0 to 3 get the losses, and slopes by counts, energy
        and width; 4 and 5 are room
    Drude's are sums over nodes, evenly apart from no loss on, and curves between them;
    double losses are blurred by sigma_ev as far as curvature goes.
    """
    if model == LORENTZIAN:
        _lorentzians(x, step_ev, energy_ev, width_ev, counts, elastic, rows)
        return
    high = x[x.size - 1]
    delta = max(width_ev / _NODES_A_WIDTH, high / (MOST_NODES - 4))
    size = int(high / delta) + 4
    once, by_energy, by_width = nodes[4], nodes[5], nodes[6]
    twice, both = nodes[7], nodes[8]
    value, by_counts, more = nodes[0], nodes[1], nodes[2]
    ramp = _drude(energy_ev, width_ev, delta, size, once, by_energy, by_width)
    # Sums are trapezoids, whose error is the slope at the ends: there the profile is a
    # ramp (Euler and Maclaurin).
    ends = delta * delta / 12.0 * ramp
    _fold(once, once, delta, size, twice)
    for k in range(size):
        twice[k] += 2.0 * ends * once[k]
    two = step_ev * counts * counts / (2.0 * elastic)
    three = step_ev * counts**3 / (6.0 * elastic * elastic)
    _fold(once, twice, delta, size, more)
    curve = 0.5 * (sigma_ev / delta) ** 2
    for k in range(size):
        thrice = three * (more[k] + ends * twice[k])
        bend = 0.0
        if 0 < k < size - 1:
            bend = curve * (twice[k + 1] - 2.0 * twice[k] + twice[k - 1])
        double = two * (twice[k] + bend)
        value[k] = double + thrice
        by_counts[k] = (2.0 * double + 3.0 * thrice) / counts
        both[k] = 2.0 * two * once[k] + 3.0 * three * twice[k]
    _fold(by_energy, both, delta, size, nodes[2])
    _fold(by_width, both, delta, size, nodes[3])
    _between(x, delta, size, nodes, rows)
