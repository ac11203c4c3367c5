"""Commands about a specimen: its story, and its way to another site and back."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

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


@app.command("export")
def export_(
    specimen: Annotated[str, typer.Argument(help="Its name.")],
    out: Annotated[Path, typer.Option("--out", help="The bundle to write.")],
    to: Annotated[str, typer.Option("--to", help="Where the specimen goes.")] = "",
    again: Annotated[
        bool, typer.Option("--again", help="Write the bundle of one that is away.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a specimen's dose and custody for another site, and lock it here.

    It can't be exposed here until the bundle comes back, or you unlock it.

    Example: cryoline sample export nw-01 --out nw-01.json --to "Lyon, TEM 2"
    """
    from cryoline.acquisition.sample_exchange import export_sample

    done = export_sample(read_config(config), specimen, out, to=to, again=again)
    if as_json:
        print_json(done.as_dict())
        return
    OUT.print(
        escape(
            f"{done.file}: {done.dose_rows} rows of dose, {done.custody_rows} of "
            f"custody; sha256 {done.sha256}"
        ),
        soft_wrap=True,
    )
    OUT.print(
        escape(
            f"{specimen} is locked here. Give the file to whom gets the specimen; when "
            "it is back: cryoline sample import, with the bundle that comes back"
        ),
        soft_wrap=True,
    )


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A bundle.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Merge a bundle of another site; unlock its specimen if that has come back.

    The same bundle twice changes nothing.

    Example: cryoline sample import nw-01.json
    """
    from cryoline.acquisition.sample_exchange import import_sample

    done = import_sample(read_config(config), file)
    if as_json:
        print_json(done.as_dict())
        return
    for line in done.lines(read_config(config).instrument.name):
        OUT.print(escape(line), soft_wrap=True)


@app.command()
def unlock(
    specimen: Annotated[str, typer.Argument(help="Its name.")],
    reason: Annotated[
        str, typer.Option("--reason", help="Why; it stays in the ledger for good.")
    ],
    config: ConfigOption = None,
) -> None:
    """Let a specimen be exposed here that was sent away, and has no bundle back.

    What it has received elsewhere is not known then.

    Example: cryoline sample unlock nw-01 --reason "came back untouched, seal intact"
    """
    from cryoline.acquisition.sample_exchange import unlock_sample

    lock = unlock_sample(read_config(config), specimen, reason=reason)
    OUT.print(
        escape(
            f"{specimen} is unlocked; it {lock.text}. What it has received since is "
            "not known here until a bundle tells: cryoline sample import"
        ),
        soft_wrap=True,
    )


@app.command()
def restore(
    backup: Annotated[Path, typer.Option("--from", help="As custody.backup names it.")],
    config: ConfigOption = None,
) -> None:
    """Put a backup of the custody record into its place; end every session before.

    Refused if the record holds rows that the backup lacks. What was there is kept.

    Example: cryoline sample restore --from data/custody-backup.sqlite
    """
    from cryoline.acquisition.custody_backup import restore as put_back

    record = read_config(config).custody_record
    OUT.print(escape(put_back(record, backup).text(record)), soft_wrap=True)
