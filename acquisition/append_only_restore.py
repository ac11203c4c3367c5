"""Put the backup of an append-only file into its place, and lose nothing by it."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryoline.acquisition.append_only_backup import (
    BackupKind,
    address,
    connect,
    copy_whole,
)
from cryoline.acquisition.journal import sync_directory

__all__ = ["Restored", "restore"]

_HEADER: Final = b"SQLite format 3\0"


@dataclass(frozen=True)
class Restored:
    """What came of it."""

    rows: int
    """That the file holds now."""
    aside: tuple[Path, ...]
    """What was in its place, under the names that it has now."""

    def text(self, path: Path) -> str:
        """Return it in words."""
        kept = f"; what was there is kept as {self.aside[-1]}" if self.aside else ""
        return f"{path}: restored, {self.rows} rows{kept}"


def restore(path: Path, backup: Path, kind: BackupKind) -> Restored:
    """Put a backup into the place of a file that is missing, damaged or older.

    What was there is put aside, never deleted. Raises the kind's error, and changes
    nothing, if the backup is not whole, if a session uses the file, or if the file
    holds a row that the backup lacks.
    """
    rows = _count_whole(backup, kind)
    if path.exists():
        _refuse_newer(path, backup, kind, rows)
    name = f"{path.name}.aside-{datetime.now(tz=UTC):%Y%m%dT%H%M%S}"
    aside = []
    try:
        incoming = path.with_name(f"{path.name}.incoming")
        copy_whole(backup, incoming)
        # The log first: without it the file is older, with another's it is damaged.
        for suffix in ("-wal", "-shm", ""):
            old = path.with_name(path.name + suffix)
            if old.exists():
                new = path.with_name(name + suffix)
                old.rename(new)
                aside.append(new)
        incoming.replace(path)
        sync_directory(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise kind.error(
            f"{path}: could not be restored from {backup} ({error}); free space, check "
            "owner and permissions, then repeat"
        ) from error
    return Restored(rows, tuple(aside))


def _count_whole(backup: Path, kind: BackupKind) -> int:
    """Return how many rows a backup holds; raises if it is none, or damaged."""
    why = "there is no such file"
    if backup.is_file():
        try:
            with closing(connect(backup, "mode=ro")) as connection:
                (health,) = connection.execute("PRAGMA integrity_check").fetchone()
                (application,) = connection.execute("PRAGMA application_id").fetchone()
                if application != kind.application_id:
                    why = f"it is no {kind.what}"
                elif health != "ok":
                    why = str(health)
                else:
                    question = f"SELECT count(*) FROM {kind.table}"
                    return int(connection.execute(question).fetchone()[0])
        except sqlite3.Error as error:
            why = str(error)
    raise kind.error(
        f"{backup}: is no whole copy of a {kind.what} ({why}); nothing was restored. "
        f"Name another: {kind.command} --from BACKUP"
    )


def _refuse_newer(path: Path, backup: Path, kind: BackupKind, rows: int) -> None:
    """Raise if a file is in use, or would lose rows; return if it is damaged."""
    with path.open("rb") as file:
        if file.read(len(_HEADER)) != _HEADER:
            return  # SQLite would remove the log beside it, which may be good
    try:
        with closing(connect(path, "mode=rw")) as connection:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            # Only one who is alone with it may fold its log in.
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("ATTACH ? AS backup", (address(backup, "mode=ro"),))
            (health,) = connection.execute("PRAGMA main.quick_check").fetchone()
            (own,) = connection.execute(
                f"SELECT count(*) FROM main.{kind.table}"
            ).fetchone()
            (lost,) = connection.execute(
                f"SELECT count(*) FROM main.{kind.table} WHERE uid NOT IN "
                f"(SELECT uid FROM backup.{kind.table})"
            ).fetchone()
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise kind.error(
                f"{path}: a session, or another command, uses the {kind.what}; end "
                "every one, then repeat. Nothing was restored"
            ) from error
        return  # it is no database, damaged, or without the table: it goes aside
    if application != kind.application_id:
        return
    if lost:
        raise kind.error(
            f"{path}: holds {lost} {'row' if lost == 1 else 'rows'} that {backup} "
            f"lacks, and {kind.loss} with them; nothing was restored. It needs no "
            "restoring; if it is the wrong one, put it elsewhere first"
        )
    if own == rows and health == "ok":
        raise kind.error(
            f"{path}: holds all {rows} rows of {backup} and is whole; there is nothing "
            "to restore"
        )
