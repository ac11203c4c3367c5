"""What the custody record says of specimens, for the metadata of their runs."""

import logging
from pathlib import Path
from typing import Any

from cryoline.acquisition.custody import CustodyRecord
from cryoline.acquisition.errors import RecordsError

__all__ = ["CustodyBlocks"]

_log = logging.getLogger(__name__)


class CustodyBlocks:
    """Reads one custody record, which need not be there."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()

    def has_changed(self) -> bool:
        """Return whether the record was written to since this was last asked."""
        before, self._seen = self._seen, self._signature()
        return self._seen != before

    def ask_again(self) -> None:
        """Have the next question answered as if the record had changed."""
        self._seen = (-1,)

    def of(self, specimen: str | None) -> dict[str, Any]:
        """Return where a specimen is and what it has suffered; empty if not known.

        A record that can't be read holds up no run: it is logged.
        """
        if not specimen or self._path is None or not self._path.exists():
            return {}
        try:
            with CustodyRecord(self._path) as record:
                return record.state(specimen).block() if record.knows(specimen) else {}
        except RecordsError as error:
            _log.warning("custody of %s is left out: %s", specimen, error)
            return {}

    def _signature(self) -> tuple[int, ...]:
        """Return what changes with each row: SQLite writes to a file beside, first."""
        if self._path is None:
            return ()
        files = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        found = [file.stat() for file in files if file.exists()]
        return tuple(x for one in found for x in (one.st_size, one.st_mtime_ns))
