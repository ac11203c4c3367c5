"""Charges of cycles and half cycles, summed as the rows come in.

Pure kernels: arrays in, named tuples out. Signs as everywhere: oxidation
(delithiation) current and charge are positive, lithiation is negative.
Each recorded row is the mean since the row before it, so the charge, the time
and the current of a row all belong to the interval that *ends* there.
"""

import math
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.columns import equal_columns
from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.voltammogram import (
    MINIMUM_PROMINENCE,
    SMOOTHING_V,
    Peak,
    scan_rate_mv_per_s,
    voltammogram_peaks,
)

__all__ = [
    "CE_FLAG_ABOVE",
    "COUNTER_FLOOR_MAH",
    "COUNTER_TOLERANCE",
    "MINIMUM_PROMINENCE",
    "SMOOTHING_V",
    "Completed",
    "Cycle",
    "CycleAccumulator",
    "HalfCycle",
    "Peak",
    "cycle_charges",
    "scan_rate_mv_per_s",
    "voltammogram_peaks",
]

CE_FLAG_ABOVE: Final = 1.005
"""A coulombic efficiency above this is flagged: more out than ever went in."""

COUNTER_TOLERANCE: Final = 0.01
"""Counter and integral may differ by this part of the larger of the two charges."""

COUNTER_FLOOR_MAH: Final = 1e-5
"""[A] assumption: the noise of a current near zero may integrate to this much."""

_MAH_PER_COULOMB: Final = 1 / 3.6

# Places in a tally.
_LITHIATION, _DELITHIATION, _INTEGRAL_LITHIATION, _INTEGRAL_DELITHIATION = range(4)


class HalfCycle(NamedTuple):
    """One half cycle: the rows between two changes of direction."""

    half_cycle: int
    cycle_number: int
    """The cycle that its first row belongs to."""
    charge_mah: float
    """Net, by the instrument's counter."""
    integral_mah: float
    """Net, by current times time: a cross-check."""
    counter_disagrees: bool
    charge_mah_per_g: float
    """NaN when the electrode's mass is not known."""
    points: int
    time_start_s: float
    time_end_s: float
    complete: bool
    """Whether it came to its end; False for the torso of an interrupted run."""


class Cycle(NamedTuple):
    """One cycle; both charges are positive."""

    cycle_number: int
    lithiation_mah: float
    delithiation_mah: float
    coulombic_efficiency: float
    """Delithiation / lithiation charge of this cycle; NaN without lithiation."""
    ce_flag: bool
    integral_lithiation_mah: float
    integral_delithiation_mah: float
    counter_disagrees: bool
    lithiation_mah_per_g: float
    delithiation_mah_per_g: float
    points: int
    time_start_s: float
    time_end_s: float
    complete: bool


class Completed(NamedTuple):
    """What ended within the rows just added, each in the order of its end."""

    half_cycles: tuple[HalfCycle, ...]
    cycles: tuple[Cycle, ...]


class _Open:
    """The sums of a half cycle or cycle that has not ended."""

    def __init__(self, number: int, cycle_number: int, start_s: float) -> None:
        self.number = number
        self.cycle_number = cycle_number
        self.tally: NDArray[np.float64] = np.zeros(4)
        self.points = 0
        self.start_s = start_s
        self.end_s = start_s

    def disagrees(self) -> bool:
        counter, integral = self.tally[:2], self.tally[2:]
        allowed = COUNTER_TOLERANCE * counter.max() + COUNTER_FLOOR_MAH
        return not bool(np.abs(counter - integral).max() <= allowed)


