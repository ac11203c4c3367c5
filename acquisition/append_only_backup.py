"""A second copy of an append-only file, and the way back from it.

The file only ever grows, so its copy does too: however old the file, a few new rows
cost the copy a few rows. A copy that has nothing to do with the file any more is made
anew, and takes its place when it is whole.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from cryoline.acquisition.errors import RecordsError
from cryoline.acquisition.journal import sync_directory

__all__ = [
    "BackupKind",
    "address",
    "back_up",
    "connect",
    "copy_whole",
    "holds_row",
    "refuse_lost_rows",
    "renew",
]

_LOCK_TIMEOUT_S: Final = 2.0
_FORMAT_OFFSET: Final = 18
"""In SQLite's header: the versions of the file format to write and to read by."""
_KIND_PRAGMAS: Final = ("application_id", "user_version")


@dataclass(frozen=True)
class BackupKind:
    """What is copied, and how it is spoken of."""

    what: str
    """As in "the dose ledger is missing"."""
    table: str
    """That whose rows have a UUID each."""
    application_id: int
    key: str
    """In instrument.toml, for the path of the copy."""
    loss: str
    """As in "what was charged since would be forgotten"."""
    command: str
    """That which restores it."""
    error: type[RecordsError]


def back_up(path: Path, backup: Path, kind: BackupKind) -> None:
    """Bring the backup up to what the file holds now.

    Raises OSError or sqlite3.Error; the backup stays as it was then.
    """
    # One at a time: else an older copy could take the place of a newer one.
    with _locked(backup.with_name(f"{backup.name}.lock")):
        if not (backup.exists() and _append(path, backup, kind)):
            copy_whole(path, backup)


def renew(path: Path, backup: Path | None, kind: BackupKind) -> str:
    """Bring the backup up, and return why it could not be, "" if it could."""
    if backup is None:
        return ""
    try:
        back_up(path, backup, kind)
    except (OSError, sqlite3.Error) as error:
        return (
            f"the {kind.what}'s backup {backup} could not be renewed ({error}); the "
            f"{kind.what} itself is safe. Free space there, or name another place as "
            f"{kind.key}"
        )
    return ""


def refuse_lost_rows(path: Path, backup: Path, kind: BackupKind) -> None:
    """Raise the kind's error if the backup knows of a row that the file has lost."""
    newest = _newest(backup, kind) if backup.exists() else None
    if newest is None:
        return
    row, uid = newest
    if path.exists() and holds_row(path, kind, row, uid):
        return
    raise kind.error(
        f"{path}: is missing, or older than its backup {backup}, which holds {row} "
        f"rows: {kind.loss}. End every session, then: {kind.command} --from {backup}"
    )


def holds_row(path: Path, kind: BackupKind, row: int, uid: str) -> bool:
    """Return whether a file holds a row of this number and UUID."""
    found = _ask(path, f"SELECT id, uid FROM {kind.table} WHERE id = ?", row)
    return found is not None and found[1] == uid


def connect(path: Path, options: str) -> sqlite3.Connection:
    """Return a connection with options of an SQLite address, as in "mode=ro"."""
    return sqlite3.connect(
        address(path, options),
        uri=True,
        timeout=_LOCK_TIMEOUT_S,
        isolation_level=None,
    )


def copy_whole(path: Path, copy: Path) -> None:
    """Make a copy of the whole file, and put it into the place of what is there.

    One file without a write-ahead log. Raises OSError or sqlite3.Error.
    """
    temporary = copy.with_name(f"{copy.name}.{os.getpid()}.tmp")
    try:
        with (
            closing(connect(path, "mode=ro")) as source,
            # Nobody else knows its name; a network disk may have no locks.
            closing(connect(temporary, "mode=rwc&nolock=1")) as target,
        ):
            source.backup(target)
        with temporary.open("r+b") as file:
            # Format 1 and not 2: without a write-ahead log, one file is all of it.
            file.seek(_FORMAT_OFFSET)
            file.write(b"\x01\x01")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(copy)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(copy.parent)


def _append(path: Path, backup: Path, kind: BackupKind) -> bool:
    """Append what is new; return False if the backup is no copy of this file."""
    newest = _newest(backup, kind)
    if newest is None or not holds_row(path, kind, *newest):
        return False
    with closing(connect(backup, "mode=rw")) as connection:
        connection.execute("ATTACH ? AS original", (address(path, "mode=ro"),))
        kinds = [
            [
                connection.execute(f"PRAGMA {database}.{name}").fetchone()
                for name in _KIND_PRAGMAS
            ]
            for database in ("main", "original")
        ]
        (mode,) = connection.execute("PRAGMA main.journal_mode").fetchone()
        if kinds[0] != kinds[1] or mode != "delete":
            return False
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        tables = connection.execute(
            "SELECT name FROM original.sqlite_master WHERE type = 'table'"
        ).fetchall()
        for (table,) in tables:
            connection.execute(
                f"INSERT INTO main.{table} SELECT * FROM original.{table} WHERE id > "
                f"(SELECT coalesce(max(id), 0) FROM main.{table})"
            )
        connection.execute("COMMIT")
    return True


def _newest(path: Path, kind: BackupKind) -> tuple[int, str] | None:
    return _ask(path, f"SELECT id, uid FROM {kind.table} ORDER BY id DESC LIMIT 1")


def _ask(path: Path, question: str, *values: int) -> tuple[int, str] | None:
    try:
        with closing(connect(path, "mode=ro")) as connection:
            row: Any = connection.execute(question, values).fetchone()
    except sqlite3.Error:
        # No table, no database: whoever opens it as what it should be says so.
        return None
    return None if row is None else (int(row[0]), str(row[1]))


def address(path: Path, options: str) -> str:
    """Return a file's SQLite address with options, as in "mode=ro"."""
    return f"file:{quote(str(path.resolve()))}?{options}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock, or raise TimeoutError: its holder may be a stopped process."""
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"another process has held {path} for {_LOCK_TIMEOUT_S:g} s"
                    ) from None
                threading.Event().wait(0.01)
                continue
            yield
            return
