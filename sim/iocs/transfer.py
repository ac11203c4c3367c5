"""Process variables of the cold chain: carrier, plunge pot, suitcase, PFIB, holder."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from cryoline.sim.iocs.server import InstrumentServer
from cryoline.sim.transfer_limits import (
    AIR_MAX_S,
    FIB_SET_MAX_DEGC,
    FIB_SET_MIN_DEGC,
    LEAK_MAX_MBAR_L_PER_S,
)
from cryoline.sim.transfer_places import Host, Place

__all__ = ["declare", "declare_faults", "declare_truth"]

_PLACES: Final = tuple(place.name.lower() for place in Place)
_HOSTS: Final = tuple(host.name.lower() for host in Host)
_SHUT_OPEN: Final = ("shut", "open")
_OFF_ON: Final = ("off", "on")
_IDLE_DO: Final = ("idle", "do")
_TAG_LENGTH: Final = 64

# Warn and stop, as the ladder of alarms of a cold specimen has them.
_COLD: Final = {"HIGH": -150, "HSV": "MINOR", "HIHI": -140, "HHSV": "MAJOR"}
_NITROGEN: Final = {"LOW": 20, "LSV": "MINOR", "LOLO": 1, "LLSV": "MAJOR"}
_BATTERY: Final = {"LOW": 20, "LSV": "MINOR", "LOLO": 5, "LLSV": "MAJOR"}
_SUITCASE: Final = {"HIGH": 1e-8, "HSV": "MINOR", "HIHI": 1e-7, "HHSV": "MAJOR"}
_AIR: Final = {"HIGH": 15, "HSV": "MINOR"}


def declare(server: InstrumentServer) -> None:
    """Add the records."""
    _declare_carrier(server)
    _declare_plunge(server)
    _declare_suitcase(server)
    _declare_pfib(server)
    holder = server.panels["holder"]
    _temperature(holder, "Temp_RBV", "Temperature of the tip", alarms=_COLD)
    _percent(holder, "LN2_RBV", "Liquid nitrogen", _NITROGEN)


def declare_faults(server: InstrumentServer) -> None:
    """Add what may go wrong on the way to the laboratory's own panel."""
    panel = server.panels["lab"]
    panel.set_number(
        "SuitcaseLeak",
        "Fault: leak of the suitcase",
        "mbar l/s",
        0,
        LEAK_MAX_MBAR_L_PER_S,
        _put(server, "lab", "lab.suitcase_leak", "mbar_l_per_s", float),
    )
    panel.set_flag(
        "CaseLN2",
        "Fault: suitcase without nitrogen",
        "ok",
        "empty",
        _put(server, "lab", "lab.case_ln2", "is_on", bool),
    )
    panel.set_number(
        "AirTransit",
        "Time from station into the column",
        "s",
        1,
        AIR_MAX_S,
        _put(server, "lab", "lab.air_transit", "duration_s", float),
    )


def declare_truth(server: InstrumentServer) -> None:
    """Add what the way has done to the specimen to the panel of the truth."""
    panel = server.panels["truth"]
    panel.number("Contamination_RBV", "Monolayers that have reacted", "ML", 0, 1e6)
    panel.number("Frost_RBV", "Ice on the specimen", "nm", 0, 1e6)
    panel.flag("Devitrified_RBV", "Its ice has crystallised", "no", "yes")


def _declare_carrier(server: InstrumentServer) -> None:
    panel = server.panels["carrier"]
    panel.set_text(
        "Specimen",
        "Tag; writing loads a fresh specimen",
        _TAG_LENGTH,
        _put(server, "carrier", "carrier.load", "name", str),
    )
    panel.set_choice(
        "MoveTo",
        "Where it is brought",
        _PLACES,
        _put(server, "carrier", "carrier.move", "place", int),
    )
    panel.choice("Place_RBV", "Where it is, or was before the move", *_PLACES)
    panel.flag("Moving_RBV", "On its way", "at rest", "moving")
    _temperature(panel, "Temp_RBV", "Temperature of the specimen")
    _temperature(panel, "TempMax_RBV", "Warmest since ResetMax")
    panel.set_flag(
        "ResetMax",
        "Begin TempMax anew",
        *_IDLE_DO,
        _command(server, "carrier", "carrier.reset_max"),
    )
    panel.number(
        "Air_RBV", "Time spent in air", "s", 0, 1e9, precision=1, alarms=dict(_AIR)
    )
    panel.choice(
        "State_RBV",
        "How cold it is and was",
        "warm",
        "cold",
        ("warming", "MINOR"),
        ("was too warm", "MAJOR"),
    )


