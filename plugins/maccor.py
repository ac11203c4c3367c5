"""Reads the text export (.txt) of Maccor cyclers.

Lines about the test, a line of column names, rows parted by tabs. Current and counter
have no sign, the column State does: C charges, D discharges. The counter begins anew
with each step.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.plugins.cycling_table import CyclingTable
from cryoline.plugins.directions import counted_increments, half_cycles, steps_of
from cryoline.plugins.errors import ForeignFile, ReaderError
from cryoline.plugins.text_rows import TextRows, read_lines

__all__ = ["read_maccor"]

_CHARGES: Final = {"C": 1.0, "D": -1.0}
_TIME: Final = {"TestTime": None, "Test (Sec)": None}
_SIGNS: Final = ("Rec#", "Cyc#", "Step", "Amp-hr", "Amps", "Volts", "State")
_HEADER_MAX: Final = 100
_CLOCK: Final = re.compile(r"(?:(\d+)d\s+)?(\d+):(\d+):(\d+(?:\.\d*)?)$")
_STARTED: Final = re.compile(r"Date of Test:\s*([^\t\n]+)")
_STARTED_FORMATS: Final = (
    "%d %B %Y, %I:%M:%S %p",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y",
)


def read_maccor(path: Path) -> CyclingTable:
    """Read one Maccor text export.

    Charging, which delithiates an anode half cell, is positive. Cycles and steps are
    numbered as in the file; a Maccor cycle may be 0 from beginning to end. Raises
    ReaderError with file, line and column.

    Example
    -------
    >>> len(read_maccor(Path("cell.txt")))  # doctest: +SKIP
    6704
    """
    lines = read_lines(path)
    names_at = next(
        (
            k
            for k, line in enumerate(lines[:_HEADER_MAX])
            if set(_SIGNS) <= {name.strip() for name in line.split("\t")}
        ),
        None,
    )
    if names_at is None:
        raise ForeignFile(
            f"{path}: not a Maccor text export: no line names the columns "
            f"{', '.join(_SIGNS)}; line 1 is {lines[0][:40]!r}"
        )
    rows = TextRows.below(path, lines, names_at, "\t")
    time, _ = rows.first_of(_TIME, "time since the test began")
    states = rows.texts("State")
    sign = np.array([_CHARGES.get(state, 0.0) for state in states])
    cycle_number, step_index = rows.integers("Cyc#"), rows.integers("Step")
    new_step = steps_of(cycle_number, step_index)
    passed = 1e3 * counted_increments(
        rows.values("Amp-hr"), new_step, source=str(path), name="Amp-hr"
    )
    magnitude = np.abs(rows.values("Amps"))
    _check_states(rows, states, (passed, magnitude))
    increment = sign * passed
    current_a = sign * magnitude
    return CyclingTable(
        time_s=rows.values(time, _seconds),
        potential_v=rows.values("Volts"),
        current_a=current_a,
        charge_mah=np.cumsum(increment),
        cycle_number=cycle_number,
        half_cycle=half_cycles(increment, current_a, new_step),
        source=str(path),
        technique="galvanostatic-cycling",
        started=_started(lines[:names_at]),
        step_index=step_index,
    )


def _seconds(text: str) -> float:
    """Return a time as seconds.

    >>> _seconds("2d 02:52:51.5")
    183171.5
    """
    match = _CLOCK.match(text)
    if match is None:
        return float(text)
    days, hours, minutes, seconds = match.groups()
    return (
        (int(days or 0) * 24 + int(hours)) * 3600 + int(minutes) * 60 + float(seconds)
    )


def _check_states(
    rows: TextRows, states: list[str], moved: tuple[NDArray[np.float64], ...]
) -> None:
    """Raise ReaderError where something flows in a state without a direction."""
    for k, state in enumerate(states):
        if state not in _CHARGES and any(column[k] != 0 for column in moved):
            raise ReaderError(
                f"{rows.path}, line {rows.first_line + k}: a current flows in state "
                f"{state!r}, which is neither C (charge) nor D (discharge); "
                "its direction is not known"
            )


def _started(header: list[str]) -> datetime | None:
    match = _STARTED.search("\n".join(header))
    if match is None:
        return None
    for form in _STARTED_FORMATS:
        try:
            return datetime.strptime(match[1].strip(), form)
        except ValueError:
            continue
    return None
