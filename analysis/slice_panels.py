"""The panels of slices through a wire: each at its place, in nm."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from cryoline.analysis.figure_parts import colour_of, composite, outlined, scale_bar
from cryoline.analysis.slabs import AXES, Slab, Volumes

__all__ = [
    "SECTION",
    "VIEWS",
    "Span",
    "View",
    "draw_alone",
    "draw_slice",
    "mark_cuts",
    "name_directions",
    "shown_values",
    "window",
]

Span: TypeAlias = Mapping[str, tuple[float, float]]
"""What is shown along each axis, nm."""

_LABELS: Final = {
    "x": "x / nm  (across the tilt axis)",
    "y": "y / nm  (along the tilt axis)",
    "z": "z / nm  (along the beam at 0°)",
}


class View(NamedTuple):
    """How a slice is seen: the axis that it is cut across, and the two it shows."""

    across: str
    right: str
    up: str


SECTION: Final = View("y", "x", "z")
"""Across the wire."""

VIEWS: Final = (SECTION, View("z", "y", "x"), View("x", "y", "z"))


def window(
    volumes: Volumes, axis: str, centre_nm: float, length_nm: float
) -> tuple[float, float]:
    """Return what is shown along an axis: a length, or all if there is less."""
    low_nm, high_nm = volumes.span_nm(axis)
    half_nm = min(length_nm, high_nm - low_nm) / 2
    middle_nm = min(max(centre_nm, low_nm + half_nm), high_nm - half_nm)
    return middle_nm - half_nm, middle_nm + half_nm


def shown_values(
    volumes: Volumes,
    slab: Slab,
    view: View,
    span: Span,
) -> NDArray[np.float64]:
    """Return (element, pixel) of a slice, what is shown of it."""
    kept = slab.values
    for number, axis in enumerate((a for a in AXES if a != view.across), 1):
        low_nm, high_nm = volumes.span_nm(axis)
        places = np.linspace(low_nm, high_nm, kept.shape[number], endpoint=False)
        places += volumes.voxel_nm / 2
        inside = (places >= span[axis][0]) & (places <= span[axis][1])
        kept = kept.compress(inside, axis=number)
    return kept.reshape(len(kept), -1)


def draw_slice(
    axes: Axes,
    picture: NDArray[np.float64],
    volumes: Volumes,
    view: View,
    span: Span,
) -> None:
    """Draw a slice at its place."""
    axes.set_facecolor("black")
    axes.imshow(
        picture,  # (up, right) in every view, as AXES are ordered
        origin="lower",
        extent=(*volumes.span_nm(view.right), *volumes.span_nm(view.up)),
        interpolation="nearest",
    )
    axes.set_xlim(span[view.right])
    axes.set_ylim(span[view.up])


def draw_alone(
    host: Axes,
    elements: Sequence[str],
    volumes: Volumes,
    section: Slab,
    scale: NDArray[np.float64],
    span: Span,
    bar_nm: float,
) -> None:
    """Draw the section across the wire for each element alone, as insets of axes."""
    host.set_axis_off()
    host.set_box_aspect(float(np.ptp(span[SECTION.up]) / np.ptp(span[SECTION.right])))
    columns = math.ceil(math.sqrt(len(elements)))
    size = 1.0 / columns
    for number, element in enumerate(elements):
        row, column = divmod(number, columns)
        corner = (column * size, 1.0 - (row + 1) * size)
        axes = host.inset_axes((*corner, 0.98 * size, 0.98 * size))
        one = slice(number, number + 1)
        picture = composite(section.values[one], [element], scale[one])
        draw_slice(axes, picture, volumes, SECTION, span)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.annotate(
            element,
            xy=(0.05, 0.95),
            xycoords="axes fraction",
            va="top",
            color=colour_of(element),
            fontsize=9,
            path_effects=outlined(),
        )
        if number == 0:
            scale_bar(axes, bar_nm, font_size=6.0)


def mark_cuts(axes: Axes, view: View, centre: Mapping[str, float]) -> None:
    """Mark where the other two slices are."""
    for line, place in (
        (axes.axvline, centre[view.right]),
        (axes.axhline, centre[view.up]),
    ):
        line(place, color="white", linewidth=0.6, linestyle=(0, (4, 4)), alpha=0.6)


def name_directions(axes: Axes, view: View) -> None:
    """Say what lies to the right and up."""
    axes.set_xlabel(_LABELS[view.right], fontsize=8)
    axes.set_ylabel(_LABELS[view.up], fontsize=8)
    axes.tick_params(labelsize=7)
