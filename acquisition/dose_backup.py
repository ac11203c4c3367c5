"""A second copy of the dose ledger, whole or not there, renewed after each charge."""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cryoline.acquisition.errors import LedgerError
from cryoline.acquisition.journal import sync_directory

__all__ = ["back_up", "is_current", "refuse_lost_rows"]

_LOCK_TIMEOUT_S: Final = 2.0
_BACKUP: Final = "immutable=1"
"""A backup is replaced, never changed: it is read without files beside it."""


def back_up(ledger: Path, backup: Path) -> None:
    """Replace the backup by a copy of the ledger as it is now.

    Raises OSError or sqlite3.Error; the former backup stays then.
    """
    temporary = backup.with_name(f"{backup.name}.{os.getpid()}.tmp")
    # One at a time: else an older copy could take the place of a newer one.
    with _locked(backup.with_name(f"{backup.name}.lock")):
        try:
            with (
                closing(sqlite3.connect(ledger, timeout=_LOCK_TIMEOUT_S)) as source,
                # Nobody else knows its name; a network disk may have no locks.
                closing(_connect(temporary, "nolock=1")) as target,
            ):
                # It lasts when it is renamed, not before: no journal of its own.
                target.execute("PRAGMA journal_mode = OFF")
                target.execute("PRAGMA synchronous = OFF")
                source.backup(target)
            with temporary.open("rb") as copy:
                os.fsync(copy.fileno())
            temporary.replace(backup)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(backup.parent)


def refuse_lost_rows(ledger: Path, backup: Path) -> None:
    """Raise LedgerError if the backup knows of a row that the ledger has lost.

    An empty or older file in the ledger's place would give the dose away anew.
    """
    if not backup.exists():
        return
    newest = _newest(backup)
    if newest is None:
        return
    row, uid = newest
    if ledger.exists() and _uid_of(ledger, row) == uid:
        return
    raise LedgerError(
        f"{ledger}: is missing, or older than its backup {backup}, which holds "
        f"{row} rows: what was charged since would be forgotten. End every session, "
        f"then restore it: cp {backup} {ledger} (remove {ledger.name}-wal and -shm)"
    )


def is_current(ledger: Path, backup: Path) -> bool:
    """Return whether the backup holds every charge of the ledger."""
    row = _ask(ledger, "SELECT max(id), uid FROM events WHERE kind = 'settle'")
    if row is None or row[0] is None:
        return True
    return backup.exists() and _uid_of(backup, row[0], _BACKUP) == row[1]


def _newest(path: Path) -> tuple[int, str] | None:
    question = "SELECT id, uid FROM events ORDER BY id DESC LIMIT 1"
    return _ask(path, question, options=_BACKUP)


def _uid_of(path: Path, row: int, options: str = "") -> str | None:
    question = "SELECT id, uid FROM events WHERE id = ?"
    found = _ask(path, question, row, options=options)
    return None if found is None else found[1]


def _connect(path: Path, options: str) -> sqlite3.Connection:
    address = f"file:{quote(str(path.resolve()))}?{options}"
    return sqlite3.connect(address, uri=True, timeout=_LOCK_TIMEOUT_S)


def _ask(
    path: Path, question: str, *values: int, options: str = ""
) -> tuple[int, str] | None:
    try:
        with closing(_connect(path, options)) as connection:
            row: tuple[int, str] | None = connection.execute(
                question, values
            ).fetchone()
            return row
    except sqlite3.Error:
        # No table, no database: whoever opens it as a ledger says so.
        return None


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
