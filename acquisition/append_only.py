"""An SQLite file that is only ever appended to: one connection, whole transactions.

Below the dose ledger and the custody record. Committed means on disk, for every
process of this machine: WAL with synchronous=FULL, which a network file system can't
keep; so one is refused.
"""

import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from cryoline.acquisition.errors import RecordsError
from cryoline.acquisition.file_system import network_file_system_of

__all__ = ["AppendOnlyFile", "FileKind", "Step", "statements"]

Step = Literal["read", "write", "commit", "committed"]
"""Where a process may be held, or die: before a transaction that reads or writes,
before what was written is committed, and after that, before anybody knows of it."""

_ASK_S: Final = (0.5e-3, 3e-3)
"""Between two attempts while another process is busy, at random."""
_REMEDIES: Final = {
    "SQLITE_FULL": "its disk is full; free space, then repeat",
    "SQLITE_READONLY": "it can't be written; check owner and permissions of the file "
    "and its directory",
    "SQLITE_CANTOPEN": "it can't be opened; check that its directory exists and is "
    "yours",
    "SQLITE_NOTADB": "it is no {what}; restore it from its backup",
    "SQLITE_CORRUPT": "it is damaged; restore it from its backup",
    "SQLITE_IOERR": "its disk failed; check the disk before the next {use}",
}


@dataclass(frozen=True)
class FileKind:
    """What a file is for, and how it says so."""

    what: str
    """As in "the dose ledger can't be used"."""
    use: str
    """As in "before the next exposure"."""
    key: str
    """In instrument.toml, for its path."""
    network_advice: str
    """What SQLite can't keep on a network file system, and what to do."""
    schema: str
    application_id: int
    """In SQLite's header."""
    version: int
    error: type[RecordsError] = RecordsError


class AppendOnlyFile:
    """One connection to the file, for all threads of this process in turn."""

    @staticmethod
    def at_step(step: Step) -> None:
        """Do nothing; a test that explores interleavings puts its scheduler here."""

    def __init__(self, path: Path, kind: FileKind, *, timeout_s: float = 10.0) -> None:
        self.path = path
        self._kind = kind
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()
        with self._errors():
            self._open()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection in a transaction that no other writer shares.

        What is raised inside undoes it all. Raises the kind's error.
        """
        with self._transaction("write") as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection in a transaction that sees one moment of the file."""
        with self._transaction("read") as connection:
            yield connection

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(
        self, kind: Literal["read", "write"]
    ) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors():
            connection = self._open()
            self.at_step(kind)
            if kind == "write":
                self._begin_writing(connection)
            else:
                connection.execute("BEGIN")
            try:
                yield connection
                if kind == "write":
                    self.at_step("commit")
                connection.execute("COMMIT")
            finally:
                # Not only on an Exception: an interrupt undoes it as well.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            if kind == "write":
                self.at_step("committed")

    def _begin_writing(self, connection: sqlite3.Connection) -> None:
        """Wait for whoever writes, and begin.

        SQLite's own wait asks ten times a second, and among several writers that are
        busy at once the same one may come too late each time.
        """
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            self._when_free(connection, "BEGIN IMMEDIATE")
        finally:
            busy_ms = round(1e3 * self._timeout_s)
            connection.execute(f"PRAGMA busy_timeout = {busy_ms}")

    def _when_free(self, connection: sqlite3.Connection, statement: str) -> Any:
        """Return a statement's only row, if it has one, as soon as nobody is busy."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return connection.execute(statement).fetchone()
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorname.startswith("SQLITE_BUSY")
                if not is_busy or time.monotonic() > deadline:
                    raise
                threading.Event().wait(random.uniform(*_ASK_S))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._kind.error(self._explain(error)) from error

    def _explain(self, error: sqlite3.Error) -> str:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return (
                f"{self.path}: another process has held the {self._kind.what} for "
                f"{self._timeout_s:g} s, nothing was written; a session may be "
                "stopped in the middle of a step: continue or end it, then repeat"
            )
        unusable = f"{self.path}: the {self._kind.what} can't be used ({error})"
        for start, remedy in _REMEDIES.items():
            if name.startswith(start):
                words = remedy.format(what=self._kind.what, use=self._kind.use)
                return f"{unusable}: {words}"
        return unusable

    def _open(self) -> sqlite3.Connection:
        """Return the connection of this process, opened if there is none."""
        if self._connection is not None and self._pid == os.getpid():
            return self._connection
        # A connection must not be used in a forked child; the parent closes it.
        self._pid = os.getpid()
        self._refuse_network()
        if not self.path.parent.is_dir():
            raise self._kind.error(
                f"{self.path}: no directory {self.path.parent} for the "
                f"{self._kind.what}; make it, or mend {self._kind.key} in "
                "instrument.toml"
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
        (mode,) = self._when_free(connection, "PRAGMA journal_mode = WAL")
        if mode != "wal":
            raise self._kind.error(
                f"{self.path}: this file system gives the {self._kind.what} no "
                f"write-ahead log (SQLite says {mode!r}); put it on a local disk"
            )

    def _create(self, connection: sqlite3.Connection) -> None:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
        if tables:
            raise self._kind.error(
                f"{self.path}: holds the tables of something else "
                f"({', '.join(sorted(name for (name,) in tables))}); name another "
                f"file as {self._kind.key} in instrument.toml"
            )
        # executescript would commit first; a trigger holds semicolons.
        for statement in statements(self._kind.schema):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {self._kind.application_id}")
        connection.execute(f"PRAGMA user_version = {self._kind.version}")

    def _check_version(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != self._kind.application_id:
            raise self._kind.error(
                f"{self.path}: is an SQLite file, but no {self._kind.what}; name "
                f"another file as {self._kind.key} in instrument.toml"
            )
        version = _version(connection)
        if version != self._kind.version:
            raise self._kind.error(
                f"{self.path}: a {self._kind.what} of version {version}, this "
                f"cryoline reads version {self._kind.version}; install the cryoline "
                "that wrote it"
            )

    def _refuse_network(self) -> None:
        found = network_file_system_of(self.path)
        if found is not None:
            raise self._kind.error(
                f"{self.path}: is on a network file system ({found}), where SQLite "
                f"can't keep {self._kind.network_advice}"
            )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def statements(script: str) -> Iterator[str]:
    """Split a script into its statements, as SQLite sees them."""
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
