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
from rich.status import Status

from cryoline.acquisition.config import load_config
from cryoline.acquisition.demo_sabotage import SABOTAGES, spoil
from cryoline.acquisition.errors import DemoError
from cryoline.acquisition.mistakes import MISTAKES, say
from cryoline.acquisition.run_key import run_key

__all__ = ["CELL", "FACTORS", "SWEEP", "WIRE", "Sweep", "main"]


class Sweep(TypedDict):
    """The arguments of the plan."""

    n_cycles: int
    vertex_low_v: float
    vertex_high_v: float
    scan_rate_mv_per_s: float
    record_dv_mv: float


SWEEP: Final[Sweep] = {
    "n_cycles": 1,
    "vertex_low_v": 0.01,
    "vertex_high_v": 3.0,
    "scan_rate_mv_per_s": 0.2,
    "record_dv_mv": 1.0,
}
"""The cyclic voltammetry of the papers (cryo-APT study, Methods), one cycle."""

FACTORS: Final = {"cycling": 10_000.0, "transfer": 1000.0, "tilt-series": 100.0}
"""Instrument time over wall time in each phase of the campaign."""

_ABOUT: Final = {
    "cycling": "one cyclic voltammetry, 0.01-3 V at 0.2 mV/s",
    "transfer": "route he_2021, from the cell into the microscope",
    "tilt-series": "25 tilts of 22 frames, HAADF and EDS",
}
CELL: Final = "cell-01"
WIRE: Final = "nw-01"
_REGION: Final = "region-1"
_MASS_MG: Final = 0.213
"""Half-inch discs at 0.6 mAh/cm2 (EDS tomography study, Methods)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the campaign, or let the potentiostat play its file; write what came of it.

    The result names the runs' keys, what the ledger and what the laboratory say.
    """
    parser = argparse.ArgumentParser(prog="cryoline.acquisition.demo_session")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--recorded", help="name of the file that is being played")
    parser.add_argument("--sabotage", choices=SABOTAGES)
    options = parser.parse_args(arguments)
    console = Console()
    try:
        found = _run(options, console)
    except MISTAKES as error:
        say(error)
        return 1
    options.result.write_text(json.dumps(found))
    return 0


def _run(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from cryoline.acquisition.session import open_session

    session = open_session(load_config(options.config))
    starts: list[dict[str, Any]] = []
    session.RE.subscribe(lambda _, doc: starts.append(doc), "start")
    with console.status("connected") as status:
        session.RE.subscribe(_Showing(status))
        if options.recorded:
            console.print(f"{'playing':12}{options.recorded}")
            session.RE(_play(session.devices, options.recorded))
            return {"runs": {"recorded": run_key(starts[0])}}
        session.RE(_campaign(session, options.sabotage, console))
    if session.ledger is None:
        raise DemoError(f"{options.config}: no beam, so there is no dose to count")
    usage = session.ledger.usage(WIRE, _REGION)
    scan = starts[-1]["scan"]
    return {
        "runs": {doc["campaign"]["phase"]: run_key(doc) for doc in starts},
        "dose": {
            "settled_e_per_nm2": usage.settled_e_per_nm2,
            "reserved_e_per_nm2": usage.reserved_e_per_nm2,
            "limit_e_per_nm2": usage.limit_e_per_nm2,
            "field_nm2": scan["width_px"] * scan["height_px"] * scan["pixel_nm"] ** 2,
        },
        "truth": _truth(),
    }


class _Showing:
    """Shows how far a run is, while it runs; a line that is overwritten."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        data = doc.get("data", {})
        if "tilt_index" in data:
            done = (
                f"tilt {data['tilt_index'] + 1:.0f}, {data['tilt_target_deg']:+g} deg"
            )
        elif "transfer_leg" in data:
            done = (
                f"{data['transfer_leg']}, {data['carrier_temperature_degc']:.0f} degC"
            )
        elif data.get("potentiostat_potential_v"):
            done = f"{data['potentiostat_potential_v'][-1]:.2f} V"
        else:
            return
        self._status.update(done)


def _campaign(session: Any, sabotage: str | None, console: Console) -> Any:
    import bluesky.plan_stubs as bps
    from bluesky.utils import MsgGenerator
    from ophyd import EpicsSignal

    from cryoline.acquisition.campaign_plan import campaign
    from cryoline.acquisition.specimen import Specimen
    from cryoline.acquisition.tilt_exposures import Scan
    from cryoline.acquisition.tilt_schemes import bidirectional

    devices = session.devices
    spoiled = spoil(sabotage, session)
    factor = EpicsSignal("SIM:LAB:Factor", name="factor", put_complete=True)
    dewar = EpicsSignal("SIM:LAB:LN2Level", name="dewar", put_complete=True)
    for signal in (factor, dewar):
        signal.wait_for_connection(timeout=10.0)

    def before(phase: str) -> MsgGenerator[None]:
        console.print(f"{phase:12}{_ABOUT[phase]}, time x {FACTORS[phase]:g}")
        if phase == "tilt-series":
            yield from bps.abs_set(dewar, 0, wait=True)  # no fault: it is filled
        yield from bps.abs_set(factor, FACTORS[phase], wait=True)

    cell = Specimen(name=CELL, electrode_mass_mg=_MASS_MG)
    return campaign(
        cell,
        cell.child(WIRE),
        potentiostat=devices["potentiostat"],
        operator=devices["operator"],
        vessels=devices,
        stage=spoiled.stage,
        beam=devices["beam"],
        detectors=[devices["haadf"], devices["eds"]],
        clock=devices["clock"],
        cycling=SWEEP,
        scheme=bidirectional(60, -60, 5),
        scan=Scan(),
        region=_REGION,
        before_phase=before,
        md=spoiled.md,
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
    """Return what truly happened in the laboratory; only scoring reads this."""
    from ophyd import EpicsSignalRO

    names = {
        "lithiation_mah": "Lithiation_RBV",
        "delithiation_mah": "Delithiation_RBV",
        "beam_charge_c": "BeamCharge_RBV",
    }
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
