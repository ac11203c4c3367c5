"""Figures of a tilt series: its element maps, and the volumes made of them."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

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

__all__ = ["orthogonal_slices", "tilt_gallery"]

_PANEL_IN: Final = 1.3
_ROW_IN: Final = 2.0
_AXES: Final = ("element", "z", "x", "y")
_LABELS: Final = {
    "x": "x / nm  (across the tilt axis)",
    "y": "y / nm  (along the tilt axis)",
    "z": "z / nm  (along the beam at 0°)",
}
_VIEWS: Final = (("y", "x", "z"), ("z", "y", "x"), ("x", "y", "z"))
"""Each panel: the direction that it is cut across, then those to the right and up."""

_MATTER: Final = 0.5
"""[A] assumption: what is this part of full colour and more is matter."""


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
    _check_length("pixel_nm", pixel_nm)
    _check_finite("maps", maps)
    _check_finite("angles_deg", angles)
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
        f"{e} (full: {s:.3g} counts)" for e, s in zip(elements, scale, strict=True)
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

    As in He et al., Fig. 4. Left the section across the wire, then along it, seen
    from above and from the side. Each row has its own scale for each element.

    volumes: (element, z, x, y), the wire along y
    truth: the same of what is really there, as a second row, about the same centre
    truth_voxel_nm: of the truth; voxel_nm if None
    slab_nm: thickness of the slices, whole voxels, at least one
    centre_nm: (z, x, y) of the slices, from the volume's centre; None: in the wire
    field_nm: shown along x and z; None: the wire and some room
    Raises KernelInputError if shapes don't fit.
    """
    rows = [("reconstruction", _block("volumes", volumes, elements, voxel_nm))]
    if truth is not None:
        size_nm = voxel_nm if truth_voxel_nm is None else truth_voxel_nm
        rows.append(("truth", _block("truth", truth, elements, size_nm)))
    _check_length("slab_nm", slab_nm)
    found_nm, wide_nm = _find_wire(rows[0][1])
    centre = dict(zip(_AXES[1:], centre_nm or found_nm, strict=True))
    field = wide_nm if field_nm is None else field_nm
    span = {name: rows[0][1].span_nm(name) for name in _AXES[1:]}
    for name in ("z", "x"):
        low, high = span[name]
        middle = min(max(centre[name], low + field / 2), high - field / 2)
        if field < high - low:
            span[name] = (middle - field / 2, middle + field / 2)
    widths = [span[right][1] - span[right][0] for _, right, _ in _VIEWS]
    heights = [span[up][1] - span[up][0] for _, _, up in _VIEWS]
    inches = _ROW_IN / max(heights)
    figure = new_figure(sum(widths) * inches + 2.4, (_ROW_IN + 0.6) * len(rows) + 0.7)
    grid = figure.add_gridspec(len(rows), len(_VIEWS), width_ratios=widths)
    for row, (title, block) in enumerate(rows):
        slices = [block.slab(view[0], centre[view[0]], slab_nm) for view in _VIEWS]
        scale = full_scale(
            np.concatenate([s.reshape(len(elements), -1) for s, _ in slices], axis=1)
        )
        for column, view in enumerate(_VIEWS):
            axes = figure.add_subplot(grid[row, column])
            values, thick_nm = slices[column]
            _show(axes, composite(values, elements, scale), block, view, span)
            _mark_cuts(axes, view, centre)
            scale_bar(axes, bar_nm)
            axes.set_title(
                f"{title}: mean of {thick_nm:.3g} nm along {view[0]}",
                fontsize=8,
            )
    if specimen:
        figure.suptitle(specimen, fontsize=10)
    element_legend(figure, list(elements), elements)
    return figure


