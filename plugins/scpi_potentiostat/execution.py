"""A program that runs: what the meter is to do at a time, and what became of it.

Pure: times and readings come from outside, so that it can be tested without a meter.
"""

from typing import Final

from cryoline.devices.cycling_protocol import Program
from cryoline.plugins.scpi_potentiostat.meter import Drive, Reading
from cryoline.plugins.scpi_potentiostat.point_rule import PointRule
from cryoline.plugins.scpi_potentiostat.running_step import (
    ACCURACY_V,
    HELD,
    LIMITING,
    RunningStep,
)
from cryoline.plugins.scpi_potentiostat.step_order import (
    expected_duration_s,
    step_order,
)
from cryoline.plugins.scpi_potentiostat.tally import Tally

__all__ = ["Execution"]

_STALL_S: Final = 0.5
"""A sweep goes on by no more than this at once, however long nobody drove it."""
_BROKEN: Final = 0.05
"""Part of a held current to which it falls at once only if the contact is lost."""


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
        self._step: RunningStep | None = None
        self._enter_next()

    def drive(self, now_s: float) -> Drive:
        """Return what the meter is to do at this time."""
        step = self._step
        if step is None:
            self._commanded_v = None
            return Drive(None)
        # A process that was stopped for a while must not make up by a jump.
        drive = step.drive(min(now_s - self._driven_s, _STALL_S))
        self._driven_s = now_s
        self._commanded_v = None if step.current_a else drive.level_v
        return drive

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
        self.is_limited = step.is_limited(reading)
        ends = step.has_ended(reading, now_s, self.tally)
        self.failure = self._trip(step, before, reading, ends)
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
        here_v = self._commanded_v
        if here_v is None:
            here_v = self.reading.potential_v
        self._driven_s = self._now_s
        for index in self._order:
            self.step_index = index
            step = RunningStep.begin(
                index,
                self.program.steps[index],
                self.program.safety,
                here_v,
                self._now_s,
            )
            self.tally.enter(index, step.direction)
            self._rule.restart(self.reading.potential_v)
            if not step.is_there(self.reading):
                self._step = step
                return
            # It ends as it begins: its level would drive the cell the other way.
            self._steps_left -= 1
            if self.tally.is_ripe(index):
                break
        self._end()

    def _trip(
        self, step: RunningStep, before: Reading, reading: Reading, ends: bool
    ) -> str:
        """Return which limit of the whole program is passed, "" if none is."""
        safety = self.program.safety
        potential_v, current_a = reading.potential_v, abs(reading.current_a)
        found = ""
        if potential_v > safety.potential_max_v + ACCURACY_V:
            found = _passed(potential_v, safety.potential_max_v, "V")
        elif potential_v < safety.potential_min_v - ACCURACY_V:
            found = _passed(potential_v, safety.potential_min_v, "V")
        elif safety.charge_max_mah and abs(self.tally.net_mah) > safety.charge_max_mah:
            found = _passed(abs(self.tally.net_mah), safety.charge_max_mah, "mAh")
        elif step.current_a:
            wanted_a = abs(step.current_a)
            was_full = before is reading or abs(before.current_a) > HELD * wanted_a
            if current_a < _BROKEN * wanted_a and was_full:
                self.has_contact = False
                found = (
                    f"the current fell from {wanted_a:g} A to {current_a:g} A at once"
                )
            elif current_a > safety.current_max_a / LIMITING:
                found = _passed(current_a, safety.current_max_a, "A")
            elif self.is_limited and not ends:
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


def _passed(found: float, limit: float, unit: str) -> str:
    return f"{found:.6g} {unit} reached the safety limit {limit:g} {unit}"
