"""The journal of a derived run: written once, however often it is computed.

A derived run is a pure function of its raw run, so a worker that was killed
computes it again from the beginning, and only what is missing is appended: to the
byte, so that a line torn by the kill is completed and a reader who follows the
file never sees it shrink.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryoline.acquisition.errors import JournalError
from cryoline.acquisition.journal import sync_directory
from cryoline.acquisition.journal_format import encode_line

__all__ = ["DerivedJournal"]

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
        self._fd = -1

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take the next document; it is on disk when this returns.

        Raises JournalError if it can't be written.
        """
        line = encode_line(name, doc)
        there = self._old[self._length : self._length + len(line)]
        try:
            if not line.startswith(there):
                self._supersede(f"at byte {self._length}, in the {name} document")
                there = b""
            if len(there) < len(line):
                self._append(line[len(there) :])
            self._length += len(line)
            if name == "stop" and len(self._old) > self._length:
                self._supersede("behind its stop document")
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

    def _append(self, content: bytes) -> None:
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
        if self._old:
            self._append(self._old)


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.superseded-{number}")
