"""One axis of the stage: it moves at its speed, settles, and lags by its backlash."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.sim.errors import RefusedError

__all__ = ["AXES", "Axis"]

# Speeds beyond the tilt's, settling of the others and all backlashes are [A].
AXES: Final = {
    "Alpha": ("deg", 70.0, 2.0, 3.0, 0.2),
    "X": ("nm", 1e6, 10_000.0, 1.0, 20.0),
    "Y": ("nm", 1e6, 10_000.0, 1.0, 20.0),
    "Z": ("nm", 3e5, 5_000.0, 1.0, 20.0),
}
"""Unit, limit on both sides, speed per s, settling s, backlash."""


class Axis:
    """A positioner; where it is follows from its last command and the time."""

    def __init__(self, name: str, *, time_s: float = 0.0) -> None:
        self.name = name
        self.unit, self.limit, self._speed, self._settle_s, self._backlash = AXES[name]
        self._from = self.target = 0.0
        self._start_s = time_s
        self._done_s = time_s
        self._arrival_s = time_s
        self._direction = 0.0
        self.stuck = False
        self.moves = 0
        """Moves that were begun."""

    @property
    def done_at_s(self) -> float:
        """When it will be at rest; inf if it is stuck on its way."""
        return self._done_s

    def is_done(self, time_s: float) -> bool:
        """Whether it is at rest."""
        return time_s >= self._done_s

    def position(self, time_s: float) -> float:
        """Return where the encoder says it is."""
        return float(self.positions(np.array(time_s)))

    def positions(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the encoder's position at instants since the last command."""
        if self.stuck or self.target == self._from:
            return np.full(np.shape(time_s), self._from)
        part = (time_s - self._start_s) * self._speed / abs(self.target - self._from)
        part = np.clip(part, 0.0, 1.0)
        return np.asarray(self._from + part * (self.target - self._from))

    @property
    def lag(self) -> float:
        """How far the true position is from the encoder's."""
        return -0.5 * self._backlash * self._direction

    def part(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how much of the way of the last move is done, 0..1."""
        way = self.target - self._from
        if way == 0.0:
            return np.ones(np.shape(time_s))
        return np.asarray((self.positions(time_s) - self._from) / way)

    def move(self, target: float, time_s: float) -> None:
        """Go to a position; a new target replaces the old one on the way."""
        if not -self.limit <= target <= self.limit:
            raise RefusedError(
                f"stage: {self.name} {target:g} {self.unit} is outside "
                f"{-self.limit:g}..{self.limit:g} {self.unit}; choose a value in "
                "between"
            )
        if target == self.target and not self.is_done(time_s):
            return
        self._depart(target, time_s)
        if self.target != self._from:
            self.moves += 1

    def stop(self, time_s: float) -> None:
        """Stay here."""
        if time_s < self._arrival_s:
            self._from = self.target = self.position(time_s)
            self._arrival_s = self._done_s = time_s

    def set_stuck(self, stuck: bool, time_s: float) -> None:
        """Hold the axis, or let it go on to its target (a fault)."""
        if stuck == self.stuck:
            return
        self._from = self.position(time_s)
        self.stuck = stuck
        if stuck:
            self._arrival_s = self._done_s = (
                time_s if self.target == self._from else math.inf
            )
        else:
            self._depart(self.target, time_s)

    def _depart(self, target: float, time_s: float) -> None:
        self._from = self.position(time_s)
        self._start_s = time_s
        self.target = target
        way = target - self._from
        if way == 0.0:
            self._arrival_s = self._done_s = time_s
            return
        self._direction = math.copysign(1.0, way)
        if self.stuck:
            self._arrival_s = self._done_s = math.inf
            return
        self._arrival_s = time_s + abs(way) / self._speed
        self._done_s = self._arrival_s + self._settle_s
