"""Commands about a specimen, and about what a plan would cost it."""

from typing import Annotated

import typer

from cryoline.acquisition.cli_options import (
    OUT,
    ConfigOption,
    JsonOption,
    print_json,
    read_config,
)

__all__ = ["app"]

app = typer.Typer(
    name="sample",
    help="A specimen's whole story.",
    no_args_is_help=True,
)


@app.callback()
def _group() -> None:
    """A specimen's whole story."""


@app.command()
def show(
    specimen: Annotated[str, typer.Argument(help="Its name.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a specimen's runs and its ancestors', its dose, and its custody.

    Example: cryoline sample show nw-01
    """
    from cryoline.acquisition.sample_report import look_up, render_sample

    report = look_up(read_config(config), specimen)
    if as_json:
        print_json(report.as_dict())
    else:
        render_sample(report, OUT)
