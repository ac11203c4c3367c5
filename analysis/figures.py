"""Figures of cycling runs, as matplotlib Figures that need no display."""

import math
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.errors import StreamError
from cryoline.analysis.figure_parts import new_figure, tidy
from cryoline.analysis.voltammetry import scan_rate_mv_per_s

__all__ = ["capacity_figure", "charge_curve_figure", "voltammogram_figure"]

Columns: TypeAlias = Mapping[str, ArrayLike]

_CURRENT_UNITS: Final = ((1e-3, "mA"), (1e-6, "µA"), (1e-9, "nA"))
_CHARGE_UNITS: Final = ((1.0, "mAh"), (1e-3, "µAh"))
_LABELLED_CYCLES: Final = 5
"""[A] assumption: up to so many cycles are all named; of more, three."""


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
    potential_v = _column(points, "potential_v")
    current_a = _column(points, "current_a")
    cycle = _column(points, "cycle_number")
    half = _column(points, "half_cycle")
    unit_a, unit = _unit(current_a, _CURRENT_UNITS)
    figure, axes = _figure(5.6, 4.2)
    axes.axhline(0.0, color="0.75", linewidth=0.8, zorder=0)
    colours = _colours(cycle)
    for number, colour in colours.items():
        for half_cycle in np.unique(half[cycle == number]):
            rows = (cycle == number) & (half == half_cycle)
            axes.plot(
                potential_v[rows],
                current_a[rows] / unit_a,
                color=colour,
                linewidth=1.3,
                solid_capstyle="round",
            )
    _name_cycles(axes, colours)
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
    points: columns potential_v, charge_mah, cycle_number, half_cycle
    Raises StreamError if a column is missing.
    """
    potential_v = _column(points, "potential_v")
    charge_mah = _column(points, "charge_mah")
    cycle = _column(points, "cycle_number")
    half = _column(points, "half_cycle")
    halves = [half == number for number in np.unique(half)]
    passed = [np.abs(charge_mah[rows] - charge_mah[rows][0]) for rows in halves]
    scale, unit = _unit(np.concatenate(passed), _CHARGE_UNITS)
    figure, axes = _figure(5.6, 4.2)
    colours = _colours(cycle)
    for rows, charge in zip(halves, passed, strict=True):
        colour = colours[int(cycle[rows][0])]
        axes.plot(charge / scale, potential_v[rows], color=colour, linewidth=1.3)
    _name_cycles(axes, colours, place="lower center")
    axes.set_xlabel(f"charge of the half cycle / {unit}")
    axes.set_ylabel(f"potential vs {reference} / V")
    axes.margins(x=0.03, y=0.08)
    axes.set_title(specimen or "", fontsize=11)
    return figure


def capacity_figure(
    cycles: Columns, *, specimen: str | None = None, per_gram: bool = False
) -> Figure:
    """Return the charges (left) and the coulombic efficiency (right) of each cycle.

    cycles: columns of the stream `cycles`
    per_gram: charges per gram of electrode; needs the columns with `_per_g`
    Raises StreamError if a column is missing.
    """
    suffix = "_mah_per_g" if per_gram else "_mah"
    number = _column(cycles, "cycle_number")
    charges = {n: _column(cycles, n + suffix) for n in ("lithiation", "delithiation")}
    efficiency = _column(cycles, "coulombic_efficiency")
    figure, axes = _figure(5.6, 3.8)
    both = np.concatenate(list(charges.values()))
    scale, unit = (1.0, "mAh/g") if per_gram else _unit(both, _CHARGE_UNITS)
    for (name, charge), marker in zip(charges.items(), ("v", "^"), strict=True):
        axes.plot(
            number,
            charge / scale,
            marker,
            color="#31688e",
            markerfacecolor="#31688e" if name == "delithiation" else "white",
            linestyle="-",
            linewidth=0.8,
            label=name,
        )
    axes.set_xlabel("cycle")
    axes.set_ylabel(f"capacity / {unit}")
    axes.set_ylim(0.0, 1.3 * max(float(np.nanmax(both)) / scale, 1e-12))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    right = axes.twinx()
    right.plot(
        number, 100 * efficiency, "o", color="#b5367a", label="coulombic efficiency"
    )
    right.axhline(100.0, color="#b5367a", linewidth=0.6, linestyle=":")
    right.set_ylabel("coulombic efficiency / %", color="#b5367a")
    right.tick_params(axis="y", colors="#b5367a", direction="in")
    right.spines["top"].set_visible(False)
    right.margins(y=0.3)
    handles = [h for a in (axes, right) for h in a.get_legend_handles_labels()[0]]
    axes.legend(handles=handles, frameon=False, fontsize=8, loc="upper left", ncols=3)
    axes.set_title(specimen or "", fontsize=11)
    return figure


def _figure(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    figure = new_figure(width_in, height_in)
    return figure, tidy(figure.add_subplot())


def _column(columns: Columns, name: str) -> NDArray[np.float64]:
    """Return the column of that name, whatever device's prefix stands before it."""
    # A table read back from the server has a column of time stamps beside each.
    found = (
        [name]
        if name in columns
        else [key for key in columns if key.endswith(f"_{name}") and key[:3] != "ts_"]
    )
    if len(found) != 1:
        raise StreamError(
            f"figure: needs one column {name!r} (or a device's, ending in _{name}), "
            f"found {found or 'none'} among {', '.join(columns)}"
        )
    return np.asarray(columns[found[0]], dtype=float)


