"""What becomes of a cell's capacity from cycle to cycle, and its resistance.

Pure kernels; charges are positive here, whatever their direction.
"""

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cryoline.analysis.columns import equal_columns
from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.voltammetry import Cycle

__all__ = [
    "RETENTION_CYCLE",
    "CapacityTrend",
    "IrDrop",
    "Trend",
    "capacity_trend",
    "ir_drop",
]

RETENTION_CYCLE: Final = 2
"""Capacity is compared with this cycle's unless another one is chosen: in the first,
silicon is still crystalline and the SEI takes its share."""

_SWITCHED: Final = 0.1
"""[A] assumption: a current was switched when it moved by this part of its largest."""

_NONE: Final = math.nan


class Trend(NamedTuple):
    """One cycle among those before it."""

    retention: float
    """Delithiation charge over the reference cycle's; NaN until that is complete."""
    ce_sum: float
    """Sum of the coulombic efficiencies so far; those that are NaN count as none."""
    lost_mah: float
    """Lithiation less delithiation charge, of all cycles so far."""


class CapacityTrend:
    """Compares each cycle with a chosen one, as they end.

    reference_cycle: its number, as in the record; raises KernelInputError below 0
    """

    def __init__(self, reference_cycle: int = RETENTION_CYCLE) -> None:
        if reference_cycle < 0:
            raise KernelInputError(
                f"reference cycle {reference_cycle}: cycles are numbered from 0 or 1; "
                "give the number of one"
            )
        self._number = reference_cycle
        self._reference_mah = math.nan
        self._ce_sum = 0.0
        self._lost_mah = 0.0

    def add(self, cycle: Cycle) -> Trend:
        """Take the next cycle that ended."""
        if cycle.cycle_number == self._number and cycle.complete:
            self._reference_mah = cycle.delithiation_mah or math.nan
        if math.isfinite(cycle.coulombic_efficiency):
            self._ce_sum += cycle.coulombic_efficiency
        self._lost_mah += cycle.lithiation_mah - cycle.delithiation_mah
        return Trend(
            cycle.delithiation_mah / self._reference_mah, self._ce_sum, self._lost_mah
        )


def capacity_trend(
    cycles: Iterable[Cycle], *, reference_cycle: int = RETENTION_CYCLE
) -> tuple[Trend, ...]:
    """Return every cycle's trend, in the order in which the cycles ended."""
    trend = CapacityTrend(reference_cycle)
    return tuple(trend.add(cycle) for cycle in cycles)


class IrDrop(NamedTuple):
    """What the potential does at the moment when the current is switched."""

    drop_v: float
    """Signed: potential of the first row after the switch less that before."""
    resistance_ohm: float
    lapse_s: float
    """Between the two rows: what relaxed meanwhile is in the drop."""


def ir_drop(time_s: ArrayLike, potential_v: ArrayLike, current_a: ArrayLike) -> IrDrop:
    """Return the first switch of the current in some rows; NaN if there is none.

    For a half cycle at constant current, give the row before its first one too. A row
    is the mean since the row before, so that a switch within a row is seen in part
    there and in part in the next: the drop is taken over both.
    """
    time, potential, current = equal_columns(
        float, time_s=time_s, potential_v=potential_v, current_a=current_a
    )
    good = np.isfinite(time) & np.isfinite(potential) & np.isfinite(current)
    time, potential, current = time[good], potential[good], current[good]
    if time.size < 2:
        return IrDrop(_NONE, _NONE, _NONE)
    steps = np.abs(np.diff(current))
    enough = _SWITCHED * float(np.abs(current).max())
    switched = np.flatnonzero((steps >= enough) & (steps > 0))
    if not switched.size:
        return IrDrop(_NONE, _NONE, _NONE)
    before = int(switched[0])
    after = before + 1
    while after < steps.size and steps[after] >= enough:
        after += 1
    drop_v = float(potential[after] - potential[before])
    return IrDrop(
        drop_v,
        drop_v / float(current[after] - current[before]),
        float(time[after] - time[before]),
    )
