"""Reads journals, finished ones and those that are still written."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

from cryoline.acquisition.directory_watch import POLL_S, DirectoryWatch
from cryoline.acquisition.errors import JournalLineError, JournalReplacedError
from cryoline.acquisition.journal_format import decode_line

__all__ = ["Document", "JournalTail", "count_rows", "follow", "read_documents"]

Document: TypeAlias = tuple[str, dict[str, Any]]
"""The name and the content of a document."""

_CHUNK_BYTES: Final = 4_000_000
"""Read at once: two pages of 5,000 points [A]."""


class JournalTail:
    """Reads a growing journal, complete lines only, from where it left off.

    What stands behind the last newline is a line in the making, or one that its
    writer will take back: it is read again the next time, never kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        """Bytes of complete lines read so far."""
        self.line_number = 0
        self._file: tuple[int, int] | None = None

    def read(self, maximum_bytes: int = _CHUNK_BYTES) -> list[Document]:
        """Return the documents of the complete lines that are new.

        Reads about ``maximum_bytes`` (at least one line, however long): an empty
        list means that there is no complete new line.

        Raises JournalLineError with file and line number if a complete line is no
        document; the lines before it have not been lost: the next call, and
        every further one, gives them again. Raises JournalReplacedError if it is
        not the file any more whose beginning was read.
        """
        with self.path.open("rb") as journal:
            self._refuse_other(os.fstat(journal.fileno()))
            journal.seek(self.offset)
            content = journal.read(maximum_bytes)
            end = content.rfind(b"\n")
            while end < 0 and (more := journal.read(maximum_bytes)):
                content += more
                end = content.rfind(b"\n")
        lines = content[:end].split(b"\n") if end > 0 else []
        documents = [self._decode(n, line) for n, line in enumerate(lines, 1)]
        self.offset += end + 1
        self.line_number += len(lines)
        return documents

    def unread_bytes(self) -> int:
        """Return how much of the file has not been read yet."""
        try:
            return max(0, self.path.stat().st_size - self.offset)
        except FileNotFoundError:
            return 0

    def _refuse_other(self, status: os.stat_result) -> None:
        file = (status.st_dev, status.st_ino)
        if self._file not in (None, file) or status.st_size < self.offset:
            raise JournalReplacedError(
                f"{self.path}: another file has taken its place; read it from the start"
            )
        self._file = file

    def _decode(self, number: int, line: bytes) -> Document:
        try:
            return decode_line(line)
        except ValueError as error:
            raise JournalLineError(
                f"{self.path}, line {self.line_number + number}: not a document: "
                f"{error}; restore the file from a backup, or cut it before this line"
            ) from error


def read_documents(path: Path) -> Iterator[Document]:
    """Yield the documents of a journal; a torn last line is left out.

    Raises JournalLineError with file and line number at a line that is no document.
    """
    tail = JournalTail(path)
    while documents := tail.read():
        yield from documents


def count_rows(path: Path) -> dict[str, int]:
    """Return the rows of each stream in a journal; a re-taken seq_num counts once.

    Raises JournalLineError at a line that is no document.
    """
    streams: dict[str, str] = {}
    seq_nums: dict[str, set[int]] = {}
    for name, doc in read_documents(path):
        if name == "descriptor":
            streams[doc["uid"]] = doc["name"]
            seq_nums.setdefault(doc["name"], set())
        elif name == "event":
            seq_nums[streams[doc["descriptor"]]].add(doc["seq_num"])
        elif name == "event_page":
            seq_nums[streams[doc["descriptor"]]].update(doc["seq_num"])
    return {stream: len(numbers) for stream, numbers in seq_nums.items()}


def follow(
    path: Path, *, stop: threading.Event | None = None, poll_s: float = POLL_S
) -> Iterator[Document]:
    """Yield the documents of a journal as they are written, to the stop document.

    Ends early when ``stop`` is set, within ``poll_s``.
    """
    tail = JournalTail(path)
    with DirectoryWatch([path.parent]) as watch:
        while not (stop and stop.is_set()):
            documents = tail.read()
            yield from documents
            if any(name == "stop" for name, _ in documents):
                return
            if not documents:
                watch.wait(poll_s)
