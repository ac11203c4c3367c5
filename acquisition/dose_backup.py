"""The dose ledger's second copy, renewed after each charge."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from cryoline.acquisition import append_only_backup
from cryoline.acquisition.append_only_backup import BackupKind
from cryoline.acquisition.append_only_restore import Restored
from cryoline.acquisition.append_only_restore import restore as put_back
from cryoline.acquisition.dose_schema import APPLICATION_ID
from cryoline.acquisition.errors import LedgerError

__all__ = ["back_up", "is_current", "refuse_lost_rows", "renew", "restore"]

_KIND: Final = BackupKind(
    what="dose ledger",
    table="events",
    application_id=APPLICATION_ID,
    key="dose.backup",
    loss="what was charged since would be forgotten",
    command="cryoline dose restore",
    error=LedgerError,
)


def back_up(ledger: Path, backup: Path) -> None:
    """Bring the backup up to what the ledger holds now.

    Raises OSError or sqlite3.Error; the backup stays as it was then.
    """
    append_only_backup.back_up(ledger, backup, _KIND)


def renew(ledger: Path, backup: Path | None) -> str:
    """Bring the backup up, and return why it could not be, "" if it could."""
    problem = append_only_backup.renew(ledger, backup, _KIND)
    return problem and f"dose: {problem}"


def refuse_lost_rows(ledger: Path, backup: Path) -> None:
    """Raise LedgerError if the backup knows of a row that the ledger has lost.

    An empty or older file in the ledger's place would give the dose away anew.
    """
    append_only_backup.refuse_lost_rows(ledger, backup, _KIND)


def is_current(ledger: Path, backup: Path) -> bool:
    """Return whether the backup holds every charge of the ledger."""
    try:
        with closing(append_only_backup.connect(ledger, "mode=ro")) as connection:
            row = connection.execute(
                "SELECT max(id), uid FROM events WHERE kind = 'settle'"
            ).fetchone()
    except sqlite3.Error:
        return True  # whoever opens it as a ledger says what is wrong
    if row is None or row[0] is None:
        return True
    return backup.exists() and append_only_backup.holds_row(backup, _KIND, *row)


def restore(ledger: Path, backup: Path) -> Restored:
    """Put a backup into the place of a ledger that is missing, damaged or older.

    Raises LedgerError, and changes nothing, if the ledger holds rows that the backup
    lacks, a session uses it, or the backup is not whole.
    """
    return put_back(ledger, backup, _KIND)
