"""Reads and writes the Battery Data Format (BDF) 1.3.0, as CSV and as parquet.

Numbers are written so that they read back as the same; charge alone changes its unit
(mAh, Ah), which may turn its last bit.
"""

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryoline.plugins.bdf_columns import REQUIRED, machine_names
from cryoline.plugins.bdf_sidecar import (
    describe,
    read_sidecar,
    sidecar_path,
    started_of,
)
from cryoline.plugins.cycling_table import CyclingTable
from cryoline.plugins.directions import (
    counted_increments,
    half_cycles,
    integrated_mah,
    steps_of,
)
from cryoline.plugins.errors import ExporterError, ForeignFile, ReaderError
from cryoline.plugins.parquet_columns import numbers, read_parquet
from cryoline.plugins.text_rows import TextRows, read_lines

__all__ = ["read_bdf_csv", "read_bdf_parquet", "write_bdf_csv", "write_bdf_parquet"]

_Columns = Mapping[str, NDArray[np.float64]]

_STEPS: Final = ("step_id", "step_index", "step_count")
"""Columns that number the steps, the program's own number first."""
_OPTIONAL: Final = (
    "cycle_count",
    *_STEPS,
    "net_capacity_ah",
    "charging_capacity_ah",
    "discharging_capacity_ah",
    "unix_time_second",
)


def read_bdf_csv(path: Path) -> CyclingTable:
    """Read one cell's BDF as text, with its sidecar if there is one.

    The charge is the file's net capacity, else charging less discharging capacity
    (which some files begin anew with each step), else the integral of the current.
    Cycles keep their numbers; without any, two half cycles make one. Half cycles are
    the sidecar's, else they follow from the steps and the sign of the current.

    Raises ReaderError with file, line and column if it is foreign or incomplete.
    """
    lines = read_lines(path)
    names = machine_names(lines[0].split(","))
    _check_required(path, names, f"line 1 is {lines[0][:40]!r}")
    rows = TextRows.below(path, [",".join(names), *lines[1:]], 0, ",")
    columns: dict[str, NDArray[np.float64]] = {n: rows.values(n) for n in REQUIRED}
    for name in _OPTIONAL:
        if name in names:
            columns[name] = rows.values(name, empty=np.nan)
    return _table(path, columns)


def read_bdf_parquet(path: Path) -> CyclingTable:
    """Read one cell's BDF as parquet, as `read_bdf_csv` reads text.

    Raises ReaderError with file and column if it is foreign or incomplete.
    """
    content = read_parquet(path)
    names = machine_names(content.column_names)
    _check_required(path, names, f"its columns are {', '.join(names)[:80]!r}")
    columns: dict[str, NDArray[np.float64]] = {
        name: numbers(path, content, names.index(name))
        for name in (*REQUIRED, *_OPTIONAL)
        if name in names
    }
    return _table(path, columns)


def write_bdf_csv(table: CyclingTable, stem: Path) -> tuple[Path, ...]:
    """Write ``STEM.bdf.csv`` and ``STEM.bdf.metadata.json``; return both.

    Raises ExporterError if one of them exists or can't be written.
    """

    def encode(columns: Mapping[str, NDArray[Any]]) -> bytes:
        # A float's repr is the shortest text that reads back as the same number.
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        lines = [",".join(columns), *(",".join(map(repr, row)) for row in rows)]
        return ("\n".join(lines) + "\n").encode()

    return _write(table, stem, ".bdf.csv", encode)


def write_bdf_parquet(table: CyclingTable, stem: Path) -> tuple[Path, ...]:
    """Write ``STEM.bdf.parquet`` and ``STEM.bdf.metadata.json``; return both.

    Raises ExporterError if one of them exists or can't be written.
    """

    def encode(columns: Mapping[str, NDArray[Any]]) -> bytes:
        import pyarrow
        from pyarrow import parquet

        out = BytesIO()
        parquet.write_table(pyarrow.table(dict(columns)), out)
        return out.getvalue()

    return _write(table, stem, ".bdf.parquet", encode)


def _check_required(path: Path, names: list[str], found: str) -> None:
    missing = [name for name in REQUIRED if name not in names]
    if len(missing) == len(REQUIRED):
        raise ForeignFile(
            f"{path}: not a BDF file: it names none of the columns "
            f"{', '.join(REQUIRED)}; {found}"
        )
    if missing:
        raise ReaderError(
            f"{path}: BDF needs the columns {', '.join(REQUIRED)}; missing: "
            f"{', '.join(missing)}; export the file again, with them"
        )


