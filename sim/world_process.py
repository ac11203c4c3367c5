"""The world process: serves the models over a Unix socket until it is told to end.

Run as `python -m cryoline.sim.world_process`; `cryoline.sim.lab` does that.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from cryoline.sim.errors import RecordedFileError, RefusedError
from cryoline.sim.readiness import announce, announce_failure
from cryoline.sim.rpc import LINE_MAX

__all__ = ["main", "serve"]

_TICK_S: Final = 0.02  # wall time between two looks at the clock
_LOG = logging.getLogger("cryoline.sim.world")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process."""
    options = _options(arguments)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s"
    )
    # Listening before the slow imports: the IOCs may connect meanwhile.
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(options.socket))
    listener.listen()
    try:
        asyncio.run(serve(listener, options))
    except (RecordedFileError, RefusedError) as error:
        announce_failure(options.ready_fd, str(error))
        return 1
    finally:
        listener.close()
        with contextlib.suppress(OSError):  # its starter may have been here first
            options.socket.unlink()
            options.socket.parent.rmdir()
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cryoline.sim.world_process")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--factor", type=float, default=1.0)
    parser.add_argument("--mode", choices=("free", "stepped"), default="free")
    cells = ("wafer", "nanowire", "solid_state")
    parser.add_argument("--cell", choices=cells, default="wafer")
    parser.add_argument("--recorded", type=Path)
    parser.add_argument("--specimen", choices=("wire", "bead"), default="wire")
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--lifeline-fd", type=int)
    return parser.parse_args(arguments)


async def serve(listener: socket.socket, options: argparse.Namespace) -> None:
    """Build the world and answer requests until SIGTERM, or the lifeline's end."""
    from cryoline.sim.recorded import read_recorded

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if options.lifeline_fd is not None:
        loop.add_reader(options.lifeline_fd, ended.set)

    # A file that can't be played is reported before the slow imports.
    recorded = read_recorded(options.recorded) if options.recorded else None
    from cryoline.sim.clock import ClockMode, SimClock
    from cryoline.sim.commands import perform
    from cryoline.sim.mounted_cells import CellKind
    from cryoline.sim.warmup import warm_up
    from cryoline.sim.world import World

    warm_up()
    boot_id = str(time.time_ns() // 1_000_000)
    world = World(
        seed=options.seed,
        cell=CellKind.RECORDED if recorded else CellKind[options.cell.upper()],
        clock=SimClock(factor=options.factor, mode=ClockMode[options.mode.upper()]),
        recorded=recorded,
        specimen=options.specimen,
        directory=options.directory,
        boot_id=boot_id,
        channels=options.channels,
    )
    identity = {
        "BootId_RBV": boot_id,
        "Epoch_RBV": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }

    def answer(line: bytes) -> dict[str, Any]:
        try:
            request = orjson.loads(line)
            if request.get("do") == "identity":
                return {"result": identity}
            return {"result": perform(world, request.get("do"), request.get("with"))}
        except RefusedError as error:
            return {"refused": str(error)}
        except Exception as error:
            # The world must outlive a defect in one command; the client is told.
            _LOG.exception("a request failed: %s", line[:200])
            return {"broken": f"{type(error).__name__}: {error}"}

    connections: set[asyncio.StreamWriter] = set()

    async def converse(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connections.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while line := await reader.readline():
                writer.write(
                    orjson.dumps(answer(line), option=orjson.OPT_APPEND_NEWLINE)
                )
                await writer.drain()
        connections.discard(writer)
        writer.close()

    server = await asyncio.start_unix_server(converse, sock=listener, limit=LINE_MAX)
    announce(options.ready_fd)
    _LOG.info("world ready, pid %d, seed %d", os.getpid(), options.seed)
    while not ended.is_set():
        world.catch_up()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), _TICK_S)
    server.close()
    for writer in connections:
        writer.close()
    _LOG.info("world ended at instrument time %.1f s", world.time_s)


if __name__ == "__main__":
    sys.exit(main())
