"""Devices: ophyd over EPICS, and the data models that they take.

Names are imported when they are first used: importing ophyd opens Channel Access,
whose addresses must be known by then, and they are in the configuration.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryoline.devices.carrier import Carrier
    from cryoline.devices.clock import InstrumentClock
    from cryoline.devices.cycling_protocol import (
        ConstantCurrent,
        CyclicVoltammetry,
        Loop,
        OpenCircuitVoltage,
        Program,
        ProgramState,
        Record,
        SafetyLimits,
        VoltageScan,
    )
    from cryoline.devices.operator import Operator
    from cryoline.devices.potentiostat import Potentiostat
    from cryoline.devices.vessels import (
        CryoHolder,
        Glovebox,
        PfibChamber,
        PlungePot,
        Suitcase,
    )

__all__ = [
    "Carrier",
    "ConstantCurrent",
    "CryoHolder",
    "CyclicVoltammetry",
    "Glovebox",
    "InstrumentClock",
    "Loop",
    "OpenCircuitVoltage",
    "Operator",
    "PfibChamber",
    "PlungePot",
    "Potentiostat",
    "Program",
    "ProgramState",
    "Record",
    "SafetyLimits",
    "Suitcase",
    "VoltageScan",
]

_ELSEWHERE = {
    "Carrier": "carrier",
    "CryoHolder": "vessels",
    "Glovebox": "vessels",
    "InstrumentClock": "clock",
    "Operator": "operator",
    "PfibChamber": "vessels",
    "PlungePot": "vessels",
    "Potentiostat": "potentiostat",
    "Suitcase": "vessels",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _ELSEWHERE.get(name, "cycling_protocol")
    return getattr(import_module(f"{__name__}.{module}"), name)
