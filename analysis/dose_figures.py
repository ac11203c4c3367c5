"""The figure of a region's dose: what it has cost so far, and what is left."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.figure_parts import LINE_COLOURS, new_figure, tidy

__all__ = ["dose_bar"]

_PURPOSES: Final = ("record", "tracking", "search", "focus", "view", "preview")
"""Each has its colour in every bar; others are coloured in their order."""

_RESERVED: Final = "reserved"
_LEFT: Final = "left"
_OVER: Final = "over the limit"
_PART_COLOURS: Final = {_RESERVED: "#999999", _LEFT: "#ececec", _OVER: "#c1272d"}
_HATCHES: Final = {_RESERVED: "///", _OVER: "xxx"}


def dose_bar(
    settled_e_per_nm2: Mapping[str, float],
    limit_e_per_nm2: float,
    *,
    reserved_e_per_nm2: float = 0.0,
    specimen: str | None = None,
) -> Figure:
    """Return what each purpose has cost a region, what is reserved, and what is left.

    Fluence is beam-normal, mean over the field. What is beyond the limit is hatched.
    Raises KernelInputError for a limit that is none, or a negative fluence.
    """
    if not (math.isfinite(limit_e_per_nm2) and limit_e_per_nm2 > 0):
        raise KernelInputError(
            f"dose bar: the limit is {limit_e_per_nm2:g} e/nm2; give one above 0"
        )
    used = {**settled_e_per_nm2, _RESERVED: reserved_e_per_nm2}
    for name, fluence in used.items():
        if not (math.isfinite(fluence) and fluence >= 0):
            raise KernelInputError(
                f"dose bar: {name} is {fluence:g} e/nm2; give 0 or more"
            )
    left = limit_e_per_nm2 - sum(used.values())
    parts = [*used.items(), (_LEFT, left) if left >= 0 else (_OVER, -left)]
    power = math.floor(math.log10(limit_e_per_nm2) / 3) * 3
    scale, unit = 10.0**power, f"10$^{{{power}}}$ e/nm$^2$"
    table_in = 0.21 * (len(parts) + 2)
    figure = new_figure(6.0, 1.6 + table_in)
    grid = figure.add_gridspec(2, 1, height_ratios=[0.6, table_in])
    axes = tidy(figure.add_subplot(grid[0]))
    colours = [_part_colour(name, number) for number, (name, _) in enumerate(parts)]
    begin = 0.0
    for (name, fluence), colour in zip(parts, colours, strict=True):
        begin = limit_e_per_nm2 if name == _OVER else begin
        axes.barh(
            0.0,
            fluence / scale,
            left=begin / scale,
            height=0.8,
            color=colour,
            edgecolor="white",
            linewidth=0.0,
            hatch=_HATCHES.get(name),
            label=name,
        )
        begin += fluence
    axes.axvline(limit_e_per_nm2 / scale, color="black", linewidth=1.5)
    axes.set_xlim(0.0, 1.02 * max(begin, limit_e_per_nm2) / scale)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"fluence / {unit}")
    _percent_axis(axes, limit_e_per_nm2 / scale)
    table = figure.add_subplot(grid[1])
    header = (f"fluence / {unit}", "of the limit / %")
    rows = [
        (name, f"{fluence / scale:.3g}", f"{100 * fluence / limit_e_per_nm2:.3g}")
        for name, fluence in parts
    ]
    total = f"{limit_e_per_nm2 / scale:.3g}", "100"
    _list(table, header, [*rows, ("limit", *total)], colours)
    if specimen:
        figure.suptitle(specimen, fontsize=11)
    return figure


def _percent_axis(axes: Axes, limit: float) -> None:
    def to_percent(fluence: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(fluence, float) * 100.0 / limit

    def from_percent(percent: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(percent, float) * limit / 100.0

    top = axes.secondary_xaxis("top", functions=(to_percent, from_percent))
    top.tick_params(direction="in")
    top.set_xlabel("part of the limit / %")


def _list(
    axes: Axes,
    header: tuple[str, str],
    rows: Sequence[tuple[str, str, str]],
    colours: Sequence[str],
) -> None:
    """Write a table of names and numbers, a coloured square before each part."""
    axes.set_axis_off()
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(len(rows) + 0.5, -0.5)
    for place, text in zip((0.55, 0.85), header, strict=True):
        axes.text(place, 0, text, ha="right", va="center", fontsize=9, color="0.35")
    for line, (name, *numbers) in enumerate(rows, 1):
        if line <= len(colours):
            axes.plot(
                0.08,
                line,
                "s",
                markersize=8,
                color=colours[line - 1],
                markeredgecolor="0.4",
                markeredgewidth=0.4,
            )
        axes.text(0.11, line, name, va="center", fontsize=9)
        for place, number in zip((0.55, 0.85), numbers, strict=True):
            axes.text(place, line, number, ha="right", va="center", fontsize=9)


def _part_colour(name: str, number: int) -> str:
    if name in _PURPOSES:
        number = _PURPOSES.index(name)
    return _PART_COLOURS.get(name, LINE_COLOURS[number % len(LINE_COLOURS)])
