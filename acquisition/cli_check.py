"""Commands that say what a plan would do and cost at most, before it is run."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cryoline.acquisition.cli_options import (
    OUT,
    ConfigOption,
    JsonOption,
    print_json,
    read_config,
)
from cryoline.acquisition.cli_route import transfer
from cryoline.acquisition.config import Config
from cryoline.acquisition.dose_refusals import fluence_text
from cryoline.acquisition.errors import ConnectionFailed, PlanRefused

if TYPE_CHECKING:
    from cryoline.acquisition.forecast import Forecast

__all__ = ["app"]

app = typer.Typer(
    name="check",
    help="What a plan would cost at most: dose, time, disk. Nothing is moved.",
    no_args_is_help=True,
)


class Order(StrEnum):
    """The orders of tilts that need no more than ends and step."""

    ALTERNATE = "alternate"
    BIDIRECTIONAL = "bidirectional"
    CONTINUOUS = "continuous"
    COSINE = "cosine"
    SWING = "swing"


app.command()(transfer)


@app.callback()
def _group() -> None:
    """What a plan would cost at most: dose, time, disk. Nothing is moved."""


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
    current_pa: Annotated[
        float | None, typer.Option(help="Without it, the beam's as last measured.")
    ] = None,
    budget_e_per_nm2: Annotated[
        float | None, typer.Option(help="Of this series.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a tilt series costs at most, re-takes not counted; exit 1 if too much.

    Example: cryoline check tilt-series --specimen nw-01 --pixel-nm 1.068
    """
    from cryoline.acquisition import tilt_schemes
    from cryoline.acquisition.dose_config import open_ledger
    from cryoline.acquisition.forecast import forecast, waits_of_tilt_series
    from cryoline.acquisition.specimen import Specimen
    from cryoline.acquisition.tilt_exposures import (
        Scan,
        Tracking,
        worst_case_tilt_series,
    )

    loaded = read_config(config)
    scheme = getattr(tilt_schemes, order)(first_end_deg, second_end_deg, step_deg)
    steepest_deg = max(map(abs, scheme.angles_deg))
    if steepest_deg > tilt_limit_deg:
        raise PlanRefused(
            f"tilt series: {steepest_deg:g} deg is outside "
            f"-{tilt_limit_deg:g}..{tilt_limit_deg:g} deg, the holder's; choose nearer "
            "ends, or give --tilt-limit-deg"
        )
    tracking = Tracking()
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
    exposures = worst_case_tilt_series(
        Specimen(name=specimen),
        region=region,
        scheme=scheme,
        scan=scan,
        tracking=tracking,
    )
    if current_pa is None:
        current_pa = _measured_current_pa(loaded)
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
        )
    if as_json:
        print_json(found.as_dict())
    else:
        _render(found)
    if not found.fits:
        raise typer.Exit(1)


def _measured_current_pa(config: Config) -> float:
    """Ask the beam, and nothing but that, for its current as last measured."""
    from cryoline.acquisition.connection import connect_devices, set_epics_environment

    name = config.dose.beam
    advice = "give --current-pa"
    if name not in config.devices:
        raise ConnectionFailed(f"{config.path}: has no device {name!r}; {advice}")
    only = config.model_copy(update={"devices": {name: config.devices[name]}})
    set_epics_environment(only)
    try:
        beam = connect_devices(only)[name]
    except ConnectionFailed as error:
        raise ConnectionFailed(f"{error}; or {advice}") from error
    current_pa = float(beam.probe_current().current_pa)
    if current_pa == 0.0:
        raise PlanRefused(
            f"{name}: its current was not measured since the instrument was started; "
            f"measure it in cryoline shell ({name}.measure_current()), or {advice}"
        )
    return current_pa


def _render(found: "Forecast") -> None:
    margin_percent = 100 * (found.current_limit_pa / found.current_pa - 1)
    OUT.print(
        f"{found.n_exposures} exposures at up to {found.current_limit_pa:.4g} pA "
        f"({found.current_pa:.4g} pA + {margin_percent:.3g} %)"
    )
    table = Table("e/nm2", "at most", "used", "left before", "limit", "")
    for region in found.regions:
        usage = region.usage
        used = usage.settled_e_per_nm2 + usage.reserved_e_per_nm2
        verdict = "[red]too much[/]" if region.refusal else "[green]fits[/]"
        table.add_row(
            f"{usage.specimen}, {usage.region}",
            *(
                fluence_text(value).removesuffix(" e/nm2")
                for value in (
                    region.asked_e_per_nm2,
                    used,
                    usage.left_e_per_nm2,
                    usage.limit_e_per_nm2,
                )
            ),
            verdict,
        )
    OUT.print(table)
    OUT.print(
        f"beam on {found.beam_on_s / 60:.1f} min, in all about "
        f"{found.duration_s / 60:.0f} min of instrument time at most"
    )
    disk = found.disk
    enough = "" if disk.is_enough else "; [red]too little[/]"
    OUT.print(
        f"disk: up to {disk.needed_bytes / 1e9:.2g} GB, {disk.free_bytes / 1e9:.3g} GB "
        f"free, {disk.minimum_free_bytes / 1e9:.2g} GB to stay free{enough}"
    )
    for region in found.regions:
        if region.refusal:
            OUT.print(escape(region.refusal), style="red", soft_wrap=True)
