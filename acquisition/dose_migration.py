"""Brings a dose ledger of version 1 up to date when it is opened, or leaves it be.

Version 2 knows where an exposure lies. What version 1 booked has no footprint: it goes
on to count everywhere on its specimen.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cryoline.acquisition.append_only import FileKind, statements
from cryoline.acquisition.dose_book import record
from cryoline.acquisition.journal import sync_directory

__all__ = ["copy_before_migration", "migrate"]

_OLD: Final = 1


def copy_before_migration(path: Path) -> Path:
    """Return where the ledger is kept as it was before."""
    return path.with_name(f"{path.name}.v{_OLD}")


def migrate(connection: sqlite3.Connection, path: Path, kind: FileKind) -> None:
    """Rebuild the tables of version 1, after a copy beside the file; else do nothing.

    One transaction: whoever dies in it leaves version 1. Raises the kind's error if
    the copy can't be written.
    """
    if not _is_old(connection, kind):
        return
    # The rows stay, and their order; only what checks them changes.
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        connection.execute("BEGIN IMMEDIATE")
        with _undone(connection):
            if _is_old(connection, kind):  # nobody else was faster
                copy = _copy(path, kind)
                _rebuild(connection, kind)
                body = {"from": _OLD, "to": kind.version, "copy": str(copy)}
                record(connection, "migrate", body)
            connection.execute("COMMIT")
    finally:
        connection.execute("PRAGMA foreign_keys = ON")


def _is_old(connection: sqlite3.Connection, kind: FileKind) -> bool:
    found = [
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("application_id", "user_version")
    ]
    return found == [kind.application_id, _OLD]


def _rebuild(connection: sqlite3.Connection, kind: FileKind) -> None:
    """Make the tables anew with the rows of the old ones."""
    names = connection.execute(
        "SELECT type, name FROM sqlite_master WHERE type IN ('index', 'trigger') "
        "AND sql IS NOT NULL"
    )
    for sort, name in names.fetchall():
        connection.execute(f"DROP {sort} {name}")
    connection.execute("ALTER TABLE bookings RENAME TO bookings_old")
    connection.execute("ALTER TABLE events RENAME TO events_old")
    for statement in statements(kind.schema):
        connection.execute(statement)
    connection.execute("INSERT INTO events SELECT * FROM events_old")
    connection.execute("INSERT INTO bookings SELECT *, NULL FROM bookings_old")
    connection.execute("DROP TABLE bookings_old")
    connection.execute("DROP TABLE events_old")
    connection.execute(f"PRAGMA user_version = {kind.version}")


def _copy(path: Path, kind: FileKind) -> Path:
    """Write the file as it is beside itself, and return where."""
    copy = copy_before_migration(path)
    temporary = copy.with_name(f"{copy.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        address = f"file:{quote(str(path.resolve()))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as source:
            source.execute("VACUUM INTO ?", (str(temporary),))
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(copy)
        sync_directory(copy.parent)
    except (OSError, sqlite3.Error) as error:
        raise kind.error(
            f"{path}: a {kind.what} of version {_OLD}; before it is brought up to date "
            f"it is copied to {copy}, which failed ({error}). Nothing was changed: "
            "free space there, and open it again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return copy


@contextlib.contextmanager
def _undone(connection: sqlite3.Connection) -> Iterator[None]:
    """Undo an open transaction if it is left, however that happens."""
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
