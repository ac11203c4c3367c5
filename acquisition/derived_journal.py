"""The journal of a derived run: written once, however often it is computed.

A derived run is a pure function of its raw run, so a worker that was killed
computes it again from the beginning, and only what is missing is appended: to the
byte, so that a line torn by the kill is completed and a reader who follows the
file never sees it shrink.

Live pictures are the exception: which of them were drawn depended on how busy the
machine was. A line that tells of one is taken as it stands, wherever it stands, and
is written only at the end of the file.
"""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from cryoline.acquisition.errors import JournalError
from cryoline.acquisition.journal import sync_directory
from cryoline.acquisition.journal_format import decode_line, encode_line
from cryoline.acquisition.result_files import RESULT_FILE

__all__ = ["DerivedJournal"]

_RESULT_LINE: Final = b'{"name":"result_file"'

_log = logging.getLogger(__name__)


class DerivedJournal:
    """Appends the documents that the file at ``path`` does not hold yet.

    Where a document differs from what is there (another version of the analysis, a
    damaged file), the old file is kept as ``<name>.superseded-<n>`` and a new one is
    written from the first document on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._old = path.read_bytes() if path.exists() else b""
        self._length = 0
        self._certain = _end_of_certain(self._old)
        self._fd = -1
        self._unwritten = bytearray()
        self._is_together = False

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take the next document; it is on disk when this returns.

        Raises JournalError if it can't be written.
        """
        line = encode_line(name, doc)
        with self._writing():
            if name == RESULT_FILE and doc["live"]:
                self._take_live(line)
            else:
                self._take(name, line)
            if not self._is_together:
                self._write()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Put all documents that are taken meanwhile on disk at once, at the end.

        One wait for the disk instead of several; and who follows the file sees all
        that one raw document gave, or nothing of it.
        """
        self._is_together = True
        try:
            yield
        finally:
            self._is_together = False
            with self._writing():
                self._write()

    @property
    def is_ahead(self) -> bool:
        """Whether the file holds more than was taken yet, live pictures aside.

        A live picture of now would then take the place of a later one.
        """
        return self._length < self._certain

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise JournalError(
                f"{self.path}: can't write the derived journal: {error.strerror}; "
                "free space or mend the rights of the directory, "
                "then restart the analysis worker"
            ) from error

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _take(self, name: str, line: bytes) -> None:
        self._pass_live()
        torn = self._torn()
        if torn[: len(_RESULT_LINE)] == _RESULT_LINE[: len(torn)]:
            self._cut_unless(line)
        there = self._old[self._length : self._length + len(line)]
        if not line.startswith(there):
            self._supersede(f"at byte {self._length}, in the {name} document")
            there = b""
        if len(there) < len(line):
            self._unwritten += line[len(there) :]
        self._length += len(line)
        if name == "stop" and len(self._old) > self._length:
            self._supersede("behind its stop document")

    def _take_live(self, line: bytes) -> None:
        if self.is_ahead or self._pass_live() == line:
            return
        self._cut_unless(line)
        self._unwritten += line[len(self._torn()) :]
        self._length += len(line)

    def _pass_live(self) -> bytes:
        """Go past lines that tell of live pictures; return the last one."""
        last = b""
        while (end := self._old.find(b"\n", self._length) + 1) and _is_live(
            line := self._old[self._length : end]
        ):
            self._length, last = end, line
        return last

    def _torn(self) -> bytes:
        """Return what a kill left of a line, if that is all that is left."""
        rest = self._old[self._length :]
        return b"" if b"\n" in rest else rest

    def _cut_unless(self, line: bytes) -> None:
        """Cut off what a kill left of another line: it was never read by anyone."""
        torn = self._torn()
        if torn and not line.startswith(torn):
            os.truncate(self.path, self._length)
            self._old = self._old[: self._length]

    def _write(self) -> None:
        if not self._unwritten:
            return
        content, self._unwritten = self._unwritten, bytearray()
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(self.path, flags, 0o644)
            sync_directory(self.path.parent)
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        os.fsync(self._fd)

    def _supersede(self, where: str) -> None:
        """Move the old file aside and write anew what of it still holds."""
        self.close()
        number = 1
        while (aside := _aside(self.path, number)).exists():
            number += 1
        _log.warning(
            "%s differs from this analysis %s: kept as %s and written anew",
            self.path,
            where,
            aside.name,
        )
        self.path.rename(aside)
        self._old = self._old[: self._length]
        self._certain = min(self._certain, self._length)
        # What was kept goes first; nothing is unwritten while an old file differs.
        self._unwritten[:0] = self._old


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.superseded-{number}")


def _end_of_certain(content: bytes) -> int:
    """Return where the last complete line ends that is not of a live picture."""
    end = content.rfind(b"\n") + 1
    while end and _is_live(
        content[(begin := content.rfind(b"\n", 0, end - 1) + 1) : end]
    ):
        end = begin
    return end


def _is_live(line: bytes) -> bool:
    """Return whether a complete line tells of a live picture."""
    if not line.startswith(_RESULT_LINE):
        return False
    try:
        return bool(decode_line(line)[1].get("live"))
    except ValueError:
        return False