def _unit(
    values: NDArray[np.float64], units: tuple[tuple[float, str], ...]
) -> tuple[float, str]:
    """Return the largest unit in which the largest value is 1 or more."""
    largest = float(np.nanmax(np.abs(values), initial=0.0))
    return next((u for u in units if largest >= u[0]), units[-1])


def _colours(cycle: NDArray[np.float64]) -> dict[int, Any]:
    numbers = [int(n) for n in np.unique(cycle)]
    shades = np.linspace(0.0, 0.76, len(numbers)) if len(numbers) > 1 else [0.35]
    colour_map = colormaps["viridis"]
    return {n: colour_map(float(s)) for n, s in zip(numbers, shades, strict=True)}


def _named(colours: Mapping[int, Any]) -> list[int]:
    numbers = list(colours)
    if len(numbers) <= _LABELLED_CYCLES:
        return numbers
    return [numbers[0], numbers[len(numbers) // 2], numbers[-1]]


def _name_cycles(
    axes: Axes, colours: Mapping[int, Any], *, place: str = "lower right"
) -> None:
    """Name every cycle, or the first and the last where there are many."""
    for number in _named(colours):
        axes.plot([], [], color=colours[number], linewidth=1.8, label=f"cycle {number}")
    axes.legend(frameon=False, fontsize=9, loc=place)


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
    cycle = _column(peaks, "cycle_number").astype(int)
    potential_v = _column(peaks, "potential_v")
    current = _column(peaks, "current_a") / unit_a
    direction = np.asarray([str(word) for word in np.asarray(peaks["direction"])])
    line = 0
    for number in _named(colours):
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
                xytext=(0, -11 * line),
                textcoords="offset points",
                ha="right",
                va="top",
                fontsize=8,
                color=colours[number],
            )
            line += 1


def _rate(
    points: Columns, potential_v: NDArray[np.float64], half: NDArray[np.float64]
) -> float:
    """Return the rate of the sweeps, or 0 if this is no voltammogram."""
    if not any(key.endswith("instrument_time_s") for key in points):
        return 0.0
    time_s = _column(points, "instrument_time_s")
    rates = [
        abs(scan_rate_mv_per_s(time_s[half == n], potential_v[half == n]))
        for n in np.unique(half)
    ]
    rates = [rate for rate in rates if not math.isnan(rate)]
    return float(np.median(rates)) if rates else 0.0
