"""The command line ``cryoline``: thin, each command a call and a table.

A person's mistake is one clear message and exit code 1, without a traceback; a
defect of ours keeps its traceback.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from cryoline.acquisition import (
    cli_check,
    cli_cycling,
    cli_doctor,
    cli_dose,
    cli_files,
    cli_sample,
)
from cryoline.acquisition.cli_options import (
    OUT,
    ConfigOption,
    JsonOption,
    print_json,
    read_config,
)
from cryoline.acquisition.errors import CryolineError
from cryoline.acquisition.mistakes import MISTAKES, say
from cryoline.plugins import registry
from cryoline.plugins.errors import PluginError

__all__ = ["app", "main"]

app = typer.Typer(
    name="cryoline",
    help="Cycle a cell, freeze it, look inside, and never pass its electron dose.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_err = Console(stderr=True)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Where everything goes.")] = Path(
        "demo-out"
    ),
    seed: Annotated[int, typer.Option(help="Of the laboratory's randomness.")] = 1,
    recorded: Annotated[
        Path | None,
        typer.Option(help="Only play this measured file (.mpt) through the chain."),
    ] = None,
    sabotage: Annotated[
        str | None,
        typer.Option(
            help="Spoil angles, windows, background or dose; the table must notice."
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave laboratory and servers up.")
    ] = False,
) -> None:
    """From a simulated cell to element volumes in Tiled; exit 0 if all holds.

    Example: cryoline demo --out demo-out --seed 7
    """
    from cryoline.acquisition.demo import DemoSettings, run_demo
    from cryoline.acquisition.demo_sabotage import SABOTAGES

    if sabotage not in (None, *SABOTAGES):
        raise typer.BadParameter(
            f"{sabotage!r}: choose one of {', '.join(SABOTAGES)}",
            param_hint="--sabotage",
        )
    settings = DemoSettings(out.resolve(), seed, recorded, sabotage, keep)
    if not run_demo(settings, OUT):
        raise typer.Exit(1)


@app.command()
def up(config: ConfigOption = None) -> None:
    """Start what doesn't run yet: Tiled server, publisher, analysis worker.

    Example: cryoline up --config lab/instrument.toml
    """
    from cryoline.acquisition.services import Services

    services = Services(read_config(config))
    started = services.up()
    OUT.print(f"started: {', '.join(started) or 'nothing, all was up'}")
    for service in services.status():
        OUT.print(f"  {service.name:16} {service.state:14} {service.detail}")


@app.command()
def down(config: ConfigOption = None) -> None:
    """End Tiled server, publisher and analysis worker; what was journaled stays.

    Example: cryoline down --config lab/instrument.toml
    """
    from cryoline.acquisition.services import Services

    ended = Services(read_config(config)).down()
    OUT.print(f"ended: {', '.join(ended) or 'nothing, none was up'}")


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show what runs, and how far the publisher lags; exit 1 if anything is unwell.

    Example: cryoline status --json
    """
    from cryoline.acquisition.services import Services

    found = Services(read_config(config)).status()
    if as_json:
        print_json([service.as_dict() for service in found])
    else:
        table = Table("service", "state", "pid", "rows behind", "detail")
        for service in found:
            table.add_row(
                service.name,
                service.state,
                str(service.pid or ""),
                "" if service.lag_rows is None else str(service.lag_rows),
                service.detail,
            )
        OUT.print(table)
    if not all(service.is_well for service in found):
        raise typer.Exit(1)


@app.command()
def serve(config: ConfigOption = None) -> None:
    """Run the Tiled server in the foreground, until Ctrl-C; or serve an instrument.

    With a name behind it, cryoline serve NAME is the bridge of that name, which serves
    the standard PVs for an instrument that speaks something else: cryoline serve
    keithley --help.

    Example: cryoline serve --config lab/instrument.toml
    """
    from cryoline.acquisition.tiled_server import TiledServer

    raise typer.Exit(TiledServer.from_config(read_config(config)).serve())


