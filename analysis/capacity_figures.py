"""Figures of what a cell keeps: capacity and efficiency by cycle, and dQ/dV."""

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cryoline.analysis.cycling_axes import (
    CHARGE_UNITS,
    Columns,
    colours_of,
    column,
    name_cycles,
    new_axes,
    unit_of,
)

__all__ = ["capacity_figure", "incremental_figure"]

_MARKED_CYCLES: Final = 40
"""[A] assumption: the markers of more cycles than this would hide each other."""
_EFFICIENCY_MAX: Final = 1.3
"""[A] assumption: above this, a coulombic efficiency has no meaning for a cell."""
_SPIKE: Final = 4.0
"""[A] assumption: dQ/dV is cut where its largest is so many times its 98th percentile:
while a potential is held, charge passes at no width of potential."""


def capacity_figure(
    cycles: Columns,
    *,
    specimen: str | None = None,
    per_gram: bool = False,
    retention_cycle: int | None = None,
) -> Figure:
    """Return the charges (left) and the coulombic efficiency (right) of each cycle.

    cycles: columns of the stream `cycles`
    per_gram: charges per gram of electrode; needs the columns with `_per_g`
    retention_cycle: says in the title what is left of this cycle's capacity
    Raises StreamError if a column is missing.
    """
    suffix = "_mah_per_g" if per_gram else "_mah"
    number = column(cycles, "cycle_number")
    charges = {n: column(cycles, n + suffix) for n in ("lithiation", "delithiation")}
    efficiency = column(cycles, "coulombic_efficiency")
    figure, axes = new_axes(5.6, 3.8)
    both = np.concatenate(list(charges.values()))
    scale, unit = (1.0, "mAh/g") if per_gram else unit_of(both, CHARGE_UNITS)
    size = 6.0 if number.size <= _MARKED_CYCLES else 3.0
    for (name, charge), marker in zip(charges.items(), ("v", "^"), strict=True):
        axes.plot(
            number,
            charge / scale,
            marker,
            color="#31688e",
            markerfacecolor="#31688e" if name == "delithiation" else "white",
            markersize=size,
            linestyle="-",
            linewidth=0.8,
            label=name,
        )
    axes.set_xlabel("cycle")
    axes.set_ylabel(f"capacity / {unit}")
    axes.set_ylim(0.0, 1.3 * max(float(np.nanmax(both)) / scale, 1e-12))
    axes.set_xlim(float(number.min()) - 0.6, float(number.max()) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    right = axes.twinx()
    right.plot(
        number,
        100 * efficiency,
        "o",
        color="#b5367a",
        markersize=size,
        label="coulombic efficiency",
    )
    right.axhline(100.0, color="#b5367a", linewidth=0.6, linestyle=":")
    right.set_ylabel("coulombic efficiency / %", color="#b5367a")
    right.tick_params(axis="y", colors="#b5367a", direction="in")
    right.spines["top"].set_visible(False)
    right.margins(y=0.3)
    sensible = efficiency[(efficiency > 0) & (efficiency <= _EFFICIENCY_MAX)]
    if sensible.size:
        span = max(1.0, float(sensible.max())) - float(sensible.min())
        edge = 0.3 * max(span, 0.02)
        lowest = max(0.0, float(sensible.min()) - edge)
        right.set_ylim(100 * lowest, 100 * (max(1.0, float(sensible.max())) + edge))
    handles = [h for a in (axes, right) for h in a.get_legend_handles_labels()[0]]
    axes.legend(handles=handles, frameon=False, fontsize=8, loc="upper left", ncols=3)
    kept = _kept(cycles, number, retention_cycle)
    axes.set_title(", ".join(filter(None, [specimen, kept])), fontsize=11)
    return figure


def incremental_figure(
    increments: Columns, *, specimen: str | None = None, reference: str = "reference"
) -> Figure:
    """Return dQ/dV against potential, one colour a cycle; lithiation is negative.

    increments: columns of the stream `incremental_capacity`
    Raises StreamError if a column is missing.
    """
    potential_v = column(increments, "potential_v")
    dq_dv = column(increments, "dq_dv_mah_per_v")
    cycle = column(increments, "cycle_number")
    half = column(increments, "half_cycle")
    scale, unit = unit_of(dq_dv, CHARGE_UNITS)
    figure, axes = new_axes(5.6, 4.2)
    axes.axhline(0.0, color="0.75", linewidth=0.8, zorder=0)
    colours = colours_of(cycle)
    for number in np.unique(half):
        rows = half == number
        colour = colours[int(cycle[rows][0])]
        axes.plot(potential_v[rows], dq_dv[rows] / scale, color=colour, linewidth=1.1)
    name_cycles(axes, colours)
    axes.set_xlabel(f"potential vs {reference} / V")
    axes.set_ylabel(f"dQ/dV / {unit} V$^{{-1}}$   (oxidation positive)")
    axes.margins(x=0.03, y=0.08)
    _cut_spikes(axes, dq_dv / scale, unit)
    axes.set_title(specimen or "", fontsize=11)
    return figure


def _cut_spikes(axes: Axes, values: NDArray[np.float64], unit: str) -> None:
    """Let spikes run out of the picture, and say how far they go."""
    sizes = np.abs(values[values != 0])
    usual = float(np.percentile(sizes, 98)) if sizes.size else 0.0
    if not 0 < _SPIKE * usual < sizes.max():
        return
    limit = (_SPIKE - 1) * usual
    axes.set_ylim(
        max(float(values.min()) - 0.2 * usual, -limit),
        min(float(values.max()) + 0.2 * usual, limit),
    )
    axes.text(
        0.985,
        0.03,
        f"cut; {values.min():.3g} to {values.max():.3g} {unit} V$^{{-1}}$",
        transform=axes.transAxes,
        ha="right",
        fontsize=8,
        color="0.35",
    )


def _kept(
    cycles: Columns, number: NDArray[np.float64], retention_cycle: int | None
) -> str:
    """Return in words what is left of a cycle's capacity, "" if that is not known."""
    if retention_cycle is None or "retention" not in cycles:
        return ""
    retention = column(cycles, "retention")
    known = np.flatnonzero(np.isfinite(retention))
    has_both = (column(cycles, "delithiation_mah") > 0) & (
        column(cycles, "lithiation_mah") > 0
    )
    later = known[(number[known] > retention_cycle) & has_both[known]]
    if "complete" in cycles:
        later = later[np.asarray(cycles["complete"], dtype=bool)[later]]
    if not later.size:
        return ""
    last = later[-1]
    left = f"{100 * retention[last]:.1f} % of cycle {retention_cycle}"
    return f"{left} left in cycle {number[last]:.0f}"
