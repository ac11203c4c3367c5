"""Lines of JSON over a Unix socket: how the IOCs speak with the world.

A request is {"do": command, "with": {arguments}}; its answer {"result": ...},
{"refused": why} for a request the laboratory declines, or {"broken": why} for a
defect of the simulator. Answers come in the order of the requests.
"""

import asyncio
import socket
from pathlib import Path
from typing import Any, Final, Self

import orjson

from cryoline.sim.errors import RefusedError, WorldGoneError

__all__ = ["LINE_MAX", "AsyncWorldClient", "WorldClient", "decode_answer"]

LINE_MAX: Final = 16 * 2**20
"""Bytes of the longest line; a full page of points takes about 1 MB."""
_TIMEOUT_S: Final = 60.0


def decode_answer(line: bytes) -> Any:
    """Return the result in an answer, or raise what it reports."""
    if not line.endswith(b"\n"):
        raise WorldGoneError("the world process closed its socket")
    answer = orjson.loads(line)
    if "refused" in answer:
        raise RefusedError(answer["refused"])
    if "broken" in answer:
        raise WorldGoneError(f"the world process failed: {answer['broken']}")
    return answer["result"]


def _encode_request(command: str, arguments: dict[str, Any]) -> bytes:
    return orjson.dumps(
        {"do": command, "with": arguments}, option=orjson.OPT_APPEND_NEWLINE
    )


class WorldClient:
    """A blocking client, for tests and tools.

    with WorldClient(path) as world: world.call("lab.step")
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_TIMEOUT_S)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise WorldGoneError(f"no world answers at {path}: {error}") from error
        self._reader = self._socket.makefile("rb")

    def call(self, command: str, **arguments: Any) -> Any:
        """Do a command and return its result."""
        try:
            self._socket.sendall(_encode_request(command, arguments))
            line = self._reader.readline()
        except OSError as error:
            raise WorldGoneError(f"the world does not answer: {error}") from error
        return decode_answer(line)

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncWorldClient:
    """A client for one event loop; calls may overlap and are sent one by one."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()

    @classmethod
    async def connect(cls, path: Path) -> "AsyncWorldClient":
        """Connect to the world at `path`."""
        try:
            streams = await asyncio.open_unix_connection(str(path), limit=LINE_MAX)
        except OSError as error:
            raise WorldGoneError(f"no world answers at {path}: {error}") from error
        return cls(*streams)

    async def call(self, command: str, **arguments: Any) -> Any:
        """Do a command and return its result."""
        async with self._turn:
            try:
                self._writer.write(_encode_request(command, arguments))
                await self._writer.drain()
                line = await asyncio.wait_for(self._reader.readline(), _TIMEOUT_S)
            except ConnectionError as error:
                raise WorldGoneError("the world process closed its socket") from error
            except (OSError, TimeoutError, ValueError) as error:
                raise WorldGoneError(f"the world does not answer: {error}") from error
        return decode_answer(line)
