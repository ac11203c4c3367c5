"""Process variables of the potentiostat, one set a channel."""

from collections.abc import Awaitable
from typing import Any, Final

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


_LIMITS: Final = PotentiostatLimits(
    COMPLIANCE_V, CURRENT_MAX_A, SCAN_RATE_MAX_MV_PER_S, POINTS_MAX
)


def declare(server: InstrumentServer) -> None:
    """Add the records."""
    for channel, (group, panel) in enumerate(server.panels.items()):
        declare_potentiostat(panel, _LIMITS, _commands(server, group, channel))


def _commands(
    server: InstrumentServer, group: str, channel: int
) -> PotentiostatCommands:
    def ask(command: str, **arguments: Any) -> Awaitable[Any]:
        return server.request(
            group, f"potentiostat.{command}", channel=channel, **arguments
        )

    async def points(first: int) -> NDArray[np.float64] | None:
        page = await ask("points", first=first)
        if page is None:
            return None
        return np.array(page["rows"]).reshape(-1, len(COLUMNS))

    return PotentiostatCommands(
        load=lambda text: ask("load", text=text),
        start=lambda: ask("start"),
        stop=lambda: ask("stop"),
        points=points,
        boot_serial=lambda: server.boot_serial,
    )
