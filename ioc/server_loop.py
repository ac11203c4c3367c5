"""The life of an IOC process: its event loop, from its records' serving to its end."""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final

from cryoline.ioc.dispatcher import Dispatcher
from cryoline.ioc.loopback import confine_to_loopback
from cryoline.ioc.serving import begin_serving

__all__ = ["DEFECT", "ServerLoop"]

DEFECT: Final = 2
"""Exit code of a server that ends by a defect of its own."""
_JOIN_S: Final = 5.0
_LOG = logging.getLogger("cryoline.ioc")


class ServerLoop:
    """An event loop in a thread beside EPICS, until a signal or somebody ends it."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.dispatcher = Dispatcher(self.loop)
        self._name = name
        self._ended = threading.Event()
        self._exit_code = 0

    def run(
        self,
        work: Coroutine[Any, Any, int],
        *,
        loopback_port: int | None,
        at_start: Callable[[], None] = lambda: None,
        at_end: Callable[[], None] = lambda: None,
    ) -> int:
        """Serve what was declared until told to end; returns the exit code.

        work: runs in the loop while it serves, and returns an exit code when it ends;
        what it raises is logged, and ends the server
        loopback_port: keeps EPICS off the network, if the server is on loopback
        at_start: called when the records are served, before the work
        at_end: called before the loop is stopped
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._ended.set())
        thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        thread.start()
        begin_serving(self.dispatcher)
        if loopback_port is not None:
            confine_to_loopback(loopback_port)
        at_start()
        working = asyncio.run_coroutine_threadsafe(work, self.loop)
        working.add_done_callback(self._on_work_ended)
        self._ended.wait()
        at_end()
        self.loop.call_soon_threadsafe(self.loop.stop)
        thread.join(timeout=_JOIN_S)
        return self._exit_code

    def end(self, exit_code: int) -> None:
        """End this server, from any thread."""
        self._exit_code = exit_code
        self._ended.set()

    def _on_work_ended(self, working: "Future[int]") -> None:
        if working.cancelled():
            return
        error = working.exception()
        if error is None:
            self.end(working.result())
        else:
            # Nobody awaits the work: without this its error would vanish.
            _LOG.error("%s ends by a defect", self._name, exc_info=error)
            self.end(DEFECT)
