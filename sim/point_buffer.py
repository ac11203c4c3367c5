"""The instrument's memory of recorded points, kept until the next program."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.ioc.points import COLUMNS, PAGE_ROWS

__all__ = ["COLUMNS", "PAGE_ROWS", "POINTS_MAX", "PointBuffer"]

POINTS_MAX: Final = 2_000_000
"""[A] size of the instrument's memory, 160 MB here."""


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

    def append(self, rows: NDArray[np.float64]) -> None:
        """Add rows of every column but the index, which is given here."""
        end = self._count + len(rows)
        if end > len(self._rows):
            grown = np.empty((max(end, 2 * len(self._rows)), len(COLUMNS)))
            grown[: self._count] = self.rows
            self._rows = grown
        self._rows[self._count : end, 0] = np.arange(self._count, end)
        self._rows[self._count : end, 1:] = rows
        self._count = end

    def page(self, first: int) -> NDArray[np.float64]:
        """Return up to PAGE_ROWS points from `first` on."""
        return self._rows[first : min(first + PAGE_ROWS, self._count)]
