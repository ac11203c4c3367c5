"""Figures of a tilt series: its element maps, and the volumes made of them."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.figure_parts import (
    composite,
    element_legend,
    full_scale,
    new_figure,
    outlined,
    round_length,
    scale_bar,
)
from cryoline.analysis.slabs import AXES, Volumes, find_wire
from cryoline.analysis.slice_panels import (
    VIEWS,
    draw_alone,
    draw_slice,
    mark_cuts,
    name_directions,
    shown_values,
    window,
)

__all__ = ["orthogonal_slices", "tilt_gallery"]

_PANEL_IN: Final = 1.3
_ROW_IN: Final = 2.1
_FIELD: Final = 1.8
_LENGTH: Final = 1.5
"""What is shown across the wire, in its diameters, and along it, in fields."""


def tilt_gallery(
    maps_per_tilt: ArrayLike,
    angles_deg: ArrayLike,
    elements: Sequence[str],
    pixel_nm: float,
    *,
    specimen: str | None = None,
) -> Figure:
    """Return the element maps of every tilt laid over each other, sorted by angle.

    One scale for all tilts. The tilt axis runs up.

    maps_per_tilt: (tilt, element, y, x) counts, in any order
    Raises KernelInputError if shapes don't fit.
    """
    maps = np.asarray(maps_per_tilt, float)
    angles = np.asarray(angles_deg, float)
    if (
        maps.ndim != 4
        or maps.shape[:2] != (angles.size, len(elements))
        or not maps.size
    ):
        raise KernelInputError(
            f"tilt gallery: maps {maps.shape} don't fit {angles.size} angles and "
            f"{len(elements)} elements; give (tilt, element, y, x)"
        )
    if not (np.isfinite(maps).all() and np.isfinite(angles).all()):
        raise KernelInputError(
            "tilt gallery: maps or angles are not finite; leave out what was not "
            "measured"
        )
    if not 0 < pixel_nm < math.inf:
        raise KernelInputError(
            f"tilt gallery: pixels of {pixel_nm:g} nm; give a length above 0 nm"
        )
    by_element = maps.swapaxes(0, 1)
    scale = full_scale(by_element)
    pictures = composite(by_element, elements, scale)
    height_nm, width_nm = pixel_nm * maps.shape[2], pixel_nm * maps.shape[3]
    columns = math.ceil(math.sqrt(angles.size))
    rows = math.ceil(angles.size / columns)
    panel_in = _PANEL_IN * height_nm / width_nm
    figure = new_figure(_PANEL_IN * columns, panel_in * rows + 0.8)
    for place, tilt in enumerate(np.argsort(angles, kind="stable")):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.imshow(pictures[tilt], extent=(0.0, width_nm, 0.0, height_nm))
        axes.set_axis_off()
        axes.annotate(
            _degrees(float(angles[tilt])),
            xy=(0.05, 0.96),
            xycoords="axes fraction",
            va="top",
            color="white",
            fontsize=8,
            path_effects=outlined(),
        )
        if place == 0:
            scale_bar(axes, round_length(width_nm), font_size=7.0)
    parts = [specimen, f"{angles.size} tilts", f"pixel {pixel_nm:.3g} nm"]
    figure.suptitle(
        ", ".join(part for part in parts if part) + ", tilt axis upright", fontsize=10
    )
    labels = [
        f"{e} (full at {s:.3g} counts)" for e, s in zip(elements, scale, strict=True)
    ]
    element_legend(figure, labels, elements)
    return figure


def orthogonal_slices(
    volumes: ArrayLike,
    elements: Sequence[str],
    voxel_nm: float,
    *,
    truth: ArrayLike | None = None,
    truth_voxel_nm: float | None = None,
    slab_nm: float = 20.0,
    centre_nm: tuple[float, float, float] | None = None,
    field_nm: float | None = None,
    bar_nm: float = 50.0,
    specimen: str | None = None,
) -> Figure:
    """Return three slices through a wire, elements laid over each other.

    As in He et al., Fig. 4: the section across the wire, which is shown for each
    element alone too, and two along it. Each element has one scale a row, from 0 to
    the 99.5th percentile of what is shown.

    volumes: (element, z, x, y), the wire along y
    truth: the same of what is really there, as a second row, about the same centre
    truth_voxel_nm: of the truth; voxel_nm if None
    slab_nm: thickness over which slices are means; whole voxels, at least one
    centre_nm: (z, x, y) where the slices meet, from the volume's centre; in the wire
        if None
    field_nm: shown across the wire; some more than the wire if None
    Raises KernelInputError if shapes don't fit.
    """
    rows = {"reconstruction": Volumes(volumes, voxel_nm)}
    if truth is not None:
        size_nm = voxel_nm if truth_voxel_nm is None else truth_voxel_nm
        rows["truth"] = Volumes(truth, size_nm)
    for name, row in rows.items():
        if len(row.values) != len(elements):
            raise KernelInputError(
                f"slices: {name} {row.values.shape} doesn't fit {len(elements)} "
                "elements; give (element, z, x, y)"
            )
    lengths = {"slab_nm": slab_nm, "field_nm": field_nm, "bar_nm": bar_nm}
    for name, length_nm in lengths.items():
        if length_nm is not None and not 0 < length_nm < math.inf:
            raise KernelInputError(
                f"slices: {name} = {length_nm:g}; give a length above 0 nm"
            )
    shown = rows["reconstruction"]
    (z_nm, x_nm), diameter_nm = find_wire(shown)
    centre = dict(zip(AXES, centre_nm or (z_nm, x_nm, 0.0), strict=True))
    field = field_nm or _FIELD * diameter_nm
    across = {axis: window(shown, axis, centre[axis], field) for axis in "zx"}
    span = across | {"y": window(shown, "y", centre["y"], _LENGTH * field)}
    wide = [np.ptp(span[view.right]) for view in VIEWS]
    high = max(np.ptp(span[view.up]) for view in VIEWS)
    # The section, its elements alone, and the slices along the wire.
    widths = [wide[0], wide[0], *wide[1:]]
    figure = new_figure(
        sum(widths) * _ROW_IN / high + 2.0, (_ROW_IN + 0.65) * len(rows) + 0.6
    )
    grid = figure.add_gridspec(len(rows), len(widths), width_ratios=widths)
    for number, (name, row) in enumerate(rows.items()):
        slabs = [row.slab(view.across, centre[view.across], slab_nm) for view in VIEWS]
        insides = [
            shown_values(row, slab, view, span)
            for slab, view in zip(slabs, VIEWS, strict=True)
        ]
        scale = full_scale(np.concatenate(insides, axis=1))
        for column, view, slab in zip((0, 2, 3), VIEWS, slabs, strict=True):
            axes = figure.add_subplot(grid[number, column])
            draw_slice(axes, composite(slab.values, elements, scale), row, view, span)
            mark_cuts(axes, view, centre)
            name_directions(axes, view)
            scale_bar(axes, bar_nm)
            axes.set_title(
                f"{name}: mean of {slab.thickness_nm:.3g} nm along {view.across}",
                fontsize=8,
            )
        alone = figure.add_subplot(grid[number, 1])
        draw_alone(alone, elements, row, slabs[0], scale, span, bar_nm)
    if specimen:
        figure.suptitle(specimen, fontsize=10)
    element_legend(figure, list(elements), elements)
    return figure


def _degrees(angle_deg: float) -> str:
    return f"{angle_deg:+.3g}°".replace("-", "\u2212") if angle_deg else "0°"