class _Block(NamedTuple):
    """Volumes about a common centre."""

    values: NDArray[np.float64]
    """(element, z, x, y)."""
    voxel_nm: float

    def span_nm(self, name: str) -> tuple[float, float]:
        """Return where it begins and ends along an axis."""
        half_nm = 0.5 * self.voxel_nm * self.values.shape[_AXES.index(name)]
        return -half_nm, half_nm

    def slab(
        self, name: str, at_nm: float, thick_nm: float
    ) -> tuple[NDArray[np.float64], float]:
        """Return the mean of a slab across an axis, and its true thickness."""
        axis = _AXES.index(name)
        size = self.values.shape[axis]
        low_nm, high_nm = self.span_nm(name)
        if not low_nm <= at_nm <= high_nm:
            raise KernelInputError(
                f"slices: {name} = {at_nm:g} nm is outside the volume's {low_nm:g} to "
                f"{high_nm:g} nm; choose another centre_nm"
            )
        count = min(max(round(thick_nm / self.voxel_nm), 1), size)
        first = round((at_nm - low_nm) / self.voxel_nm - count / 2)
        first = min(max(first, 0), size - count)
        taken = self.values.take(range(first, first + count), axis=axis)
        return taken.mean(axis=axis), count * self.voxel_nm


def _block(
    name: str, volumes: ArrayLike, elements: Sequence[str], voxel_nm: float
) -> _Block:
    values = np.asarray(volumes, float)
    if values.ndim != 4 or len(values) != len(elements) or not values.size:
        raise KernelInputError(
            f"slices: {name} {values.shape} don't fit {len(elements)} elements; give "
            "(element, z, x, y)"
        )
    _check_length("voxel_nm", voxel_nm)
    _check_finite(name, values)
    return _Block(values, float(voxel_nm))


def _find_wire(block: _Block) -> tuple[tuple[float, float, float], float]:
    """Return (z, x, y) of the wire half way along y, and a field that shows it."""
    scale = full_scale(block.values, 99.9).reshape(-1, 1, 1, 1)
    section = (block.values / scale).sum(axis=0).mean(axis=-1)  # (z, x)
    matter = np.argwhere(section >= _MATTER * section.max())
    middle = (np.array(section.shape) - 1) / 2
    z_nm, x_nm = (matter.mean(axis=0) - middle) * block.voxel_nm
    extent = float(np.ptp(matter, axis=0).max() + 1) * block.voxel_nm
    return (float(z_nm), float(x_nm), 0.0), 2.0 * extent


def _show(
    axes: Axes,
    picture: NDArray[np.float64],
    block: _Block,
    view: tuple[str, str, str],
    span: dict[str, tuple[float, float]],
) -> None:
    """Draw a slice whose picture has the axes z, x, y in this order, but for one."""
    across, right, up = view
    kept = [name for name in _AXES[1:] if name != across]
    upright = picture if kept == [up, right] else picture.swapaxes(0, 1)
    axes.set_facecolor("black")
    axes.imshow(
        upright,
        origin="lower",
        extent=(*block.span_nm(right), *block.span_nm(up)),
        interpolation="nearest",
    )
    axes.set_xlim(span[right])
    axes.set_ylim(span[up])
    axes.set_xlabel(_LABELS[right], fontsize=8)
    axes.set_ylabel(_LABELS[up], fontsize=8)
    axes.tick_params(labelsize=7)


def _mark_cuts(
    axes: Axes, view: tuple[str, str, str], centre: dict[str, float]
) -> None:
    """Mark at the edges where the other two slices are."""
    _, right, up = view
    for line, place in ((axes.axvline, centre[right]), (axes.axhline, centre[up])):
        line(place, color="white", linewidth=0.6, linestyle=(0, (4, 4)), alpha=0.6)


def _degrees(angle_deg: float) -> str:
    return f"{angle_deg:+.3g}°".replace("-", "\u2212") if angle_deg else "0°"


def _check_length(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise KernelInputError(f"figure: {name} = {value:g}; give a length above 0 nm")


def _check_finite(name: str, values: NDArray[np.float64]) -> None:
    if not np.isfinite(values).all():
        wrong = np.count_nonzero(~np.isfinite(values))
        raise KernelInputError(
            f"figure: {wrong} of {values.size} {name} are not finite; leave them out"
        )
