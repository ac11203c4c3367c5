"""Keeps the points of the half cycle that goes on, until it is over."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["HalfCycleRows"]

_COLUMNS: Final = ("instrument_time_s", "potential_v", "current_a", "charge_mah")


class HalfCycleRows:
    """Rows as (column, row): time s, potential V, current A, counter mAh.

    Pages are joined once, when a half cycle ends, not at each page.
    """

    def __init__(self) -> None:
        self._pages: list[NDArray[np.float64]] = []
        self._before: NDArray[np.float64] = np.empty((len(_COLUMNS), 0))

    def add(self, points: Mapping[str, Any]) -> None:
        """Take the next page."""
        page = np.array([points[name] for name in _COLUMNS], dtype=float)
        self._pages.append(page)

    def take(self, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the row before the oldest, if there was one, and the oldest rows."""
        only_one = len(self._pages) == 1
        joined = self._pages[0] if only_one else np.hstack(self._pages)
        rows, rest = joined[:, :count], joined[:, count:]
        self._pages = [rest] if rest.size else []
        before, self._before = self._before, rows[:, -1:]
        return before, rows
