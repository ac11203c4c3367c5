"""The walk of a route on paper, from the command line."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from cryoline.acquisition.cli_options import (
    OUT,
    ConfigOption,
    JsonOption,
    print_json,
    read_config,
)

if TYPE_CHECKING:
    from cryoline.acquisition.route_margins import Margin
    from cryoline.acquisition.route_model import Route
    from cryoline.acquisition.routes import RouteOutline

__all__ = ["transfer"]


def transfer(
    route: Annotated[
        str, typer.Argument(help="A shipped route (he_2021), or a .toml file.")
    ],
    specimen: Annotated[str, typer.Option(help="The specimen.")] = "the specimen",
    start: Annotated[
        str | None, typer.Option(help="State to begin in; else the route's start.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="State to end in, if the route has several.")
    ] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Read the vessels, and show the margins.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a route does and needs; exit 1 if it is wrong. Nothing is moved.

    With --now also how far vacuum, cold and gases are from the route's limits; exit 1
    if one of those that must hold before the first leg is broken.

    Example: cryoline check transfer he_2021 --now
    """
    from cryoline.acquisition.routes import check_route, load_route

    loaded = load_route(Path(route) if route.endswith(".toml") else route)
    outline = check_route(loaded, specimen=specimen, start=start, to=to)
    found = _margins_now(loaded, outline, config) if now else []
    if as_json:
        content = {**asdict(outline), "expected_s": outline.expected_s}
        print_json({**content, "margins": [asdict(margin) for margin in found]})
    else:
        _render(outline)
        if now:
            _render_margins(found)
    if any(margin.broken and margin.where == "ready" for margin in found):
        raise typer.Exit(1)


def _margins_now(
    route: "Route", outline: "RouteOutline", config: Path | None
) -> list["Margin"]:
    """Read the sensors of the vessels that are configured; nothing is written."""
    from cryoline.acquisition.connection import connect_devices, set_epics_environment
    from cryoline.acquisition.route_margins import margins

    loaded = read_config(config)
    wanted = {n: loaded.devices[n] for n in outline.vessels if n in loaded.devices}
    only = loaded.model_copy(update={"devices": wanted})
    set_epics_environment(only)
    devices = connect_devices(only)
    legs = [leg.name for leg in outline.legs]
    limits = [*route.ready, *(x for leg in legs for x in route.legs[leg].limits)]
    values = {}
    for sensor in {limit.sensor for limit in limits}:
        vessel, _, signal = sensor.partition(".")
        if vessel in devices:
            values[sensor] = float(getattr(devices[vessel], signal).get())
    return margins(route, legs, values)


def _render_margins(found: list["Margin"]) -> None:
    table = Table("now", "reading", "limit", "margin")
    for margin in found:
        unit = margin.unit
        shown = margin.text
        if margin.broken:  # a leg's may be so until its vessel is made ready
            colour = "red" if margin.where == "ready" else "yellow"
            shown = f"[{colour}]{margin.broken}[/]"
        table.add_row(
            f"{margin.where}: {margin.sensor}",
            f"{margin.value:.3g} {unit}",
            f"{margin.bound:.3g} {unit}",
            shown,
        )
    OUT.print(table)


def _render(outline: "RouteOutline") -> None:
    for leg in outline.legs:
        way = leg.from_place
        if leg.to_place != leg.from_place:
            way += f" to {leg.to_place}"
        OUT.print(
            f"[bold]{leg.name}[/bold]  {escape(leg.title)} "
            f"({way}, {leg.expected_s / 60:.0f} min)"
        )
        for instruction in leg.instructions:
            OUT.print(Padding(escape(f"- {instruction}"), (0, 0, 0, 4)))
    OUT.print(
        f"about {outline.expected_s / 3600:.1f} h by the instrument's clock, "
        f"{outline.operator_steps} steps by a person"
    )
    OUT.print(f"needs: {', '.join(outline.vessels)}")
