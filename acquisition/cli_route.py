"""The walk of a route on paper, from the command line."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.padding import Padding

from cryoline.acquisition.cli_options import OUT, JsonOption, print_json

if TYPE_CHECKING:
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
    as_json: JsonOption = False,
) -> None:
    """Say what a route does and needs; exit 1 if it is wrong. Nothing is moved.

    Example: cryoline check transfer he_2021
    """
    from cryoline.acquisition.routes import check_route, load_route

    path = Path(route) if route.endswith(".toml") else route
    outline = check_route(load_route(path), specimen=specimen, start=start, to=to)
    if as_json:
        print_json({**asdict(outline), "expected_s": outline.expected_s})
    else:
        _render(outline)


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
