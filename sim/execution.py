"""Running a program on a simulated cell."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.sim.cell import SiliconHalfCell
from cryoline.sim.cell_parameters import C_PER_MAH
from cryoline.sim.cell_state import (
    CHARGE_C,
    CHARGE_TOO_HIGH,
    CURRENT_CONTROL,
    CURRENT_TOO_HIGH,
    ELAPSED_S,
    POTENTIAL_TOO_LOW,
    PROGRESS_SIZE,
    RECORDED_A,
    RECORDED_V,
    ROWS_FULL,
    STEP_DONE,
    SUB_STEP_S,
    TIME_UP,
    Limits,
)
from cryoline.sim.cycle_count import CycleCount
from cryoline.sim.impedance import impedance_ohm
from cryoline.sim.measurement import Digitiser
from cryoline.sim.point_buffer import POINTS_MAX, PointBuffer
from cryoline.sim.program_steps import Program
from cryoline.sim.source import Reading
from cryoline.sim.step_walk import Forecast, forecast, walk
from cryoline.sim.stretches import Stretch, stretches_of

__all__ = ["CellExecution"]

_BLOCK_ROWS: Final = 4096
_DRIVEN: Final = 0.99  # of a set current; with less the instrument is at its limit


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
        self._start_mah = cell.charge_mah
        self._limits = _limits(program, self._counter_c)
        self._forecast: Forecast = forecast(program, cell.potential_v)
        self._walk: Iterator[int] = walk(program.steps)
        self._count = CycleCount(program, cell)
        self._rows = np.empty((_BLOCK_ROWS, 4))
        self._progress = np.zeros(PROGRESS_SIZE)
        self._stretches: list[Stretch] = []  # of the step that runs, the next first
        self._begun = False  # the first of them
        self._stretch_start_s = 0.0
        self._step_index = 0
        self._steps_done = 0
        self._overload = self._compliance = False

    def advance(self, available_s: float, points_max: int) -> None:
        """Compute up to `available_s`, or until the buffer holds `points_max`."""
        while not self.ended:
            if not self._stretches:
                self._enter_next_step()
                continue
            room = min(points_max, POINTS_MAX) - len(self._points)
            if room <= 0:
                if points_max >= POINTS_MAX:
                    self._fail(f"the point memory ({POINTS_MAX} points) is full")
                return
            stretch = self._stretches[0]
            if not self._begun:
                self._begin(stretch)
            rows = self._rows[:room]
            count, reason = self._cell.drive(
                stretch.segment,
                self._limits,
                self._progress,
                available_s - self._stretch_start_s,
                rows,
            )
            if count:
                self._store(rows[:count], stretch, done=reason == STEP_DONE)
            self.elapsed_s = self._stretch_start_s + float(self._progress[ELAPSED_S])
            if reason == TIME_UP:
                return
            if reason == STEP_DONE:
                self._end(stretch)
            elif reason != ROWS_FULL:
                self._fail(self._trip_text(reason))

    def lose_contact(self) -> None:
        """End badly, with a last point that says so: the cell is connected no more."""
        if self.ended:
            return
        if len(self._points) < POINTS_MAX:
            reading = self.reading()
            self._points.append(
                instrument_time_s=np.array([self._start_s + self.elapsed_s]),
                potential_v=reading.potential_v,
                charge_mah=reading.charge_mah,
                cycle_number=self._count.cycle,
                half_cycle=self._count.half_cycle,
                step_index=self._step_index,
                range_a=reading.range_a,
                contact=0.0,
            )
        self._fail("the contact to the cell was lost")

    def reading(self) -> Reading:
        """Return the display."""
        potential_v, current_a = self._digitiser.read(
            self._cell.potential_v, self._cell.current_a
        )
        return Reading(
            potential_v,
            current_a,
            self._net_mah,
            self._digitiser.range_a,
            self._count.cycle,
            self._count.half_cycle,
            self._step_index,
            self._overload,
            self._compliance,
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
        return self._count.charges_mah()

    @property
    def _net_mah(self) -> float:
        return self._cell.charge_mah - self._start_mah

    @property
    def _counter_c(self) -> float:
        return float(self._cell.state[CHARGE_C])

    def _enter_next_step(self) -> None:
        index = next(self._walk, None)
        if index is None:
            self.ended = True
            return
        self._step_index = index
        self._stretches = stretches_of(
            self._program.steps[index],
            self._program.record,
            self._cell.potential_v,
            self._net_mah,
            self._counter_c,
        )
        self._begun = False
        stretch = self._stretches[0]
        if stretch.segment.control == CURRENT_CONTROL:
            self._digitiser.preset_range(stretch.segment.start)
        self._count.enter(index, stretch.direction)

    def _begin(self, stretch: Stretch) -> None:
        self._begun = True
        self._progress[:] = 0.0
        self._progress[SUB_STEP_S] = stretch.sub_step_s
        self._progress[RECORDED_V] = self._cell.potential_v
        self._progress[RECORDED_A] = self._cell.current_a

    def _end(self, stretch: Stretch) -> None:
        self._stretches.pop(0)
        self._begun = False
        self._stretch_start_s = self.elapsed_s
        if self._stretches:
            return
        self._steps_done += 1
        self.ended = self._count.is_ripe(self._step_index, stretch.direction)

    def _store(self, rows: NDArray[np.float64], stretch: Stretch, done: bool) -> None:
        if stretch.frequency_hz and not done:
            return  # only the impedance is kept, when it has been measured
        rows = rows[-1:] if stretch.frequency_hz else rows
        potential_v, current_a, range_a, overload = self._digitiser.measure(
            rows[:, 1], rows[:, 2]
        )
        compliance = np.zeros(len(rows))
        if stretch.segment.control == CURRENT_CONTROL:
            compliance[:] = np.abs(rows[:, 2]) < _DRIVEN * abs(stretch.segment.start)
        self._points.append(
            instrument_time_s=self._start_s + self._stretch_start_s + rows[:, 0],
            potential_v=potential_v,
            current_a=current_a,
            charge_mah=rows[:, 3] / C_PER_MAH - self._start_mah,
            cycle_number=self._count.cycle,
            half_cycle=self._count.half_cycle,
            step_index=self._step_index,
            range_a=range_a,
            overload=overload,
            compliance=compliance,
            **self._impedance(stretch.frequency_hz),
        )
        self._overload = bool(overload[-1])
        self._compliance = bool(compliance[-1])

    def _impedance(self, frequency_hz: float) -> dict[str, float]:
        if not frequency_hz:
            return {}
        true_ohm = impedance_ohm(self._cell, np.array([frequency_hz]))
        measured = self._digitiser.measure_impedance(complex(true_ohm[0]))
        return {
            "frequency_hz": frequency_hz,
            "z_real_ohm": measured.real,
            "z_imag_ohm": measured.imag,
        }

    def _trip_text(self, reason: int) -> str:
        limits = self._limits
        if reason == CURRENT_TOO_HIGH:
            found, limit, unit = self._cell.current_a, limits.current_max_a, "A"
        elif reason == CHARGE_TOO_HIGH:
            most_mah = self._program.safety.charge_max_mah or 0.0
            found, limit, unit = self._net_mah, most_mah, "mAh"
        elif reason == POTENTIAL_TOO_LOW:
            found, limit, unit = self._cell.potential_v, limits.potential_min_v, "V"
        else:
            found, limit, unit = self._cell.potential_v, limits.potential_max_v, "V"
        return f"{found:.6g} {unit} passed the safety limit {limit:g} {unit}"

    def _fail(self, why: str) -> None:
        self.ended = True
        self.failure = (
            f"potentiostat: {why} in step {self._step_index} "
            f"(cycle {self._count.cycle}) after {self.elapsed_s:.0f} s; "
            "the cell is at open circuit"
        )


def _limits(program: Program, counter_c: float) -> Limits:
    safety, record = program.safety, program.record
    most_mah = safety.charge_max_mah
    margin_c = np.inf if most_mah is None else most_mah * C_PER_MAH
    return Limits(
        safety.potential_min_v,
        safety.potential_max_v,
        safety.current_max_a,
        record.dv_v,
        record.dt_s,
        np.inf if record.di_a is None else record.di_a,
        counter_c - margin_c,
        counter_c + margin_c,
    )
