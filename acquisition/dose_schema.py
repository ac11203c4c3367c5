"""The SQLite file below the dose ledger: its tables.

Two tables, both only ever appended to, which triggers see to:

``events``    what was decided or learned, one row each, with a UUID
``bookings``  what an event moves on the accounts of a region, in 1e-3 e/nm2, and the
              footprint on the specimen that it is moved on; none means everywhere

Whole numbers, because their sums don't depend on the order and leave no rest.
"""

import sqlite3
from pathlib import Path
from typing import Final

from cryoline.acquisition.append_only import AppendOnlyFile, FileKind
from cryoline.acquisition.dose_migration import migrate
from cryoline.acquisition.errors import LedgerError

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "LedgerFile"]

APPLICATION_ID: Final = 0x63727964
"""What SQLite's header says of the file: "cryd"."""
SCHEMA_VERSION: Final = 2

_SCHEMA: Final = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN (
        'reserve', 'settle', 'release', 'series-open', 'series-close',
        'limit', 'acknowledge', 'reconcile', 'unresolved',
        'region', 'specimen', 'calibration', 'export', 'import', 'lock', 'unlock',
        'migrate')),
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
    milli_e_per_nm2 INTEGER NOT NULL,
    footprint TEXT
) STRICT;
CREATE INDEX events_of_ticket ON events (ticket, kind);
CREATE INDEX events_of_series ON events (series, kind, shape);
CREATE INDEX events_of_region ON events (specimen, region, kind);
CREATE INDEX events_of_boot ON events (source, boot_id, counter);
CREATE INDEX events_over ON events (specimen) WHERE over = 1;
CREATE INDEX events_reconciled ON events (source) WHERE kind = 'reconcile';
CREATE INDEX events_limits ON events (specimen, region) WHERE kind = 'limit';
CREATE INDEX events_places ON events (specimen, region) WHERE kind = 'region';
CREATE INDEX events_tree ON events (specimen) WHERE kind = 'specimen';
CREATE INDEX events_locks ON events (specimen) WHERE kind IN ('lock', 'unlock');
CREATE INDEX bookings_of_region
    ON bookings (specimen, region, footprint, account, milli_e_per_nm2);
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

_KIND: Final = FileKind(
    what="dose ledger",
    use="exposure",
    key="dose.ledger",
    network_advice="a dose ledger that nothing can overspend; name a file on a local "
    "disk as dose.ledger in instrument.toml, and the network one as dose.backup",
    schema=_SCHEMA,
    application_id=APPLICATION_ID,
    version=SCHEMA_VERSION,
    error=LedgerError,
)


class LedgerFile(AppendOnlyFile):
    """One connection to a dose ledger; what goes wrong is a LedgerError."""

    def __init__(self, path: Path, *, timeout_s: float = 10.0) -> None:
        super().__init__(path, _KIND, timeout_s=timeout_s)

    def _check_version(self, connection: sqlite3.Connection) -> None:
        migrate(connection, self.path, _KIND)
        super()._check_version(connection)
