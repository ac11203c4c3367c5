"""Reads the text export (.csv) of LAND (Landt) cyclers.

Some header lines, a line of column names with their units, rows parted by commas that
end with one comma more. Charge and discharge have a counter each, which begins anew
with every step; the current is rounded, in small cells to a tenth of its value, so
only the counters tell the charge.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from cryoline.plugins.cycling_table import CyclingTable
from cryoline.plugins.directions import counted_increments, half_cycles, steps_of
from cryoline.plugins.errors import ForeignFile
from cryoline.plugins.text_rows import TextRows, read_lines

__all__ = ["read_landt"]

_TIME: Final = {"test_time_s": 1.0}
_POTENTIAL: Final = {"voltage_V": 1.0, "voltage_mV": 1e-3}
_CURRENT: Final = {"current_A": 1.0, "current_mA": 1e-3}
_CHARGE: Final = {"charge_capacity_Ah": 1e3, "charge_capacity_mAh": 1.0}
_DISCHARGE: Final = {"discharge_capacity_Ah": 1e3, "discharge_capacity_mAh": 1.0}
_CYCLE: Final = {"cycle_index": None}
_STEP: Final = {"step_index": None}
_DATE: Final = "date_time_iso_string"
_DATE_FORMATS: Final = ("%m/%d/%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")

_SIGNS: Final = ("test_time_s", "cycle_index", "step_index")
"""Names by which the line of column names is known."""
_HEADER_MAX: Final = 100


def read_landt(path: Path) -> CyclingTable:
    """Read one LAND text export.

    Charging, which delithiates an anode half cell, is positive. Cycles and steps are
    numbered as in the file. Raises ReaderError with file, line and column.

    Example
    -------
    >>> table = read_landt(Path("cell.csv"))  # doctest: +SKIP
    >>> np.unique(table.half_cycle)  # doctest: +SKIP
    array([0, 1, 2])
    """
    lines = read_lines(path)
    names_at = next(
        (
            k
            for k, line in enumerate(lines[:_HEADER_MAX])
            if set(_SIGNS) <= set(line.split(","))
        ),
        None,
    )
    if names_at is None:
        raise ForeignFile(
            f"{path}: not a LAND text export: no line names the columns "
            f"{', '.join(_SIGNS)}; line 1 is {lines[0][:40]!r}"
        )
    rows = TextRows.below(path, lines, names_at, ",")
    columns = {}
    for what, choices in {
        "time": _TIME,
        "potential": _POTENTIAL,
        "current": _CURRENT,
        "charge": _CHARGE,
        "discharge": _DISCHARGE,
    }.items():
        name, factor = rows.first_of(choices, what)
        columns[what] = rows.values(name) * factor
    cycle_number, step_index = rows.integers(*_CYCLE), rows.integers(*_STEP)
    new_step = steps_of(cycle_number, step_index)
    charged, discharged = (
        counted_increments(columns[what], new_step, source=str(path), name=what)
        for what in ("charge", "discharge")
    )
    increment = charged - discharged
    return CyclingTable(
        time_s=columns["time"],
        potential_v=columns["potential"],
        current_a=columns["current"],
        charge_mah=np.cumsum(increment),
        cycle_number=cycle_number,
        half_cycle=half_cycles(increment, columns["current"], new_step),
        source=str(path),
        technique="galvanostatic-cycling",
        started=_started(rows, columns["time"][0]),
        step_index=step_index,
    )


def _started(rows: TextRows, first_s: float) -> datetime | None:
    """Return when the first row was, less its test time."""
    text = rows.texts(_DATE)[0] if _DATE in rows else ""
    for form in _DATE_FORMATS:
        try:
            first = datetime.strptime(text, form)
        except ValueError:
            continue
        return first - timedelta(seconds=round(first_s))
    return None
