"""Commands that cycle a cell, go on with one that cycles, and check a protocol."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from cryoline.acquisition.cli_files import read_specimen
from cryoline.acquisition.cli_options import (
    OUT,
    ConfigOption,
    JsonOption,
    print_json,
    read_config,
)

if TYPE_CHECKING:
    from cryoline.acquisition.config import Config
    from cryoline.acquisition.protocol_forecast import CyclingForecast

__all__ = ["check_protocol", "cycle", "resume"]

_Device = Annotated[str, typer.Option("--on", help="Name of the potentiostat.")]
_Mass = Annotated[float | None, typer.Option(help="Active mass of the electrode, mg.")]
_Area = Annotated[float | None, typer.Option(help="Area of the electrode, cm2.")]
_Wait = Annotated[
    float,
    typer.Option(help="Seconds to wait until Tiled holds the run; 0 doesn't wait."),
]
_Protocol = Annotated[
    str, typer.Argument(help="A shipped protocol (s0-25), or a .toml or .json file.")
]


def cycle(
    protocol: _Protocol,
    specimen: Annotated[str, typer.Option(help="Name of the cell.")],
    ancestor: Annotated[
        list[str] | None,
        typer.Option(help="What it was made from; repeat it, oldest first."),
    ] = None,
    mass_mg: _Mass = None,
    area_cm2: _Area = None,
    on: _Device = "potentiostat",
    figures: Annotated[
        Path | None, typer.Option(help="Folder for figures of the run.")
    ] = None,
    wait_s: _Wait = 120.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a protocol on a cell, collect its points, wait until Tiled holds them.

    Example: cryoline cycle s0-25 --specimen wafer-01
    """
    from cryoline.acquisition.cycling import cycle as cycle_plan
    from cryoline.acquisition.protocol_files import load_protocol

    cell = read_specimen(specimen, ancestor, mass_mg, area_cm2)
    found = load_protocol(protocol)
    found.program(cell)  # a mistake is said before anything is connected
    _run(
        read_config(config),
        on,
        lambda _, device: cycle_plan(device, found, cell),
        wait_s,
        figures,
        as_json,
    )


