"""The figure of lithium in silicon by energy loss, and of where it can be trusted."""

import math
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.figure_parts import (
    new_figure,
    round_length,
    scale_bar,
)
from cryoline.analysis.live_eels import LossStatus

__all__ = ["lithium_map"]

_HEIGHT_IN: Final = 3.6
_COLOURS: Final = ("#ffffff", "#e69f00", "#56b4e9", "#000000", "#6e6e6e", "#cc79a7")
"""By status: only those that a pixel has are drawn, or named."""
_NAMES: Final = (
    "Li/Si by plasmon",
    "may be density, no Li",
    "outside 12.74..16.83 eV",
    "no zero loss",
    "no plasmon",
    "fit did not converge",
)
_MOST: Final = 4.4


def lithium_map(
    li_per_si: ArrayLike,
    status: ArrayLike,
    pixel_nm: float,
    *,
    t_over_lambda: ArrayLike | None = None,
    specimen: str | None = None,
) -> Figure:
    """Return Li/Si, beside it where it can be trusted, and the thickness if given.

    Where density alone may explain the energy, Li/Si is hatched. The colours of Li/Si
    end where the relation of [S2] does, at 0 and 4.4.

    li_per_si: (y, x), NaN where there is none
    status: (y, x), a `LossStatus` each
    Raises KernelInputError if shapes differ.
    """
    ratio, codes = np.asarray(li_per_si, float), np.asarray(status)
    thick = None if t_over_lambda is None else np.asarray(t_over_lambda, float)
    shapes = {ratio.shape, codes.shape} | (
        {thick.shape} if thick is not None else set()
    )
    if ratio.ndim != 2 or len(shapes) > 1 or not ratio.size:
        raise KernelInputError(
            f"lithium map: arrays {', '.join(map(str, shapes))}; give (y, x), all alike"
        )
    if not 0 < pixel_nm < math.inf:
        raise KernelInputError(
            f"lithium map: pixels of {pixel_nm:g} nm; give a length above 0 nm"
        )
    panels = 2 if thick is None else 3
    figure = new_figure(3.6 * panels, _HEIGHT_IN)
    axes = figure.subplots(1, panels)
    extent = (0.0, pixel_nm * ratio.shape[1], 0.0, pixel_nm * ratio.shape[0])
    picture = _draw(axes[0], ratio, extent, "cividis", (0.0, _MOST))
    _hatch(axes[0], codes == LossStatus.MAY_BE_DENSITY, extent)
    bar = figure.colorbar(picture, ax=axes[0], shrink=0.8, pad=0.02)
    bar.set_label("Li per Si atom (hatched: may be density)", fontsize=9)
    axes[0].set_title("lithium", fontsize=10)
    _draw_status(figure, axes[1], codes, extent)
    if thick is not None:
        top = float(np.nanmax(thick, initial=0.0)) or 1.0
        picture = _draw(axes[2], thick, extent, "gray", (0.0, top))
        bar = figure.colorbar(picture, ax=axes[2], shrink=0.8, pad=0.02)
        bar.set_label("thickness / mean free path")
        axes[2].set_title("thickness", fontsize=10)
    for one in axes:
        scale_bar(one, round_length(extent[1]))
    if specimen:
        figure.suptitle(specimen, fontsize=11)
    return figure


def _draw(
    axes: Axes,
    values: NDArray[np.float64],
    extent: tuple[float, float, float, float],
    colours: str,
    limits: tuple[float, float],
) -> AxesImage:
    """Draw a map on black, row 0 at the top."""
    axes.set_facecolor("0.15")
    picture = axes.imshow(
        np.ma.masked_invalid(values),
        extent=extent,
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        interpolation="nearest",
    )
    axes.set_xticks([])
    axes.set_yticks([])
    return picture


def _hatch(
    axes: Axes,
    where: NDArray[np.bool_],
    extent: tuple[float, float, float, float],
) -> None:
    """Hatch the pixels of a mask."""
    if not where.any() or min(where.shape) < 2:
        return
    height, width = where.shape
    step_x, step_y = extent[1] / width, extent[3] / height
    x = np.r_[0.0, step_x * (np.arange(width) + 0.5), extent[1]]
    y = np.r_[extent[3], extent[3] - step_y * (np.arange(height) + 0.5), 0.0]
    drawn = axes.contourf(
        x,
        y,
        np.pad(where.astype(float), 1, mode="edge"),
        levels=[0.5, 1.5],
        colors="none",
        hatches=["////"],
    )
    drawn.set_edgecolor("white")
    drawn.set_linewidth(0.0)


def _draw_status(
    figure: Figure,
    axes: Axes,
    codes: NDArray[np.int8],
    extent: tuple[float, float, float, float],
) -> None:
    """Draw the status of each pixel, with the share of each."""
    axes.imshow(
        codes,
        extent=extent,
        cmap=ListedColormap(list(_COLOURS)),
        vmin=-0.5,
        vmax=len(_COLOURS) - 0.5,
        interpolation="nearest",
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title("what is known", fontsize=10)
    handles = [
        Patch(
            facecolor=_COLOURS[code],
            edgecolor="0.3",
            linewidth=0.5,
            label=f"{_NAMES[code]}: {100 * np.mean(codes == code):.0f} %",
        )
        for code in LossStatus
        if (codes == code).any()
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=8.5,
    )
