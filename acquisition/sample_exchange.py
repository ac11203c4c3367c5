"""Specimens that go to another site and come back, with their dose and custody.

The order, so that a process may be killed between any two steps:

1. Sent away: the bundle is on disk under a name that nobody takes for one; the specimen
   is locked, in one transaction of the ledger; the bundle gets its name. Killed before
   the last step, the specimen is locked, and ``again`` writes the bundle.
2. Brought back: the custody record gets its rows, in one transaction, then the ledger,
   in one; the unlocking is a row of the latter. Killed in between, the specimen is
   locked, and a second import does what is left.
"""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from cryoline.acquisition import custody_backup, dose_backup
from cryoline.acquisition.config import Config
from cryoline.acquisition.custody import CustodyRecord
from cryoline.acquisition.custody_bundle import (
    append_custody,
    missing_custody,
    read_custody,
    refuse_under_way,
)
from cryoline.acquisition.custody_queries import lineage
from cryoline.acquisition.custody_records import CustodyFile
from cryoline.acquisition.dose_book import record
from cryoline.acquisition.dose_bundle import (
    append_rows,
    is_return,
    missing_rows,
    read_rows,
    refuse_open,
)
from cryoline.acquisition.dose_config import open_ledger
from cryoline.acquisition.dose_locks import Lock, lock_away, lock_of
from cryoline.acquisition.dose_places import parents_of
from cryoline.acquisition.dose_queries import find_rows, list_specimens
from cryoline.acquisition.dose_rules import check_reason
from cryoline.acquisition.dose_schema import LedgerFile
from cryoline.acquisition.errors import BundleRefused, LedgerError
from cryoline.acquisition.model_errors import nearest
from cryoline.acquisition.sample_bundle import Bundle, BundleFile, read_bundle

__all__ = [
    "Exported",
    "Imported",
    "away",
    "export_sample",
    "import_sample",
    "unlock_sample",
]

_log = logging.getLogger("cryoline.sample")


@dataclass(frozen=True)
class Exported:
    """A bundle that was made; its specimen is locked here."""

    specimen: str
    file: Path
    to: str
    sha256: str
    dose_rows: int
    custody_rows: int

    def as_dict(self) -> dict[str, Any]:
        """Return what a program may read (``cryoline sample export --json``)."""
        return asdict(self) | {"file": str(self.file)}


@dataclass(frozen=True)
class Imported:
    """What came of a bundle."""

    specimen: str
    site: str
    """That made it."""
    exported: str
    to: str
    """Where it was sent, if that was said."""
    dose_rows: int
    """That were not known here."""
    custody_rows: int
    only_here: int
    """Rows of the specimen that the bundle doesn't know; they count as well."""
    unlocked: bool
    """Whether the specimen is back, and may be exposed."""
    lock: str
    """Where it is, if it stays locked; else empty."""

    @property
    def is_new(self) -> bool:
        """Whether anything was not known."""
        return bool(self.dose_rows or self.custody_rows)

    def as_dict(self) -> dict[str, Any]:
        """Return what a program may read (``cryoline sample import --json``)."""
        return asdict(self) | {"is_new": self.is_new}

    def lines(self, site: str) -> list[str]:
        """Return it in words, at a site."""
        made = f"{self.specimen}: the bundle of {self.site}, {self.exported}"
        if self.is_new:
            found = [
                f"{made}: {self.dose_rows} new rows of dose, {self.custody_rows} of "
                "custody"
            ]
        else:
            found = [f"{made}, holds nothing that is not known here; nothing changed"]
        if self.only_here and self.is_new:
            found.append(
                f"{self.only_here} rows of its dose here are not in the bundle; they "
                "count as well"
            )
        if self.to not in ("", site) and self.site != site:
            found.append(f"it was sent to {self.to}; this is {site}")
        if self.unlocked:
            found.append(f"{self.specimen} is back, and no longer locked")
        if self.lock:
            found.append(f"{self.specimen} stays locked: it {self.lock}")
        return found


def export_sample(
    config: Config, specimen: str, out: Path, *, to: str = "", again: bool = False
) -> Exported:
    """Write a specimen's bundle, and lock the specimen here.

    again: write the bundle of a specimen that is away already; its place stays the same

    Raises BundleRefused, and nothing is locked: something of it is still open, it is
    not known, or the file can't be written.
    """
    file = BundleFile(out)
    site = config.instrument.name
    try:
        with (
            _ledger(config) as connection,
            _custody(config, needed=False) as custody,
        ):
            bundle = _pack(connection, custody, specimen, site, out, to, again=again)
            file.write(bundle)
        file.publish()
    finally:
        file.discard()
    _renew(config)
    return Exported(
        specimen, out, bundle.to, bundle.sha256(), len(bundle.dose), len(bundle.custody)
    )


