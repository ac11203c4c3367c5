"""What figures share: a canvas that needs no display, scale bars, elements' colours."""

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.errors import KernelInputError

__all__ = [
    "ELEMENT_COLOURS",
    "LINE_COLOURS",
    "SCALE_BAR",
    "colour_of",
    "composite",
    "element_legend",
    "full_scale",
    "new_figure",
    "outlined",
    "round_length",
    "scale_bar",
    "tidy",
]

ELEMENT_COLOURS: Final = MappingProxyType(
    {"Si": "#e69f00", "O": "#56b4e9", "F": "#cc79a7", "C": "#009e73", "P": "#f0e442"}
)
"""Of Okabe and Ito's palette, which people tell apart whatever cones they have."""

LINE_COLOURS: Final = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#000000",
)
"""The same palette, for lines and bars on white, in the order of their use."""

_LETTER_IN: Final = 0.08
_PATCH_IN: Final = 0.5
"""[A] room of a letter of the legend, and of a patch with its margins."""

SCALE_BAR: Final = "scale-bar"
"""The gid of every scale bar's rectangle."""


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure that can be saved without a display."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes) -> Axes:
    """Turn ticks inwards and leave out the frame's upper and right line."""
    axes.tick_params(direction="in")
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def outlined() -> list[withStroke]:
    """Return what makes white text legible on any picture."""
    return [withStroke(linewidth=1.5, foreground="black")]


def round_length(span: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten up to a third of a span."""
    most = span / 3.0
    power = 10.0 ** math.floor(math.log10(most))
    return max(step for step in (1.0, 2.0, 5.0) if step * power <= most) * power


def scale_bar(axes: Axes, length_nm: float, *, font_size: float = 8.0) -> Rectangle:
    """Draw a bar of a length into the lower left of axes in nm, as limited now."""
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    width, height = right - left, top - bottom
    bar = Rectangle(
        (left + 0.05 * width, bottom + 0.05 * height),
        math.copysign(length_nm, width),
        0.02 * height,
        facecolor="white",
        edgecolor="black",
        linewidth=0.4,
        gid=SCALE_BAR,
    )
    axes.add_patch(bar)
    axes.annotate(
        f"{length_nm:g} nm",
        xy=(left + 0.05 * width, bottom + 0.07 * height),
        xytext=(0, 1.5),
        textcoords="offset points",
        va="bottom",
        color="white",
        fontsize=font_size,
        path_effects=outlined(),
    )
    return bar


def full_scale(values: ArrayLike, percentile: float = 99.5) -> NDArray[np.float64]:
    """Return for each element (the first axis) the value shown in its full colour.

    The percentile of its values, so that a few bright ones don't darken the rest;
    the largest value if that is 0, and 1 if there is nothing at all.
    """
    flat = np.asarray(values, float).reshape(len(np.asarray(values)), -1)
    scale = np.percentile(flat, percentile, axis=1)
    scale = np.where(scale > 0, scale, flat.max(axis=1))
    return np.where(scale > 0, scale, 1.0)


def composite(
    values: ArrayLike, elements: Sequence[str], scale: ArrayLike
) -> NDArray[np.float64]:
    """Return a picture (..., colour) of elements laid over each other.

    Each goes linearly from black at 0 to its own colour at its scale. Where the sum
    of colours is brighter than a screen can be, it is dimmed, with its hue.

    values: (element, ...)
    scale: (element,), see `full_scale`
    """
    colours = np.array([to_rgb(colour_of(element)) for element in elements])
    ratio = np.asarray(values, float) / np.asarray(scale, float).reshape(
        -1, *(1,) * (np.ndim(values) - 1)
    )
    mixed = np.tensordot(np.clip(ratio, 0.0, 1.0), colours, axes=(0, 0))
    return np.asarray(mixed / np.maximum(mixed.max(axis=-1, keepdims=True), 1.0))


def colour_of(element: str) -> str:
    """Return an element's colour, or raise KernelInputError."""
    if element not in ELEMENT_COLOURS:
        raise KernelInputError(
            f"figure: element {element!r} has no colour; choose among "
            f"{', '.join(ELEMENT_COLOURS)}"
        )
    return ELEMENT_COLOURS[element]


def element_legend(
    figure: Figure, labels: Sequence[str], elements: Sequence[str]
) -> None:
    """Name the colours below the figure, in as many rows as its width asks for."""
    handles = [
        Patch(facecolor=colour_of(element), edgecolor="0.3", linewidth=0.5, label=label)
        for element, label in zip(elements, labels, strict=True)
    ]
    handles.append(Patch(alpha=0.0, label="(colours add up)"))
    longest = max(len(str(handle.get_label())) for handle in handles)
    fit = int(figure.get_figwidth() / (longest * _LETTER_IN + _PATCH_IN))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(max(fit, 1), len(handles)),
        frameon=False,
        fontsize=9,
        handlelength=1.0,
        handleheight=1.0,
    )
