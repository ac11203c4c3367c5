"""The demo's story, from cell to volume: what is fetched, judged and drawn of it."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryoline.acquisition import demo_checks as checks
from cryoline.acquisition import demo_map_checks as map_checks
from cryoline.acquisition.config import Config
from cryoline.acquisition.demo_checks import Line
from cryoline.acquisition.demo_results import (
    Results,
    Tables,
    cycling_points,
    row_counts,
    rows_of,
)
from cryoline.acquisition.demo_session import CELL, SWEEP, WIRE
from cryoline.acquisition.demo_truth import Truth, score_volumes
from cryoline.acquisition.tiled_server import TiledServer
from cryoline.analysis.constants import ELEMENTARY_CHARGE_C

__all__ = ["draw", "fetch", "judge"]

_TILTS: Final = 25
_FRAMES: Final = ("haadf_image", "eds_spectrum")


def fetch(server: TiledServer, session: dict[str, Any]) -> Results:
    """Return what Tiled holds of the three runs, and of what follows from them."""
    runs = session["runs"]
    mapped = runs["tilt-series"]
    return Results(
        server,
        {
            "raw": list(runs.values()),
            "derived": [
                f"{runs['cycling']}_cycling",
                f"{mapped}_element-maps",
                f"{mapped}_element-volumes",
            ],
        },
    )


def judge(
    config: Config, results: Results, session: dict[str, Any], _: Path | None
) -> list[Line]:
    """Return every line of the table."""
    runs, truth, dose = session["runs"], session["truth"], session["dose"]
    raw = results.tables["raw"]
    cycling = results.tables["derived"][f"{runs['cycling']}_cycling"]
    mapped = runs["tilt-series"]
    maps = results.tables["derived"][f"{mapped}_element-maps"]["maps"]
    frames = [
        (f"frames {name}", _TILTS, results.frame_count(mapped, "primary", name))
        for name in _FRAMES
    ]
    spectra = results.frames(mapped, "primary", "eds_spectrum")
    return [
        *checks.row_lines(row_counts(config.layout, results)),
        *checks.row_lines(frames, prefix=""),
        *checks.point_lines(
            cycling_points(results, runs["cycling"]),
            low_v=SWEEP["vertex_low_v"],
            high_v=SWEEP["vertex_high_v"],
            rate_mv_per_s=SWEEP["scan_rate_mv_per_s"],
            record_dv_mv=SWEEP["record_dv_mv"],
        ),
        *checks.charge_lines(
            cycling["cycles"],
            lithiation_mah=truth["lithiation_mah"],
            delithiation_mah=truth["delithiation_mah"],
        ),
        *checks.peak_lines(rows_of(cycling["peaks"])),
        *map_checks.transfer_lines(raw[runs["transfer"]]["transfer"]),
        *map_checks.dose_lines(
            raw[mapped]["primary"],
            tilts=_TILTS,
            settled_e_per_nm2=dose["settled_e_per_nm2"],
            limit_e_per_nm2=dose["limit_e_per_nm2"],
            charged_c=dose["settled_e_per_nm2"]
            * dose["field_nm2"]
            * ELEMENTARY_CHARGE_C,
            fell_c=truth["beam_charge_c"],
        ),
        *map_checks.count_lines(maps, spectra.reshape(-1, spectra.shape[-1])),
        *map_checks.volume_lines(_scores(config, results, session)),
    ]


def draw(
    config: Config, results: Results, session: dict[str, Any], out: Path
) -> dict[str, Path]:
    """Draw the five figures; return their files by name."""
    from cryoline.acquisition import demo_figures as figures

    runs = session["runs"]
    raw = results.tables["raw"]
    cycling = results.tables["derived"][f"{runs['cycling']}_cycling"]
    volumes, elements, voxel_nm = _volumes(results, session)
    truth = _truth(config)
    atoms = np.stack([truth.atoms(e, volumes.shape[1:], voxel_nm) for e in elements])
    maps, pixel_nm = _maps(results, session)
    return {
        "cycling": figures.draw_cycling(
            cycling_points(results, runs["cycling"]), cycling, out, specimen=CELL
        ),
        "transfer": figures.draw_transfer(raw[runs["transfer"]]["transfer"], out, WIRE),
        "tilts": figures.draw_tilts(maps, elements, pixel_nm, out, WIRE),
        "slices": figures.draw_slices(volumes, elements, voxel_nm, atoms, out, WIRE),
        "dose": figures.draw_dose(
            _by_purpose(raw[runs["tilt-series"]]),
            session["dose"]["limit_e_per_nm2"],
            out,
            WIRE,
        ),
    }


def _scores(
    config: Config, results: Results, session: dict[str, Any]
) -> dict[str, float]:
    volumes, elements, voxel_nm = _volumes(results, session)
    by_element = dict(zip(elements, volumes, strict=True))
    return score_volumes(by_element, _truth(config), voxel_nm=voxel_nm)


def _truth(config: Config) -> Truth:
    return Truth.read(config.path.parent / "truth" / "specimen.h5")


def _volumes(
    results: Results, session: dict[str, Any]
) -> tuple[NDArray[Any], list[str], float]:
    """Return the volumes (element, z, x, y), their elements, and a voxel's size."""
    key = f"{session['runs']['tilt-series']}_element-volumes"
    volumes, metadata = results.array(key, "volume")
    return volumes, list(metadata["elements"]), float(metadata["scale_nm"][-1])


def _maps(
    results: Results, session: dict[str, Any]
) -> tuple[list[tuple[float, NDArray[Any]]], float]:
    """Return tilt and counts (element, y, x) of each map, and a pixel's size."""
    key = f"{session['runs']['tilt-series']}_element-maps"
    found, pixel_nm = [], 1.0
    for name in results.kept(key, "maps"):
        counts, metadata = results.array(key, name)
        found.append((float(metadata["tilt_deg"]), counts))
        pixel_nm = float(metadata["scale_nm"][-1])
    return found, pixel_nm


def _by_purpose(streams: Tables) -> dict[str, float]:
    """Return what maps and tracking have cost, e/nm2."""
    return {
        name: float(np.nansum(streams[stream]["dose_fluence_e_per_nm2"]))
        for name, stream in (("record", "primary"), ("tracking", "tracking"))
    }