def import_sample(config: Config, path: Path) -> Imported:
    """Merge a bundle, once however often; unlock its specimen if it has come back.

    Raises BundleRefused, and nothing is changed: the bundle is damaged or of a newer
    version, or disagrees with what is known here.
    """
    bundle = read_bundle(path)
    site = config.instrument.name
    # The custody record is committed first: see above.
    with (
        _ledger(config) as connection,
        _custody(config, needed=bool(bundle.custody)) as custody,
    ):
        merge = missing_rows(connection, bundle, site)
        entries = () if custody is None else missing_custody(custody, bundle)
        lock = lock_of(connection, bundle.specimen)
        returns = is_return(bundle, lock, site)
        done = Imported(
            bundle.specimen,
            bundle.site,
            bundle.exported,
            bundle.to,
            len(merge.events),
            len(entries),
            _only_here(connection, bundle),
            unlocked=returns,
            lock="" if lock is None or returns else lock.text,
        )
        if not (merge.is_empty and not entries):
            append_rows(connection, merge, bundle)
            if custody is not None:
                append_custody(custody, entries)
            body = {
                "sha256": bundle.sha256(),
                "site": bundle.site,
                "export": bundle.export,
            }
            event = record(connection, "import", body, specimen=bundle.specimen)
            if returns:
                body = {"import": event, "reason": f"back from {bundle.site}"}
                record(connection, "unlock", body, specimen=bundle.specimen)
    if done.is_new:
        _renew(config)
    return done


def unlock_sample(config: Config, specimen: str, *, reason: str) -> Lock:
    """Let a specimen be exposed here that is away, and return what had locked it.

    Raises LedgerError without a reason, or if it is not away.
    """
    check_reason(reason)
    with _ledger(config) as connection:
        lock = lock_of(connection, specimen)
        if lock is None:
            raise LedgerError(
                f"dose: specimen {specimen} is not locked here; see cryoline sample "
                f"show {specimen}"
            )
        record(connection, "unlock", {"reason": reason}, specimen=specimen)
    _renew(config)
    return lock


def away(config: Config, specimen: str) -> Lock | None:
    """Return where a specimen was sent, None if it is here."""
    with _ledger(config) as connection:
        return lock_of(connection, specimen)


def _pack(
    connection: Connection,
    custody: Connection | None,
    specimen: str,
    site: str,
    out: Path,
    to: str,
    *,
    again: bool,
) -> Bundle:
    """Lock a specimen and return its bundle, in the transaction of a connection."""
    family = _family(connection, custody, specimen)
    lock = lock_of(connection, specimen)
    if lock is None and again:
        raise BundleRefused(
            f"specimen {specimen}: is here, there is no bundle to be written again; "
            "leave --again out"
        )
    if lock is not None and not again:
        raise BundleRefused(
            f"specimen {specimen}: {lock.text}, and can't be sent twice. To write that "
            f"bundle again: cryoline sample export {specimen} --out FILE --again. If "
            "it is back: cryoline sample import BUNDLE, or cryoline sample unlock "
            f"{specimen} --reason TEXT"
        )
    refuse_open(connection, family)
    if custody is not None:
        refuse_under_way(custody, specimen)
    if lock is None:
        lock = lock_away(connection, specimen, to=to, file=str(out))
    moment = datetime.fromtimestamp(lock.time_s, tz=UTC)
    return Bundle(
        specimen=specimen,
        ancestors=list(family[1:]),
        site=site,
        to=lock.to,
        exported=moment.isoformat(timespec="seconds"),
        export=lock.export,
        dose=read_rows(connection, family, site),
        custody=[] if custody is None else read_custody(custody, family),
    )


def _family(
    connection: Connection, custody: Connection | None, specimen: str
) -> tuple[str, ...]:
    """Return a specimen and what it was made of, as ledger and record know it.

    Raises BundleRefused if neither knows the specimen.
    """
    dosed = list_specimens(connection)
    made_of = (
        [] if custody is None else [name for name, _ in lineage(custody, specimen)]
    )
    held = [] if custody is None else _specimens(custody)
    if specimen not in dosed and specimen not in held:
        raise BundleRefused(
            f"specimen {specimen!r}: neither dose ledger nor custody record knows it"
            f"{nearest(specimen, [*dosed, *held])}"
        )
    return tuple(dict.fromkeys([specimen, *made_of, *parents_of(connection, specimen)]))


def _specimens(custody: Connection) -> list[str]:
    rows = custody.execute("SELECT specimen FROM rows WHERE kind = 'specimen'")
    return [name for (name,) in rows]


def _only_here(connection: Connection, bundle: Bundle) -> int:
    """Return how many rows of a specimen's dose a bundle doesn't know."""
    sent = {row.uid for row in bundle.dose}
    rows = find_rows(
        connection,
        "specimen = ? AND kind NOT IN ('export', 'import', 'lock', 'unlock')",
        bundle.specimen,
    )
    return sum(row.uid not in sent for row in rows)


@contextmanager
def _ledger(config: Config) -> Iterator[Connection]:
    """Give a writing transaction of the ledger, having seen that it lacks no row."""
    open_ledger(config).close()
    with closing(LedgerFile(config.dose_ledger)) as file, file.writing() as connection:
        yield connection


@contextmanager
def _custody(config: Config, *, needed: bool) -> Iterator[Connection | None]:
    """Give a writing transaction of the custody record; None if there is none."""
    path, backup = config.custody_record, config.custody_backup
    if not needed and not path.exists() and not backup.exists():
        yield None
        return
    CustodyRecord(path, backup=backup).close()
    with closing(CustodyFile(path)) as file, file.writing() as connection:
        yield connection


def _renew(config: Config) -> None:
    """Bring the backups up; what was written stands, whatever becomes of them."""
    problems = [dose_backup.renew(config.dose_ledger, config.dose_backup)]
    if config.custody_record.exists():
        problems.append(
            custody_backup.renew(config.custody_record, config.custody_backup)
        )
    for problem in filter(None, problems):
        _log.warning(problem)
