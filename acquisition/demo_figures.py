"""The demo's figures, drawn from what came back from Tiled."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryoline.acquisition.demo_results import Tables

__all__ = ["draw_cycling", "draw_dose", "draw_slices", "draw_tilts", "draw_transfer"]

_DPI: Final = 150
_GALLERY_PX: Final = 128
"""Width of one tilt's picture; maps are summed down to it."""


def draw_cycling(
    points: Mapping[str, Sequence[Any]],
    derived: Tables,
    out: Path,
    *,
    specimen: str,
    recorded: bool = False,
) -> Path:
    """Draw a voltammogram, or charge curves if nothing was swept; return the file."""
    from cryoline.analysis.figures import charge_curve_figure, voltammogram_figure

    # A file does not say in a fixed place against what its potential was measured.
    reference = "reference" if recorded else "Li/Li$^+$"
    if any(math.isfinite(r) for r in derived["half_cycles"]["scan_rate_mv_per_s"]):
        path = out / "voltammogram.png"
        figure = voltammogram_figure(
            points, derived.get("peaks"), specimen=specimen, reference=reference
        )
    else:
        path = out / "charge-curves.png"
        figure = charge_curve_figure(points, specimen=specimen, reference=reference)
    figure.savefig(path, dpi=_DPI)
    return path


def draw_transfer(log: Mapping[str, Sequence[Any]], out: Path, specimen: str) -> Path:
    """Draw how cold the specimen was on its way; return the file."""
    from cryoline.analysis.transfer_figures import leg_spans, transfer_timeline

    times = log["clock_instrument_time_s"]
    figure = transfer_timeline(
        times,
        {
            "specimen": log["carrier_temperature_degc"],
            "holder": log["holder_temperature_degc"],
        },
        {},  # nothing on this route is under vacuum
        leg_spans(times, log["transfer_leg"]),
        specimen=specimen,
    )
    path = out / "transfer.png"
    figure.savefig(path, dpi=_DPI)
    return path


def draw_tilts(
    maps: Sequence[tuple[float, NDArray[Any]]],
    elements: Sequence[str],
    pixel_nm: float,
    out: Path,
    specimen: str,
) -> Path:
    """Draw the element maps of each tilt; return the file.

    maps: tilt in deg, counts (element, y, x)
    """
    from cryoline.analysis.tomography_figures import tilt_gallery

    by = max(1, maps[0][1].shape[-1] // _GALLERY_PX)
    figure = tilt_gallery(
        np.stack([_summed(counts, by) for _, counts in maps]),
        [tilt_deg for tilt_deg, _ in maps],
        elements,
        pixel_nm * by,
        specimen=specimen,
    )
    path = out / "tilts.png"
    figure.savefig(path, dpi=_DPI)
    return path


def _summed(counts: NDArray[Any], by: int) -> NDArray[np.float64]:
    elements, rows, columns = counts.shape
    blocks = counts.reshape(elements, rows // by, by, columns // by, by)
    return np.asarray(blocks.sum(axis=(2, 4)), float)


def draw_slices(
    volumes: NDArray[Any],
    elements: Sequence[str],
    voxel_nm: float,
    truth: NDArray[Any],
    out: Path,
    specimen: str,
) -> Path:
    """Draw slices through the volumes, above those of the truth; return the file."""
    from cryoline.analysis.tomography_figures import orthogonal_slices

    figure = orthogonal_slices(
        volumes, elements, voxel_nm, truth=truth, specimen=specimen
    )
    path = out / "slices.png"
    figure.savefig(path, dpi=_DPI)
    return path


def draw_dose(
    charged: Mapping[str, float], limit_e_per_nm2: float, out: Path, specimen: str
) -> Path:
    """Draw what each purpose has cost, and what is left; return the file."""
    from cryoline.analysis.dose_figures import dose_bar

    path = out / "dose.png"
    dose_bar(charged, limit_e_per_nm2, specimen=specimen).savefig(path, dpi=_DPI)
    return path
