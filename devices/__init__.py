"""Devices: ophyd over EPICS, and the data models that they take.

Names are imported when they are first used: importing ophyd opens Channel Access,
whose addresses must be known by then, and they are in the configuration.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryoline.devices.beam import Beam
    from cryoline.devices.carrier import Carrier
    from cryoline.devices.clock import InstrumentClock
    from cryoline.devices.cryo_stage import CryoStage, CryoStageMotors
    from cryoline.devices.cycling_protocol import (
        ConstantCurrent,
        ConstantVoltage,
        CyclicVoltammetry,
        Harvest,
        ImpedanceSpectroscopy,
        Loop,
        OpenCircuitVoltage,
        Program,
        ProgramState,
        Record,
        SafetyLimits,
        Tag,
        VoltageScan,
    )
    from cryoline.devices.detectors import EdsDetector, HaadfDetector
    from cryoline.devices.exposure import (
        Exposure,
        ExposureResult,
        Outcome,
        Purpose,
        Ticket,
    )
    from cryoline.devices.operator import Operator
    from cryoline.devices.potentiostat import Attachment, Potentiostat
    from cryoline.devices.session_beat import SessionBeat
    from cryoline.devices.vessels import (
        CryoHolder,
        Glovebox,
        PfibChamber,
        PlungePot,
        Suitcase,
    )

__all__ = [
    "Attachment",
    "Beam",
    "Carrier",
    "ConstantCurrent",
    "ConstantVoltage",
    "CryoHolder",
    "CryoStage",
    "CryoStageMotors",
    "CyclicVoltammetry",
    "EdsDetector",
    "Exposure",
    "ExposureResult",
    "Glovebox",
    "HaadfDetector",
    "Harvest",
    "ImpedanceSpectroscopy",
    "InstrumentClock",
    "Loop",
    "OpenCircuitVoltage",
    "Operator",
    "Outcome",
    "PfibChamber",
    "PlungePot",
    "Potentiostat",
    "Program",
    "ProgramState",
    "Purpose",
    "Record",
    "SafetyLimits",
    "SessionBeat",
    "Suitcase",
    "Tag",
    "Ticket",
    "VoltageScan",
]

_ELSEWHERE = {
    "Attachment": "potentiostat",
    "Beam": "beam",
    "Carrier": "carrier",
    "CryoHolder": "vessels",
    "CryoStage": "cryo_stage",
    "CryoStageMotors": "cryo_stage",
    "EdsDetector": "detectors",
    "Exposure": "exposure",
    "ExposureResult": "exposure",
    "Glovebox": "vessels",
    "HaadfDetector": "detectors",
    "InstrumentClock": "clock",
    "Operator": "operator",
    "Outcome": "exposure",
    "PfibChamber": "vessels",
    "PlungePot": "vessels",
    "Potentiostat": "potentiostat",
    "Purpose": "exposure",
    "SessionBeat": "session_beat",
    "Suitcase": "vessels",
    "Ticket": "exposure",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _ELSEWHERE.get(name, "cycling_protocol")
    return getattr(import_module(f"{__name__}.{module}"), name)
