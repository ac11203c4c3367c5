"""Commands that bring measured files in, and take runs out for other programs."""

from pathlib import Path
from typing import Annotated, Any, Final

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
from cryoline.acquisition.errors import CryolineError

__all__ = ["export_", "import_", "read_specimen"]

_SHOWN: Final = 24
"""Half cycles that a person is shown at most."""


def import_(
    file: Annotated[Path, typer.Argument(help="What the cycler's program exported.")],
    specimen: Annotated[
        str | None, typer.Option(help="Name of the cell that was measured.")
    ] = None,
    ancestor: Annotated[
        list[str] | None,
        typer.Option(help="What it was made from; repeat it, oldest first."),
    ] = None,
    mass_mg: Annotated[
        float | None, typer.Option(help="Active mass of the electrode, mg.")
    ] = None,
    area_cm2: Annotated[
        float | None, typer.Option(help="Area of the electrode, cm2.")
    ] = None,
    reader: Annotated[
        str | None, typer.Option(help="A reader's name; else whoever knows the file.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Even if it was imported before.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a cycler's file as a run: journal, analysis and Tiled as if measured here.

    Example: cryoline import cell.mpt --specimen cell-07 --mass-mg 0.79
    """
    from cryoline.acquisition.import_file import import_file
    from cryoline.analysis.voltammetry import cycle_charges

    loaded = read_config(config)
    cell = read_specimen(specimen, ancestor, mass_mg, area_cm2)
    done = import_file(loaded, file, specimen=cell, reader=reader, again=again)
    table = done.table
    ended = cycle_charges(
        instrument_time_s=table.time_s,
        current_a=table.current_a,
        charge_mah=table.charge_mah,
        cycle_number=table.cycle_number,
        half_cycle=table.half_cycle,
    )
    flagged = sum(half.counter_disagrees for half in ended.half_cycles)
    if as_json:
        print_json(
            {
                "key": done.key,
                "reader": done.reader,
                "sha256": done.sha256,
                "rows": len(table),
                "technique": table.technique,
                "charge": "counter" if table.charge_is_counted else "integral",
                "half_cycles": [
                    {
                        "half_cycle": half.half_cycle,
                        "cycle_number": half.cycle_number,
                        "charge_mah": half.charge_mah,
                        "integral_mah": half.integral_mah,
                        "counter_disagrees": half.counter_disagrees,
                    }
                    for half in ended.half_cycles
                ],
            }
        )
        return
    OUT.print(f"imported {escape(done.key)}", soft_wrap=True)
    OUT.print(f"  {len(table)} rows of {table.technique}, read as {done.reader}")
    _show(ended.half_cycles)
    if not table.charge_is_counted:
        OUT.print("  the file has no charge counter: the current was integrated")
    elif flagged:
        OUT.print(
            f"  counter and integrated current disagree in {flagged} of "
            f"{len(ended.half_cycles)} half cycles; the counter is taken",
            soft_wrap=True,
        )


def export_(
    run: Annotated[str, typer.Argument(help="Key of the run.")],
    format_name: Annotated[
        str, typer.Option("--format", help="bdf, bdf-parquet, figures, or a plugin's.")
    ] = "bdf",
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")] = Path(
        "."
    ),
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a cycling run in a format for other programs; needs no server.

    Example: cryoline export 2026-11-21_cell-07_galvanostatic-cycling_000012
    """
    from cryoline.acquisition.export_run import export_run

    files = export_run(read_config(config).layout, run, format_name, out)
    if as_json:
        print_json([str(file) for file in files])
    else:
        for file in files:
            OUT.print(escape(str(file)), soft_wrap=True)


def read_specimen(
    name: str | None,
    ancestors: list[str] | None,
    mass_mg: float | None,
    area_cm2: float | None,
) -> Any:
    """Return the `Specimen` of a command's options, None if none is named."""
    from pydantic import ValidationError

    from cryoline.acquisition.specimen import Specimen

    if name is None:
        if ancestors or mass_mg is not None or area_cm2 is not None:
            raise CryolineError(
                "ancestor, mass and area belong to a specimen; name it: --specimen NAME"
            )
        return None
    try:
        return Specimen(
            name=name,
            ancestors=tuple(ancestors or ()),
            electrode_mass_mg=mass_mg,
            electrode_area_cm2=area_cm2,
        )
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}"
            for e in error.errors()
        )
        of_name = any("electrode" not in str(e["loc"][0]) for e in error.errors())
        advice = (
            "names are letters, digits, point and hyphen"
            if of_name
            else "weigh or measure the electrode, or leave the option out"
        )
        raise CryolineError(f"specimen: {said}; {advice}") from error


def _show(half_cycles: Any) -> None:
    shown = Table("half cycle", "cycle", "charge, mAh", "integral, mAh", "")
    for half in half_cycles[:_SHOWN]:
        shown.add_row(
            str(half.half_cycle),
            str(half.cycle_number),
            f"{half.charge_mah:.6g}",
            f"{half.integral_mah:.6g}",
            "disagrees" if half.counter_disagrees else "",
        )
    OUT.print(shown)
    if len(half_cycles) > _SHOWN:
        OUT.print(f"  and {len(half_cycles) - _SHOWN} half cycles more")
