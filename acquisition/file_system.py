"""On which kind of file system a path lies; SQLite's log needs a local one."""

import os
from pathlib import Path
from typing import Final

__all__ = ["NETWORK_FILE_SYSTEMS", "file_system_of", "network_file_system_of"]

_MOUNTS: Final = Path("/proc/self/mountinfo")

NETWORK_FILE_SYSTEMS: Final = frozenset(
    (
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.ceph",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
        "vboxsf",
    )
)
"""Those whose memory maps and locks two machines, or two mounts, don't share."""


def file_system_of(path: Path, mounts: Path = _MOUNTS) -> str:
    """Return the type of the file system that holds a path, "" if that is unknown.

    The path need not exist; its nearest existing parent decides.
    """
    try:
        lines = mounts.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    wanted = os.path.realpath(path)
    best, found = "", ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4]
        for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\134", "\\")):
            point = point.replace(octal, character)
        # Of two mounts on one point the later line is what is seen.
        if _is_below(wanted, point) and len(point) >= len(best):
            best, found = point, after.split(" ")[0]
    return found


def network_file_system_of(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return the type of the network file system that a path is on, None if none."""
    kind = file_system_of(path, mounts)
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")
