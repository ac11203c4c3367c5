"""Commands that say what a plan would do and cost at most, before it is run."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from cryoline.acquisition.cli_cycling import check_protocol
from cryoline.acquisition.cli_options import (
    OUT,
    ConfigOption,
    JsonOption,
    print_json,
    read_config,
)
from cryoline.acquisition.cli_route import transfer
from cryoline.acquisition.config import Config
from cryoline.acquisition.dose_refusals import check_current
from cryoline.acquisition.errors import ConnectionFailed, PlanRefused

__all__ = ["app"]

app = typer.Typer(
    name="check",
    help="What a plan would cost at most: dose, time, cold, disk. Nothing is moved.",
    no_args_is_help=True,
)


class Order(StrEnum):
    """The orders of tilts that need no more than ends and step."""

    ALTERNATE = "alternate"
    BIDIRECTIONAL = "bidirectional"
    CONTINUOUS = "continuous"
    COSINE = "cosine"
    SWING = "swing"


app.command("protocol")(check_protocol)
app.command()(transfer)


@app.callback()
def _group() -> None:
    """What a plan would cost at most: dose, time, cold, disk. Nothing is moved."""


@app.command()
def tilt_series(
    specimen: Annotated[str, typer.Option(help="The specimen.")],
    region: Annotated[str, typer.Option(help="Its region.")] = "region-1",
    order: Annotated[Order, typer.Option(help="Of the tilts.")] = Order.BIDIRECTIONAL,
    first_end_deg: Annotated[float, typer.Option(help="Tilt of the first end.")] = 60,
    second_end_deg: Annotated[float, typer.Option(help="Of the second.")] = -60,
    step_deg: Annotated[float, typer.Option(help="Between two tilts.")] = 5,
    tilt_limit_deg: Annotated[float, typer.Option(help="The holder's.")] = 60,
    width_px: Annotated[int, typer.Option(help="Of the map.")] = 512,
    height_px: Annotated[int, typer.Option(help="Of the map.")] = 512,
    pixel_nm: Annotated[float, typer.Option(help="Size of a pixel.")] = 2.134,
    dwell_us: Annotated[float, typer.Option(help="Time on a pixel.")] = 19.767,
    frames: Annotated[int, typer.Option(help="Of a map, on average.")] = 22,
    flyback_us: Annotated[float, typer.Option(help="Of a line.")] = 0.0,
    flyback_blanked: Annotated[
        bool, typer.Option(help="Whether the beam is off in it.")
    ] = True,
    factor_at_60deg: Annotated[
        float, typer.Option(help="Frames at 60 deg over those at 0.")
    ] = 1.0,
    total_e_per_nm2: Annotated[
        float | None, typer.Option(help="Of the region; the frames follow from it.")
    ] = None,
    tracking_offset_nm: Annotated[
        float | None, typer.Option(help="Track beside the map, along the tilt axis.")
    ] = None,
    tracking_width_px: Annotated[
        int | None, typer.Option(help="Of that area; else as the map's.")
    ] = None,
    tracking_height_px: Annotated[
        int | None, typer.Option(help="Of that area; else as the map's.")
    ] = None,
    tracking_pixel_nm: Annotated[
        float | None, typer.Option(help="Of that area; else as the map's.")
    ] = None,
    accept_overlap: Annotated[
        bool, typer.Option("--accept-overlap", help="That area may touch the map.")
    ] = False,
    current_pa: Annotated[
        float | None, typer.Option(help="Without it, the beam's as last measured.")
    ] = None,
    ln2_percent: Annotated[
        float | None,
        typer.Option(help="In the dewar; else asked, or full with --current-pa."),
    ] = None,
    budget_e_per_nm2: Annotated[
        float | None, typer.Option(help="Of this series in its worst case.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a tilt series costs at most, re-takes not counted; exit 1 if too much.

    Nothing is moved, reserved or written to a device.

    Example: cryoline check tilt-series --specimen nw-01 --total-e-per-nm2 4e6
    """
    from cryoline.acquisition import tilt_schemes
    from cryoline.acquisition.calibrations import refuse_old
    from cryoline.acquisition.dose_config import open_ledger
    from cryoline.acquisition.dose_plan import dose_of_series, plan_dose
    from cryoline.acquisition.forecast import forecast, waits_of_tilt_series
    from cryoline.acquisition.forecast_report import render, series_as_dict
    from cryoline.acquisition.low_dose_areas import DisplacedArea
    from cryoline.acquisition.specimen import Specimen
    from cryoline.acquisition.tilt_exposures import (
        Scan,
        Tracking,
        worst_case_tilt_series,
    )

    loaded = read_config(config)
    refuse_old(loaded.calibrations)
    scheme = getattr(tilt_schemes, order)(first_end_deg, second_end_deg, step_deg)
    steepest_deg = max(map(abs, scheme.angles_deg))
    if steepest_deg > tilt_limit_deg:
        raise PlanRefused(
            f"tilt series: {steepest_deg:g} deg is outside "
            f"-{tilt_limit_deg:g}..{tilt_limit_deg:g} deg, the holder's; choose nearer "
            "ends, or give --tilt-limit-deg"
        )
    area = None
    if tracking_offset_nm is not None:
        area = DisplacedArea(
            offset_nm=tracking_offset_nm,
            width_px=tracking_width_px,
            height_px=tracking_height_px,
            pixel_nm=tracking_pixel_nm,
            accept_overlap=accept_overlap,
        )
    tracking = Tracking(area=area)
    scan = Scan(
        width_px=width_px,
        height_px=height_px,
        pixel_nm=pixel_nm,
        dwell_s=dwell_us * 1e-6,
        n_frames=frames,
        flyback_s=flyback_us * 1e-6,
        flyback_blanked=flyback_blanked,
        factor_at_60deg=factor_at_60deg,
    )
    if current_pa is None:
        current_pa, asked_percent = _ask_instrument(loaded)
    else:
        check_current("a current", current_pa)
        asked_percent = 100.0
    dose = dose_of_series(scheme, scan, tracking, current_pa=current_pa)
    if total_e_per_nm2 is not None:
        dose = plan_dose(
            scheme,
            scan,
            tracking,
            total_e_per_nm2=total_e_per_nm2,
            current_pa=current_pa,
        )
    exposures = worst_case_tilt_series(
        Specimen(name=specimen),
        region=region,
        scheme=scheme,
        scan=dose.scan,
        tracking=tracking,
    )
    with open_ledger(loaded) as ledger:
        found = forecast(
            ledger,
            exposures,
            folder=loaded.layout.root,
            minimum_free_mb=loaded.instrument.minimum_free_mb,
            current_pa=current_pa,
            current_margin=loaded.dose.current_margin,
            budget_e_per_nm2=budget_e_per_nm2,
            waits_s=waits_of_tilt_series(scheme, tracking),
            ln2_percent=asked_percent if ln2_percent is None else ln2_percent,
            cold=loaded.cold,
        )
    if as_json:
        print_json(
            {**found.as_dict(), "series": series_as_dict(scheme, dose, tracking)}
        )
    else:
        render(found, scheme, dose, tracking, OUT)
    if not found.fits:
        raise typer.Exit(1)


def _ask_instrument(config: Config) -> tuple[float, float | None]:
    """Return the beam's current as last measured, and the stage's liquid nitrogen, %.

    Only read: nothing is written to any device.
    """
    from cryoline.acquisition.connection import connect_devices, set_epics_environment

    name, stage = config.dose.beam, config.cold.stage
    advice = "give --current-pa"
    if name not in config.devices:
        raise ConnectionFailed(f"{config.path}: has no device {name!r}; {advice}")
    wanted = {n: config.devices[n] for n in (name, stage) if n in config.devices}
    only = config.model_copy(update={"devices": wanted})
    set_epics_environment(only)
    try:
        devices: dict[str, Any] = connect_devices(only)
    except ConnectionFailed as error:
        raise ConnectionFailed(f"{error}; or {advice}") from error
    current_pa = float(devices[name].probe_current().current_pa)
    if current_pa == 0.0:
        raise PlanRefused(
            f"{name}: its current was not measured since the instrument was started; "
            f"measure it in cryoline shell ({name}.measure_current()), or {advice}"
        )
    if stage not in devices:
        return current_pa, None
    return current_pa, float(devices[stage].ln2_percent.get())
