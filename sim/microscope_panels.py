"""What the microscope's servers show, by the names of their process variables."""

from typing import Any

from cryoline.sim.column import CURRENT_MAX_PA, ENERGY_KEV
from cryoline.sim.microscope import Microscope
from cryoline.sim.stage_axis import AXES

__all__ = ["beam_values", "stage_values"]


def stage_values(microscope: Microscope, time_s: float) -> dict[str, Any]:
    """Return the stage's readings and settings."""
    stage = microscope.stage
    values: dict[str, Any] = {}
    for name in AXES:
        axis = stage.axes[name]
        values[name] = axis.target
        values[f"{name}_RBV"] = axis.position(time_s)
        values[f"{name}Done_RBV"] = axis.is_done(time_s)
    values["TempSet"] = stage.cold.target_degc
    values["Temp_RBV"] = stage.cold.temperature_degc(time_s)
    values["LN2_RBV"] = stage.cold.level_percent(time_s)
    return values


def beam_values(microscope: Microscope, time_s: float) -> dict[str, Any]:
    """Return the column's readings; the counter comes last, after what it counts."""
    column, log = microscope.column, microscope.log
    last = column.last
    state = int(column.state)
    return {
        "Energy_RBV": ENERGY_KEV,
        "Current_RBV": column.current_pa,
        "CurrentAge_RBV": column.current_age_s(time_s),
        "CurrentMax_RBV": CURRENT_MAX_PA,
        "State_RBV": state,
        "Blanked_RBV": not column.is_exposing,
        "ArmedTicket_RBV": column.armed_ticket,
        "LogFirst_RBV": log.first,
        "LastTicket_RBV": last.ticket if last else "",
        "LastCharge_RBV": last.charge_c if last else 0.0,
        "LastTime_RBV": last.beam_on_s if last else 0.0,
        "LastFrames_RBV": last.frames if last else 0,
        "LastOutcome_RBV": int(last.outcome) if last else 0,
        "ExposureCounter_RBV": log.counter,
    }
