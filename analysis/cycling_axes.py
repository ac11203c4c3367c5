"""What the figures of cycling share: axes, units, columns, and a colour a cycle."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.errors import StreamError
from cryoline.analysis.figure_parts import new_figure, tidy

__all__ = [
    "CHARGE_UNITS",
    "CURRENT_UNITS",
    "Columns",
    "colours_of",
    "column",
    "name_cycles",
    "named",
    "new_axes",
    "unit_of",
]

Columns: TypeAlias = Mapping[str, ArrayLike]

CURRENT_UNITS: Final = ((1e-3, "mA"), (1e-6, "µA"), (1e-9, "nA"))
CHARGE_UNITS: Final = ((1e3, "Ah"), (1.0, "mAh"), (1e-3, "µAh"))
_LABELLED_CYCLES: Final = 5
"""[A] assumption: up to so many cycles are all named; of more, three."""


def new_axes(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes."""
    figure = new_figure(width_in, height_in)
    return figure, tidy(figure.add_subplot())


def column(columns: Columns, name: str) -> NDArray[np.float64]:
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


def unit_of(
    values: NDArray[np.float64], units: tuple[tuple[float, str], ...]
) -> tuple[float, str]:
    """Return the largest unit in which the largest value is 1 or more."""
    largest = float(np.nanmax(np.abs(values), initial=0.0))
    return next((u for u in units if largest >= u[0]), units[-1])


def colours_of(cycle: NDArray[np.float64]) -> dict[int, Any]:
    """Return a colour for each cycle, from dark to bright."""
    numbers = [int(n) for n in np.unique(cycle)]
    shades = np.linspace(0.0, 0.76, len(numbers)) if len(numbers) > 1 else [0.35]
    colour_map = colormaps["viridis"]
    return {n: colour_map(float(s)) for n, s in zip(numbers, shades, strict=True)}


def named(colours: Mapping[int, Any]) -> list[int]:
    """Return the cycles to be named: all, or first, middle and last of many."""
    numbers = list(colours)
    if len(numbers) <= _LABELLED_CYCLES:
        return numbers
    return [numbers[0], numbers[len(numbers) // 2], numbers[-1]]


def name_cycles(axes: Axes, colours: Mapping[int, Any]) -> None:
    """Name every cycle, or three where there are many, beside the curves."""
    for number in named(colours):
        axes.plot([], [], color=colours[number], linewidth=1.8, label=f"cycle {number}")
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
