"""TCP ports of this machine: which is free, and who has the one that is not."""

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
        try:
            links = [os.readlink(fd) for fd in (process / "fd").iterdir()]
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue  # another user's, or it has just ended
        if inodes.intersection(links):
            return (
                f"process {process.name} ({command.decode(errors='replace').strip()})"
            )
    return "another user's process"
