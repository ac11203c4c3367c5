"""The laboratory as a whole: start it in a directory, find it again, end it."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson

from cryoline.sim.errors import (
    AlreadyUpError,
    LabError,
    NoSpaceError,
    NotUpError,
)
from cryoline.sim.limits import SEED_MAX
from cryoline.sim.ports import free_ports, wanted_ports
from cryoline.sim.prefixes import CHANNELS_MAX, GROUPS, prefixes
from cryoline.sim.processes import Child, end_processes, is_alive

__all__ = ["Lab", "find_lab", "start_lab"]

_STARTUP_S: Final = 90.0  # the first start ever compiles the cell model
_FREE_BYTES: Final = 50 * 2**20
_SOCKET_PATH_MAX: Final = 107  # the kernel's limit for a Unix socket's path


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
        child = _start_server(name, self.socket, port, logs, channels)
        self._children.append(child)
        processes[name] = child.entry()
        child.wait_ready(time.monotonic() + _STARTUP_S)
        _write_description(self)

    def adopt(self, children: list[Child], lifeline_fd: int | None) -> None:
        """Take over the processes just started, to reap them at the end."""
        self._children = children
        self._lifeline_fd = lifeline_fd

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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


def start_lab(
    directory: Path,
    *,
    seed: int = 0,
    factor: float = 1.0,
    mode: str = "free",
    cell: str = "wafer",
    recorded: Path | None = None,
    specimen: str = "wire",
    first_port: int | None = None,
    channels: int = 1,
    detached: bool = False,
) -> Lab:
    """Start a laboratory; returns when every instrument serves its PVs.

    channels: how many cells the potentiostat cycles at once, with prefixes SIM:POT1:,
    SIM:POT2: and so on
    detached: it outlives this process; otherwise it ends when this process does,
    even if that is killed
    Raises a LabError and leaves nothing running if it can't be started.
    """
    if not 0 <= seed <= SEED_MAX:
        raise LabError(
            f"laboratory: seed {seed} is outside 0..{SEED_MAX}; choose another"
        )
    if not 1 <= channels <= CHANNELS_MAX:
        raise LabError(
            f"laboratory: {channels} channels is outside 1..{CHANNELS_MAX}; "
            "choose another number of cells"
        )
    directory = directory.absolute()
    logs = directory / "log"
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"laboratory: can't make {logs}: {error.strerror}") from error
    _check_space(directory)
    with _only_starter(directory):
        _refuse_if_up(directory)
        _copy_configuration(directory, channels)
        count = len(GROUPS)
        ports = wanted_ports(first_port, count) if first_port else free_ports(count)
        home = Path(tempfile.mkdtemp(prefix="cryoline-"))  # 0700: nobody else's
        lab = Lab(
            directory,
            {
                "prefixes": prefixes(channels),
                "channels": channels,
                "addresses": [f"127.0.0.1:{port}" for port in ports],
                "processes": {},
                "seed": seed,
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "socket": str(home / "world"),
            },
        )
        world = ["--seed", str(seed), "--factor", str(factor), "--mode", mode]
        world += ["--cell", cell, "--specimen", specimen]
        world += ["--directory", str(directory), "--channels", str(channels)]
        if recorded is not None:
            world += ["--recorded", str(recorded.absolute())]
        try:
            _launch(lab, logs, ports, world, detached=detached)
        except BaseException:
            lab.stop()
            raise
    return lab


def _launch(
    lab: Lab, logs: Path, ports: list[int], world: list[str], *, detached: bool
) -> None:
    if len(os.fsencode(lab.socket)) > _SOCKET_PATH_MAX:
        raise LabError(
            f"laboratory: the socket path {lab.socket} exceeds {_SOCKET_PATH_MAX} "
            "bytes; set TMPDIR to a shorter directory"
        )
    children: list[Child] = []
    lifeline_read = lifeline_write = None
    if not detached:
        lifeline_read, lifeline_write = os.pipe()
    lab.adopt(children, lifeline_write)

    def add(child: Child) -> None:
        children.append(child)
        lab.description["processes"][child.name] = child.entry()

    try:
        add(
            Child.start(
                "world",
                ["cryoline.sim.world_process", "--socket", str(lab.socket), *world],
                logs / "world.log",
                lifeline_fd=lifeline_read,
            )
        )
    finally:
        if lifeline_read is not None:
            os.close(lifeline_read)
    for instrument, port in zip(GROUPS, ports, strict=True):
        channels = lab.description["channels"]
        add(_start_server(instrument, lab.socket, port, logs, channels))
    deadline_s = time.monotonic() + _STARTUP_S
    for child in children:
        child.wait_ready(deadline_s)
    _write_description(lab)


def _start_server(
    name: str, socket: Path, port: int, logs: Path, channels: int
) -> Child:
    arguments = ["cryoline.sim.iocs", name, "--socket", str(socket)]
    arguments += ["--port", str(port), "--channels", str(channels)]
    return Child.start(name, arguments, logs / f"{name}.log", port=port)


def _write_description(lab: Lab) -> None:
    content = orjson.dumps(lab.description, option=orjson.OPT_INDENT_2)
    partial = lab.directory / "lab.json.new"
    partial.write_bytes(content + b"\n")
    partial.replace(lab.directory / "lab.json")


def _check_space(directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if free < _FREE_BYTES:
        raise NoSpaceError(
            f"laboratory: {directory} has {free / 2**20:.1f} MB of space, the logs "
            f"need {_FREE_BYTES / 2**20:.0f} MB; free some or choose another --dir"
        )


@contextlib.contextmanager
def _only_starter(directory: Path) -> Iterator[None]:
    with (directory / "lab.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyUpError(
                f"laboratory: another start is under way in {directory}; wait for it"
            ) from None
        yield


def _refuse_if_up(directory: Path) -> None:
    try:
        lab = find_lab(directory)
    except NotUpError:
        return
    if any(lab.alive().values()):
        raise AlreadyUpError(
            f"laboratory: one is already up in {directory} (world pid "
            f"{lab.pid('world')}); end it with `cryoline sim down --dir {directory}`"
        )
    lab.stop()  # its machine went down: remove what it left


def _copy_configuration(directory: Path, channels: int) -> None:
    target = directory / "instrument.toml"
    if not target.exists():
        template = files("cryoline.sim") / "instrument.toml"
        further = (
            f'\n[devices.{name}]\nplugin = "potentiostat"\nprefix = "{prefix}"\n'
            for name, prefix in prefixes(channels).items()
            if name not in prefixes()
        )
        target.write_text(template.read_text() + "".join(further))
