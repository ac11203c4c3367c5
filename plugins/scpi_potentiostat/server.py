"""The EPICS server of one channel: the standard potentiostat's records."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from cryoline.ioc.dispatcher import Dispatcher
from cryoline.ioc.loopback import confine_to_loopback
from cryoline.ioc.panel import Panel
from cryoline.ioc.potentiostat_panel import PotentiostatCommands, declare_potentiostat
from cryoline.ioc.serving import begin_serving
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
        self._loop = asyncio.new_event_loop()
        self._dispatcher = Dispatcher(self._loop)
        self._panel = Panel(prefix, self._dispatcher)
        self._boot_ms = int(time.time() * 1e3)
        self._ended = threading.Event()
        self._exit_code = 0
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
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._ended.set())
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        begin_serving(self._dispatcher)
        if loopback_port is not None:
            confine_to_loopback(loopback_port)
        self._channel.start()
        showing = asyncio.run_coroutine_threadsafe(self._show(ready), self._loop)
        showing.add_done_callback(self._on_showing_ended)
        self._ended.wait()
        self._channel.end()
        self._loop.call_soon_threadsafe(self._loop.stop)
        thread.join(timeout=5.0)
        return self._exit_code

    def end(self, exit_code: int) -> None:
        """End this server, from any thread."""
        self._exit_code = exit_code
        self._ended.set()

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

    async def _show(self, ready: Callable[[], None]) -> None:
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

    def _on_showing_ended(self, showing: "Future[None]") -> None:
        if not showing.cancelled() and showing.exception() is not None:
            self.end(2)
