"""What the vessels of the cold chain show, and what a client may ask of them."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from cryoline.sim import transfer_kernel as k
from cryoline.sim import transfer_state as st
from cryoline.sim.errors import RefusedError
from cryoline.sim.transfer import TransferChain
from cryoline.sim.transfer_limits import (
    AIR_MAX_S,
    FIB_SET_MAX_DEGC,
    FIB_SET_MIN_DEGC,
    LEAK_MAX_MBAR_L_PER_S,
)
from cryoline.sim.transfer_places import Host, Place

__all__ = ["TRANSFER_COMMANDS", "transfer_faults", "transfer_truth", "transfer_values"]

_COLD_WARN_DEGC: Final = -150.0
_COLD_STOP_DEGC: Final = -140.0


def transfer_values(chain: TransferChain) -> dict[str, dict[str, Any]]:
    """Return {group: {PV name: value}} of the server "transfer"."""
    return {
        "carrier": _carrier(chain),
        "plunge": {
            "Temp_RBV": chain.value(st.T_POT),
            "LN2_RBV": 100.0 * chain.value(st.POT) / k.POT_ML,
            "Boiling_RBV": _boiling(chain),
        },
        "suitcase": _suitcase(chain),
        "pfib": {
            "Pressure_RBV": chain.value(st.P_FIB),
            "StageTemp_RBV": chain.value(st.T_FIB),
            "StageSet": chain.fib_set_degc,
            "GateValve": chain.fib_gate_open,
        },
        "holder": {
            "Temp_RBV": chain.value(st.T_HOLDER),
            "LN2_RBV": 100.0 * chain.value(st.HOLDER) / k.HOLDER_ML,
        },
    }


def _carrier(chain: TransferChain) -> dict[str, Any]:
    going_to = chain.place if chain.going_to is None else chain.going_to
    return {
        "Specimen": chain.specimen,
        "MoveTo": int(going_to),
        "Place_RBV": int(chain.place),
        "Moving_RBV": chain.going_to is not None,
        "Temp_RBV": chain.value(st.T_CARRIER),
        "TempMax_RBV": chain.value(st.T_MAX),
        "Air_RBV": round(chain.value(st.AIR), 1),
        "State_RBV": _cold_state(chain),
    }


def _cold_state(chain: TransferChain) -> int:
    """Return 0 warm, 1 cold, 2 warming, 3 was too warm after it was cold."""
    if not chain.value(st.FROZEN):
        return 0
    warmest_degc = chain.value(st.WARMEST_FROZEN)
    if warmest_degc > _COLD_STOP_DEGC:
        return 3
    return 2 if chain.value(st.T_CARRIER) > _COLD_WARN_DEGC else 1


def _boiling(chain: TransferChain) -> int:
    """Return 0 still, 1 film, 2 nucleate."""
    if not chain.in_the_bath or chain.value(st.POT) <= 0.0:
        return 0
    excess_k = chain.value(st.T_CARRIER) - k.LN2_DEGC
    if chain.value(st.T_CARRIER) > k.LEIDENFROST_DEGC:
        return 1
    return 2 if excess_k > 1.0 else 0


def _suitcase(chain: TransferChain) -> dict[str, Any]:
    return {
        "Pressure_RBV": chain.value(st.P_SUITCASE),
        "PressureMax_RBV": chain.value(st.P_MAX),
        "Temp_RBV": chain.value(st.T_SUITCASE),
        "LN2_RBV": 100.0 * chain.value(st.SUITCASE) / k.SUITCASE_ML,
        "Battery_RBV": 100.0 * chain.value(st.BATTERY) / k.BATTERY_WH,
        "PortPressure_RBV": chain.value(st.P_PORT),
        "Pump": chain.pump_on,
        "Dock": int(chain.host),
        "GateValve": chain.gate_open,
        "PortPump": chain.port_pump_on,
    }


def transfer_truth(chain: TransferChain) -> dict[str, Any]:
    """Return what the way has done to the specimen; no instrument can read it."""
    return {
        "Contamination_RBV": chain.contamination_ml,
        "Frost_RBV": chain.value(st.FROST),
        "Devitrified_RBV": bool(chain.value(st.DEVITRIFIED)),
    }


def transfer_faults(chain: TransferChain) -> dict[str, Any]:
    """Return the chain's settings below SIM:LAB:."""
    return {
        "SuitcaseLeak": chain.leak_mbar_l_per_s,
        "CaseLN2": chain.suitcase_dry,
        "AirTransit": chain.air_transit_s,
    }


