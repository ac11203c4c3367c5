"""A program that runs: what the meter is to do at a time, and what became of it.

Pure: times and readings come from outside, so that it can be tested without a meter.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryoline.devices.cycling_protocol import (
    ConstantCurrent,
    ConstantVoltage,
    OpenCircuitVoltage,
    Program,
    VoltageScan,
)
from cryoline.plugins.scpi_potentiostat.meter import Drive, Reading
from cryoline.plugins.scpi_potentiostat.point_rule import PointRule
from cryoline.plugins.scpi_potentiostat.step_order import (
    expected_duration_s,
    step_order,
)
from cryoline.plugins.scpi_potentiostat.tally import Tally

__all__ = ["Execution"]

_ACCURACY_V: Final = 1e-3
"""Of the meter's potential on its 20 V range: no limit can be told finer."""
_BEYOND_V: Final = 5e-3
"""A held current aims so far beyond ``until_potential_v``, to pass it in full flow."""
_LIMITING: Final = 0.98
"""Part of the meter's current limit from which on it is taken as limiting."""
_HELD: Final = 0.95
"""Part of a held current below which the potential limits it."""
_STALL_S: Final = 0.5
"""A sweep goes on by no more than this at once, however long nobody drove it."""
_BROKEN: Final = 0.05
"""Part of a held current to which it falls at once only if the contact is lost."""


@dataclass
class _Step:
    """The step that runs."""

    index: int
    start_s: float
    ends: Callable[[Reading, float], bool]
    """Whether it ends, from a reading and the step's time."""
    driven_s: float = 0.0
    start_v: float | None = None
    slope_v_per_s: float = 0.0
    end_v: float = 0.0
    limit_a: float = 0.0
    current_a: float = 0.0
    """Held current; 0 if a potential is held or the cell rests."""


