"""What BioLogic's columns mean, whichever of EC-Lab's files they come from.

Signs are BioLogic's, which are ours: oxidation is positive.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoline.plugins.cycling_table import CyclingTable
from cryoline.plugins.errors import ReaderError

__all__ = ["TIME", "BiologicColumns", "table_of"]

TIME: Final = {"time/s": 1.0}
_POTENTIAL: Final = {"Ewe/V": 1.0, "<Ewe>/V": 1.0, "Ecell/V": 1.0}
_CURRENT: Final = {"<I>/mA": 1e-3, "I/mA": 1e-3, "<I>/A": 1.0, "I/A": 1.0}
_CHARGE: Final = {"(Q-Qo)/mA.h": 1.0, "(Q-Qo)/C": 1 / 3.6}
_INCREMENT: Final = {"dq/mA.h": 1.0, "dQ/mA.h": 1.0, "dQ/C": 1 / 3.6, "dq/C": 1 / 3.6}

_REVERSAL: Final = 0.02
"""[A] assumption: a scan has turned when it came back by this part of its span."""


class BiologicColumns(NamedTuple):
    """The columns of one file, by EC-Lab's names, and what stands beside them."""

    source: str
    columns: Mapping[str, NDArray[np.float64]]
    technique: str
    started: datetime | None
    where: str
    """Of the column names, for messages."""
    remedy: str
    """What to do about a column that is missing."""


def table_of(file: BiologicColumns) -> CyclingTable:
    """Return the table that the columns say.

    The counter is the sum of the file's own charge increments (`dq`), or its
    cumulative charge (`Q-Qo`) where it has none; `Q charge/discharge` starts anew in
    each half cycle and is not used. Half cycles and cycles are the file's where it
    names them. Else a voltammogram's half cycle is a sweep, from one reversal of the
    control potential to the next (its `ox/red` is the sign of the current, which
    changes in mid-sweep); any other technique's follows `ox/red`; and two half cycles
    make a cycle.

    Raises ReaderError if a column is missing.
    """
    half_cycle = _half_cycle(file)
    if "cycle number" in file.columns:
        cycle_number = _integers(file.columns["cycle number"])
    elif "half cycle" in file.columns:
        cycle_number = half_cycle // 2  # as EC-Lab counts when it exports them
    else:
        cycle_number = 1 + half_cycle // 2
    return CyclingTable(
        time_s=_required(file, TIME),
        potential_v=_required(file, _POTENTIAL),
        current_a=_required(file, _CURRENT),
        charge_mah=_counter(file),
        cycle_number=cycle_number,
        half_cycle=half_cycle,
        source=file.source,
        technique=file.technique,
        started=file.started,
        step_index=_integers(file.columns["Ns"]) if "Ns" in file.columns else None,
    )


def _required(
    file: BiologicColumns, choices: Mapping[str, float]
) -> NDArray[np.float64]:
    """Return the first of the columns that the file has, in our unit."""
    for name, factor in choices.items():
        if name in file.columns:
            return file.columns[name] * factor
    raise ReaderError(
        f"{file.where}: no column {' or '.join(repr(name) for name in choices)}; "
        f"{file.remedy}"
    )


def _counter(file: BiologicColumns) -> NDArray[np.float64]:
    """Return the charge since the first row's interval began, mAh."""
    for name, factor in _INCREMENT.items():
        if name in file.columns:
            return np.cumsum(file.columns[name]) * factor
    return _required(file, _INCREMENT | _CHARGE)


def _half_cycle(file: BiologicColumns) -> NDArray[np.int64]:
    if "half cycle" in file.columns:
        return _integers(file.columns["half cycle"])
    if file.technique == "cyclic-voltammetry":
        return _sweeps(_required(file, {"control/V": 1.0} | _POTENTIAL))
    direction = _required(file, {"ox/red": 1.0})
    return np.cumsum(np.diff(direction, prepend=direction[:1]) != 0).astype(np.int64)


def _sweeps(potential_v: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number the sweeps of a scan; each ends at its outermost potential."""
    back_v = _REVERSAL * np.ptp(potential_v)
    number = np.zeros(potential_v.size, dtype=np.int64)
    low = high = 0
    direction = 0
    for k, potential in enumerate(potential_v):
        high = k if potential >= potential_v[high] else high
        low = k if potential <= potential_v[low] else low
        if direction >= 0 and potential < potential_v[high] - back_v:
            number[high + 1 :] += direction  # the first sweep turned from nothing
            direction, low = -1, k
        elif direction <= 0 and potential > potential_v[low] + back_v:
            number[low + 1 :] -= direction
            direction, high = 1, k
    return number


def _integers(column: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(column).astype(np.int64)
