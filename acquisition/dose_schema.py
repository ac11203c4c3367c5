"""The SQLite file below the dose ledger: tables, version, transactions.

Two tables, both only ever appended to, which triggers see to:

``events``    what was decided or learned, one row each, with a UUID
``bookings``  what an event moves on the accounts of a region, in 1e-3 e/nm2

Whole numbers, because their sums don't depend on the order and leave no rest.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryoline.acquisition.errors import LedgerError
from cryoline.acquisition.file_system import network_file_system_of

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "LedgerFile"]

APPLICATION_ID: Final = 0x63727964
"""What SQLite's header says of the file: "cryd"."""
SCHEMA_VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN (
        'reserve', 'settle', 'release', 'series-open', 'series-close',
        'limit', 'acknowledge', 'reconcile', 'unresolved')),
    time_s REAL NOT NULL,
    specimen TEXT,
    region TEXT,
    series TEXT,
    shape INTEGER,
    ticket TEXT,
    source TEXT,
    boot_id TEXT,
    counter INTEGER,
    over INTEGER NOT NULL DEFAULT 0 CHECK (over IN (0, 1)),
    owner TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE TABLE bookings (
    id INTEGER PRIMARY KEY,
    event TEXT NOT NULL REFERENCES events (uid),
    ticket TEXT,
    specimen TEXT NOT NULL,
    region TEXT NOT NULL,
    purpose TEXT NOT NULL,
    account TEXT NOT NULL CHECK (account IN ('series', 'ticket', 'settled')),
    milli_e_per_nm2 INTEGER NOT NULL
) STRICT;
CREATE INDEX events_of_ticket ON events (ticket, kind);
CREATE INDEX events_of_series ON events (series, kind, shape);
CREATE INDEX events_of_region ON events (specimen, region, kind);
CREATE INDEX events_of_boot ON events (source, boot_id, counter);
CREATE INDEX bookings_of_region
    ON bookings (specimen, region, account, milli_e_per_nm2);
CREATE INDEX bookings_of_event ON bookings (event);
CREATE INDEX bookings_of_ticket
    ON bookings (ticket, account, region, milli_e_per_nm2);
CREATE TRIGGER events_stay BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'a row of the ledger is never changed'); END;
CREATE TRIGGER events_last BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'a row of the ledger is never deleted'); END;
CREATE TRIGGER bookings_stay BEFORE UPDATE ON bookings
    BEGIN SELECT RAISE(ABORT, 'a row of the ledger is never changed'); END;
CREATE TRIGGER bookings_last BEFORE DELETE ON bookings
    BEGIN SELECT RAISE(ABORT, 'a row of the ledger is never deleted'); END;
"""

_REMEDIES: Final = {
    "SQLITE_FULL": "its disk is full; free space, then repeat",
    "SQLITE_READONLY": "it can't be written; check owner and permissions of the file "
    "and its directory",
    "SQLITE_CANTOPEN": "it can't be opened; check that its directory exists and is "
    "yours",
    "SQLITE_NOTADB": "it is no dose ledger; restore it from its backup",
    "SQLITE_CORRUPT": "it is damaged; restore it from its backup",
    "SQLITE_IOERR": "its disk failed; check the disk before the next exposure",
}


class LedgerFile:
    """One connection to the file, for all threads of this process in turn.

    Committed means on disk: WAL with synchronous=FULL.
    """

    def __init__(self, path: Path, *, timeout_s: float = 10.0) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()
        with self._errors():
            self._open()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection in a transaction that no other writer shares.

        What is raised inside undoes it all. Raises LedgerError.
        """
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection in a transaction that sees one moment of the file."""
        with self._transaction("BEGIN") as connection:
            yield connection

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors():
            connection = self._open()
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                # Not only on an Exception: an interrupt undoes it as well.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(self._explain(error)) from error

    def _explain(self, error: sqlite3.Error) -> str:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return (
                f"{self.path}: another process has held the dose ledger for "
                f"{self._timeout_s:g} s, nothing was written; a session may be "
                "stopped in the middle of a step: continue or end it, then repeat"
            )
        for start, remedy in _REMEDIES.items():
            if name.startswith(start):
                return f"{self.path}: the dose ledger can't be used ({error}): {remedy}"
        return f"{self.path}: the dose ledger can't be used ({error})"

    def _open(self) -> sqlite3.Connection:
        """Return the connection of this process, opened if there is none."""
        if self._connection is not None and self._pid == os.getpid():
            return self._connection
        # A connection must not be used in a forked child; the parent closes it.
        self._pid = os.getpid()
        _refuse_network(self.path)
        if not self.path.parent.is_dir():
            raise LedgerError(
                f"{self.path}: no directory {self.path.parent} for the dose ledger; "
                "make it, or mend dose.ledger in instrument.toml"
            )
        connection = sqlite3.connect(
            self.path,
            timeout=self._timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        self._set_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if _version(connection) == 0:
            connection.execute("BEGIN IMMEDIATE")
            try:
                if _version(connection) == 0:
                    self._create(connection)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        self._check_version(connection)

    def _set_wal(self, connection: sqlite3.Connection) -> None:
        """Switch to the write-ahead log; SQLite doesn't wait for others here."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorname.startswith("SQLITE_BUSY")
                if not is_busy or time.monotonic() > deadline:
                    raise
                threading.Event().wait(0.01)
                continue
            if mode != "wal":
                raise LedgerError(
                    f"{self.path}: this file system gives the dose ledger no "
                    f"write-ahead log (SQLite says {mode!r}); put it on a local disk"
                )
            return

    def _create(self, connection: sqlite3.Connection) -> None:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
        if tables:
            raise LedgerError(
                f"{self.path}: holds the tables of something else "
                f"({', '.join(sorted(name for (name,) in tables))}); name another "
                "file as dose.ledger in instrument.toml"
            )
        # executescript would commit first; a trigger holds semicolons.
        for statement in _statements(_SCHEMA):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _check_version(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            raise LedgerError(
                f"{self.path}: is an SQLite file, but no dose ledger; name another "
                "file as dose.ledger in instrument.toml"
            )
        version = _version(connection)
        if version != SCHEMA_VERSION:
            raise LedgerError(
                f"{self.path}: a dose ledger of version {version}, this cryoline "
                f"reads version {SCHEMA_VERSION}; install the cryoline that wrote it"
            )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """Split a script into its statements, as SQLite sees them."""
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _refuse_network(path: Path) -> None:
    kind = network_file_system_of(path)
    if kind is not None:
        raise LedgerError(
            f"{path}: is on a network file system ({kind}), where SQLite can't keep "
            "a dose ledger that nothing can overspend; name a file on a local disk as "
            "dose.ledger in instrument.toml, and the network one as dose.backup"
        )
