"""HDF5 files that outlive the process that writes them.

A file is made whole under another name and renamed; then it is written in HDF5's mode
of one writer and many readers (SWMR), so that whatever has been flushed can be read,
by others at once and after a crash. What a killed writer leaves is marked "in use";
`open_to_write` takes the mark away, as the tool h5clear does.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import h5py

from cryoline.sim.errors import DetectorFileError

__all__ = ["close", "commit", "create", "open_to_write", "reserve"]

_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCK: Final = struct.Struct("<8sBBBBQQQQ")
"""Version 3: signature, version, sizes of offsets and lengths, flags, base, extension,
end of the file, root; the checksum follows."""
_VERSION: Final = 3
_FORMAT: Final = ("v110", "v110")  # the oldest with SWMR: any reader of today
_WORD: Final = 0xFFFFFFFF


def create(path: Path, fill: Callable[[Any], None]) -> None:
    """Make a file at once and whole, in place of one that is there."""
    partial = path.with_name(path.name + ".new")
    with h5py.File(partial, "w", libver=_FORMAT) as file:
        fill(file)
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def open_to_write(path: Path) -> Any:
    """Return an existing file, open for writing while others read it.

    Raises DetectorFileError, and leaves the file as it is, if it is damaged.
    """
    try:
        _take_over(path)
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
        # There is one server a detector; a reader's lock must not keep it out.
        access.set_file_locking(False, False)
        flags = h5py.h5f.ACC_RDWR | h5py.h5f.ACC_SWMR_WRITE
        return h5py.File(h5py.h5f.open(os.fsencode(path), flags, fapl=access))
    except (OSError, RuntimeError, struct.error) as error:
        raise DetectorFileError(
            f"{path}: can't be opened as an HDF5 file of this detector ({error}); it "
            "is left as it is. Choose another FileName"
        ) from error


def reserve(file: Any, size_bytes: int) -> None:
    """Take room on the disk for what will be appended, or raise OSError.

    HDF5 does not survive a full disk well: what it can't write, it has promised in
    its superblock. `close` gives back what was not used.
    """
    os.posix_fallocate(file.id.get_vfd_handle(), file.id.get_filesize(), size_bytes)


def close(file: Any) -> None:
    """Close a file, and cut it where HDF5 says that it ends."""
    path = file.filename
    file.close()
    with open(path, "r+b") as raw:
        end = _SUPERBLOCK.unpack(raw.read(_SUPERBLOCK.size))[7]
        if end < raw.seek(0, os.SEEK_END):
            raw.truncate(end)


def commit(file: Any) -> None:
    """Return when everything written so far is on the disk."""
    file.flush()
    os.fsync(file.id.get_vfd_handle())


def _take_over(path: Path) -> None:
    """Clear the mark of a writer that is no more, and tell where the file ends."""
    with path.open("r+b") as raw:
        head = raw.read(_SUPERBLOCK.size)
        fields = list(_SUPERBLOCK.unpack(head))
        signature, version, *_ = fields
        if signature != _SIGNATURE:
            raise OSError("no HDF5 file")
        if version != _VERSION:
            raise OSError(f"an HDF5 superblock of version {version}, not {_VERSION}")
        (checksum,) = struct.unpack("<I", raw.read(4))
        if checksum != _lookup3(head):
            raise OSError("its superblock is damaged")
        size, end = raw.seek(0, os.SEEK_END), fields[7]
        if size < end:
            raise OSError(f"truncated: {size} of {end} bytes")
        if fields[4] == 0:
            return
        fields[4] = 0
        fields[7] = size  # what was written behind the known end is not for reuse
        head = _SUPERBLOCK.pack(*fields)
        raw.seek(0)
        raw.write(head + struct.pack("<I", _lookup3(head)))
        raw.flush()
        os.fsync(raw.fileno())


def _lookup3(data: bytes) -> int:
    """Return Bob Jenkins' hash (2006, public domain), HDF5's checksum of metadata."""

    def rotate(value: int, by: int) -> int:
        return ((value << by) | (value >> (32 - by))) & _WORD

    a = b = c = (0xDEADBEEF + len(data)) & _WORD
    while len(data) > 12:
        x, y, z = _words(data[:12])
        a, b, c = (a + x) & _WORD, (b + y) & _WORD, (c + z) & _WORD
        for step in (4, 6, 8, 16, 19, 4):
            a = ((a - c) & _WORD) ^ rotate(c, step)
            c = (c + b) & _WORD
            a, b, c = b, c, a
        data = data[12:]
    x, y, z = _words(data)
    a, b, c = (a + x) & _WORD, (b + y) & _WORD, (c + z) & _WORD
    for step in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - rotate(b, step)) & _WORD
        a, b, c = b, c, a
    return b  # which was c in the last step


def _words(data: bytes) -> tuple[int, int, int]:
    first, second, third = struct.unpack("<III", data.ljust(12, b"\0"))
    return first, second, third
