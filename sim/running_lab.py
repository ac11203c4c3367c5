"""A laboratory that is up: what it is called, and how it is found and ended again."""

import os
import shutil
import time
from pathlib import Path
from typing import Any, Final, Self

import orjson

from cryoline.sim.errors import LabError, NotUpError
from cryoline.sim.prefixes import GROUPS
from cryoline.sim.processes import Child, end_processes, is_alive

__all__ = ["STARTUP_S", "Lab", "find_lab", "start_server"]

STARTUP_S: Final = 90.0
"""Wall time until a process serves; the first start ever compiles the cell model."""


class Lab:
    """A running laboratory.

    directory: holds lab.json, instrument.toml and log/
    description: the contents of lab.json
    """

    def __init__(self, directory: Path, description: dict[str, Any]) -> None:
        self.directory = directory
        self.description = description
        self._children: list[Child] = []
        self._lifeline_fd: int | None = None

    @property
    def addresses(self) -> list[str]:
        """Channel Access addresses of its servers."""
        return list(self.description["addresses"])

    @property
    def prefixes(self) -> dict[str, str]:
        """PV prefix by instrument."""
        return dict(self.description["prefixes"])

    @property
    def socket(self) -> Path:
        """The world's socket, for `cryoline.sim.rpc.WorldClient`."""
        return Path(self.description["socket"])

    @property
    def epics_environment(self) -> dict[str, str]:
        """What a client must set before it loads its Channel Access library."""
        return {
            "EPICS_CA_ADDR_LIST": " ".join(self.addresses),
            "EPICS_CA_AUTO_ADDR_LIST": "NO",
        }

    def pid(self, name: str) -> int:
        """Return the pid of "world" or of an instrument's server."""
        return int(self.description["processes"][name]["pid"])

    def alive(self) -> dict[str, bool]:
        """Return which of its processes run."""
        return {
            name: is_alive(process)
            for name, process in self.description["processes"].items()
        }

    def stop(self) -> None:
        """End every process, and remove what they left; harmless if repeated."""
        processes = self.description["processes"]
        servers = [p for name, p in processes.items() if name != "world"]
        end_processes(servers)
        end_processes([processes["world"]] if "world" in processes else [])
        for child in self._children:
            child.close()
            child.process.wait()
        self._children = []
        if self._lifeline_fd is not None:
            os.close(self._lifeline_fd)
            self._lifeline_fd = None
        shutil.rmtree(self.socket.parent, ignore_errors=True)
        (self.directory / "lab.json").unlink(missing_ok=True)

    def restart(self, name: str) -> None:
        """Start one instrument's server anew, on its old port; the world goes on.

        Raises LabError if the laboratory has no such server.
        """
        processes = self.description["processes"]
        if name not in GROUPS or name not in processes:
            raise LabError(
                f"laboratory: no server {name!r} in {self.directory}; "
                f"there are: {', '.join(GROUPS)}"
            )
        end_processes([processes[name]])
        port = int(processes[name]["port"])
        logs, channels = self.directory / "log", self.description["channels"]
        child = start_server(name, self.socket, port, logs, channels)
        self._children.append(child)
        processes[name] = child.entry()
        child.wait_ready(time.monotonic() + STARTUP_S)
        self.save()

    def adopt(self, children: list[Child], lifeline_fd: int | None) -> None:
        """Take over the processes just started, to reap them at the end."""
        self._children = children
        self._lifeline_fd = lifeline_fd

    def save(self) -> None:
        """Write lab.json, whole or not at all."""
        content = orjson.dumps(self.description, option=orjson.OPT_INDENT_2)
        partial = self.directory / "lab.json.new"
        partial.write_bytes(content + b"\n")
        partial.replace(self.directory / "lab.json")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def find_lab(directory: Path) -> Lab:
    """Return the laboratory that was started in a directory, or raise NotUpError."""
    try:
        description = orjson.loads((directory / "lab.json").read_bytes())
    except FileNotFoundError:
        raise NotUpError(
            f"no laboratory is up in {directory}; start one with "
            f"`cryoline sim up --dir {directory}`"
        ) from None
    except orjson.JSONDecodeError as error:
        raise LabError(
            f"{directory / 'lab.json'} is damaged ({error}); end its processes by "
            "hand and remove it"
        ) from error
    return Lab(directory, description)


def start_server(
    name: str, socket: Path, port: int, logs: Path, channels: int
) -> Child:
    """Start one instrument's server; its readiness is to be waited for."""
    arguments = ["cryoline.sim.iocs", name, "--socket", str(socket)]
    arguments += ["--port", str(port), "--channels", str(channels)]
    return Child.start(name, arguments, logs / f"{name}.log", port=port)
