"""The EPICS server of one channel: the standard potentiostat's records."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, NoReturn

from cryoline.ioc.panel import Panel
from cryoline.ioc.potentiostat_panel import PotentiostatCommands, declare_potentiostat
from cryoline.ioc.server_loop import ServerLoop
from cryoline.ioc.vital_signs import declare_vital_signs
from cryoline.plugins.scpi_potentiostat.channel import Channel
from cryoline.plugins.scpi_potentiostat.errors import BridgeError

__all__ = ["BridgeServer"]

_SHOW_S: Final = 0.05
_BEATS: Final = 10  # of showing, between two heartbeats
_OF_THE_METER: Final = (
    "Potential_RBV",
    "Current_RBV",
    "Range_RBV",
    "Overload_RBV",
    "Compliance_RBV",
    "Contact_RBV",
)
"""What nobody knows while the meter does not answer."""


class BridgeServer:
    """Shows a channel, and hands it what clients put.

    prefix: ends with ":", as in "LAB:POT2:"
    """

    def __init__(self, prefix: str, channel: Channel) -> None:
        self._channel = channel
        self._server = ServerLoop(prefix)
        self._panel = Panel(prefix, self._server.dispatcher)
        self._boot_ms = int(time.time() * 1e3)
        declare_vital_signs(self._panel)
        commands = PotentiostatCommands(
            load=lambda text: self._ask(lambda: channel.load(text)),
            start=lambda: self._ask(channel.begin),
            stop=lambda: self._ask(channel.halt),
            points=lambda first: self._ask(lambda: channel.page(first)),
            boot_serial=lambda: float(self._boot_ms),
        )
        declare_potentiostat(self._panel, channel.instrument.limits, commands)

    def run(self, *, loopback_port: int | None, ready: Callable[[], None]) -> int:
        """Serve until told to end; returns the exit code.

        loopback_port: keeps EPICS off the network, if the server is on loopback
        ready: called when clients are served
        """
        return self._server.run(
            self._show(ready),
            loopback_port=loopback_port,
            at_start=self._channel.start,
            at_end=self._channel.end,
        )

    def end(self, exit_code: int) -> None:
        """End this server, from any thread."""
        self._server.end(exit_code)

    async def _ask(self, request: Callable[[], "Future[Any]"]) -> Any:
        """Hand a put to the channel, and show what came of it before it completes."""
        try:
            result = await asyncio.wrap_future(request())
        except BridgeError as error:
            self._panel.refuse(str(error))
            result = None
        else:
            self._panel.accept()
        self._show_values(at_once=True)
        return result

    async def _show(self, ready: Callable[[], None]) -> NoReturn:
        self._panel.show({"BootId_RBV": str(self._boot_ms)})
        self._show_values(at_once=True)
        ready()
        beats = 0
        was_connected = True
        while True:
            for _ in range(_BEATS):
                is_connected = self._channel.instrument.is_connected
                if was_connected and not is_connected:
                    self._panel.invalidate(*_OF_THE_METER)
                was_connected = is_connected
                self._show_values(at_once=False)
                await asyncio.sleep(_SHOW_S)
            beats += 1
            self._panel.show_value("Heartbeat_RBV", beats)

    def _show_values(self, *, at_once: bool) -> None:
        self._panel.show(self._channel.instrument.values(), at_once=at_once)
