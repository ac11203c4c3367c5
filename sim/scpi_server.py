"""The simulated source-meter on a TCP port: one line in, at most one line out."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cryoline.sim.scpi_meter import ScpiMeter

__all__ = ["ScpiServer"]

_LOOPBACK: Final = "127.0.0.1"
_LINE_MAX_B: Final = 65_536


class ScpiServer:
    """Serves a meter on loopback, and plays what may be wrong with a connection."""

    def __init__(self, meter: ScpiMeter, port: int = 0) -> None:
        self.meter = meter
        self.port = port
        """As asked; 0 until it serves, if any will do."""
        self.garbled_answer: str | None = None
        """Fault: what each query is answered with."""
        self.is_unplugged = False
        """Fault: new connections are closed at once."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def address(self) -> str:
        """The VISA address to connect to."""
        return f"TCPIP::{_LOOPBACK}::{self.port}::SOCKET"

    async def serve(self, ready: threading.Event | None = None) -> None:
        """Serve until cancelled."""
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(
            self._talk, _LOOPBACK, self.port, limit=_LINE_MAX_B
        )
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            if ready is not None:
                ready.set()
            await server.serve_forever()

    @contextmanager
    def in_thread(self) -> Iterator["ScpiServer"]:
        """Serve in a thread of this process."""
        ready = threading.Event()
        loop = asyncio.new_event_loop()
        task = loop.create_task(self.serve(ready))
        thread = threading.Thread(target=self._run, args=(loop, task), daemon=True)
        thread.start()
        ready.wait(10.0)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(10.0)
            loop.close()

    def unplug(self) -> None:
        """Fault: cut every connection, and let no new one stay."""
        self.is_unplugged = True
        if self._loop is not None:
            for writer in tuple(self._writers):
                self._loop.call_soon_threadsafe(writer.close)

    def _run(self, loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]") -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(asyncio.wait([task]))
        for writer in tuple(self._writers):
            writer.close()
        others = asyncio.all_tasks(loop)
        for other in others:
            other.cancel()
        if others:
            loop.run_until_complete(asyncio.wait(others))

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._writers.add(writer)
        try:
            while not self.is_unplugged and (line := await reader.readline()):
                answer = await self._answer(line.decode("ascii", "replace").strip())
                if answer is not None:
                    writer.write(answer.encode() + b"\n")
                    await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # whoever was connected has gone; the meter goes on as it is
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, line: str) -> str | None:
        if "READ?" in line.upper():
            await asyncio.sleep(self.meter.reading_s)
        answer = self.meter.handle(line)
        return answer if answer is None else self.garbled_answer or answer
