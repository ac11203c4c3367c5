"""The values every instrument shows, by the names of its process variables."""

from typing import Any, Final

from cryoline.sim.errors import RefusedError
from cryoline.sim.microscope_panels import beam_values, stage_values
from cryoline.sim.potentiostat import Potentiostat
from cryoline.sim.prefixes import groups
from cryoline.sim.transfer_panels import (
    transfer_faults,
    transfer_truth,
    transfer_values,
)
from cryoline.sim.truth import truth_values
from cryoline.sim.world import World

__all__ = ["INSTRUMENTS", "panel_values"]

INSTRUMENTS: Final = (
    "potentiostat",
    "glovebox",
    "operator",
    "clock",
    "stage",
    "beam",
    "haadf",
    "eds",
    "transfer",
)


def panel_values(world: World, instrument: str) -> dict[str, dict[str, Any]]:
    """Return {group: {PV name: value}}; names without _RBV are settings."""
    if instrument == "potentiostat":
        return {
            groups("potentiostat", k)[-1]: _potentiostat(device)
            for k, device in enumerate(world.potentiostats, start=1)
        }
    if instrument == "glovebox":
        return {"glovebox": _glovebox(world)}
    if instrument == "operator":
        return {"operator": _operator(world)}
    if instrument == "clock":
        return {
            "clock": _clock(world),
            "lab": _lab(world),
            "truth": {
                **truth_values(world.potentiostat, world.microscope, world.time_s),
                **transfer_truth(world.transfer),
            },
        }
    if instrument == "stage":
        return {"stage": stage_values(world.microscope, world.time_s)}
    if instrument == "beam":
        return {"beam": beam_values(world.microscope, world.time_s)}
    if instrument in ("haadf", "eds"):
        return {instrument: {}}  # a detector's state is its server's own
    if instrument == "transfer":
        return transfer_values(world.transfer)
    raise RefusedError(
        f"world: no instrument {instrument!r}; known: {', '.join(INSTRUMENTS)}"
    )


def _potentiostat(device: Potentiostat) -> dict[str, Any]:
    reading = device.reading()
    return {
        "ProgramUid_RBV": device.program_uid,
        "Message_RBV": device.message,
        "State_RBV": int(device.state),
        "Potential_RBV": reading.potential_v,
        "Current_RBV": reading.current_a,
        "Charge_RBV": reading.charge_mah,
        "Range_RBV": reading.range_a,
        "Cycle_RBV": reading.cycle_number,
        "HalfCycle_RBV": reading.half_cycle,
        "Step_RBV": reading.step_index,
        "Overload_RBV": reading.overload,
        "Compliance_RBV": reading.compliance,
        "Contact_RBV": device.has_contact,
        "Progress_RBV": device.progress_percent(),
        "Remaining_RBV": device.remaining_s(),
        "PointCount_RBV": len(device.points),
    }


def _glovebox(world: World) -> dict[str, Any]:
    values = world.glovebox.values()
    return {
        "Temperature_RBV": values["temperature_degc"],
        "Pressure_RBV": values["pressure_mbar"],
        "H2O_RBV": values["h2o_ppm"],
        "O2_RBV": values["o2_ppm"],
        "Atmosphere_RBV": 0,  # argon
        "Door": world.glovebox.door_open,
    }


def _operator(world: World) -> dict[str, Any]:
    person = world.operator
    return {
        "Prompt": person.prompt,
        "Answer": int(person.answer),
        "State_RBV": int(person.state),
        "AutoConfirm": person.auto_confirm,
        "ConfirmAfter": person.confirm_after_s,
    }


def _clock(world: World) -> dict[str, Any]:
    return {
        "Mode_RBV": int(world.clock.mode),
        "Factor_RBV": world.clock.factor,
        "WakeAt": world.wake_at_s,
    }


def _lab(world: World) -> dict[str, Any]:
    return {
        "Factor": world.clock.factor,
        "Mode": int(world.clock.mode),
        "Cell": int(world.cells.kind),
        "Reset": world.seed,
        "ContactLost": world.cells.contact_lost,
        **world.microscope.faults.by_pv(),
        **transfer_faults(world.transfer),
    }