def _table(path: Path, columns: _Columns) -> CyclingTable:
    size = columns[REQUIRED[0]].size
    if not size:
        raise ReaderError(f"{path}: no rows; nothing was measured")
    sidecar = read_sidecar(path, size)
    time_s, potential_v, current_a = (columns[name] for name in REQUIRED)
    steps = [_whole(path, columns, name) for name in _STEPS if name in columns]
    cycles = [_whole(path, columns, n) for n in ("cycle_count",) if n in columns]
    new_step = steps_of(*steps[:1], *cycles) if steps or cycles else _nowhere(size)
    charge_mah, is_counted = _charge(path, columns, new_step)
    half_cycle = sidecar.get("half_cycle")
    if half_cycle is None:
        increment = np.diff(charge_mah, prepend=0.0)
        half_cycle = half_cycles(increment, current_a, new_step)
    return CyclingTable(
        time_s=time_s,
        potential_v=potential_v,
        current_a=current_a,
        charge_mah=charge_mah,
        cycle_number=cycles[0] if cycles else 1 + half_cycle // 2,
        half_cycle=half_cycle,
        source=str(path),
        technique=str(sidecar.get("technique", "cycling")),
        started=started_of(sidecar) if sidecar else _unix_start(columns),
        charge_is_counted=is_counted and bool(sidecar.get("charge_is_counted", True)),
        step_index=steps[0] if steps else None,
    )


def _charge(
    path: Path, columns: _Columns, new_step: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], bool]:
    """Return the charge since the start, mAh, and whether the instrument counted it."""
    if "net_capacity_ah" in columns:
        return columns["net_capacity_ah"] * 1e3, True
    charging, discharging = (
        counted_increments(columns[name], new_step, source=str(path), name=name)
        if name in columns
        else np.zeros(new_step.size)
        for name in ("charging_capacity_ah", "discharging_capacity_ah")
    )
    if {"charging_capacity_ah", "discharging_capacity_ah"} <= columns.keys():
        return np.cumsum(charging - discharging) * 1e3, True
    return integrated_mah(columns["test_time_second"], columns["current_ampere"]), False


def _whole(path: Path, columns: _Columns, name: str) -> NDArray[np.int64]:
    column = columns[name]
    wrong = np.flatnonzero(~(np.rint(column) == column))
    if wrong.size:
        raise ReaderError(
            f"{path}, column {name!r}: {column[wrong[0]]} in row {wrong[0]} is not a "
            "whole number; export the file again, or remove the column"
        )
    return column.astype(np.int64)


def _nowhere(size: int) -> NDArray[np.bool_]:
    return np.zeros(size, dtype=bool)


def _unix_start(columns: _Columns) -> datetime | None:
    if "unix_time_second" not in columns:
        return None
    start_s = columns["unix_time_second"][0] - columns["test_time_second"][0]
    return datetime.fromtimestamp(start_s, tz=UTC) if np.isfinite(start_s) else None


def _write(
    table: CyclingTable,
    stem: Path,
    suffix: str,
    encode: Callable[[Mapping[str, NDArray[Any]]], bytes],
) -> tuple[Path, ...]:
    path = stem.with_name(stem.name + suffix)
    sidecar = sidecar_path(path)
    columns: dict[str, NDArray[Any]] = {
        "test_time_second": table.time_s,
        "voltage_volt": table.potential_v,
        "current_ampere": table.current_a,
    }
    if table.started is not None and table.started.tzinfo is not None:
        # A local time without its zone is no time since 1970.
        columns["unix_time_second"] = table.started.timestamp() + table.time_s
    columns["cycle_count"] = table.cycle_number
    if table.step_index is not None:
        columns["step_id"] = table.step_index
    if table.charge_is_counted:
        columns["net_capacity_ah"] = table.charge_mah / 1e3
    about = (json.dumps(describe(table), indent=2) + "\n").encode()
    # CSV and parquet of one table share the sidecar.
    shared = sidecar.exists() and sidecar.read_bytes() == about
    for target in (path, *(() if shared else (sidecar,))):
        if target.exists():
            raise ExporterError(
                f"{target} exists; move it away, or write to another folder"
            )
    # The sidecar last: a file without one can be read, one without rows can't.
    for target, content in ((path, encode(columns)), (sidecar, about)):
        _put(target, content)
    return path, sidecar


def _put(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole, or not at all."""
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with unfinished.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise ExporterError(
            f"{path}: can't be written: {error.strerror}; free space, or choose a "
            "folder that you may write to"
        ) from error
