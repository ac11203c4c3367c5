"""Brings a measured file into the raw journal, as the documents of one run.

The file is read, checked and compared with what was imported before anything is
written. From the journal on nothing differs from a run that was measured here: the
same analysis, the same way into Tiled.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import event_model

from cryoline.acquisition.config import Config
from cryoline.acquisition.errors import ImportRefused, JournalError
from cryoline.acquisition.journal import Journal, check_space
from cryoline.acquisition.journal_format import decode_line
from cryoline.acquisition.journal_recovery import close_interrupted
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.metadata import session_metadata
from cryoline.acquisition.records import Records
from cryoline.acquisition.run_key import run_key
from cryoline.acquisition.specimen import Specimen
from cryoline.plugins.cycling_table import CyclingTable
from cryoline.plugins.errors import ReaderError
from cryoline.plugins.reading import read_cycling

__all__ = ["DEVICE", "Imported", "import_file"]

DEVICE: Final = "cycler"
"""Stands in the names of columns where else the device's name does."""

_ROWS_PER_PAGE: Final = 5000
_COLUMNS: Final[dict[str, tuple[str, str, str]]] = {
    "instrument_time_s": ("time_s", "number", "s"),
    "potential_v": ("potential_v", "number", "V"),
    "current_a": ("current_a", "number", "A"),
    "charge_mah": ("charge_mah", "number", "mAh"),
    "cycle_number": ("cycle_number", "integer", ""),
    "half_cycle": ("half_cycle", "integer", ""),
    "step_index": ("step_index", "integer", ""),
}
"""Columns of the stream `points`: the table's column, JSON type and unit."""


@dataclass(frozen=True)
class Imported:
    """A file that is now a run."""

    key: str
    """Of the run: its journal's name, and its name in Tiled."""
    reader: str
    sha256: str
    table: CyclingTable


def import_file(
    config: Config,
    path: Path,
    *,
    specimen: Specimen | None = None,
    reader: str | None = None,
    again: bool = False,
) -> Imported:
    """Read a cycler's file and journal it as one run.

    specimen: whose measurement it is
    reader: the reader to ask, else the one that knows the file
    again: even if the same bytes were imported before

    Raises ReaderError if the file can't be taken, ImportRefused if it was imported
    before, JournalError if there is no room; nothing is written then.
    """
    sha256 = _sha256(path) if path.is_file() else ""
    table, reader = read_cycling(path, reader)
    if _sha256(path) != sha256:
        raise ReaderError(
            f"{path}: changed while it was read; wait until the measurement has "
            "ended, or import a copy"
        )
    layout = config.layout
    check_space(layout.root, config.instrument.minimum_free_mb)
    with _one_import_at_a_time(layout):
        close_interrupted(layout.raw_journal)
        before = _imported_before(layout, sha256)
        if before is not None and not again:
            raise ImportRefused(
                f"{path}: these bytes were imported already, as {before}; nothing was "
                "written (--again makes a second run of them)"
            )
        md = {
            **session_metadata(config),
            **({} if specimen is None else specimen.metadata()),
            "scan_id": Records(layout.records).next_scan_id(),
            "plan_name": "import_file",
            "technique": table.technique,
            "imported_file": {
                "name": path.name,
                "sha256": sha256,
                "bytes": path.stat().st_size,
                "reader": reader,
                "started": table.started and table.started.isoformat(),
                "charge": "counter" if table.charge_is_counted else "integral",
            },
        }
        key = _write(layout, table, md)
    return Imported(key, reader, sha256, table)


def _write(layout: DataLayout, table: CyclingTable, md: dict[str, Any]) -> str:
    """Journal one run of a stream `points`, and return its key."""
    columns = {
        name: (getattr(table, of), kind, unit)
        for name, (of, kind, unit) in _COLUMNS.items()
        if getattr(table, of) is not None
    }
    source = f"file:{md['imported_file']['name']}"
    keys = {
        f"{DEVICE}_{name}": {
            "source": source,
            "dtype": kind,
            "shape": [],
            "units": unit,
            "object_name": DEVICE,
        }
        for name, (_, kind, unit) in columns.items()
    }
    run = event_model.compose_run(metadata=md)
    journal = Journal(layout.raw_journal)
    try:
        journal("start", run.start_doc)
        points = run.compose_descriptor(
            name="points", data_keys=keys, object_keys={DEVICE: list(keys)}
        )
        journal("descriptor", points.descriptor_doc)
        for first in range(0, len(table), _ROWS_PER_PAGE):
            rows = slice(first, first + _ROWS_PER_PAGE)
            data = {
                f"{DEVICE}_{name}": column[rows].tolist()
                for name, (column, _, _) in columns.items()
            }
            now = [time.time()] * len(table.time_s[rows])
            page = points.compose_event_page(
                data=data,
                timestamps=dict.fromkeys(data, now),
                seq_num=list(range(first + 1, first + 1 + len(now))),
                time=now,
            )
            journal("event_page", page)
    except BaseException as error:
        # Where there is room for nothing more, the next session closes the run.
        with contextlib.suppress(JournalError):
            journal("stop", run.compose_stop(exit_status="fail", reason=str(error)))
        raise
    else:
        journal("stop", run.compose_stop())
    finally:
        journal.close()
    return run_key(run.start_doc)


def _imported_before(layout: DataLayout, sha256: str) -> str | None:
    """Return the key of a whole run of these bytes, if there is one."""
    for path in sorted(layout.raw_journal.glob("*.jsonl")):
        with path.open("rb") as journal:
            first = journal.readline()
            if sha256.encode() not in first:
                continue
            start = decode_line(first)[1]
            journal.seek(max(len(first), path.stat().st_size - 65_536))
            last = journal.read().rstrip(b"\n").rpartition(b"\n")[2]
        if (start.get("imported_file") or {}).get("sha256") != sha256:
            continue
        name, stop = decode_line(last)
        if name == "stop" and stop["exit_status"] == "success":
            return path.stem
    return None


@contextlib.contextmanager
def _one_import_at_a_time(layout: DataLayout) -> Iterator[None]:
    """Hold a lock, so that two imports of one file see each other."""
    fd = os.open(layout.services / "import.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise ReaderError(f"{path}: can't be read: {error.strerror}") from error