class Execution:
    """One run of a program, from the potential that the cell has."""

    def __init__(self, program: Program, now_s: float, potential_v: float) -> None:
        self.program = program
        self.tally = Tally(program)
        self.failure = ""
        """Why the program was ended before its end."""
        self.ended = False
        self.has_contact = True
        self.is_limited = False
        """Whether the meter can't drive what is set: its other limit holds it."""
        self.step_index = 0
        self.reading = Reading(potential_v, 0.0, 0.0)
        self._start_s = now_s
        self._now_s = self._driven_s = now_s
        self._expected_s = expected_duration_s(program, potential_v)
        self._order = step_order(program.steps)
        self._steps_left = sum(1 for _ in step_order(program.steps))
        self._steps = self._steps_left
        self._rule = PointRule(program.record)
        self._points: list[dict[str, float]] = []
        self._commanded_v: float | None = None
        self._step: _Step | None = None
        self._enter_next()

    def drive(self, now_s: float) -> Drive:
        """Return what the meter is to do at this time."""
        step = self._step
        if step is None or step.start_v is None:
            self._commanded_v = None
            return Drive(None)
        # A process that was stopped for a while must not make up by a jump.
        step.driven_s += min(now_s - self._driven_s, _STALL_S)
        self._driven_s = now_s
        level_v = step.start_v + step.slope_v_per_s * step.driven_s
        if step.slope_v_per_s:
            past = (level_v - step.end_v) * step.slope_v_per_s >= 0
            level_v = step.end_v if past else level_v
        self._commanded_v = None if step.current_a else level_v
        return Drive(level_v, step.limit_a)

    def take(self, now_s: float, reading: Reading) -> None:
        """Count a reading, record it if due, go on if the step ends."""
        step = self._step
        if step is None:
            return
        duration_s = max(0.0, now_s - self._now_s)
        before = self.reading if self._now_s > step.start_s else reading
        self.tally.add((before.current_a + reading.current_a) / 2 * duration_s)
        self._now_s, self.reading = now_s, reading
        is_due = self._rule.take(reading, duration_s)
        self.is_limited = _limits(step, reading)
        self.failure = self._trip(step, before, reading)
        ends = step.ends(reading, now_s - step.start_s)
        if is_due or ends or self.failure:
            self._record(reading)
        if self.failure:
            self._end()
        elif ends:
            self._steps_left -= 1
            if self.tally.is_ripe(step.index):
                self._end()
            else:
                self._enter_next()

    def take_points(self) -> list[dict[str, float]]:
        """Hand out the points recorded since the last call, as columns by name."""
        points, self._points = self._points, []
        return points

    @property
    def elapsed_s(self) -> float:
        """Time from the start to the last reading."""
        return self._now_s - self._start_s

    def progress_percent(self) -> float:
        """Return how much is done, by time if its length is known, else by steps."""
        if self.ended and not self.failure:
            return 100.0
        if self._expected_s:
            return min(100.0, 100.0 * self.elapsed_s / self._expected_s)
        return 100.0 * (1 - self._steps_left / self._steps)

    def remaining_s(self) -> float:
        """Return the time to the end, 0 if it is not known."""
        if self.ended or self._expected_s is None:
            return 0.0
        return max(0.0, self._expected_s - self.elapsed_s)

    def _end(self) -> None:
        self._step = None
        self.ended = True

    def _enter_next(self) -> None:
        for index in self._order:
            self.step_index = index
            self._step = self._begin(index)
            self._driven_s = self._now_s
            if not self._is_there(index):
                self._enter(index, self._step)
                return
            # Its level would drive the cell the other way.
            self._steps_left -= 1
        self._end()

    def _is_there(self, index: int) -> bool:
        """Whether a current is to be held until a potential that is reached already."""
        step = self.program.steps[index]
        return isinstance(step, ConstantCurrent) and self._potential_reached(
            step, self.reading
        )

    def _enter(self, index: int, step: _Step) -> None:
        direction = math.copysign(1.0, step.current_a) if step.current_a else 0.0
        if step.slope_v_per_s:
            direction = math.copysign(1.0, step.slope_v_per_s)
        self.tally.enter(index, direction)
        self._rule.restart(self.reading.potential_v)

    def _begin(self, index: int) -> _Step:
        step = self.program.steps[index]
        safety = self.program.safety
        begun = _Step(index, self._now_s, lambda _, time_s: False)
        if isinstance(step, OpenCircuitVoltage):
            begun.ends = lambda _, time_s: time_s >= step.duration_s
        elif isinstance(step, VoltageScan):
            here_v = self._commanded_v
            if here_v is None:
                here_v = self.reading.potential_v
            begun.start_v = here_v if step.start_v is None else step.start_v
            way_v = step.end_v - begun.start_v
            if way_v:
                begun.slope_v_per_s = math.copysign(step.rate_mv_per_s * 1e-3, way_v)
            begun.end_v, begun.limit_a = step.end_v, safety.current_max_a
            # By the level, not by time: the last potential must have been applied.
            begun.ends = lambda *_: (
                self._commanded_v == step.end_v or self._charge_reached(step)
            )
        elif isinstance(step, ConstantVoltage):
            begun.start_v, begun.limit_a = step.potential_v, safety.current_max_a
            begun.ends = lambda reading, time_s: (
                _is_over(time_s, step.until_duration_s)
                or abs(reading.current_a) <= (step.until_current_a or -1.0)
                or self._charge_reached(step)
            )
        elif isinstance(step, ConstantCurrent):
            begun.current_a, begun.limit_a = step.current_a, abs(step.current_a)
            begun.start_v = self._bound_v(step)
            begun.ends = lambda reading, time_s: (
                _is_over(time_s, step.until_duration_s)
                or self._potential_reached(step, reading)
                or self._charge_reached(step)
            )
        else:
            raise TypeError(f"step {index} can't be run: {step!r}")
        return begun

    def _bound_v(self, step: ConstantCurrent) -> float:
        """Return the level that a held current drives at, where the meter stops it."""
        safety = self.program.safety
        sign = math.copysign(1.0, step.current_a)
        outer_v = safety.potential_max_v if sign > 0 else safety.potential_min_v
        if step.until_potential_v is None:
            return outer_v
        # Never beyond the safety limits, whatever becomes of this process.
        beyond_v = step.until_potential_v + sign * _BEYOND_V
        return min(beyond_v, outer_v) if sign > 0 else max(beyond_v, outer_v)

    def _potential_reached(self, step: ConstantCurrent, reading: Reading) -> bool:
        until_v = step.until_potential_v
        if until_v is None:
            return False
        missing_v = math.copysign(1.0, step.current_a) * (until_v - reading.potential_v)
        # If it is a safety limit too, the meter's level goes no further: the current
        # fades before the potential is reached to the last millivolt.
        has_faded = abs(reading.current_a) < _HELD * abs(step.current_a)
        return missing_v <= (3 * _ACCURACY_V if has_faded else _ACCURACY_V / 2)

    def _charge_reached(
        self, step: ConstantCurrent | ConstantVoltage | VoltageScan
    ) -> bool:
        net_mah = step.until_net_charge_mah
        if net_mah is not None:
            base_mah = self.tally.net_mah - self.tally.step_mah
            if (base_mah - net_mah) * (self.tally.net_mah - net_mah) <= 0:
                return True
        return _is_over(abs(self.tally.step_mah), step.until_charge_mah)

    def _trip(self, step: _Step, before: Reading, reading: Reading) -> str:
        """Return which limit of the whole program is passed, "" if none is."""
        safety = self.program.safety
        potential_v, current_a = reading.potential_v, abs(reading.current_a)
        found = ""
        if potential_v > safety.potential_max_v + _ACCURACY_V:
            found = _passed(potential_v, safety.potential_max_v, "V")
        elif potential_v < safety.potential_min_v - _ACCURACY_V:
            found = _passed(potential_v, safety.potential_min_v, "V")
        elif safety.charge_max_mah and abs(self.tally.net_mah) > safety.charge_max_mah:
            found = _passed(abs(self.tally.net_mah), safety.charge_max_mah, "mAh")
        elif step.current_a:
            wanted_a = abs(step.current_a)
            was_full = before is reading or abs(before.current_a) > _HELD * wanted_a
            if current_a < _BROKEN * wanted_a and was_full:
                self.has_contact = False
                found = (
                    f"the current fell from {wanted_a:g} A to {current_a:g} A at once"
                )
            elif current_a > safety.current_max_a / _LIMITING:
                found = _passed(current_a, safety.current_max_a, "A")
            elif self.is_limited and not step.ends(reading, self._now_s - step.start_s):
                # The meter limits by potential, and where the step ends is not reached.
                found = (
                    f"{potential_v:.6g} V is where the safety limits stop the current"
                )
        elif self.is_limited or reading.overload:
            found = _passed(current_a, safety.current_max_a, "A")
        if not found:
            return ""
        return (
            f"potentiostat: {found} in step {step.index} (cycle "
            f"{self.tally.cycle_number}) after {self.elapsed_s:.0f} s; the cell is at "
            "open circuit"
        )

    def _record(self, reading: Reading) -> None:
        mean = self._rule.point(reading)
        self._points.append(
            {
                "instrument_time_s": self._now_s,
                "potential_v": mean.potential_v,
                "current_a": mean.current_a,
                "charge_mah": self.tally.net_mah,
                "cycle_number": self.tally.cycle_number,
                "half_cycle": self.tally.half_cycle,
                "step_index": self.step_index,
                "range_a": mean.range_a,
                "overload": mean.overload,
                "compliance": self.is_limited,
                "contact": self.has_contact,
            }
        )


def _is_over(value: float, limit: float | None) -> bool:
    return limit is not None and value >= limit


def _limits(step: _Step, reading: Reading) -> bool:
    current_a = abs(reading.current_a)
    if step.current_a:
        return current_a < _HELD * abs(step.current_a)
    return step.start_v is not None and current_a >= _LIMITING * step.limit_a


def _passed(found: float, limit: float, unit: str) -> str:
    return f"{found:.6g} {unit} reached the safety limit {limit:g} {unit}"
