"""The command that looks at everything a session needs, and at a vendor's IOC."""

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cryoline.acquisition.cli_options import (
    OUT,
    ConfigOption,
    JsonOption,
    print_json,
    read_config,
)
from cryoline.acquisition.config import find_config
from cryoline.acquisition.errors import ConfigError

__all__ = ["doctor"]

_err = Console(stderr=True)
_MARKS = {"kept": "[green]kept[/]", "broken": "[red]broken[/]"}


def doctor(
    prefix: Annotated[
        str | None, typer.Argument(help="Of the PVs, with --contract.")
    ] = None,
    contract: Annotated[
        str | None,
        typer.Option(
            help="Try what an IOC of this kind must promise: beam, potentiostat."
        ),
    ] = None,
    act: Annotated[
        bool,
        typer.Option(
            "--expose",
            "--act",
            help="Also try what needs the beam on the specimen, or current in a cell.",
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Allow that without being asked.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check this machine, the configuration, each IOC and each service; exit 1 if ill.

    Example: cryoline doctor --config lab/instrument.toml

    Example: cryoline doctor --contract beam SIM:BEAM1: --expose
    """
    if contract is not None and prefix is not None:
        is_well = _try_contract(contract, prefix, act, yes, config, as_json)
    elif contract is None and prefix is None:
        is_well = _examine(config, as_json)
    else:
        raise typer.BadParameter("--contract KIND and PREFIX go together")
    if not is_well:
        raise typer.Exit(1)


def _examine(config: ConfigOption, as_json: bool) -> bool:
    from cryoline.acquisition.doctor import examine

    findings = examine(find_config(config))
    if as_json:
        print_json([finding.as_dict() for finding in findings])
    else:
        table = Table("", "what", "found", "what to do")
        for finding in findings:
            mark = "[green]ok[/]" if finding.is_well else "[red]ill[/]"
            table.add_row(mark, finding.what, finding.found, finding.remedy)
        OUT.print(table)
    return all(finding.is_well for finding in findings)


def _try_contract(
    kind: str,
    prefix: str,
    act: bool,
    yes: bool,
    config: ConfigOption,
    as_json: bool,
) -> bool:
    """Try a contract; returns whether no promise was broken."""
    from cryoline.acquisition.connection import set_epics_environment
    from cryoline.acquisition.contract import (
        Verdict,
        examine_contract,
        load_contract,
    )

    try:
        set_epics_environment(read_config(config))
    except ConfigError:
        if config is not None:
            raise
        # Without any, the EPICS_CA_* environment says where to search.
    promises = load_contract(kind)  # which opens Channel Access
    if act:
        _err.print(f"[bold red]{prefix}[/]: {promises.warning}", soft_wrap=True)
        if not yes:
            typer.confirm("Go on?", abort=True, err=True)
    results = []
    for result in examine_contract(promises, prefix, may_act=act):
        results.append(result)
        _err.print(f"{result.verdict:10} {result.name}", highlight=False)
    broken = [r for r in results if r.verdict is Verdict.BROKEN]
    left = [r for r in results if r.verdict is Verdict.NOT_TRIED]
    if as_json:
        print_json(
            {
                "contract": kind,
                "prefix": prefix,
                "broken": len(broken),
                "not_tried": len(left),
                "checks": [result.as_dict() for result in results],
            }
        )
    else:
        table = Table("", "promise", "asked", "seen")
        for result in results:
            mark = _MARKS.get(result.verdict, result.verdict)
            table.add_row(mark, result.name, escape(result.asked), escape(result.seen))
        OUT.print(table)
        OUT.print(
            f"{len(results) - len(broken) - len(left)} kept, {len(broken)} broken, "
            f"{len(left)} not tried"
        )
    return not broken