def resume(
    on: Annotated[
        str, typer.Argument(help="Name of the potentiostat.")
    ] = "potentiostat",
    figures: Annotated[
        Path | None, typer.Option(help="Folder for figures of the run.")
    ] = None,
    wait_s: _Wait = 120.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with the program that a potentiostat runs, in a run that continues.

    Example: cryoline resume potentiostat
    """

    def go_on(_: Any, device: Any) -> Any:
        # Late: it loads Channel Access, which must know first where to search.
        from cryoline.acquisition.resume import resume_program

        return resume_program(device)

    _run(read_config(config), on, go_on, wait_s, figures, as_json)


def check_protocol(
    protocol: _Protocol,
    specimen: Annotated[str, typer.Option(help="Name of the cell.")] = "the-cell",
    mass_mg: _Mass = None,
    area_cm2: _Area = None,
    potential_v: Annotated[
        float | None, typer.Option(help="What the cell has at open circuit, V.")
    ] = None,
    on: Annotated[
        str | None,
        typer.Option("--on", help="Ask this potentiostat and its cell, too."),
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="Write it as a .toml or .json file of ours.")
    ] = None,
    unicycler: Annotated[
        Path | None, typer.Option(help="Write it as JSON of aurora-unicycler.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a protocol takes and brings; exit 1 if it can't be run. Nothing moves.

    Example: cryoline check protocol s1-100 --mass-mg 0.21 --area-cm2 1.27
    """
    from cryoline.acquisition.protocol_checks import program_faults, start_faults
    from cryoline.acquisition.protocol_files import load_protocol
    from cryoline.acquisition.protocol_forecast import forecast_program
    from cryoline.acquisition.protocol_survey import survey

    found = load_protocol(protocol)
    cell = read_specimen(specimen, None, mass_mg, area_cm2)
    program = found.program(cell)
    asked = None
    faults: tuple[str, ...] = ()
    if on is not None:
        asked = survey(read_config(config), on)
        faults = asked.faults
        potential_v = asked.potential_v if potential_v is None else potential_v
    faults += program_faults(program, None if asked is None else asked.limits)
    if potential_v is not None:
        faults += start_faults(found, potential_v, specimen)
    forecast = forecast_program(
        program,
        potential_v=potential_v,
        capacity_mah=found.electrode(cell).capacity_mah,
    )
    if write is not None:
        found.to_file(write)
    if unicycler is not None:
        _write_unicycler(unicycler, program, specimen, found.electrode(cell))
    if as_json:
        print_json(
            {
                "protocol": found.name,
                "forecast": forecast.as_dict(),
                "program": program.model_dump(mode="json", exclude_none=True),
                "faults": list(faults),
            }
        )
    else:
        OUT.print(f"[bold]{escape(found.name)}[/bold]  {escape(found.description)}")
        _show(forecast, found.reference_electrode)
        for fault in faults:
            OUT.print(escape(fault), style="red", soft_wrap=True)
    if faults:
        raise typer.Exit(1)


def _run(
    config: "Config",
    device: str,
    make_plan: Any,
    wait_s: float,
    figures: Path | None,
    as_json: bool,
) -> None:
    from cryoline.acquisition.cycling_command import run_alone, wait_until_published

    done = run_alone(config, device, make_plan, write=None if as_json else OUT.out)
    drawn: list[str] = []
    if figures is not None:  # from the journal, while Tiled takes the last rows
        from cryoline.acquisition.export_run import export_run

        files = export_run(config.layout, done.key, "figures", figures)
        drawn = [str(file) for file in files]
    in_tiled = None
    if wait_s > 0:
        in_tiled = wait_until_published(config, done.key, timeout_s=wait_s)
    if as_json:
        print_json({**asdict(done), "rows_in_tiled": in_tiled, "figures": drawn})
        return
    OUT.print(f"{escape(done.key)}: {done.exit_status}", soft_wrap=True)
    OUT.print(f"  {done.rows} points in {done.seconds:.1f} s of wall time")
    if in_tiled is not None:
        OUT.print(f"  {in_tiled} rows in Tiled")
    for file in drawn:
        OUT.print(f"  {escape(file)}", soft_wrap=True)


def _show(forecast: "CyclingForecast", reference: str) -> None:
    bound = "" if forecast.duration_is_exact else "at most "
    hours = forecast.duration_s / 3600
    duration = f"{bound}{hours:.4g} h ({hours / 24:.3g} d)"
    if forecast.open_steps:
        steps = ", ".join(map(str, forecast.open_steps))
        duration += f" without what the cell alone ends (step {steps})"
        duration += "; give until_duration_s, mass or capacity"
    OUT.print(f"  duration: {duration}", soft_wrap=True)
    charges = []
    if forecast.charge_mah is None:
        charges.append("not bounded: give mass or capacity, or until_charge_mah")
    elif forecast.charge_mah or not forecast.sweeps:
        charges.append(f"at most {forecast.charge_mah:.4g} mAh by set currents")
    if forecast.sweeps:
        charges.append(f"what the cell takes in {forecast.sweeps} sweeps")
    OUT.print(f"  charge: {'; '.join(charges)}")
    currents = ", ".join(_amperes(a) for a in forecast.currents_a) or "none is set"
    OUT.print(f"  currents: {currents}")
    ranges = ", ".join(_amperes(a) for a in forecast.ranges_a) or "none"
    OUT.print(f"  ranges: {ranges}")
    OUT.print(f"  half cycles: {forecast.half_cycles}, potentials against {reference}")
    OUT.print(f"  points: up to {forecast.points_at_most}")


def _amperes(value: float) -> str:
    for factor, unit in ((1.0, "A"), (1e3, "mA"), (1e6, "uA")):
        if value * factor >= 0.9999:
            return f"{value * factor:.4g} {unit}"
    return f"{value * 1e9:.4g} nA"


def _write_unicycler(path: Path, program: Any, name: str, electrode: Any) -> None:
    import json

    from cryoline.acquisition.protocol_unicycler import to_unicycler

    document = to_unicycler(program, name=name, capacity_mah=electrode.capacity_mah)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
