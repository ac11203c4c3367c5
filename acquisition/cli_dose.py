"""Commands about dose: what was charged, what is open, and the panic button."""

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
from cryoline.acquisition.config import Config
from cryoline.acquisition.dose_refusals import fluence_text
from cryoline.acquisition.errors import ConfigError

__all__ = ["app", "blank"]

app = typer.Typer(
    name="dose",
    help="The dose ledger: what specimens have received, and may yet receive.",
    no_args_is_help=True,
)

_ReasonOption = Annotated[
    str, typer.Option("--reason", help="Why; it stays in the ledger for good.")
]


@app.command()
def show(
    specimen: Annotated[
        str | None, typer.Argument(help="A specimen; all of them if none.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show settled, reserved and left of each region, by purpose, and what is open.

    Exit 1 if a region is blocked.

    Example: cryoline dose show nw-01
    """
    from cryoline.acquisition.dose_report import look_up, render

    report = look_up(read_config(config), specimen)
    if as_json:
        print_json(report.as_dict())
    else:
        render(report, OUT)
    if report.is_blocked:
        raise typer.Exit(1)


@app.command("map")
def map_(
    specimen: Annotated[str, typer.Argument(help="The specimen.")],
    out: Annotated[
        Path | None, typer.Option(help="The figure: .png, .pdf or .svg.")
    ] = None,
    npz: Annotated[Path | None, typer.Option(help="The numbers, for numpy.")] = None,
    region: Annotated[
        str | None, typer.Option(help="Around this one; else all of them.")
    ] = None,
    cell_nm: Annotated[
        float | None,
        typer.Option(help="Width of a cell; else dose.place_uncertainty_nm."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw where on a specimen its dose fell, settled and reserved, cell by cell.

    Example: cryoline dose map nw-01 --out nw-01.png
    """
    from cryoline.acquisition.dose_map_report import look_up_map

    found = look_up_map(read_config(config), specimen, region=region, cell_nm=cell_nm)
    if out is not None:
        found.draw(out)
    if npz is not None:
        found.save_arrays(npz)
    if as_json:
        print_json(found.as_dict())
        return
    most = (found.cells.settled_e_per_nm2 + found.cells.reserved_e_per_nm2).max()
    OUT.print(
        f"{specimen}: at most {fluence_text(most)} of "
        f"{fluence_text(found.limit_e_per_nm2)} in a cell of "
        f"{found.cells.cell_nm:.3g} nm"
    )
    for path in (out, npz):
        if path is not None:
            OUT.print(f"wrote {path}", soft_wrap=True)


@app.command()
def place(
    specimen: Annotated[str, typer.Argument(help="The specimen.")],
    region: Annotated[str, typer.Argument(help="The region.")],
    x_nm: Annotated[float, typer.Argument(help="Of its centre, across the tilt axis.")],
    y_nm: Annotated[float, typer.Argument(help="Along the tilt axis.")],
    reason: _ReasonOption,
    config: ConfigOption = None,
) -> None:
    """Say where a region lies, nm from the specimen's origin, before it is exposed.

    Regions that nobody has placed lie on each other, and are charged together. Put --
    before a negative number.

    Example: cryoline dose place nw-01 region-2 --reason "stage, 10:20" -- 800 -40
    """
    from cryoline.acquisition.dose_config import open_ledger

    with open_ledger(read_config(config)) as ledger:
        ledger.place_region(specimen, region, x_nm=x_nm, y_nm=y_nm, reason=reason)
    OUT.print(f"{specimen}, {region} lies at x = {x_nm:g} nm, y = {y_nm:g} nm")


@app.command()
def reconcile(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Settle what died unsettled, by the instrument's own log of exposures.

    What the log can't tell goes on to count in full. Exit 1 if any does.

    Example: cryoline dose reconcile
    """
    from cryoline.acquisition.connection import connect_devices, set_epics_environment
    from cryoline.acquisition.dose_config import open_ledger
    from cryoline.acquisition.dose_reconcile import BeamLog
    from cryoline.acquisition.dose_reconcile import reconcile as settle_by_log

    loaded = _with_beam(read_config(config))
    name = loaded.dose.beam
    only = loaded.model_copy(update={"devices": {name: loaded.devices[name]}})
    with open_ledger(loaded) as ledger:
        set_epics_environment(only)
        done = settle_by_log(ledger, BeamLog(connect_devices(only)[name]))
    if as_json:
        print_json(done.as_dict())
    else:
        for settlement in done.settled:
            fluence = fluence_text(settlement.fluence_e_per_nm2)
            over = ", OVER its reservation" if settlement.over else ""
            OUT.print(f"settled   {settlement.ticket_uid}  {fluence}{over}")
        for uid in done.released:
            OUT.print(f"released  {uid}  never exposed")
        for uid, reason in done.kept.items():
            OUT.print(f"in full   {uid}  {escape(reason)}", soft_wrap=True)
        for uid in done.closed_series:
            OUT.print(f"closed    series {uid}, whose session is gone")
        for result in done.unknown:
            OUT.print(
                f"unknown   exposure {result.counter} of {result.charge_c:.3g} C, by "
                f"ticket {escape(result.ticket_uid)}, which is not in this ledger",
                soft_wrap=True,
            )
        if not any(done.as_dict().values()):
            OUT.print("nothing was open")
    if done.kept or done.unknown:
        raise typer.Exit(1)


@app.command()
def acknowledge(
    specimen: Annotated[str, typer.Argument(help="The specimen.")],
    region: Annotated[str, typer.Argument(help="The region that is blocked.")],
    reason: _ReasonOption,
    config: ConfigOption = None,
) -> None:
    """Unblock a region, having seen why an exposure was charged above its reservation.

    Example: cryoline dose acknowledge nw-01 region-1 --reason "gun flashed at 10:20"
    """
    from cryoline.acquisition.dose_config import open_ledger

    with open_ledger(read_config(config)) as ledger:
        ledger.acknowledge(specimen, region, reason=reason)
    OUT.print(f"{specimen}, {region} is no longer blocked")


@app.command()
def settle(
    ticket: Annotated[str, typer.Argument(help="UID of an open ticket.")],
    reason: _ReasonOption,
    charge_c: Annotated[
        float | None,
        typer.Option("--charge-c", help="Its charge in C; in full without it."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Charge a ticket that no log can settle, for a reason that you give.

    Example: cryoline dose settle 0d5ef42c-... --reason "the world was restarted"
    """
    from cryoline.acquisition.dose_config import open_ledger

    with open_ledger(read_config(config)) as ledger:
        settled = ledger.settle_by_hand(ticket, charge_c=charge_c, reason=reason)
    OUT.print(f"charged {fluence_text(settled.fluence_e_per_nm2)}")
    if settled.backup_problem:
        OUT.print(escape(settled.backup_problem), style="yellow", soft_wrap=True)


@app.command()
def limit(
    specimen: Annotated[str, typer.Argument(help="The specimen.")],
    region: Annotated[str, typer.Argument(help="The region.")],
    e_per_nm2: Annotated[
        float, typer.Argument(help="At most dose.limit_e_per_nm2 of instrument.toml.")
    ],
    reason: _ReasonOption,
    config: ConfigOption = None,
) -> None:
    """Set the limit of a region, at or below that of the configuration.

    Example: cryoline dose limit nw-01 region-1 4e6 --reason "SEI loses F above"
    """
    from cryoline.acquisition.dose_config import open_ledger

    with open_ledger(read_config(config)) as ledger:
        ledger.set_limit(specimen, region, e_per_nm2, reason=reason)
        usage = ledger.usage(specimen, region)
    OUT.print(
        f"{specimen}, {region}: {fluence_text(usage.limit_e_per_nm2)} at most, "
        f"{fluence_text(usage.left_e_per_nm2)} left"
    )


@app.command()
def restore(
    backup: Annotated[Path, typer.Option("--from", help="As dose.backup names it.")],
    config: ConfigOption = None,
) -> None:
    """Put a backup into the ledger's place; end every session before.

    Refused if the ledger holds rows that the backup lacks. What was there is kept.

    Example: cryoline dose restore --from data/dose-backup.sqlite
    """
    from cryoline.acquisition.dose_backup import restore as put_back

    ledger = read_config(config).dose_ledger
    OUT.print(escape(put_back(ledger, backup).text(ledger)), soft_wrap=True)
    OUT.print("before the next exposure: cryoline dose reconcile")


def blank(
    prefix: Annotated[
        str | None,
        typer.Option(help="Of the beam's PVs, if the configuration can't be read."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Blank the beam at once: one put, that needs no session and no ledger.

    Exit 0 once the beam shows that it is blanked. With --prefix the EPICS_CA_*
    environment says where.

    Example: cryoline blank
    """
    from cryoline.acquisition.connection import set_epics_environment
    from cryoline.acquisition.panic import blank_beam

    if prefix is None:
        loaded = _with_beam(read_config(config))
        set_epics_environment(loaded)
        prefix = loaded.devices[loaded.dose.beam].prefix
    took_s = blank_beam(prefix)
    OUT.print(f"{prefix} is blanked ({took_s * 1e3:.0f} ms)")


def _with_beam(config: Config) -> Config:
    """Return the configuration, having seen that it has a beam."""
    if config.dose.beam not in config.devices:
        raise ConfigError(
            f"{config.path}: has no device {config.dose.beam!r}, whose exposures would "
            "be counted; add [devices.beam], or name another as dose.beam"
        )
    return config
