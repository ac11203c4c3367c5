"""What a potentiostat's IOC must promise before a session trusts it with a cell.

The promises are those of docs/reference/pvs.md. Without a person's leave nothing is
loaded: that would clear the points of the last program.
"""

import json
import math
from typing import Any, Final

from cryoline.acquisition.contract import Breach, Check, Contract
from cryoline.acquisition.contract_potentiostat_rig import (
    CURRENT_A,
    SWEEP_V,
    UNITS,
    PotentiostatRig,
)
from cryoline.acquisition.contract_potentiostat_running import RUNNING
from cryoline.devices.potentiostat import POINT_COLUMNS

__all__ = ["CONTRACT"]


def _units(rig: PotentiostatRig) -> str:
    return rig.check_units(UNITS)


def _abilities(rig: PotentiostatRig) -> str:
    low_v, high_v = (float(rig.get(f"Potential{end}_RBV")) for end in ("Min", "Max"))
    most_a, fastest = (
        float(rig.get(name)) for name in ("CurrentMax_RBV", "ScanRateMax_RBV")
    )
    text = f"{low_v:g}..{high_v:g} V, {most_a:g} A, {fastest:g} mV/s"
    if not (low_v < high_v and most_a > 0 and fastest > 0):
        raise Breach(f"{text}: no program fits into this")
    here_v = float(rig.get("Potential_RBV"))
    if not (math.isfinite(here_v) and low_v <= here_v <= high_v):
        raise Breach(f"Potential_RBV is {here_v:g} V, outside {text}")
    return f"{text}; the cell is at {here_v:.4g} V"


def _columns(rig: PotentiostatRig) -> str:
    needed = {"point_index", *POINT_COLUMNS}
    missing = sorted(needed - set(rig.columns))
    if missing:
        raise Breach(f"PointColumns_RBV lacks {', '.join(missing)}")
    return f"{len(rig.columns)} columns"


def _no_contact_is_seen(rig: PotentiostatRig) -> str:
    if not rig.get("Contact_RBV"):
        raise Breach("Contact_RBV says that no cell is connected; connect one")
    return "a cell is connected"


def _refuses_what_it_cant_do(rig: PotentiostatRig) -> str:
    fields = json.loads(rig.text())
    high_v, most_a = (
        float(rig.get("PotentialMax_RBV")),
        float(rig.get("CurrentMax_RBV")),
    )
    safety, step = fields["safety"], fields["steps"][0]
    bad: dict[str, dict[str, Any]] = {
        "without steps": {"steps": []},
        "without safety": {"safety": None},
        "a step of no kind": {"steps": [{"type": "teleportation"}]},
        "a sweep of 0 mV/s": {"steps": [{**step, "rate_mv_per_s": 0.0}]},
        "a sweep beyond the safety limits": {
            "steps": [{**step, "end_v": safety["potential_max_v"] + 0.5}]
        },
        "a sweep faster than it can": {
            "steps": [{**step, "rate_mv_per_s": 10 * float(rig.get("ScanRateMax_RBV"))}]
        },
        "a current beyond the safety limits": {
            "steps": [
                {
                    "type": "constant_current",
                    "current_a": 2 * safety["current_max_a"],
                    "until_duration_s": 1.0,
                }
            ]
        },
        "a current that never ends": {
            "steps": [{"type": "constant_current", "current_a": 1e-6}]
        },
        "a loop to what comes after it": {
            "steps": [step, {"type": "loop", "goto_step": 5, "cycle_count": 2}]
        },
        "limits beyond the instrument's potential": {
            "safety": {**safety, "potential_max_v": high_v + 1.0}
        },
        "limits beyond the instrument's current": {
            "safety": {**safety, "current_max_a": 2 * most_a}
        },
        "limits that are none": {
            "safety": {**safety, "potential_min_v": safety["potential_max_v"]}
        },
        "an unknown key": {"colour": "blue"},
    }
    rig.refuses("{", "half a text")
    for what, changes in bad.items():
        rig.refuses(rig.text(**changes), what)
    return f"{len(bad) + 1} refused with a reason"


CONTRACT: Final = Contract(
    kind="potentiostat",
    connect=PotentiostatRig,
    rest=PotentiostatRig.come_to_rest,
    checks=(
        Check(
            "says who it is",
            "BootId_RBV; Heartbeat_RBV and InstrumentTime_RBV go on",
            PotentiostatRig.identity,
        ),
        Check("units", "EGU of every number", _units),
        Check("says what it can", "Potential, current, scan rate limits", _abilities),
        Check("names its columns", "PointColumns_RBV", _columns),
        Check("sees a cell", "Contact_RBV", _no_contact_is_seen),
        Check(
            "refuses what it can't do",
            "Program with steps, limits and texts that make no sense",
            _refuses_what_it_cant_do,
        ),
        *RUNNING,
    ),
    warning=(
        f"this drives the cell, {SWEEP_V * 1e3:g} mV from where it is and back, by "
        f"{CURRENT_A * 1e3:g} mA at most, and CLEARS the points of its last program"
    ),
)
