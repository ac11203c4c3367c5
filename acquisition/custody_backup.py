"""The custody record's second copy, renewed after each row."""

from pathlib import Path
from typing import Final

from cryoline.acquisition import append_only_backup
from cryoline.acquisition.append_only_backup import BackupKind
from cryoline.acquisition.append_only_restore import Restored
from cryoline.acquisition.append_only_restore import restore as put_back
from cryoline.acquisition.custody_records import APPLICATION_ID
from cryoline.acquisition.errors import CustodyError

__all__ = ["refuse_lost_rows", "renew", "restore"]

_KIND: Final = BackupKind(
    what="custody record",
    table="rows",
    application_id=APPLICATION_ID,
    key="custody.backup",
    loss="what specimens have suffered since would be forgotten",
    command="cryoline sample restore",
    error=CustodyError,
)


def renew(record: Path, backup: Path | None) -> str:
    """Bring the backup up, and return why it could not be, "" if it could."""
    problem = append_only_backup.renew(record, backup, _KIND)
    return problem and f"custody: {problem}"


def refuse_lost_rows(record: Path, backup: Path) -> None:
    """Raise CustodyError if the backup knows of a row that the record has lost."""
    append_only_backup.refuse_lost_rows(record, backup, _KIND)


def restore(record: Path, backup: Path) -> Restored:
    """Put a backup into the place of a record that is missing, damaged or older.

    Raises CustodyError, and changes nothing, if the record holds rows that the backup
    lacks, a session uses it, or the backup is not whole.
    """
    return put_back(record, backup, _KIND)