def _present(world: Any) -> tuple[TransferChain, float]:
    world.catch_up()
    return world.transfer, world.time_s


def _do(action: Callable[..., None]) -> Callable[..., None]:
    """Return a command that does something with the chain at the present time."""

    def command(world: Any, **arguments: Any) -> None:
        chain, time_s = _present(world)
        action(chain, time_s, **arguments)

    return command


def _set_pump(chain: TransferChain, _: float, is_on: bool) -> None:
    chain.pump_on = is_on


def _set_port_pump(chain: TransferChain, _: float, is_on: bool) -> None:
    if is_on and chain.host is Host.NONE:
        raise RefusedError(
            "suitcase: the port is pumped only when the suitcase is docked; write Dock"
        )
    chain.port_pump_on = is_on


def _set_stage(chain: TransferChain, _: float, temperature_degc: float) -> None:
    _check(
        "pfib: StageSet", temperature_degc, FIB_SET_MIN_DEGC, FIB_SET_MAX_DEGC, "degC"
    )
    chain.fib_set_degc = temperature_degc


def _set_leak(chain: TransferChain, _: float, mbar_l_per_s: float) -> None:
    _check(
        "laboratory: SuitcaseLeak",
        mbar_l_per_s,
        0.0,
        LEAK_MAX_MBAR_L_PER_S,
        "mbar l/s",
    )
    chain.leak_mbar_l_per_s = mbar_l_per_s


def _set_dry(chain: TransferChain, _: float, is_on: bool) -> None:
    chain.suitcase_dry = is_on


def _set_air(chain: TransferChain, _: float, duration_s: float) -> None:
    _check("laboratory: AirTransit", duration_s, 1.0, AIR_MAX_S, "s")
    chain.air_transit_s = duration_s


def _check(what: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:
        raise RefusedError(
            f"{what} {value:g} {unit} is outside {low:g}..{high:g} {unit}; "
            "choose a value in between"
        )


def _place(place: int) -> Place:
    try:
        return Place(place)
    except ValueError:
        names = ", ".join(p.name.lower() for p in Place)
        raise RefusedError(
            f"carrier: no place number {place}; they are, from 0: {names}"
        ) from None


def _host(host: int) -> Host:
    try:
        return Host(host)
    except ValueError:
        names = ", ".join(h.name.lower() for h in Host)
        raise RefusedError(
            f"suitcase: no host number {host}; they are, from 0: {names}"
        ) from None


Command = tuple[Callable[..., Any], Mapping[str, type]]

TRANSFER_COMMANDS: Final[Mapping[str, Command]] = {
    "carrier.move": (
        _do(lambda c, t, place: c.move(_place(place), t)),
        {"place": int},
    ),
    "carrier.load": (_do(lambda c, t, name: c.load(name, t)), {"name": str}),
    "carrier.reset_max": (_do(lambda c, t: c.reset_temperature_max(t)), {}),
    "plunge.fill": (_do(lambda c, t: c.fill_pot(t)), {}),
    "suitcase.dock": (_do(lambda c, t, host: c.dock(_host(host), t)), {"host": int}),
    "suitcase.gate_valve": (
        _do(lambda c, t, is_open: c.set_gate(is_open, t)),
        {"is_open": bool},
    ),
    "suitcase.pump": (_do(_set_pump), {"is_on": bool}),
    "suitcase.port_pump": (_do(_set_port_pump), {"is_on": bool}),
    "suitcase.port_vent": (_do(lambda c, t: c.vent_port(t)), {}),
    "suitcase.refill": (_do(lambda c, t: c.refill_suitcase(t)), {}),
    "suitcase.reset_max": (_do(lambda c, t: c.reset_pressure_max(t)), {}),
    "pfib.stage_set": (_do(_set_stage), {"temperature_degc": float}),
    "pfib.gate_valve": (
        _do(lambda c, t, is_open: c.set_fib_gate(is_open, t)),
        {"is_open": bool},
    ),
    "lab.suitcase_leak": (_do(_set_leak), {"mbar_l_per_s": float}),
    "lab.case_ln2": (_do(_set_dry), {"is_on": bool}),
    "lab.air_transit": (_do(_set_air), {"duration_s": float}),
}
"""Each command's function and arguments; they join the world's list."""
