"""Process variables of the potentiostat."""

import numpy as np
from numpy.typing import NDArray

from cryoline.ioc.points import COLUMNS
from cryoline.ioc.potentiostat_panel import (
    PotentiostatCommands,
    PotentiostatLimits,
    declare_potentiostat,
)
from cryoline.sim.iocs.server import InstrumentServer
from cryoline.sim.point_buffer import POINTS_MAX
from cryoline.sim.program import COMPLIANCE_V, CURRENT_MAX_A, SCAN_RATE_MAX_MV_PER_S

__all__ = ["declare"]


def declare(server: InstrumentServer) -> None:
    """Add the records."""

    async def points(first: int) -> NDArray[np.float64] | None:
        page = await server.request("potentiostat", "potentiostat.points", first=first)
        if page is None:
            return None
        return np.array(page["rows"]).reshape(-1, len(COLUMNS))

    commands = PotentiostatCommands(
        load=lambda text: server.request(
            "potentiostat", "potentiostat.load", text=text
        ),
        start=lambda: server.request("potentiostat", "potentiostat.start"),
        stop=lambda: server.request("potentiostat", "potentiostat.stop"),
        points=points,
        boot_serial=lambda: server.boot_serial,
    )
    limits = PotentiostatLimits(
        COMPLIANCE_V, CURRENT_MAX_A, SCAN_RATE_MAX_MV_PER_S, POINTS_MAX
    )
    declare_potentiostat(server.panels["potentiostat"], limits, commands)
