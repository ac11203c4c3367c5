"""A person's view of what a tilt series would cost."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cryoline.acquisition.dose_plan import DosePlan
from cryoline.acquisition.dose_refusals import fluence_text
from cryoline.acquisition.forecast import Forecast
from cryoline.acquisition.low_dose_areas import Separation
from cryoline.acquisition.tilt_exposures import Tracking
from cryoline.acquisition.tilt_schemes import Scheme

__all__ = ["render", "series_as_dict"]


def series_as_dict(
    scheme: Scheme, dose: DosePlan, tracking: Tracking
) -> dict[str, Any]:
    """Return what a program may read of the series itself."""
    separation = dose.separation
    return {
        "angles_deg": list(scheme.angles_deg),
        "frames": list(dose.frames),
        "maps_e_per_nm2": list(dose.maps_e_per_nm2),
        "tracking_e_per_nm2": dose.tracking_e_per_nm2,
        "total_e_per_nm2": dose.total_e_per_nm2,
        "tracking_area": tracking.area
        and {
            **asdict(separation),
            "needed_nm": separation.needed_nm,
            "is_clear": separation.is_clear,
        },
    }


def render(
    found: Forecast,
    scheme: Scheme,
    dose: DosePlan,
    tracking: Tracking,
    console: Console,
) -> None:
    """Write the forecast for a person."""
    _render_series(scheme, dose, console)
    if tracking.area is not None:
        _render_area(dose.separation, console)
    margin_percent = 100 * (found.current_limit_pa / found.current_pa - 1)
    console.print(
        f"at most: {found.n_exposures} exposures at up to "
        f"{found.current_limit_pa:.4g} pA ({found.current_pa:.4g} pA + "
        f"{margin_percent:.3g} %)"
    )
    _render_regions(found, console)
    console.print(
        f"beam on {found.beam_on_s / 60:.1f} min, in all about "
        f"{found.duration_s / 60:.0f} min of instrument time at most"
    )
    _render_cold(found, console)
    disk = found.disk
    enough = "" if disk.is_enough else "; [red]too little[/]"
    console.print(
        f"disk: up to {disk.needed_bytes / 1e9:.2g} GB, "
        f"{disk.free_bytes / 1e9:.3g} GB free, "
        f"{disk.minimum_free_bytes / 1e9:.2g} GB to stay free{enough}"
    )
    for region in found.regions:
        if region.refusal:
            console.print(escape(region.refusal), style="red", soft_wrap=True)


def _render_series(scheme: Scheme, dose: DosePlan, console: Console) -> None:
    rows = list(zip(scheme.angles_deg, dose.frames, dose.maps_e_per_nm2, strict=True))

    def steepness_deg(row: tuple[float, int, float]) -> float:
        return abs(row[0] - scheme.center_deg)

    ends = min(rows, key=steepness_deg), max(rows, key=steepness_deg)
    maps = "; ".join(
        f"{frames} at {tilt_deg:g} deg, {fluence_text(fluence)}"
        for tilt_deg, frames, fluence in ends
    )
    console.print(
        f"{len(dose.frames)} maps of {sum(dose.frames)} frames: {maps}",
        soft_wrap=True,
    )
    console.print(
        f"as measured, mean over the map: {fluence_text(dose.total_e_per_nm2)}, "
        f"{fluence_text(dose.tracking_e_per_nm2)} of it for tracking",
        soft_wrap=True,
    )


def _render_area(separation: Separation, console: Console) -> None:
    verdict = "clear" if separation.is_clear else "[yellow]overlap accepted[/]"
    console.print(
        f"tracking area {separation.offset_nm:.0f} nm along the tilt axis, "
        f"{separation.needed_nm:.0f} nm needed; edges {separation.gap_nm:.0f} nm "
        f"apart: {verdict}",
        soft_wrap=True,
    )


def _render_regions(found: Forecast, console: Console) -> None:
    table = Table(
        "e/nm2", "at most", "used", "left before", "worst cell after", "limit", ""
    )
    for region in found.regions:
        usage = region.usage
        used = usage.settled_e_per_nm2 + usage.reserved_e_per_nm2
        verdict = "[red]too much[/]" if region.refusal else "[green]fits[/]"
        x_nm, y_nm = region.place_nm
        table.add_row(
            f"{usage.specimen}, {usage.region}",
            _short(region.asked_e_per_nm2),
            _short(used),
            _short(usage.left_e_per_nm2),
            f"{_short(region.worst_e_per_nm2)} at ({x_nm:.0f}, {y_nm:.0f}) nm",
            _short(region.limit_e_per_nm2),
            verdict,
        )
    console.print(table)
    for neighbour in found.neighbours:
        console.print(
            f"hits {neighbour.region} as well: up to "
            f"{fluence_text(neighbour.most_e_per_nm2)} there",
            soft_wrap=True,
        )


def _render_cold(found: Forecast, console: Console) -> None:
    cold = found.cold
    if cold is None:
        console.print("liquid nitrogen: not judged; set cold.ln2_lasts_s")
        return
    enough = "" if cold.is_enough else "; [red]too little: fill the dewar[/]"
    console.print(
        f"liquid nitrogen: {cold.ln2_percent:.0f} % now, {cold.at_end_percent:.0f} % "
        f"at the end, {cold.reserve_percent:g} % to be left{enough}",
        soft_wrap=True,
    )


def _short(fluence_e_per_nm2: float) -> str:
    return fluence_text(fluence_e_per_nm2).removesuffix(" e/nm2")
