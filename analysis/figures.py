"""Figures of what a cell did, as matplotlib Figures that need no display."""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryoline.analysis.cycling_axes import (
    CHARGE_UNITS,
    CURRENT_UNITS,
    Columns,
    colours_of,
    column,
    name_cycles,
    named,
    new_axes,
    unit_of,
)
from cryoline.analysis.voltammetry import scan_rate_mv_per_s

__all__ = [
    "charge_curve_figure",
    "voltammogram_figure",
]

_AT_REST: Final = 1e-7
"""[A] assumption: in a row of a rest, less of the half cycle's charge leaks."""
_HEIGHT_IN: Final = 4.2
_LINE_PT: Final = 11
_AXES_SHARE: Final = 0.8
_WORD: Final = 0.06
"""[A] a line of text; the axes' part of the figure's height, and a word's of theirs."""


def voltammogram_figure(
    points: Columns,
    peaks: Columns | None = None,
    *,
    specimen: str | None = None,
    scan_rate_mv_per_s: float | None = None,
    reference: str = "Li/Li$^+$",
) -> Figure:
    """Return current against potential, one colour a cycle, peaks marked.

    points: columns potential_v, current_a, cycle_number, half_cycle (a device's
        prefix before them does not matter); with instrument_time_s the scan rate is
        found in the data if it is not given
    peaks: columns cycle_number, potential_v, current_a, as in the stream `peaks`
    Raises StreamError if a column is missing.
    """
    potential_v = column(points, "potential_v")
    current_a = column(points, "current_a")
    cycle = column(points, "cycle_number")
    half = column(points, "half_cycle")
    unit_a, unit = unit_of(current_a, CURRENT_UNITS)
    figure, axes = new_axes(5.6, _HEIGHT_IN)
    axes.axhline(0.0, color="0.75", linewidth=0.8, zorder=0)
    colours = colours_of(cycle)
    for number, colour in colours.items():
        for half_cycle in np.unique(half[cycle == number]):
            rows = np.flatnonzero((cycle == number) & (half == half_cycle))
            if rows[0]:  # no gap where it turns
                rows = np.r_[rows[0] - 1, rows]
            axes.plot(
                potential_v[rows],
                current_a[rows] / unit_a,
                color=colour,
                linewidth=1.3,
                solid_capstyle="round",
            )
    name_cycles(axes, colours)
    _mark_scan(axes, potential_v, current_a / unit_a, half)
    if peaks is not None:
        _mark_peaks(axes, peaks, colours, unit_a)
    axes.set_xlabel(f"potential vs {reference} / V")
    axes.set_ylabel(f"current / {unit}   (oxidation positive)")
    axes.margins(x=0.03, y=0.12)
    rate = scan_rate_mv_per_s or _rate(points, potential_v, half)
    parts = [specimen, f"{rate:.3g} mV/s" if rate else None]
    axes.set_title(", ".join(part for part in parts if part), fontsize=11)
    return figure


def charge_curve_figure(
    points: Columns, *, specimen: str | None = None, reference: str = "reference"
) -> Figure:
    """Return potential against charge of each half cycle, one colour a cycle.

    What a record at constant current shows, where a voltammogram shows two lines.
    Rests, in which no charge passes, are left out.
    points: columns potential_v, charge_mah, cycle_number, half_cycle
    Raises StreamError if a column is missing.
    """
    potential_v = column(points, "potential_v")
    charge_mah = column(points, "charge_mah")
    cycle = column(points, "cycle_number")
    half = column(points, "half_cycle")
    halves = [half == number for number in np.unique(half)]
    passed = [np.abs(charge_mah[rows] - charge_mah[rows][0]) for rows in halves]
    scale, unit = unit_of(np.concatenate(passed), CHARGE_UNITS)
    figure, axes = new_axes(5.6, _HEIGHT_IN)
    colours = colours_of(cycle)
    for rows, charge in zip(halves, passed, strict=True):
        colour = colours[int(cycle[rows][0])]
        moves = _moving(charge)
        axes.plot(
            charge[moves] / scale, potential_v[rows][moves], color=colour, linewidth=1.3
        )
    name_cycles(axes, colours)
    axes.set_xlabel(f"charge of the half cycle / {unit}")
    axes.set_ylabel(f"potential vs {reference} / V")
    axes.margins(x=0.03, y=0.08)
    axes.set_title(specimen or "", fontsize=11)
    return figure


