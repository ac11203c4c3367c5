"""A second copy of the dose ledger, renewed after each charge.

The ledger is only ever appended to, so its copy is too: however old the ledger, a
charge costs the copy a few rows. A copy that has nothing to do with the ledger any
more is made anew, and takes its place when it is whole.
"""

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

from cryoline.acquisition.dose_schema import APPLICATION_ID, SCHEMA_VERSION
from cryoline.acquisition.errors import LedgerError
from cryoline.acquisition.journal import sync_directory

__all__ = ["back_up", "is_current", "refuse_lost_rows"]

_LOCK_TIMEOUT_S: Final = 2.0
_FORMAT_OFFSET: Final = 18
"""In SQLite's header: the versions of the file format to write and to read by."""
_TABLES: Final = ("events", "bookings")


def back_up(ledger: Path, backup: Path) -> None:
    """Bring the backup up to what the ledger holds now.

    Raises OSError or sqlite3.Error; the backup stays as it was then.
    """
    # One at a time: else an older copy could take the place of a newer one.
    with _locked(backup.with_name(f"{backup.name}.lock")):
        if not (backup.exists() and _append(ledger, backup)):
            _copy(ledger, backup)


def is_current(ledger: Path, backup: Path) -> bool:
    """Return whether the backup holds every charge of the ledger."""
    row = _ask(ledger, "SELECT max(id), uid FROM events WHERE kind = 'settle'")
    if row is None or row[0] is None:
        return True
    return backup.exists() and _uid_of(backup, row[0]) == row[1]


def refuse_lost_rows(ledger: Path, backup: Path) -> None:
    """Raise LedgerError if the backup knows of a row that the ledger has lost.

    An empty or older file in the ledger's place would give the dose away anew.
    """
    newest = _newest(backup) if backup.exists() else None
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


def _append(ledger: Path, backup: Path) -> bool:
    """Append what is new; return False if the backup is no copy of this ledger."""
    newest = _newest(backup)
    if newest is None or _uid_of(ledger, newest[0]) != newest[1]:
        return False
    with closing(_connect(backup, "mode=rw")) as connection:
        kind = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version", "journal_mode")
        ]
        if kind != [APPLICATION_ID, SCHEMA_VERSION, "delete"]:
            return False
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("ATTACH ? AS ledger", (_address(ledger, "mode=ro"),))
        connection.execute("BEGIN IMMEDIATE")
        for table in _TABLES:
            connection.execute(
                f"INSERT INTO main.{table} SELECT * FROM ledger.{table} WHERE id > "
                f"(SELECT coalesce(max(id), 0) FROM main.{table})"
            )
        connection.execute("COMMIT")
    return True


def _copy(ledger: Path, backup: Path) -> None:
    """Make a copy of the whole ledger, and put it into the backup's place."""
    temporary = backup.with_name(f"{backup.name}.{os.getpid()}.tmp")
    try:
        with (
            closing(_connect(ledger, "mode=ro")) as source,
            # Nobody else knows its name; a network disk may have no locks.
            closing(_connect(temporary, "mode=rwc&nolock=1")) as target,
        ):
            source.backup(target)
        with temporary.open("r+b") as copy:
            # Format 1 and not 2: without a write-ahead log, one file is all of it.
            copy.seek(_FORMAT_OFFSET)
            copy.write(b"\x01\x01")
            copy.flush()
            os.fsync(copy.fileno())
        temporary.replace(backup)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(backup.parent)


def _newest(path: Path) -> tuple[int, str] | None:
    return _ask(path, "SELECT id, uid FROM events ORDER BY id DESC LIMIT 1")


def _uid_of(path: Path, row: int) -> str | None:
    found = _ask(path, "SELECT id, uid FROM events WHERE id = ?", row)
    return None if found is None else found[1]


def _ask(path: Path, question: str, *values: int) -> tuple[int, str] | None:
    try:
        with closing(_connect(path, "mode=ro")) as connection:
            row: tuple[int, str] | None = connection.execute(
                question, values
            ).fetchone()
            return row
    except sqlite3.Error:
        # No table, no database: whoever opens it as a ledger says so.
        return None


def _connect(path: Path, options: str) -> sqlite3.Connection:
    return sqlite3.connect(
        _address(path, options),
        uri=True,
        timeout=_LOCK_TIMEOUT_S,
        isolation_level=None,
    )


def _address(path: Path, options: str) -> str:
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
