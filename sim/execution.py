"""Running a program on a simulated cell."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.sim.cell import SiliconHalfCell
from cryoline.sim.cell_parameters import C_PER_MAH
from cryoline.sim.cell_state import (
    CURRENT_CONTROL,
    CURRENT_TOO_HIGH,
    ELAPSED_S,
    OPEN_CIRCUIT,
    POTENTIAL_CONTROL,
    POTENTIAL_TOO_LOW,
    PROGRESS_SIZE,
    RECORDED_V,
    ROWS_FULL,
    STEP_DONE,
    SUB_STEP_S,
    TIME_UP,
    Limits,
    Segment,
)
from cryoline.sim.measurement import Digitiser
from cryoline.sim.point_buffer import COLUMNS, POINTS_MAX, PointBuffer
from cryoline.sim.program_steps import (
    ConstantCurrent,
    OpenCircuit,
    Program,
    VoltageScan,
)
from cryoline.sim.source import Reading
from cryoline.sim.step_walk import Forecast, forecast, walk

__all__ = ["CellExecution"]

_SUB_STEP_S: Final = 1.0  # 0.2 mV at 0.2 mV/s; the model is converged there
_STAIR_V: Final = 1e-3  # a scan is a staircase of at most this
_BLOCK_ROWS: Final = 4096


class CellExecution:
    """A program running on a cell."""

    def __init__(
        self,
        program: Program,
        cell: SiliconHalfCell,
        start_s: float,
        points: PointBuffer,
        rng: np.random.Generator,
    ) -> None:
        self.ended = False
        self.failure = ""
        self.elapsed_s = 0.0
        self._program = program
        self._cell = cell
        self._start_s = start_s
        self._points = points
        safety = program.safety
        self._digitiser = Digitiser(
            rng,
            potential_max_v=max(abs(safety.potential_min_v), safety.potential_max_v),
        )
        self._limits = Limits(
            safety.potential_min_v,
            safety.potential_max_v,
            safety.current_max_a,
            program.record.dv_v,
            program.record.dt_s,
        )
        self._forecast: Forecast = forecast(program, cell.potential_v)
        self._walk: Iterator[int] = walk(program.steps)
        self._rows = np.empty((_BLOCK_ROWS, 4))
        self._progress = np.zeros(PROGRESS_SIZE)
        self._segment: Segment | None = None
        self._step_start_s = 0.0
        self._step_index = 0
        self._steps_done = 0
        self._cycle = 1
        self._half_cycle = 0
        self._direction = 0.0
        self._cycle_seen = False
        self._overload = False
        self._start_mah = cell.charge_mah
        self._cycle_base_mah = (cell.lithiation_mah, cell.delithiation_mah)

    def advance(self, available_s: float, points_max: int) -> None:
        """Compute up to `available_s`, or until the buffer holds `points_max`."""
        while not self.ended:
            if self._segment is None:
                self._enter_next()
                continue
            room = min(points_max, POINTS_MAX) - len(self._points)
            if room <= 0:
                if points_max >= POINTS_MAX:
                    self._fail(f"the point memory ({POINTS_MAX} points) is full")
                return
            rows = self._rows[:room]
            count, reason = self._cell.drive(
                self._segment,
                self._limits,
                self._progress,
                available_s - self._step_start_s,
                rows,
            )
            if count:
                self._store(rows[:count])
            self.elapsed_s = self._step_start_s + float(self._progress[ELAPSED_S])
            if reason == TIME_UP:
                return
            if reason == STEP_DONE:
                self._segment = None
                self._steps_done += 1
                self._step_start_s = self.elapsed_s
            elif reason != ROWS_FULL:
                self._fail(self._trip_text(reason))

    def reading(self) -> Reading:
        """Return the display."""
        potential_v, current_a = self._digitiser.read(
            self._cell.potential_v, self._cell.current_a
        )
        return Reading(
            potential_v,
            current_a,
            self._cell.charge_mah - self._start_mah,
            self._digitiser.range_a,
            self._cycle,
            self._half_cycle,
            self._step_index,
            self._overload,
        )

    def progress_percent(self) -> float:
        """Return how much is done, 0..100, by time if that is known, else by steps."""
        if self.ended and not self.failure:
            return 100.0
        if self._forecast.exact and self._forecast.total_s > 0:
            return min(100.0, 100.0 * self.elapsed_s / self._forecast.total_s)
        return 100.0 * self._steps_done / self._forecast.steps

    def remaining_s(self) -> float:
        """Return the time still needed; only a lower bound if the end is open."""
        if self.ended:
            return 0.0
        return max(0.0, self._forecast.total_s - self.elapsed_s)

    def cycle_charges_mah(self) -> tuple[float, float]:
        """Return lithiation and delithiation of the present cycle (truth)."""
        return (
            self._cell.lithiation_mah - self._cycle_base_mah[0],
            self._cell.delithiation_mah - self._cycle_base_mah[1],
        )

    def _enter_next(self) -> None:
        index = next(self._walk, None)
        if index is None:
            self.ended = True
            return
        self._step_index = index
        if index == self._program.cycle_starts_at_step:
            if self._cycle_seen:
                self._cycle += 1
                self._cycle_base_mah = (
                    self._cell.lithiation_mah,
                    self._cell.delithiation_mah,
                )
            self._cycle_seen = True
        self._segment, sub_step_s = self._segment_of(index)
        direction = float(np.sign(self._segment.slope_per_s))
        if self._segment.control == CURRENT_CONTROL:
            direction = float(np.sign(self._segment.start))
            self._digitiser.preset_range(self._segment.start)
        if direction and self._direction and direction != self._direction:
            self._half_cycle += 1
        self._direction = direction or self._direction
        self._progress[:] = 0.0
        self._progress[SUB_STEP_S] = sub_step_s
        self._progress[RECORDED_V] = self._cell.potential_v

    def _segment_of(self, index: int) -> tuple[Segment, float]:
        step = self._program.steps[index]
        record = self._program.record
        sub_step_s = min(_SUB_STEP_S, record.dt_s)
        if isinstance(step, VoltageScan):
            start_v = self._cell.potential_v if step.start_v is None else step.start_v
            rate = step.rate_mv_per_s * 1e-3 * float(np.sign(step.end_v - start_v))
            duration_s = (step.end_v - start_v) / rate if rate else 0.0
            stair_v = min(_STAIR_V, record.dv_v)
            sub_step_s = min(sub_step_s, stair_v / (step.rate_mv_per_s * 1e-3))
            segment = Segment(POTENTIAL_CONTROL, start_v, rate, duration_s, -np.inf)
        elif isinstance(step, ConstantCurrent):
            never = float(np.copysign(np.inf, step.current_a))
            until_v = step.until_potential_v
            segment = Segment(
                CURRENT_CONTROL,
                step.current_a,
                0.0,
                step.until_duration_s or np.inf,
                never if until_v is None else until_v,
            )
        elif isinstance(step, OpenCircuit):
            segment = Segment(OPEN_CIRCUIT, 0.0, 0.0, step.duration_s, -np.inf)
        else:
            raise TypeError(f"step {index} can't be run: {step!r}")
        return segment, sub_step_s

    def _store(self, rows: NDArray[np.float64]) -> None:
        potential_v, current_a, range_a, overload = self._digitiser.measure(
            rows[:, 1], rows[:, 2]
        )
        points = np.empty((len(rows), len(COLUMNS) - 1))
        points[:, 0] = self._start_s + self._step_start_s + rows[:, 0]
        points[:, 1] = potential_v
        points[:, 2] = current_a
        points[:, 3] = rows[:, 3] / C_PER_MAH - self._start_mah
        points[:, 4] = self._cycle
        points[:, 5] = self._half_cycle
        points[:, 6] = self._step_index
        points[:, 7] = range_a
        points[:, 8] = overload
        self._points.append(points)
        self._overload = bool(overload[-1])

    def _trip_text(self, reason: int) -> str:
        if reason == CURRENT_TOO_HIGH:
            found, limit, unit = self._cell.current_a, self._limits.current_max_a, "A"
        elif reason == POTENTIAL_TOO_LOW:
            found, limit, unit = (
                self._cell.potential_v,
                self._limits.potential_min_v,
                "V",
            )
        else:
            found, limit, unit = (
                self._cell.potential_v,
                self._limits.potential_max_v,
                "V",
            )
        return f"{found:.6g} {unit} passed the safety limit {limit:g} {unit}"

    def _fail(self, why: str) -> None:
        self.ended = True
        self.failure = (
            f"potentiostat: {why} in step {self._step_index} "
            f"(cycle {self._cycle}) after {self.elapsed_s:.0f} s; "
            "the cell is at open circuit"
        )
