"""Reads an Arbin table that was kept as parquet, under Arbin's own column names.

So do programs that take Arbin's .res databases apart. Charge and discharge have a
counter each, A h, which begins anew with every cycle.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from cryoline.plugins.cycling_table import CyclingTable
from cryoline.plugins.directions import counted_increments, half_cycles, steps_of
from cryoline.plugins.errors import ForeignFile, ReaderError
from cryoline.plugins.parquet_columns import numbers, read_parquet

__all__ = ["read_arbin_parquet"]

_COLUMNS: Final = (
    "test_time",
    "voltage",
    "current",
    "charge_capacity",
    "discharge_capacity",
    "cycle_index",
    "step_index",
)


def read_arbin_parquet(path: Path) -> CyclingTable:
    """Read one Arbin table in s, V, A and A h.

    Charging, which delithiates an anode half cell, is positive. Cycles and steps are
    numbered as in the file. Raises ReaderError with file and column.

    Example
    -------
    >>> len(read_arbin_parquet(Path("cell.parquet")))  # doctest: +SKIP
    10261
    """
    content = read_parquet(path)
    missing = [name for name in _COLUMNS if name not in content.column_names]
    if missing:
        raise ForeignFile(
            f"{path}: not an Arbin table: lacks the columns {', '.join(missing)}"
        )
    columns = {
        name: numbers(path, content, content.column_names.index(name))
        for name in _COLUMNS
    }
    for name in ("cycle_index", "step_index"):
        if not np.isfinite(columns[name]).all():
            raise ReaderError(f"{path}: column {name!r} has empty cells")
    cycle_number = columns["cycle_index"].astype(np.int64)
    step_index = columns["step_index"].astype(np.int64)
    new_step = steps_of(cycle_number, step_index)
    charged, discharged = (
        counted_increments(columns[name], new_step, source=str(path), name=name)
        for name in ("charge_capacity", "discharge_capacity")
    )
    increment = 1e3 * (charged - discharged)
    return CyclingTable(
        time_s=columns["test_time"],
        potential_v=columns["voltage"],
        current_a=columns["current"],
        charge_mah=np.cumsum(increment),
        cycle_number=cycle_number,
        half_cycle=half_cycles(increment, columns["current"], new_step),
        source=str(path),
        technique="galvanostatic-cycling",
        started=_started(content, columns["test_time"][:1].tolist()),
        step_index=step_index,
    )


def _started(content: Any, first_s: list[float]) -> datetime | None:
    """Return when the first row was, less its test time."""
    if "date_time" not in content.column_names or not first_s:
        return None
    first = content.column("date_time")[0].as_py()
    if not isinstance(first, datetime):
        return None
    return first - timedelta(seconds=round(first_s[0]))
