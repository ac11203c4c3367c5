"""The probe current as it truly is: slow drifts with an exact integral.

The drift is a sum of sines, so the charge between two instants is a closed formula:
it does not depend on who asks when.
"""

from bisect import bisect_right
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["CURRENT_A", "ProbeCurrent"]

_DEVICE_ID: Final = 4  # of the beam's random streams
CURRENT_A: Final = 150e-12
"""[S1] maps were taken with 150 to 250 pA."""
# All [A]: a Schottky emitter and a warm room.
_AMPLITUDE: Final = np.array([0.012, 0.008, 0.012])
_PERIOD_S: Final = np.array([2_400.0, 8_300.0, 39_000.0])


class ProbeCurrent:
    """Current into the specimen or the Faraday cup, whenever the beam is on.

    Two factors may be laid over it: a scale, and a rise that begins at some instant.

    time_s: the drift counts from here, so that a reset gives the same again
    """

    def __init__(
        self, *, seed: int, current_a: float = CURRENT_A, time_s: float = 0.0
    ) -> None:
        rng = np.random.default_rng([seed, _DEVICE_ID])
        self._current_a = current_a
        self._origin_s = time_s
        self._phase = rng.uniform(0.0, 2 * np.pi, len(_PERIOD_S))
        self._angular = 2 * np.pi / _PERIOD_S
        self._from_s: list[float] = [-np.inf]
        self._scale: list[float] = [1.0]
        self._rise: tuple[float, float] | None = None

    def set_scale(self, factor: float, time_s: float) -> None:
        """Multiply the current by this from now on."""
        self._from_s.append(time_s)
        self._scale.append(factor)

    def set_rise(self, factor: float, time_s: float) -> None:
        """Multiply it further, from an instant that may lie ahead."""
        self._rise = (time_s, factor)

    def end_rise(self, time_s: float) -> None:
        """Let the rise be over; what it did until now stays in the past."""
        if self._rise is not None:
            start_s, factor = self._rise
            self._rise = None
            if start_s < time_s:
                scale = self._scale[-1]
                self._insert(start_s, factor)
                self.set_scale(scale, time_s)

    def at_a(self, time_s: float) -> float:
        """Return the current at an instant, A."""
        swing = (
            np.sin(self._angular * (time_s - self._origin_s) + self._phase) @ _AMPLITUDE
        )
        return float(self._current_a * (1.0 + swing) * self._factor(time_s))

    def charge_c(
        self, start_s: NDArray[np.float64], end_s: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the integral over each interval, C; exact."""
        edges = sorted({*self._from_s, *([self._rise[0]] if self._rise else [])})
        total = np.zeros(np.broadcast(start_s, end_s).shape)
        for first_s, last_s in zip(edges, [*edges[1:], np.inf], strict=True):
            low = np.clip(start_s, first_s, last_s)
            high = np.clip(end_s, first_s, last_s)
            total += self._factor(first_s) * self._plain_c(low, high)
        return total

    def _plain_c(
        self, start_s: NDArray[np.float64], end_s: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        # cos a - cos b = 2 sin((a + b)/2) sin((b - a)/2): no digits are lost.
        half_s = (end_s - start_s) / 2
        middle_s = start_s - self._origin_s + half_s
        swing = np.zeros(np.shape(half_s))
        for angular, phase, amplitude in zip(
            self._angular, self._phase, _AMPLITUDE, strict=True
        ):
            swing += (
                (2 * amplitude / angular)
                * np.sin(angular * middle_s + phase)
                * np.sin(angular * half_s)
            )
        return np.asarray(self._current_a * (2 * half_s + swing))

    def _factor(self, time_s: float) -> float:
        factor = self._scale[max(0, bisect_right(self._from_s, time_s) - 1)]
        if self._rise is not None and time_s >= self._rise[0]:
            factor *= self._rise[1]
        return factor

    def _insert(self, start_s: float, factor: float) -> None:
        """Multiply every scale from an instant of the past on."""
        before = self._scale[max(0, bisect_right(self._from_s, start_s) - 1)]
        later = [k for k, t in enumerate(self._from_s) if t > start_s]
        for k in later:
            self._scale[k] *= factor
        place = later[0] if later else len(self._from_s)
        self._from_s.insert(place, start_s)
        self._scale.insert(place, before * factor)
