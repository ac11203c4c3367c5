"""A small cell for a source-meter: a curve of open-circuit potential, and resistances.

A model of its own, small enough that a test can turn it in seconds.
"""

import math
from dataclasses import dataclass
from typing import Final

__all__ = ["Clamp", "MicroCell"]

# [A] a curve with one steep step: a voltammogram of it has a valley between two humps.
_EMPTY_V: Final = 0.02
_SLOPE_V: Final = 2.2
_STEP_V: Final = 0.3
_STEP_AT: Final = 0.35
_STEP_WIDTH: Final = 0.06
_SUB_STEP_S: Final = 5e-3
_SUB_STEPS_MAX: Final = 200_000
"""A quarter of an hour; who leaves it longer gets it coarser."""


@dataclass(frozen=True)
class Clamp:
    """What a source-meter forces: a level, and the limit of the other quantity."""

    level: float
    limit: float
    is_voltage: bool


class MicroCell:
    """A half cell of a few microampere hours.

    state: delithiated part, 0..1; the potential follows it from about 0 V to 2.8 V
    """

    def __init__(
        self,
        *,
        capacity_mah: float = 0.01,
        state: float = 0.5,
        resistance_ohm: float = 20.0,
        slow_ohm: float = 30.0,
        slow_s: float = 0.5,
    ) -> None:
        self._capacity_c = capacity_mah * 3.6
        self._state = state
        self._resistance_ohm = resistance_ohm
        self._slow_ohm = slow_ohm
        self._slow_s = slow_s
        self._slow_v = 0.0
        self.is_connected = True

    @property
    def open_circuit_v(self) -> float:
        """The potential without current, when it has come to rest."""
        step_v = _STEP_V * (1 + math.tanh((self._state - _STEP_AT) / _STEP_WIDTH))
        return _EMPTY_V + _SLOPE_V * self._state + step_v

    def rest(self, duration_s: float) -> None:
        """Let time pass at open circuit."""
        self._slow_v *= math.exp(-duration_s / self._slow_s)

    def drive(self, duration_s: float, clamp: Clamp) -> tuple[float, float]:
        """Let time pass at a source; returns potential (V) and current (A) then."""
        if not self.is_connected:
            self.rest(duration_s)
            return _open_terminals(clamp)
        steps = max(1, math.ceil(duration_s / _SUB_STEP_S))
        steps = min(steps, _SUB_STEPS_MAX)
        dt_s = duration_s / steps
        decay = math.exp(-dt_s / self._slow_s)
        for _ in range(steps):
            _, current_a = self._present(clamp)
            self._state += current_a * dt_s / self._capacity_c
            target_v = current_a * self._slow_ohm
            self._slow_v = target_v + (self._slow_v - target_v) * decay
        return self._present(clamp)

    def _present(self, clamp: Clamp) -> tuple[float, float]:
        """Return potential and current that a source forces now."""
        inner_v = self.open_circuit_v + self._slow_v
        if clamp.is_voltage:
            wanted_a = (clamp.level - inner_v) / self._resistance_ohm
            current_a = min(max(wanted_a, -clamp.limit), clamp.limit)
        else:
            low_a = (-clamp.limit - inner_v) / self._resistance_ohm
            high_a = (clamp.limit - inner_v) / self._resistance_ohm
            current_a = min(max(clamp.level, low_a), high_a)
        return inner_v + current_a * self._resistance_ohm, current_a


def _open_terminals(clamp: Clamp) -> tuple[float, float]:
    """Return what a source does to terminals that nothing is connected to."""
    if clamp.is_voltage:
        return clamp.level, 0.0
    # The smallest offset of a current source drives them to its limit.
    return math.copysign(clamp.limit, clamp.level), 0.0
