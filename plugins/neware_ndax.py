"""Reads Neware's binary files (.nda, .ndax), through NewareNDA (the extra `neware`)."""

from pathlib import Path
from typing import Any, Final

import NewareNDA
import numpy as np
from numpy.typing import NDArray

from cryoline.plugins.cycling_table import CyclingTable
from cryoline.plugins.directions import counted_increments, half_cycles, steps_of
from cryoline.plugins.errors import ForeignFile, ReaderError

__all__ = ["read_neware"]

_FIRST_BYTES: Final = {".ndax": b"PK", ".nda": b"NEWARE"}


def read_neware(path: Path) -> CyclingTable:
    """Read one Neware file.

    Charging, which delithiates an anode half cell, is positive. Charge and discharge
    have a counter each, which begins anew with every step, as their time does. Cycles
    are numbered as the cycler did, not as its software shows them on request.

    Raises ReaderError if NewareNDA can't take the file.

    Example
    -------
    >>> len(read_neware(Path("cell.ndax")))  # doctest: +SKIP
    1464
    """
    first = _FIRST_BYTES.get(path.suffix.lower())
    with path.open("rb") as content:
        begins = content.read(6)
    if first is not None and not begins.startswith(first):
        raise ForeignFile(f"{path}: not a Neware file: begins with {begins!r}")
    try:
        rows = NewareNDA.read(str(path), software_cycle_number=False, log_level="ERROR")
        columns = {name: rows[name].to_numpy() for name in rows}
        return _table(path, columns)
    except ReaderError:
        raise
    except Exception as error:
        # Whatever stumbles in a parser of an undocumented format.
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ReaderError(
            f"{path}: NewareNDA can't read it: {said}; "
            "export it again, or from Neware's program to a format that can be read"
        ) from error


def _table(path: Path, columns: dict[str, NDArray[Any]]) -> CyclingTable:
    cycle_number = columns["Cycle"].astype(np.int64)
    step = columns["Step"].astype(np.int64)
    new_step = steps_of(cycle_number, step)
    charged, discharged = (
        counted_increments(
            columns[f"{name}_Capacity(mAh)"].astype(float),
            new_step,
            source=str(path),
            name=name,
        )
        for name in ("Charge", "Discharge")
    )
    increment = charged - discharged
    current_a = 1e-3 * columns["Current(mA)"].astype(float)
    moments = columns["Timestamp"]
    return CyclingTable(
        time_s=_test_time(columns["Time"].astype(float), moments, new_step),
        potential_v=columns["Voltage"].astype(float),
        current_a=current_a,
        charge_mah=np.cumsum(increment),
        cycle_number=cycle_number,
        half_cycle=half_cycles(increment, current_a, new_step),
        source=str(path),
        technique="galvanostatic-cycling",
        started=moments[0].astype("datetime64[us]").item(),
        step_index=columns["Step_Index"].astype(np.int64),
    )


def _test_time(
    in_step_s: NDArray[np.float64],
    moments: NDArray[Any],
    new_step: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the time since the first row; within a step its own, finer clock's."""
    since_s = (moments - moments[0]) / np.timedelta64(1, "s")
    first = np.flatnonzero(np.r_[True, new_step[1:]])[np.cumsum(new_step)]
    time_s = since_s[first] + in_step_s - in_step_s[first]
    # A step's moment is known to a second: it begins no earlier than the last ended.
    return np.maximum.accumulate(time_s)
