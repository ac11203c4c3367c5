"""Takes a cycling run out of the raw journal, in a format for other programs.

It needs no server: the journal holds every row.
"""

import difflib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from cryoline.acquisition.errors import CryolineError
from cryoline.acquisition.journal_reader import read_documents
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.program_journals import points_before, runs_before
from cryoline.plugins import registry
from cryoline.plugins.cycling_table import CyclingTable

__all__ = ["GROUP", "export_run", "read_run", "table_of_run"]

GROUP: Final = "cryoline.exporters"

_COLUMNS: Final = {
    "instrument_time_s": ("time_s", float),
    "potential_v": ("potential_v", float),
    "current_a": ("current_a", float),
    "charge_mah": ("charge_mah", float),
    "cycle_number": ("cycle_number", np.int64),
    "half_cycle": ("half_cycle", np.int64),
}
"""Columns of the stream `points`, the table's, and its type."""
_STEP: Final = "step_index"


def export_run(
    layout: DataLayout, key: str, format_name: str, folder: Path
) -> tuple[Path, ...]:
    """Write a run's points into a folder by an exporter; return the files.

    Raises CryolineError if there is no such run, or it has no points; PluginError if
    there is no such format, ExporterError if it can't be written.
    """
    write = registry.load(GROUP, format_name)
    table = table_of_run(layout, key)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CryolineError(
            f"{folder}: can't be made: {error.strerror}; choose another --out"
        ) from error
    files: tuple[Path, ...] = write(table, folder / key)
    return files


def table_of_run(layout: DataLayout, key: str) -> CyclingTable:
    """Return the points of an ended run, as the instrument or file gave them.

    Raises CryolineError if there is no such run, it has not ended, or has no points.
    """
    table, ended = read_run(layout, key)
    if not ended:
        raise CryolineError(
            f"run {key}: has no end yet; wait for it, or, if its session was killed, "
            "close it by cryoline replay"
        )
    return table


def read_run(layout: DataLayout, key: str) -> tuple[CyclingTable, bool]:
    """Return a run's points, as far as they have come, and whether it has ended.

    Those of a run that continues another begin where the program did. Raises
    CryolineError if there is no such run, it has no points, or the run before is gone.
    """
    path = layout.raw_journal / f"{key}.jsonl"
    if not path.is_file():
        known = sorted(p.stem for p in layout.raw_journal.glob("*.jsonl"))
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else "there is no run at all"
        raise CryolineError(f"{layout.raw_journal}: no run {key!r}; {hint}")
    documents = read_documents(path)
    _, start = next(documents, ("", {}))
    pages = _Pages()
    for name, doc in points_before(layout.raw_journal, start):
        pages.take(name, doc)
    ended = False
    for name, doc in documents:
        pages.take(name, doc)
        ended = ended or name == "stop"
    if not pages.found:
        raise CryolineError(
            f"run {key}: has no cycling points (a stream 'points' with potential, "
            "current and charge); only cycling runs can be exported"
        )
    first = [run.start for run in runs_before(layout.raw_journal, start)]
    return _table(path, start, pages.found, [*first, start][0]["time"]), ended


class _Pages:
    """The points of a run and of those that it continues, in their order."""

    def __init__(self) -> None:
        self.found: list[Mapping[str, Any]] = []
        self._prefixes: dict[str, str] = {}
        self._run = ""
        self._before = 0  # the runs before this one each count from 1, too
        self._highest = 0

    def take(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "descriptor" and doc.get("name") == "points":
            self._prefixes[doc["uid"]] = _prefix(doc["data_keys"])
            if doc["run_start"] != self._run:
                self._run, self._before = doc["run_start"], self._highest
        elif name in ("event", "event_page") and doc["descriptor"] in self._prefixes:
            page = _unprefixed(doc, self._prefixes[doc["descriptor"]], name)
            numbers = self._before + np.asarray(page["seq_num"])
            self._highest = max([self._highest, *numbers.tolist()])
            self.found.append({**page, "seq_num": numbers})


def _table(
    path: Path,
    start: Mapping[str, Any],
    pages: list[Mapping[str, Any]],
    began_s: float,
) -> CyclingTable:
    # Of rows that were taken twice, the last counts.
    numbers = np.concatenate([page["seq_num"] for page in pages])
    _, from_end = np.unique(numbers[::-1], return_index=True)
    kept = numbers.size - 1 - from_end

    def column(name: str, kind: Any) -> Any:
        return np.concatenate([np.asarray(page[name], kind) for page in pages])[kept]

    imported = start.get("imported_file") or {}
    began = imported.get("started")
    started = None if began is None else datetime.fromisoformat(began)
    if not imported:
        started = datetime.fromtimestamp(began_s, tz=UTC)
    return CyclingTable(
        **{of: column(name, kind) for name, (of, kind) in _COLUMNS.items()},
        source=str(path),
        technique=str(start.get("technique") or start.get("plan_name") or "cycling"),
        started=started,
        charge_is_counted=imported.get("charge") != "integral",
        step_index=(
            column(_STEP, np.int64) if all(_STEP in page for page in pages) else None
        ),
        specimen=start.get("specimen"),
        electrode_mass_mg=(start.get("electrode") or {}).get("mass_mg"),
        retention_cycle=start.get("retention_cycle"),
        reference_electrode=(start.get("protocol") or {}).get("reference_electrode"),
    )


def _prefix(keys: Mapping[str, Any]) -> str:
    """Return what stands before the names of a cycler's columns; "" if it is none."""
    ends = [key for key in keys if key.endswith(f"_{next(iter(_COLUMNS))}")]
    prefixes = [key.removesuffix(next(iter(_COLUMNS))) for key in ends]
    whole = [p for p in prefixes if all(p + name in keys for name in _COLUMNS)]
    return whole[0] if len(whole) == 1 else ""


def _unprefixed(doc: Mapping[str, Any], prefix: str, kind: str) -> Mapping[str, Any]:
    """Return one page's columns under their bare names, with its seq_num."""
    one = kind == "event"
    data = {
        name: [doc["data"][prefix + name]] if one else doc["data"][prefix + name]
        for name in (*_COLUMNS, _STEP)
        if prefix + name in doc["data"]
    }
    return {**data, "seq_num": [doc["seq_num"]] if one else doc["seq_num"]}
