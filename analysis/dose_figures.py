"""Figures of dose: what a region has cost so far, and where on the specimen it fell."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.figure_parts import (
    LINE_COLOURS,
    new_figure,
    outlined,
    round_length,
    scale_bar,
    tidy,
)

__all__ = ["dose_bar", "dose_map"]

_PURPOSES: Final = ("record", "tracking", "search", "focus", "view", "preview")
"""Each has its colour in every bar; others are coloured in their order."""

_RESERVED: Final = "reserved"
_LEFT: Final = "left"
_OVER: Final = "over the limit"
_PART_COLOURS: Final = {_RESERVED: "#999999", _LEFT: "#ececec", _OVER: "#c1272d"}
_HATCHES: Final = {_RESERVED: "///", _OVER: "xxx"}

_DECADES: Final = 3.0
"""That the colours of a map show below the limit, at least."""
_MARGIN: Final = 0.12
"""Of what was hit, around it."""
_MAP_IN: Final = 4.6
"""The longer side of a map."""


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


def dose_map(
    fluence_e_per_nm2: ArrayLike,
    x_nm: ArrayLike,
    y_nm: ArrayLike,
    limit_e_per_nm2: float,
    *,
    regions: Mapping[str, Sequence[float]] | None = None,
    areas: Mapping[str, Sequence[float]] | None = None,
    specimen: str | None = None,
    what: str = "fluence",
) -> Figure:
    """Return where on a specimen its dose fell, and the row of the worst cell.

    fluence_e_per_nm2: (y, x) of each cell, beam-normal; the tilt axis is y
    x_nm, y_nm: centres of the cells, evenly spaced
    regions: name -> centre x, y, width, height (nm) and rotation (deg) of its field
    areas: the same of fields that only served them: dotted
    what: that is shown, for the labels
    Raises KernelInputError for what is no map, or no limit.
    """
    values, x, y = (np.asarray(a, float) for a in (fluence_e_per_nm2, x_nm, y_nm))
    _check_map(values, x, y, limit_e_per_nm2)
    values, x, y = _trimmed(values, x, y)
    half = (x[1] - x[0]) / 2
    extent = (x[0] - half, x[-1] + half, y[0] - half, y[-1] + half)
    width, height = extent[1] - extent[0], extent[3] - extent[2]
    scale = _MAP_IN / max(width, height)
    figure = new_figure(max(3.0, width * scale) + 1.6, height * scale + 2.4)
    axes = figure.add_subplot()
    power = math.floor(math.log10(limit_e_per_nm2) / 3) * 3
    unit = f"10$^{{{power}}}$ e/nm$^2$"
    scaled, limit = values / 10.0**power, limit_e_per_nm2 / 10.0**power
    image = axes.imshow(
        np.ma.masked_less_equal(scaled, 0.0),
        origin="lower",
        extent=extent,
        norm=LogNorm(*_shown(scaled, limit), clip=True),
        cmap=matplotlib.colormaps["inferno"],
        interpolation="nearest",
    )
    axes.set_facecolor("#3a3a3a")
    axes.tick_params(direction="in", colors="white", labelcolor="black")
    axes.set_xlabel("x, across the tilt axis / nm")
    axes.set_ylabel("y, along the tilt axis / nm")
    for fields, style in ((areas, ":"), (regions, "--")):
        for name, place in (fields or {}).items():
            _outline(axes, name, place, style)
    row, column = _worst_cell(values)
    most = values[row, column]
    axes.plot(x[column], y[row], "+", color="white", markersize=10, mew=2.5)
    axes.plot(x[column], y[row], "+", color="black", markersize=9, mew=1.0)
    scale_bar(axes, round_length(width))
    bar = figure.colorbar(image, cax=axes.inset_axes((1.03, 0.0, 0.04, 1.0)))
    bar.set_label(f"{what} / {unit}")
    bar.ax.axhline(limit, color="black", linewidth=2.5)
    bar.ax.set_title("limit", fontsize=9, pad=4)
    _row(axes, x, scaled[row], limit, f"{what} / {unit}", y[row])
    head = f"{specimen}: " if specimen else ""
    figure.suptitle(
        f"{head}at most {most / 10.0**power:.3g} (+) of {limit:.3g} \u00d7 {unit}, "
        f"{100 * most / limit_e_per_nm2:.3g} %",
        fontsize=10,
    )
    return figure


def _check_map(
    values: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    limit_e_per_nm2: float,
) -> None:
    if not (math.isfinite(limit_e_per_nm2) and limit_e_per_nm2 > 0):
        raise KernelInputError(
            f"dose map: the limit is {limit_e_per_nm2:g} e/nm2; give one above 0"
        )
    if values.shape != (len(y), len(x)) or min(values.shape) < 2:
        raise KernelInputError(
            f"dose map: {values.shape} cells for {len(y)} rows and {len(x)} columns; "
            "give (y, x), two of each at least"
        )
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise KernelInputError("dose map: a cell is negative or no number")


def _trimmed(
    values: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the cells around those that were hit, with a margin."""
    kept = []
    for axis in (0, 1):
        hit = np.flatnonzero(values.max(axis=1 - axis) > 0)
        if not hit.size:
            return values, x, y
        margin = max(2, round(_MARGIN * np.ptp(hit)))
        kept.append(slice(max(0, hit[0] - margin), hit[-1] + margin + 1))
    return values[kept[0], kept[1]], x[kept[1]], y[kept[0]]


def _worst_cell(values: NDArray[np.float64]) -> tuple[int, int]:
    """Return row and column of the highest value; of equal ones, of the innermost."""
    places = np.argwhere(values == values.max())
    off = np.square(places - places.mean(axis=0)).sum(axis=1)
    row, column = places[np.argmin(off)]
    return int(row), int(column)


def _shown(values: NDArray[np.float64], limit: float) -> tuple[float, float]:
    """Return the fluences of the first and the last colour."""
    hit = values[values > 0]
    least = min(hit.min(initial=limit), limit * 10**-_DECADES)
    return max(least, limit * 1e-5), max(limit, values.max())


def _outline(axes: Axes, name: str, place: Sequence[float], style: str) -> None:
    x, y, width, height, rotation_deg = place
    field = Rectangle(
        (x - width / 2, y - height / 2),
        width,
        height,
        angle=rotation_deg,
        rotation_point="center",
        fill=False,
        edgecolor="white",
        linewidth=1.2,
        linestyle=style,
    )
    axes.add_patch(field)
    corners = field.get_corners()
    axes.annotate(
        name,
        xy=(corners[:, 0].min(), y),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        color="white",
        fontsize=9,
        path_effects=outlined(),
    )


def _row(
    axes: Axes,
    x: NDArray[np.float64],
    values: NDArray[np.float64],
    limit: float,
    label: str,
    y_nm: float,
) -> None:
    """Draw the row of the worst cell on a linear scale, above the map."""
    above = axes.inset_axes((0.0, 1.06, 1.0, 0.28), sharex=axes)
    tidy(above).tick_params(labelbottom=False)
    above.step(x, values, where="mid", color=LINE_COLOURS[0], linewidth=1.5)
    above.axhline(limit, color="black", linewidth=1.5)
    above.annotate(
        "limit",
        xy=(x[0], limit),
        xytext=(3, -3),
        textcoords="offset points",
        va="top",
        fontsize=9,
    )
    above.set_ylim(0.0, 1.08 * max(limit, values.max()))
    above.set_title(f"row y = {y_nm:.0f} nm", fontsize=9, loc="right", pad=2)
    above.set_ylabel(label, fontsize=8)
