"""Starting a laboratory: its world, its instruments' servers, and their directory."""

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
from typing import Final

from cryoline.sim.errors import (
    AlreadyUpError,
    LabError,
    NoSpaceError,
    NotUpError,
)
from cryoline.sim.limits import SEED_MAX
from cryoline.sim.ports import free_ports, wanted_ports
from cryoline.sim.prefixes import CHANNELS_MAX, GROUPS, prefixes
from cryoline.sim.processes import Child
from cryoline.sim.running_lab import STARTUP_S, Lab, find_lab, start_server

__all__ = ["Lab", "find_lab", "start_lab"]

_FREE_BYTES: Final = 50 * 2**20
_SOCKET_PATH_MAX: Final = 107  # the kernel's limit for a Unix socket's path


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
        add(start_server(instrument, lab.socket, port, logs, channels))
    deadline_s = time.monotonic() + STARTUP_S
    for child in children:
        child.wait_ready(deadline_s)
    lab.save()


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