class CycleAccumulator:
    """Sum charges row by row, and hand out each half cycle and cycle as it ends.

    The result is the same to the last bit whatever the page boundaries: rows are
    summed one after the other, never pairwise.

    electrode_mass_mg: for charges per gram; None gives NaN there.
    counter_start_mah: the counter before the first row: 0 for a counter that counts
        from the start of the program; None when the first row is only the reference.

    A row whose counter or time is not finite is passed over (its charge is in the next
    row's counter); a current that is not finite is missing from the integral, which
    the flag then shows.
    """

    def __init__(
        self,
        *,
        electrode_mass_mg: float | None = None,
        counter_start_mah: float | None = 0.0,
    ) -> None:
        if electrode_mass_mg is not None and not electrode_mass_mg > 0:
            raise KernelInputError(
                f"electrode mass {electrode_mass_mg} mg is not above 0 mg; "
                "give the active mass, or None when it is not known"
            )
        self._per_g = 1e3 / electrode_mass_mg if electrode_mass_mg else math.nan
        start = math.nan if counter_start_mah is None else counter_start_mah
        # Counter and time at the end of the row before.
        self._before = np.array([start, math.nan])
        self._half: _Open | None = None
        self._cycle: _Open | None = None

    def add(
        self,
        *,
        instrument_time_s: ArrayLike,
        current_a: ArrayLike,
        charge_mah: ArrayLike,
        cycle_number: ArrayLike,
        half_cycle: ArrayLike,
    ) -> Completed:
        """Take the next rows; return what ended before the last of them.

        All 1-D and of one length. Raises KernelInputError otherwise.
        """
        time, current, charge = equal_columns(
            float,
            instrument_time_s=instrument_time_s,
            current_a=current_a,
            charge_mah=charge_mah,
        )
        cycle, half = equal_columns(
            int, cycle_number=cycle_number, half_cycle=half_cycle
        )
        if cycle.size != time.size:
            raise KernelInputError(
                f"cycle_number has {cycle.size} rows, instrument_time_s {time.size}; "
                "give columns of one length"
            )
        half_cycles: list[HalfCycle] = []
        cycles: list[Cycle] = []
        changes = np.flatnonzero((np.diff(cycle) != 0) | (np.diff(half) != 0)) + 1
        edges = [0, *changes.tolist(), time.size] if time.size else []
        for first, last in pairwise(edges):
            rows = slice(first, last)
            at_half, at_cycle = int(half[first]), int(cycle[first])
            if self._half is not None and self._half.number != at_half:
                half_cycles.append(self._half_cycle(self._half, complete=True))
                self._half = None
            if self._cycle is not None and self._cycle.number != at_cycle:
                cycles.append(self._whole_cycle(self._cycle, complete=True))
                self._cycle = None
            before_s = float(self._before[1])
            start_s = float(time[first]) if math.isnan(before_s) else before_s
            if self._half is None:
                self._half = _Open(at_half, at_cycle, start_s)
            if self._cycle is None:
                self._cycle = _Open(at_cycle, at_cycle, start_s)
            _add_rows(
                time[rows],
                current[rows],
                charge[rows],
                self._before,
                (self._half.tally, self._cycle.tally),
            )
            for part in (self._half, self._cycle):
                part.points += last - first
                part.end_s = float(self._before[1])
        return Completed(tuple(half_cycles), tuple(cycles))

    def finish(self, *, complete: bool = True) -> Completed:
        """End the half cycle and the cycle that are open, and return them.

        complete: whether the program came to its own end.
        """
        half, self._half = self._half, None
        cycle, self._cycle = self._cycle, None
        return Completed(
            () if half is None else (self._half_cycle(half, complete=complete),),
            () if cycle is None else (self._whole_cycle(cycle, complete=complete),),
        )

    def _half_cycle(self, part: _Open, *, complete: bool) -> HalfCycle:
        q = part.tally.tolist()
        net_mah = q[_DELITHIATION] - q[_LITHIATION]
        return HalfCycle(
            half_cycle=part.number,
            cycle_number=part.cycle_number,
            charge_mah=net_mah,
            integral_mah=q[_INTEGRAL_DELITHIATION] - q[_INTEGRAL_LITHIATION],
            counter_disagrees=part.disagrees(),
            charge_mah_per_g=net_mah * self._per_g,
            points=part.points,
            time_start_s=part.start_s,
            time_end_s=part.end_s,
            complete=complete,
        )

    def _whole_cycle(self, part: _Open, *, complete: bool) -> Cycle:
        q = part.tally.tolist()
        efficiency = q[_DELITHIATION] / q[_LITHIATION] if q[_LITHIATION] else math.nan
        return Cycle(
            cycle_number=part.number,
            lithiation_mah=q[_LITHIATION],
            delithiation_mah=q[_DELITHIATION],
            coulombic_efficiency=efficiency,
            ce_flag=efficiency > CE_FLAG_ABOVE,
            integral_lithiation_mah=q[_INTEGRAL_LITHIATION],
            integral_delithiation_mah=q[_INTEGRAL_DELITHIATION],
            counter_disagrees=part.disagrees(),
            lithiation_mah_per_g=q[_LITHIATION] * self._per_g,
            delithiation_mah_per_g=q[_DELITHIATION] * self._per_g,
            points=part.points,
            time_start_s=part.start_s,
            time_end_s=part.end_s,
            complete=complete,
        )


def cycle_charges(
    *,
    instrument_time_s: ArrayLike,
    current_a: ArrayLike,
    charge_mah: ArrayLike,
    cycle_number: ArrayLike,
    half_cycle: ArrayLike,
    electrode_mass_mg: float | None = None,
    counter_start_mah: float | None = 0.0,
) -> Completed:
    """Return every half cycle and cycle of a whole record, the last ones included."""
    accumulator = CycleAccumulator(
        electrode_mass_mg=electrode_mass_mg, counter_start_mah=counter_start_mah
    )
    ended = accumulator.add(
        instrument_time_s=instrument_time_s,
        current_a=current_a,
        charge_mah=charge_mah,
        cycle_number=cycle_number,
        half_cycle=half_cycle,
    )
    last = accumulator.finish()
    return Completed(
        ended.half_cycles + last.half_cycles,
        ended.cycles + last.cycles,
    )


def _add_rows(
    time_s: NDArray[np.float64],
    current_a: NDArray[np.float64],
    charge_mah: NDArray[np.float64],
    before: NDArray[np.float64],
    tallies: tuple[NDArray[np.float64], ...],
) -> None:
    """Add each row's increments to every tally, one row after the other.

    An accumulated sum is sequential, unlike np.sum, and so doesn't depend on where a
    page ends; being numpy's own loop, it also needs no compiler at start-up.
    """
    good = np.isfinite(charge_mah) & np.isfinite(time_s)
    if not good.any():
        return
    time, charge = time_s[good], charge_mah[good]
    passed_mah = np.diff(charge, prepend=before[0])
    lapse_s = np.diff(time, prepend=before[1])
    area_mah = current_a[good] * lapse_s * _MAH_PER_COULOMB
    for tally in tallies:
        for place, part in (
            (_LITHIATION, -passed_mah),
            (_DELITHIATION, passed_mah),
            (_INTEGRAL_LITHIATION, -area_mah),
            (_INTEGRAL_DELITHIATION, area_mah),
        ):
            # Only positive parts count; a NaN is not above 0 and counts as none.
            steps = np.where(part > 0, part, 0.0)
            tally[place] = np.add.accumulate(np.append(tally[place], steps))[-1]
    before[:] = charge[-1], time[-1]
