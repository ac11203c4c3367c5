"""The journal: every document on disk before anyone else sees it.

One append-only file a run. What the file system did not confirm is an error of
the run, not a warning: an acquisition whose record can't last must not go on.
"""

import fcntl
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from cryoline.acquisition.errors import JournalError
from cryoline.acquisition.journal_format import encode_line
from cryoline.acquisition.run_key import run_key

__all__ = ["Journal", "check_space", "sync_directory"]

_BYTES_PER_MB: Final = 1_000_000


class Journal:
    """Writes documents to ``<directory>/<key>.jsonl``; subscribe it first.

    ``RE.subscribe(Journal(layout.raw_journal))``: several runs may be open at
    once. A lock is held on a run's file for as long as the run is open, so that
    a living session's run can be told from a killed one. The file appears whole,
    with its start document: nobody ever sees it empty.

    Raises JournalError if a document can't be written; the file stays valid.
    """

    def __init__(
        self,
        directory: Path,
        *,
        key: Callable[[Mapping[str, Any]], str] = run_key,
    ) -> None:
        self.directory = directory
        self._key = key
        self._files: dict[str, _RunFile] = {}  # by run uid
        self._runs: dict[str, str] = {}  # run uid by uid of descriptor or resource
        self._lock = threading.Lock()

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Append one document; it is on disk when this returns."""
        with self._lock:
            if name == "start":
                self._open(doc)
                return
            run_file = self._file_of(name, doc)
            _refuse_images(name, doc, run_file.path)
            try:
                run_file.append(name, doc)
            finally:
                if name == "stop":
                    self._forget(doc["run_start"])

    def close(self) -> None:
        """Close the files of runs that are still open, without a stop document."""
        with self._lock:
            for uid in list(self._files):
                self._forget(uid)

    def _open(self, doc: Mapping[str, Any]) -> None:
        path = self.directory / f"{self._key(doc)}.jsonl"
        self._files[doc["uid"]] = _RunFile(path, doc)

    def _file_of(self, name: str, doc: Mapping[str, Any]) -> "_RunFile":
        if name in ("descriptor", "stop", "stream_resource", "resource"):
            run = doc.get("run_start", "")
        else:
            owner = "resource" if name in ("datum", "datum_page") else "descriptor"
            run = self._runs.get(doc.get(owner, ""), "")
        if run not in self._files:
            raise JournalError(
                f"{self.directory}: a {name} document of an unknown run; "
                "subscribe the journal before the first run is opened"
            )
        if name in ("descriptor", "resource"):
            self._runs[doc["uid"]] = run
        return self._files[run]

    def _forget(self, run: str) -> None:
        self._files.pop(run).close()
        self._runs = {uid: owner for uid, owner in self._runs.items() if owner != run}


class _RunFile:
    """One open run's file: locked, appended to, never left with half a line."""

    def __init__(self, path: Path, start: Mapping[str, Any]) -> None:
        self.path = path
        # Written under another name and linked when it is locked and complete:
        # os.link refuses an existing name, as O_EXCL does.
        unborn = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(unborn, flags, 0o644)
        except OSError as error:
            raise _unwritable(path, error) from error
        self._length = 0
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.append("start", start)
            os.link(unborn, path)
        except FileExistsError:
            self.close()
            raise JournalError(
                f"{path} exists: the key of this run is taken, and a journal is "
                "never written twice; check that the counter of scan_id was not "
                "set back (records.sqlite in the data directory)"
            ) from None
        except OSError as error:
            self.close()
            raise _unwritable(path, error) from error
        except JournalError:
            self.close()
            raise
        finally:
            unborn.unlink(missing_ok=True)
        sync_directory(path.parent)

    def append(self, name: str, doc: Mapping[str, Any]) -> None:
        try:
            line = encode_line(name, doc)
        except TypeError as error:
            raise JournalError(
                f"{self.path}: the {name} document can't be written as JSON: {error}; "
                "mend the metadata or the device that put it there"
            ) from error
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            # A line half written would make the next one unreadable too.
            os.ftruncate(self._fd, self._length)
            raise _unwritable(self.path, error) from error
        self._length += len(line)
        try:
            # The data and the file's length; the other metadata does not matter.
            os.fdatasync(self._fd)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def close(self) -> None:
        os.close(self._fd)


def check_space(path: Path, minimum_mb: float) -> None:
    """Refuse to start when the disk below ``path`` has too little free space.

    Raises JournalError with both numbers.
    """
    free_mb = _free_mb(path)
    if free_mb < minimum_mb:
        raise JournalError(
            f"{path}: {free_mb:.0f} MB free, {minimum_mb:.0f} MB needed for a run; "
            "free space, or lower instrument.minimum_free_mb in instrument.toml"
        )


def sync_directory(directory: Path) -> None:
    """Make the names in a directory last, as fsync does for a file's content."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _refuse_images(name: str, doc: Mapping[str, Any], path: Path) -> None:
    """Raise JournalError if a reading has two or more dimensions."""
    if name not in ("event", "event_page"):
        return
    # A page holds a column of readings for each key.
    limit = 1 if name == "event" else 2
    for key, value in doc["data"].items():
        dimensions = _dimensions(value)
        if dimensions > limit:
            raise JournalError(
                f"{path}: {key} is an array of {dimensions - limit + 1} dimensions in "
                f"an {name}; at most 1 may travel in a document: write it to a file "
                "and name it by a stream resource"
            )


def _dimensions(value: object) -> int:
    if isinstance(value, np.ndarray):
        return value.ndim
    if isinstance(value, list | tuple):
        return 1 + max(map(_dimensions, value), default=0)
    return 0


def _free_mb(path: Path) -> float:
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free / _BYTES_PER_MB


def _unwritable(path: Path, error: OSError) -> JournalError:
    return JournalError(
        f"{path}: can't write the journal: {error.strerror} "
        f"({_free_mb(path.parent):.0f} MB free); the run ends here, what was written "
        "before is safe; free space or mend the rights of the directory, "
        "then start the run again"
    )
