"""Process variables of the glovebox."""

from typing import Final

from cryoline.sim.iocs.server import InstrumentServer

__all__ = ["declare"]

# The papers open their argon boxes below 5 ppm, their nitrogen boxes below 10 [S0].
_GAS_ALARMS: Final = {"HIGH": 5, "HSV": "MINOR", "HIHI": 10, "HHSV": "MAJOR"}


def declare(server: InstrumentServer) -> None:
    """Add the records."""
    panel = server.panels["glovebox"]

    async def door(value: int) -> None:
        await server.request("glovebox", "glovebox.door", is_open=bool(value))

    panel.number(
        "Temperature_RBV",
        "Temperature of the box",
        "degC",
        0,
        60,
        precision=2,
        alarms={"LOW": 15, "LSV": "MINOR", "HIGH": 30, "HSV": "MINOR"},
    )
    panel.number(
        "Pressure_RBV",
        "Pressure, absolute",
        "mbar",
        900,
        1100,
        precision=2,
        alarms={
            "LOW": 998,
            "LSV": "MINOR",
            "HIGH": 1012,
            "HSV": "MINOR",
        },
    )
    for gas, name in (("H2O", "Moisture"), ("O2", "Oxygen")):
        panel.number(
            f"{gas}_RBV", name, "ppm", 0, 1000, precision=3, alarms=dict(_GAS_ALARMS)
        )
    panel.choice("Atmosphere_RBV", "Gas of the box", "Ar", "N2")
    panel.set_flag("Door", "Inner antechamber door", "shut", "open", door)