@app.command()
def shell(
    script: Annotated[
        Path | None, typer.Argument(help="A Python file to run instead of a prompt.")
    ] = None,
    code: Annotated[
        str | None, typer.Option("-c", help="Python to run instead of a prompt.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Open IPython on the instrument: RE, devices, plans, Tiled; needs no display.

    Example: cryoline shell night.py
    """
    from cryoline.acquisition.shell import read_script, run_code, run_shell

    if script is not None and code is not None:
        raise CryolineError("give a script or -c CODE, not both")
    if code is not None:
        run_code(read_config(config), code)
    elif script is not None:
        run_code(read_config(config), read_script(script), str(script))
    else:
        run_shell(read_config(config))


@app.command()
def replay(
    keys: Annotated[
        list[str] | None, typer.Argument(help="Keys of runs; all of them if none.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close killed runs, and make Tiled hold exactly what the journals hold.

    Doing it twice changes nothing. Exit 1 unless every closed run is exact.

    Example: cryoline replay 2026-11-21_wafer-01_cyclic-voltammetry_000012
    """
    from cryoline.acquisition.journal_recovery import close_interrupted
    from cryoline.acquisition.replay import replay as replay_runs
    from cryoline.acquisition.tiled_access import check_access
    from cryoline.acquisition.tiled_server import TiledServer

    loaded = read_config(config)
    closed = close_interrupted(loaded.layout.raw_journal)
    server = TiledServer.from_config(loaded)
    url, key = server.url(), server.api_key()
    check_access(url, key)  # a person is told now; a publisher would wait for it
    runs = replay_runs(
        loaded.layout,
        url,
        key,
        keys=keys or None,
        paths=loaded.path_map,
        custody=loaded.custody_record,
    )
    if as_json:
        print_json(
            [
                {
                    "container": run.container,
                    "key": run.key,
                    "journal_rows": run.journal_rows,
                    "tiled_rows": run.tiled_rows,
                    "frames": run.frames,
                    "arrays": run.arrays,
                    "state": run.state,
                }
                for run in runs
            ]
        )
    else:
        for path in closed:
            OUT.print(f"closed as interrupted: {path.stem}")
        run_column = Column("run", overflow="fold")  # a key cut short is no key
        table = Table(
            "in", run_column, "rows in the journal", "rows in Tiled", "files", "state"
        )
        for run in runs:
            table.add_row(
                run.container,
                run.key,
                _counts(run.journal_rows),
                _counts(run.tiled_rows),
                _in_files(run.frames, run.arrays),
                run.state,
            )
        OUT.print(table)
    if not all(run.is_exact or run.state == "open" for run in runs):
        raise typer.Exit(1)


@app.command()
def plugins(
    check: Annotated[
        bool, typer.Option("--check", help="Import each; exit 1 if one fails.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List every plugin that is installed, importing none unless asked to.

    Example: cryoline plugins --check
    """
    found = [p for group in registry.GROUPS for p in registry.available(group)]
    problems = {p: _problem(p) for p in found} if check else {}
    if as_json:
        print_json(
            [
                {
                    "group": p.group,
                    "name": p.name,
                    "target": p.target,
                    "distribution": p.distribution,
                    "version": p.version,
                    **({"problem": problems[p]} if check else {}),
                }
                for p in found
            ]
        )
    else:
        table = Table("group", "name", "target", "from", *(["check"] if check else []))
        for p in found:
            row = [p.group, p.name, p.target, f"{p.distribution} {p.version}"]
            table.add_row(*row, *([problems[p] or "ok"] if check else []))
        OUT.print(table)
    if any(problems.values()):
        raise typer.Exit(1)


app.command()(cli_doctor.doctor)
app.command()(cli_cycling.cycle)
app.command()(cli_cycling.resume)
app.command()(cli_dose.blank)
app.command("import")(cli_files.import_)
app.command("export")(cli_files.export_)
for group in (cli_check, cli_dose, cli_sample):
    app.add_typer(group.app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the console script of the distribution."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        _run_elsewhere(given)
        app(given)
    except MISTAKES as error:
        say(error)
        sys.exit(1)
    except KeyboardInterrupt:
        _err.print("interrupted")
        sys.exit(130)


def _run_elsewhere(arguments: list[str]) -> None:
    """Replace this process by that of a command, or of the bridge of ``serve NAME``.

    A process of its own, so that nothing here imports the simulator, and a bridge
    outlives its session. The lines below only tell ``--help`` about it.
    """
    commands = {p.name: p for p in registry.available("cryoline.commands")}
    if arguments and arguments[0] in commands:
        _become(commands[arguments[0]], arguments[1:])
    if arguments[:1] == ["serve"] and not "".join(arguments[1:2]).startswith("-"):
        bridges = {p.name: p for p in registry.available("cryoline.bridges")}
        for name in arguments[1:2]:
            if name not in bridges:
                raise PluginError(
                    f"serve: no bridge {name!r} (there are: {', '.join(bridges)}); "
                    "without a name it runs the Tiled server"
                )
            _become(bridges[name], arguments[2:])
    listed = ", ".join(f"cryoline {name} --help" for name in commands)
    app.info.epilog = f"Commands that run as processes of their own: {listed}"


def _become(plugin: registry.Plugin, arguments: list[str]) -> None:
    if find_spec(plugin.module) is None:
        raise PluginError(
            f"{plugin.name}: no module {plugin.module}; reinstall {plugin.distribution}"
        )
    os.execv(sys.executable, [sys.executable, "-m", plugin.module, *arguments])


def _problem(plugin: registry.Plugin) -> str:
    """Return why a plugin can't be imported, "" if it can."""
    try:
        if plugin.group in ("cryoline.commands", "cryoline.bridges"):
            return "" if find_spec(plugin.module) else f"no module {plugin.module}"
        registry.load(plugin.group, plugin.name)
    except PluginError as error:
        return str(error)
    return ""


def _in_files(frames: dict[str, int], arrays: int) -> str:
    found = {"frames": sum(frames.values()), "arrays": arrays}
    return ", ".join(f"{count} {what}" for what, count in found.items() if count)


def _counts(rows: dict[str, int]) -> str:
    return ", ".join(f"{stream} {count}" for stream, count in rows.items())


if __name__ == "__main__":
    main()
