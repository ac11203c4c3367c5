"""The demo's session: what a person would type, as a process of its own.

Run as ``python -m cryoline.acquisition.demo_session``; `demo` does that.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypedDict

from rich.console import Console

from cryoline.acquisition.config import load_config
from cryoline.acquisition.mistakes import MISTAKES, say
from cryoline.acquisition.run_key import run_key

__all__ = ["SWEEP", "Sweep", "main"]


class Sweep(TypedDict):
    """The arguments of the plan."""

    n_cycles: int
    vertex_low_v: float
    vertex_high_v: float
    scan_rate_mv_per_s: float
    record_dv_mv: float


SWEEP: Final[Sweep] = {
    "n_cycles": 2,
    "vertex_low_v": 0.01,
    "vertex_high_v": 3.0,
    "scan_rate_mv_per_s": 0.2,
    "record_dv_mv": 1.0,
}
"""The cyclic voltammetry of the papers (cryo-APT study, Methods), two cycles."""

_WAFER_AREA_CM2: Final = 0.0707
"""A disc of 3.0 mm (cryo-APT study, Methods)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Cycle the cell, or let the potentiostat play its file; write key and truth."""
    parser = argparse.ArgumentParser(prog="cryoline.acquisition.demo_session")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--recorded", help="name of the file that is being played")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        found = _run(options.config, options.recorded, console)
    except MISTAKES as error:
        say(error)
        return 1
    options.result.write_text(json.dumps(found))
    return 0


def _run(path: Path, recorded: str | None, console: Console) -> dict[str, Any]:
    from cryoline.acquisition.session import open_session

    session = open_session(load_config(path), progress=True)
    plan = _play(session.devices, recorded) if recorded else _sweep(session.devices)
    console.print(
        f"playing   {recorded}"
        if recorded
        else "cycling   {n_cycles} cycles, {vertex_low_v:g}-{vertex_high_v:g} V at "
        "{scan_rate_mv_per_s:g} mV/s, one point per {record_dv_mv:g} mV".format(**SWEEP)
    )
    starts: list[dict[str, Any]] = []
    session.RE.subscribe(lambda _, doc: starts.append(doc), "start")
    session.RE(plan)
    return {
        "key": run_key(starts[0]),
        "specimen": starts[0]["specimen"],
        "truth": {} if recorded else _truth(),
    }


def _sweep(devices: dict[str, Any]) -> Any:
    from cryoline.acquisition.cycling import cyclic_voltammetry
    from cryoline.acquisition.specimen import Specimen

    wafer = Specimen(name="wafer-01", electrode_area_cm2=_WAFER_AREA_CM2)
    return cyclic_voltammetry(
        devices["potentiostat"], wafer, operator=devices["operator"], **SWEEP
    )


def _play(devices: dict[str, Any], recorded: str) -> Any:
    from cryoline.acquisition.cycling import run_program
    from cryoline.acquisition.specimen import Specimen
    from cryoline.devices.cycling_protocol import (
        OpenCircuitVoltage,
        Program,
        SafetyLimits,
    )

    # The potentiostat plays its file whatever program it is given.
    program = Program(
        steps=(OpenCircuitVoltage(duration_s=1.0),),
        safety=SafetyLimits(
            potential_min_v=-5.0, potential_max_v=5.0, current_max_a=0.1
        ),
    )
    md = {
        "plan_name": "run_program",
        "technique": "recorded",
        "recorded_file": recorded,
        **Specimen(name="recorded-cell").metadata(),
    }
    return run_program(
        devices["potentiostat"], program, operator=devices["operator"], md=md
    )


def _truth() -> dict[str, float]:
    """Return what the simulated cell truly did; only scoring reads this."""
    from ophyd import EpicsSignalRO

    names = {"lithiation_mah": "Lithiation_RBV", "delithiation_mah": "Delithiation_RBV"}
    return {
        name: float(
            EpicsSignalRO(f"SIM:TRUTH:{pv}", name=name).get(
                timeout=5.0, connection_timeout=5.0
            )
        )
        for name, pv in names.items()
    }


if __name__ == "__main__":
    sys.exit(main())
