"""One IOC process: declares records, follows the world, ends with it."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from cryoline.ioc.panel import Panel
from cryoline.ioc.server_loop import ServerLoop
from cryoline.ioc.vital_signs import declare_vital_signs
from cryoline.sim.errors import RefusedError, WorldGoneError
from cryoline.sim.readiness import announce
from cryoline.sim.rpc import AsyncWorldClient

__all__ = ["InstrumentServer", "Request"]

_POLL_S: Final = 0.05
_HURRY_S: Final = 0.01
_BEAT_S: Final = 0.5
_SETTLE_S: Final = 1.0
_FAREWELL_S: Final = 1.0
"""Wall time for clients to receive the INVALID alarms before the server goes."""
_LOG = logging.getLogger("cryoline.sim.ioc")

Request = Callable[..., Any]


class InstrumentServer:
    """The server of one instrument.

    declare: adds the instrument's records to the panels, keyed by group; the first
    group is the instrument itself and gets the heartbeat
    """

    def __init__(
        self,
        instrument: str,
        prefixes: dict[str, str],
        declare: Callable[["InstrumentServer"], None],
    ) -> None:
        self.instrument = instrument
        self._server = ServerLoop(instrument)
        self.panels = {
            group: Panel(prefix, self._server.dispatcher)
            for group, prefix in prefixes.items()
        }
        self._world: AsyncWorldClient | None = None
        self._generation: int | None = None
        self._identity: dict[str, str] = {}
        self._beats = 0
        self.at_start: list[Callable[[Path], None]] = []
        """Called with the world's socket when the records are served."""
        self.at_first: list[tuple[str, dict[str, Any]]] = []
        """Commands for the world, before this server says that it is up."""
        self.beside: list[Callable[[], Coroutine[Any, Any, None]]] = []
        """What else runs in the event loop while the world is there."""
        self.own_values: Callable[[], dict[str, Any]] = dict
        """Readings of the instrument that the server itself knows."""
        self.hurries: Callable[[dict[str, Any]], bool] = lambda _: False
        """Whether clients wait for what is about to end, by the values by group."""
        self._poll_s = _POLL_S
        # These stand for an instrument each, and show that it lives.
        self._alive = [g for g in prefixes if g not in ("lab", "truth")]
        for group in self._alive:
            declare_vital_signs(self.panels[group])
        declare(self)

    @property
    def boot_serial(self) -> float:
        """The world's boot id as a number."""
        return float(self._identity["BootId_RBV"])

    def run(self, socket: Path, port: int, ready_fd: int) -> int:
        """Serve until told to end; returns the exit code."""

        def begin_all() -> None:
            for begin in self.at_start:
                begin(socket)

        work = self._follow(socket, ready_fd)
        return self._server.run(work, loopback_port=port, at_start=begin_all)

    def end(self, exit_code: int) -> None:
        """End this server, from any thread."""
        self._server.end(exit_code)

    async def request(
        self,
        group: str,
        command: str,
        *,
        accepted: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> Any:
        """Ask the world for something a client put, and show what came of it.

        accepted: readings to show first if it was accepted, for clients who wait for
        a change that may be over already
        Returns the result, or None if it was refused (the text is then shown).
        """
        panel = self.panels[group]
        result = None
        try:
            result = await self._call(command, **arguments)
        except RefusedError as error:
            panel.refuse(str(error))
        else:
            panel.accept()
            for name, value in (accepted or {}).items():
                panel.show_value(name, value, at_once=True)
        await self._refresh(at_once=True)
        return result

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Ask the world for something that no client put; nothing is shown."""
        return await self._call(command, **arguments)

    async def refuse(self, group: str, why: str) -> None:
        """Refuse something a client put, without asking the world."""
        self.panels[group].refuse(why)
        await self._refresh(at_once=True)

    async def refresh(self) -> None:
        """Show what has become of a put before it completes."""
        await self._refresh(at_once=True)

    async def settle(self) -> None:
        """Wait until every server shows what the world has become.

        Else a server that learns of a reset a moment later would wipe away what its
        clients have done since. A frozen one is not waited for longer than a second.
        """
        now_s = self._server.loop.time
        deadline_s = now_s() + _SETTLE_S
        while await self._call("unaware") and now_s() < deadline_s:
            await asyncio.sleep(_POLL_S / 4)

    async def _follow(self, socket: Path, ready_fd: int) -> int:
        try:
            self._world = await AsyncWorldClient.connect(socket)
            self._identity = await self._call("identity")
            for command, arguments in self.at_first:
                await self._call(command, **arguments)
            await self._refresh(at_once=True)
            announce(ready_fd)
            tasks = [asyncio.create_task(run()) for run in (self._beat, *self.beside)]
            while True:
                await self._refresh(at_once=False)
                for task in tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(self._poll_s)
        except WorldGoneError as error:
            _LOG.error("%s ends: %s", self.instrument, error)
            for panel in self.panels.values():
                panel.invalidate()
            await asyncio.sleep(_FAREWELL_S)
            return 1

    async def _call(self, command: str, **arguments: Any) -> Any:
        if self._world is None:
            raise WorldGoneError("the world is not connected yet")
        return await self._world.call(command, **arguments)

    async def _refresh(self, *, at_once: bool) -> None:
        answer = await self._call("poll", instrument=self.instrument)
        if answer["generation"] != self._generation:
            self._generation = answer["generation"]
            for panel in self.panels.values():
                panel.accept()
        groups: dict[str, dict[str, Any]] = answer["values"]
        self._poll_s = _HURRY_S if self.hurries(groups) else _POLL_S
        for group in self._alive:
            groups[group].update(
                InstrumentTime_RBV=answer["time_s"],
                BootId_RBV=self._identity["BootId_RBV"],
                **self.own_values(),
            )
        if self.instrument == "clock":
            groups["clock"]["Epoch_RBV"] = self._identity["Epoch_RBV"]
        for group, values in groups.items():
            self.panels[group].show(values, at_once=at_once)

    async def _beat(self) -> None:
        # By the loop's clock, so that a late beat does not delay the next ones.
        now_s = self._server.loop.time
        next_s = now_s()
        while True:
            self._beats += 1
            for group in self._alive:
                self.panels[group].show_value("Heartbeat_RBV", self._beats)
            next_s += _BEAT_S
            await asyncio.sleep(max(0.0, next_s - now_s()))
