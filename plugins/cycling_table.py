"""One cell's cycling record as a table, whatever the instrument it came from."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryoline.plugins.errors import ReaderError

__all__ = ["CyclingTable"]


@dataclass(frozen=True, eq=False)
class CyclingTable:
    """Rows in time order; every array is (row,), finite and of one length.

    Current and charge are positive on oxidation. ``charge_mah`` is the instrument's
    own counter, cumulative over the whole record; ``charge_is_counted`` is False where
    the file has none and the current was integrated. ``half_cycle`` counts from 0, one
    more at each change of direction. ``step_index`` is the file's own number of the
    program's step, if it has one.

    Raises ReaderError that names the source and the column if something does not fit.
    """

    time_s: NDArray[np.float64]
    potential_v: NDArray[np.float64]
    current_a: NDArray[np.float64]
    charge_mah: NDArray[np.float64]
    cycle_number: NDArray[np.int64]
    half_cycle: NDArray[np.int64]
    source: str
    """Where it was read from, for messages and metadata."""
    technique: str
    started: datetime | None = None
    """When the acquisition started, in the instrument's own local time."""
    charge_is_counted: bool = True
    step_index: NDArray[np.int64] | None = None
    specimen: str | None = None
    """Whose record it is; a file does not say, a run does."""
    electrode_mass_mg: float | None = None
    retention_cycle: int | None = None
    """The cycle that capacity is compared with, if one was chosen."""
    reference_electrode: str | None = None
    """What the potentials are against, where the protocol says it: ``Li/Li+``."""

    def __post_init__(self) -> None:
        columns: dict[str, NDArray[Any]] = {
            field.name: getattr(self, field.name) for field in fields(self)[:6]
        }
        if self.step_index is not None:
            columns["step_index"] = self.step_index
        for name, column in columns.items():
            if column.ndim != 1 or column.size != self.time_s.size:
                raise ReaderError(
                    f"{self.source}: {name} has shape {column.shape}, time_s has "
                    f"{self.time_s.shape}; every column needs one value a row"
                )
            bad = np.flatnonzero(~np.isfinite(column))
            if bad.size:
                raise ReaderError(
                    f"{self.source}: {name} is {column[bad[0]]} in row {bad[0]}; "
                    "remove the row, or export the file again"
                )
        if not self.time_s.size:
            raise ReaderError(f"{self.source}: no rows; nothing was measured")
        back = np.flatnonzero(np.diff(self.time_s) < 0)
        if back.size:
            row = int(back[0]) + 1
            raise ReaderError(
                f"{self.source}: time_s runs back in row {row}, from "
                f"{self.time_s[row - 1]} s to {self.time_s[row]} s; "
                "give one record, in the order of time"
            )

    def __len__(self) -> int:
        return int(self.time_s.size)