def _declare_plunge(server: InstrumentServer) -> None:
    panel = server.panels["plunge"]
    _temperature(panel, "Temp_RBV", "Temperature of the bath")
    _percent(panel, "LN2_RBV", "Liquid nitrogen", _NITROGEN)
    panel.choice("Boiling_RBV", "How it boils at the clip", "still", "film", "nucleate")
    panel.set_flag(
        "Fill",
        "Fill the pot",
        *_IDLE_DO,
        _command(server, "plunge", "plunge.fill"),
    )


def _declare_suitcase(server: InstrumentServer) -> None:
    panel = server.panels["suitcase"]
    for name, description, alarms in (
        ("Pressure_RBV", "Pressure inside", _SUITCASE),
        ("PressureMax_RBV", "Worst since ResetMax", {}),
        ("PortPressure_RBV", "Pressure beyond its gate valve", {}),
    ):
        panel.number(name, description, "mbar", 0, 1100, precision=13, alarms=alarms)
    _temperature(panel, "Temp_RBV", "Temperature inside", alarms=_COLD)
    _percent(panel, "LN2_RBV", "Liquid nitrogen", _NITROGEN)
    _percent(panel, "Battery_RBV", "Battery of the pump", _BATTERY)
    panel.set_choice(
        "Dock",
        "What it is docked at",
        _HOSTS,
        _put(server, "suitcase", "suitcase.dock", "host", int),
    )
    for name, description, states, command, argument in (
        ("Pump", "Its own pump", _OFF_ON, "suitcase.pump", "is_on"),
        ("GateValve", "Its gate valve", _SHUT_OPEN, "suitcase.gate_valve", "is_open"),
        ("PortPump", "Pump of the port", _OFF_ON, "suitcase.port_pump", "is_on"),
    ):
        put = _put(server, "suitcase", command, argument, bool)
        panel.set_flag(name, description, *states, put)
    for name, description, command in (
        ("PortVent", "Let gas into the port", "suitcase.port_vent"),
        ("Refill", "Fill the dewar", "suitcase.refill"),
        ("ResetMax", "Begin PressureMax anew", "suitcase.reset_max"),
    ):
        do = _command(server, "suitcase", command)
        panel.set_flag(name, description, *_IDLE_DO, do)


def _declare_pfib(server: InstrumentServer) -> None:
    panel = server.panels["pfib"]
    panel.number("Pressure_RBV", "Chamber pressure", "mbar", 0, 1100, precision=13)
    _temperature(panel, "StageTemp_RBV", "Temperature of the stage")
    panel.set_number(
        "StageSet",
        "Temperature wanted of the stage",
        "degC",
        FIB_SET_MIN_DEGC,
        FIB_SET_MAX_DEGC,
        _put(server, "pfib", "pfib.stage_set", "temperature_degc", float),
    )
    panel.set_flag(
        "GateValve",
        "Gate valve of the chamber",
        *_SHUT_OPEN,
        _put(server, "pfib", "pfib.gate_valve", "is_open", bool),
    )


def _temperature(
    panel: Any, name: str, description: str, *, alarms: dict[str, Any] | None = None
) -> None:
    panel.number(
        name, description, "degC", -273, 60, precision=2, alarms=dict(alarms or {})
    )


def _percent(panel: Any, name: str, description: str, alarms: dict[str, Any]) -> None:
    panel.number(name, description, "%", 0, 100, precision=1, alarms=dict(alarms))


def _put(
    server: InstrumentServer,
    group: str,
    command: str,
    argument: str,
    kind: Callable[[Any], Any],
) -> Callable[[Any], Awaitable[None]]:
    """Return a handler that hands a written value to the world."""

    async def handler(value: Any) -> None:
        await server.request(group, command, **{argument: kind(value)})

    return handler


def _command(
    server: InstrumentServer, group: str, command: str
) -> Callable[[Any], Awaitable[None]]:
    """Return a handler of a flag that does something when it is set."""

    async def handler(value: Any) -> None:
        if value:
            await server.request(group, command)

    return handler
