"""The instrument's memory of recorded points, kept until the next program."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.ioc.points import COLUMNS, PAGE_ROWS

__all__ = ["COLUMNS", "PAGE_ROWS", "POINTS_MAX", "PointBuffer"]

POINTS_MAX: Final = 2_000_000
"""[A] size of the instrument's memory, 240 MB here."""


class PointBuffer:
    """Rows of COLUMNS that only grow."""

    def __init__(self) -> None:
        self._rows = np.empty((1024, len(COLUMNS)))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> NDArray[np.float64]:
        """All points, (n, columns); a view that must not be changed."""
        return self._rows[: self._count]

    def append(
        self, *, instrument_time_s: NDArray[np.float64], **columns: ArrayLike
    ) -> None:
        """Add points by their columns; the index is given here.

        A column that is not given is 0, but `contact`: the cell is connected.
        """
        end = self._count + len(instrument_time_s)
        if end > len(self._rows):
            grown = np.empty((max(end, 2 * len(self._rows)), len(COLUMNS)))
            grown[: self._count] = self.rows
            self._rows = grown
        new = self._rows[self._count : end]
        new[:] = 0.0
        values = {"contact": 1.0, "instrument_time_s": instrument_time_s, **columns}
        for name, value in values.items():
            new[:, COLUMNS.index(name)] = value
        new[:, 0] = np.arange(self._count, end)
        self._count = end

    def page(self, first: int) -> NDArray[np.float64]:
        """Return up to PAGE_ROWS points from `first` on."""
        return self._rows[first : min(first + PAGE_ROWS, self._count)]
