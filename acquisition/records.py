"""Counters that never go back: one SQLite file, durable before a number is used."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryoline.acquisition.errors import RecordsError

__all__ = ["Records"]


class Records:
    """The counters of one data directory, shared by every session on it.

    Example
    -------
    >>> import tempfile
    >>> records = Records(Path(tempfile.mkdtemp()) / "records.sqlite")
    >>> records.next_scan_id(), records.next_scan_id()
    (1, 2)
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._connection() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS counters "
                "(name TEXT PRIMARY KEY, value INTEGER NOT NULL)"
            )

    def next_scan_id(self, _md: dict[str, Any] | None = None) -> int:
        """Return a scan_id that no session on this data directory has used.

        It fits ``RunEngine(scan_id_source=...)``, which hands over its metadata.
        """
        with self._connection() as connection:
            row = connection.execute(
                "INSERT INTO counters VALUES ('scan_id', 1) "
                "ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
            ).fetchone()
        return int(row[0])

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(self._path, timeout=10.0)
            try:
                # WAL with FULL: committed means on disk, and readers don't wait.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                with connection:
                    yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise RecordsError(
                f"{self._path}: the counters can't be kept ({error}); check the "
                "disk and the permissions before the next run"
            ) from error