def _moving(charge: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return in which rows charge passed, of a half cycle from 0 on."""
    steps = np.abs(np.diff(charge, prepend=-np.inf))
    return np.asarray(steps > _AT_REST * float(np.max(charge, initial=0.0)))


def _mark_scan(
    axes: Axes,
    potential_v: NDArray[np.float64],
    current: NDArray[np.float64],
    half: NDArray[np.float64],
) -> None:
    """Name the direction of the last rising and of the last falling sweep."""
    span_v = float(np.ptp(potential_v))
    for rising, word in ((True, "anodic \u2192"), (False, "\u2190 cathodic")):
        for number in np.unique(half)[::-1]:
            rows = np.flatnonzero(half == number)
            travel_v = float(potential_v[rows[-1]] - potential_v[rows[0]])
            if (travel_v > 0) != rising or abs(travel_v) < 0.5 * span_v:
                continue
            # In the quiet part of a silicon voltammogram, clear of the peaks.
            place_v = float(potential_v[rows].min()) + 0.7 * abs(travel_v)
            at = rows[np.argmin(np.abs(potential_v[rows] - place_v))]
            axes.annotate(
                word,
                xy=(potential_v[at], current[at]),
                xytext=(0, 5 if rising else -5),
                textcoords="offset points",
                ha="center",
                va="bottom" if rising else "top",
                fontsize=8,
                color="0.35",
            )
            break


def _mark_peaks(
    axes: Axes, peaks: Columns, colours: Mapping[int, Any], unit_a: float
) -> None:
    """Mark the peaks of the named cycles, and list their potentials.

    The list stands apart: beside the peaks, one cycle's numbers would lie on the
    next cycle's curve.
    """
    cycle = column(peaks, "cycle_number").astype(int)
    potential_v = column(peaks, "potential_v")
    current = column(peaks, "current_a") / unit_a
    direction = np.asarray([str(word) for word in np.asarray(peaks["direction"])])
    line = 0
    for number in named(colours):
        for word, marker in (("cathodic", "v"), ("anodic", "^")):
            rows = np.flatnonzero((cycle == number) & (direction == word))
            if not rows.size:
                continue
            axes.plot(
                potential_v[rows],
                current[rows],
                marker,
                color=colours[number],
                markeredgecolor="white",
                markeredgewidth=0.5,
                markersize=6,
                linestyle="none",
            )
            listed = ", ".join(f"{v:.3f}" for v in np.sort(potential_v[rows]))
            axes.annotate(
                f"cycle {number}, {word}: {listed} V",
                xy=(0.985, 0.97),
                xycoords="axes fraction",
                xytext=(0, -_LINE_PT * line),
                textcoords="offset points",
                ha="right",
                va="top",
                fontsize=8,
                color=colours[number],
            )
            line += 1
    _make_room(axes, line)


def _make_room(axes: Axes, lines: int) -> None:
    """Raise the upper limit until so many lines of text stand above the right half."""
    bottom, top = axes.get_ylim()
    left, right = axes.get_xlim()
    highest = bottom
    for curve in axes.lines:
        x, y = (np.asarray(part, dtype=float) for part in curve.get_data())
        inside = (x > 0.5 * (left + right)) & (x <= right)
        if x.size > 2 and inside.any():
            highest = max(highest, float(y[inside].max()))
    height_pt = 72 * _HEIGHT_IN * _AXES_SHARE
    text = min(0.7, (_LINE_PT * lines + 8) / height_pt + _WORD)
    axes.set_ylim(bottom, max(top, bottom + (highest - bottom) / (1 - text)))


def _rate(
    points: Columns, potential_v: NDArray[np.float64], half: NDArray[np.float64]
) -> float:
    """Return the rate of the sweeps, or 0 if this is no voltammogram."""
    if not any(key.endswith("instrument_time_s") for key in points):
        return 0.0
    time_s = column(points, "instrument_time_s")
    rates = [
        abs(scan_rate_mv_per_s(time_s[half == n], potential_v[half == n]))
        for n in np.unique(half)
    ]
    rates = [rate for rate in rates if not math.isnan(rate)]
    return float(np.median(rates)) if rates else 0.0
