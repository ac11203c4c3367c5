"""`cryoline sim up|down|status`: the simulated laboratory from the command line."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import orjson
import typer

from cryoline.sim.errors import LabError
from cryoline.sim.laboratory import Lab, find_lab, start_lab
from cryoline.sim.meter import run_meter
from cryoline.sim.prefixes import CHANNELS_MAX, GROUPS

__all__ = ["Lab", "app", "find_lab", "start_lab"]

app = typer.Typer(
    name="cryoline sim",
    help="The simulated laboratory: instruments on EPICS, on this machine only.",
    no_args_is_help=True,
    add_completion=False,
)
app.command("meter", epilog="Example: cryoline sim meter --port 5025")(run_meter)


class Mode(StrEnum):
    """How instrument time passes."""

    FREE = "free"
    STEPPED = "stepped"


class Cell(StrEnum):
    """What is mounted at first."""

    WAFER = "wafer"
    NANOWIRE = "nanowire"
    SOLID_STATE = "solid_state"


class Specimen(StrEnum):
    """What is in the microscope's holder."""

    WIRE = "wire"
    BEAD = "bead"


Directory = Annotated[
    Path, typer.Option("--dir", help="Directory of the laboratory's files and logs.")
]
_DEFAULT_DIRECTORY = Path("lab")


@app.command(epilog="Example: cryoline sim up --dir LAB --factor 1000")
def up(
    directory: Directory = _DEFAULT_DIRECTORY,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all randomness.")] = 0,
    factor: Annotated[
        float, typer.Option(min=0.1, max=1e6, help="Instrument s per wall s.")
    ] = 1.0,
    mode: Annotated[Mode, typer.Option(help="How time passes.")] = Mode.FREE,
    cell: Annotated[Cell, typer.Option(help="The cell to mount.")] = Cell.WAFER,
    recorded: Annotated[
        Path | None, typer.Option(help="Play this measurement in place of a cell.")
    ] = None,
    specimen: Annotated[
        Specimen, typer.Option(help="What is in the microscope's holder.")
    ] = Specimen.WIRE,
    channels: Annotated[
        int,
        typer.Option(min=1, max=CHANNELS_MAX, help="Cells on the potentiostat."),
    ] = 1,
    port: Annotated[
        int | None,
        typer.Option(help=f"First of {len(GROUPS)} ports; free ones by default."),
    ] = None,
) -> None:
    """Start the laboratory; it goes on until `cryoline sim down`."""
    try:
        lab = start_lab(
            directory,
            seed=seed,
            factor=factor,
            mode=mode.value,
            cell=cell.value,
            recorded=recorded,
            specimen=specimen.value,
            first_port=port,
            channels=channels,
            detached=True,
        )
    except LabError as error:
        _fail(error)
    for name, process in lab.description["processes"].items():
        place = f"127.0.0.1:{process['port']}" if "port" in process else "socket"
        prefix = lab.prefixes.get(name, "")
        typer.echo(f"{name:13} {prefix:10} {place:16} pid {process['pid']}")
    typer.echo("Clients find it with")
    for key, value in lab.epics_environment.items():
        typer.echo(f'  export {key}="{value}"')
    typer.echo(f"Configuration: {lab.directory / 'instrument.toml'}")


@app.command(epilog="Example: cryoline sim down --dir LAB")
def down(directory: Directory = _DEFAULT_DIRECTORY) -> None:
    """End the laboratory and everything that it started."""
    try:
        lab = find_lab(directory.absolute())
        lab.stop()
    except LabError as error:
        _fail(error)
    typer.echo(f"The laboratory in {directory} is down.")


@app.command(epilog="Example: cryoline sim restart potentiostat --dir LAB")
def restart(
    server: Annotated[str, typer.Argument(help="The instrument, as status names it.")],
    directory: Directory = _DEFAULT_DIRECTORY,
) -> None:
    """Start one instrument's server anew; the world and its programs go on."""
    try:
        find_lab(directory.absolute()).restart(server)
    except LabError as error:
        _fail(error)
    typer.echo(f"The server of {server} in {directory} was started anew.")


@app.command(epilog="Example: cryoline sim status --dir LAB --json")
def status(
    directory: Directory = _DEFAULT_DIRECTORY,
    as_json: Annotated[
        bool, typer.Option("--json", help="For a program to read.")
    ] = False,
) -> None:
    """Show which processes run; exit code 1 if any does not."""
    try:
        lab = find_lab(directory.absolute())
    except LabError as error:
        _fail(error)
    alive = lab.alive()
    if as_json:
        description = lab.description | {"alive": alive}
        typer.echo(orjson.dumps(description, option=orjson.OPT_INDENT_2).decode())
    else:
        for name, process in lab.description["processes"].items():
            state = "runs" if alive[name] else f"DEAD, see {process['log']}"
            typer.echo(f"{name:13} pid {process['pid']:<8} {state}")
    if not all(alive.values()):
        raise typer.Exit(1)


def _fail(error: LabError) -> NoReturn:
    typer.echo(str(error), err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    app(prog_name="cryoline sim")
