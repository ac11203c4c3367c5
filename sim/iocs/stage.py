"""Process variables of the cryo stage."""

from typing import Final

from cryoline.ioc.panel import Handler
from cryoline.sim.iocs.server import InstrumentServer
from cryoline.sim.stage_axis import AXES

__all__ = ["declare"]

# Above -135 degC amorphous ice and electrolyte crystallise: stop at -140.
_TEMPERATURE_ALARMS: Final = {
    "HIGH": -150,
    "HSV": "MINOR",
    "HIHI": -140,
    "HHSV": "MAJOR",
}
_LEVEL_ALARMS: Final = {"LOW": 20, "LSV": "MINOR", "LOLO": 1, "LLSV": "MAJOR"}
_AXIS_TEXTS: Final = {
    "Alpha": "Tilt about the holder's axis",
    "X": "Across the tilt axis",
    "Y": "Along the tilt axis",
    "Z": "Height",
}


def declare(server: InstrumentServer) -> None:
    """Add the records."""
    panel = server.panels["stage"]

    async def temperature(degc: float) -> None:
        await server.request("stage", "stage.temperature", degc=degc)

    for name in AXES:
        _declare_axis(server, name)
    panel.number(
        "Temp_RBV",
        "Temperature of the tip",
        "degC",
        -200,
        30,
        precision=3,
        alarms=dict(_TEMPERATURE_ALARMS),
    )
    panel.number(
        "LN2_RBV",
        "Filling of the dewar",
        "%",
        *(0, 100),
        precision=2,
        alarms=dict(_LEVEL_ALARMS),
    )
    panel.set_number("TempSet", "Temperature to be held", "degC", -190, 30, temperature)


def _declare_axis(server: InstrumentServer, name: str) -> None:
    unit, limit, *_ = AXES[name]
    panel = server.panels["stage"]
    panel.set_number(name, _AXIS_TEXTS[name], unit, -limit, limit, _mover(server, name))
    panel.number(f"{name}_RBV", "... where it is", unit, -limit, limit, precision=4)
    panel.flag(f"{name}Done_RBV", "... is at rest", "moving", "done")
    panel.set_flag(
        f"{name}Stop", "... stays where it is", "idle", "stop", _stopper(server, name)
    )


def _mover(server: InstrumentServer, name: str) -> Handler:
    async def move(target: float) -> None:
        # A positioner waits for Done to fall and rise; time may run so fast that the
        # move is over before anybody looks.
        fallen = {f"{name}Done_RBV": False}
        await server.request(
            "stage", "stage.move", accepted=fallen, axis=name, target=target
        )

    return move


def _stopper(server: InstrumentServer, name: str) -> Handler:
    async def stop(value: int) -> None:
        if value:
            await server.request("stage", "stage.stop", axis=name)

    return stop
