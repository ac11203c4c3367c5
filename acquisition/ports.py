"""TCP ports of this machine: which is free, and who has the one that is not."""

import contextlib
import os
import socket
from pathlib import Path
from typing import Final

__all__ = ["any_free", "is_free", "owner_of"]

_LISTENING: Final = "0A"  # <net/tcp_states.h>


def any_free(host: str) -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen there."""
    with socket.socket() as probe:
        # As uvicorn does: a port whose last connections linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def owner_of(port: int) -> str:
    """Return who listens on a TCP port, as far as /proc tells this user."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        if inodes & _open_files(process):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
            return f"process {process.name} ({command.decode().strip()})"
    return "another user's process"


def _open_files(process: Path) -> set[str]:
    """Return what a process has open; nothing if it is another user's."""
    links = set()
    with contextlib.suppress(PermissionError, FileNotFoundError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since
                links.add(os.readlink(descriptor))
    return links
