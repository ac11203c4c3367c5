"""One step of a program as the meter drives it: its level, its limit, its end."""

import math
from dataclasses import dataclass
from typing import Final

from cryoline.devices.cycling_protocol import (
    ConstantCurrent,
    ConstantVoltage,
    OpenCircuitVoltage,
    SafetyLimits,
    Step,
    VoltageScan,
)
from cryoline.plugins.scpi_potentiostat.meter import Drive, Reading
from cryoline.plugins.scpi_potentiostat.tally import Tally

__all__ = ["ACCURACY_V", "HELD", "LIMITING", "RunningStep"]

ACCURACY_V: Final = 1e-3
"""Of the meter's potential on its 20 V range: no limit can be told finer."""
LIMITING: Final = 0.98
"""Part of the meter's current limit from which on it is taken as limiting."""
HELD: Final = 0.95
"""Part of a held current below which the potential limits it."""
_BEYOND_V: Final = 5e-3
"""A held current aims so far beyond ``until_potential_v``, to pass it in full flow."""


@dataclass
class RunningStep:
    """A step that runs; see `begin`."""

    index: int
    step: Step
    start_s: float
    start_v: float | None = None
    """None as long as the circuit is open."""
    slope_v_per_s: float = 0.0
    end_v: float = 0.0
    limit_a: float = 0.0
    current_a: float = 0.0
    """Held current; 0 if a potential is held or the cell rests."""
    driven_s: float = 0.0
    level_v: float | None = None
    """What was driven last."""

    @classmethod
    def begin(
        cls, index: int, step: Step, safety: SafetyLimits, here_v: float, start_s: float
    ) -> "RunningStep":
        """Return a step from where the cell is driven, or is."""
        begun = cls(index, step, start_s)
        if isinstance(step, VoltageScan):
            begun.start_v = here_v if step.start_v is None else step.start_v
            way_v = step.end_v - begun.start_v
            if way_v:
                begun.slope_v_per_s = math.copysign(step.rate_mv_per_s * 1e-3, way_v)
            begun.end_v, begun.limit_a = step.end_v, safety.current_max_a
        elif isinstance(step, ConstantVoltage):
            begun.start_v, begun.limit_a = step.potential_v, safety.current_max_a
        elif isinstance(step, ConstantCurrent):
            begun.current_a, begun.limit_a = step.current_a, abs(step.current_a)
            begun.start_v = _bound_v(step, safety)
        elif not isinstance(step, OpenCircuitVoltage):
            raise TypeError(f"step {index} can't be run: {step!r}")
        return begun

    @property
    def direction(self) -> float:
        """Sign of its sweep or current; 0 if it has none."""
        drives = self.slope_v_per_s or self.current_a
        return math.copysign(1.0, drives) if drives else 0.0

    def drive(self, passed_s: float) -> Drive:
        """Return what the meter is to do when so much more time has passed."""
        if self.start_v is None:
            return Drive(None)
        self.driven_s += passed_s
        self.level_v = self.start_v + self.slope_v_per_s * self.driven_s
        past_v = (self.level_v - self.end_v) * self.slope_v_per_s
        if self.slope_v_per_s and past_v >= 0:
            self.level_v = self.end_v
        return Drive(self.level_v, self.limit_a)

    def is_limited(self, reading: Reading) -> bool:
        """Return whether the meter can't drive what is set: its other limit holds."""
        current_a = abs(reading.current_a)
        if self.current_a:
            return current_a < HELD * abs(self.current_a)
        return self.start_v is not None and current_a >= LIMITING * self.limit_a

    def is_there(self, reading: Reading) -> bool:
        """Return whether a current has reached the potential that it is held until."""
        until_v = getattr(self.step, "until_potential_v", None)
        if until_v is None:
            return False
        missing_v = self.direction * (until_v - reading.potential_v)
        # If it is a safety limit too, the meter's level goes no further: the current
        # fades before the potential is reached to the last millivolt.
        has_faded = abs(reading.current_a) < HELD * abs(self.current_a)
        return bool(missing_v <= (3 * ACCURACY_V if has_faded else ACCURACY_V / 2))

    def has_ended(self, reading: Reading, now_s: float, tally: Tally) -> bool:
        """Return whether it ends with this reading, by any of its ends."""
        step, time_s = self.step, now_s - self.start_s
        if isinstance(step, OpenCircuitVoltage):
            return time_s >= step.duration_s
        if _has_passed(step, tally):
            return True
        if isinstance(step, VoltageScan):
            # By the level, not by time: the last potential must have been applied.
            return self.level_v == step.end_v
        if isinstance(step, ConstantVoltage):
            has_faded = abs(reading.current_a) <= (step.until_current_a or -1.0)
            return has_faded or _is_over(time_s, step.until_duration_s)
        if isinstance(step, ConstantCurrent):
            return self.is_there(reading) or _is_over(time_s, step.until_duration_s)
        raise TypeError(f"step {self.index} can't be run: {step!r}")


def _bound_v(step: ConstantCurrent, safety: SafetyLimits) -> float:
    """Return the level that a held current drives at, where the meter stops it."""
    sign = math.copysign(1.0, step.current_a)
    outer_v = safety.potential_max_v if sign > 0 else safety.potential_min_v
    if step.until_potential_v is None:
        return outer_v
    # Never beyond the safety limits, whatever becomes of this process.
    beyond_v = step.until_potential_v + sign * _BEYOND_V
    return min(beyond_v, outer_v) if sign > 0 else max(beyond_v, outer_v)


def _has_passed(step: Step, tally: Tally) -> bool:
    """Return whether the charge that ends a step has passed."""
    net_mah = getattr(step, "until_net_charge_mah", None)
    if net_mah is not None:
        base_mah = tally.net_mah - tally.step_mah
        if (base_mah - net_mah) * (tally.net_mah - net_mah) <= 0:
            return True
    return _is_over(abs(tally.step_mah), getattr(step, "until_charge_mah", None))


def _is_over(value: float, limit: float | None) -> bool:
    return limit is not None and value >= limit
