"""The glovebox: an argon atmosphere that drifts, and suffers from its door."""

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["GAS_COLUMNS", "Glovebox"]

_DEVICE_ID: Final = 2  # of this instrument's random streams
_GRID_S: Final = 10.0
"""States change on this grid of instrument time, however often they are read."""

GAS_COLUMNS: Final = ("temperature_degc", "pressure_mbar", "h2o_ppm", "o2_ppm")
# All [A]; the papers' boxes hold < 5 ppm (Ar, [S0]) and < 0.1 ppm ([S1]).
_MEAN: Final = np.array([25.0, 1004.0, 0.5, 0.3])
_SPREAD: Final = np.array([0.15, 0.4, 0.08, 0.05])  # rms
_MEMORY_S: Final = np.array([1800.0, 600.0, 3600.0, 3600.0])
_DOOR_SPIKE: Final = np.array([0.0, 2.0, 6.0, 4.0])
"""What one opening of the antechamber lets in, with a purifier's rate of removal:"""
_PURGE_S: Final = np.array([1.0, 60.0, 900.0, 600.0])
_FLOOR: Final = np.array([-50.0, 0.0, 0.01, 0.01])  # ppm never fall below the sensor


@njit(cache=True)
def _relax(
    state: NDArray[np.float64],
    spike: NDArray[np.float64],
    keep: NDArray[np.float64],
    kick: NDArray[np.float64],
    keep_spike: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> float:
    """Apply one exact step of an Ornstein-Uhlenbeck process a row of noise.

    Returns the time integral of water and oxygen, ppm s.
    """
    integral_ppm_s = 0.0
    for row in range(noise.shape[0]):
        for k in range(state.shape[0]):
            state[k] = keep[k] * state[k] + kick[k] * noise[row, k]
            spike[k] *= keep_spike[k]
            if k >= 2:
                ppm = max(_MEAN[k] + state[k] + spike[k], _FLOOR[k])
                integral_ppm_s += ppm * _GRID_S
    return integral_ppm_s


class Glovebox:
    """Temperature, pressure, moisture and oxygen of an argon box.

    The same seed and the same door events give the same values at the same time.
    """

    def __init__(self, *, seed: int, time_s: float = 0.0) -> None:
        self._rng = np.random.default_rng([seed, _DEVICE_ID])
        self._steps = 0
        self._start_s = time_s
        self._deviation = np.zeros(len(_MEAN))
        self._spike = np.zeros(len(_MEAN))
        self._keep = np.exp(-_GRID_S / _MEMORY_S)
        self._kick = _SPREAD * np.sqrt(1 - self._keep**2)
        self._keep_spike = np.exp(-_GRID_S / _PURGE_S)
        self.door_open = False
        self.exposure_ppm_s = 0.0
        """Water and oxygen that something open in the box has met since the start."""

    def advance(self, time_s: float) -> None:
        """Go on to the grid step at or before this instrument time."""
        due = int((time_s - self._start_s) // _GRID_S) - self._steps
        if due <= 0:
            return
        noise = self._rng.standard_normal((due, len(_MEAN)))
        self.exposure_ppm_s += _relax(
            self._deviation,
            self._spike,
            self._keep,
            self._kick,
            self._keep_spike,
            noise,
        )
        self._steps += due

    def set_door(self, is_open: bool) -> None:
        """Open or shut the antechamber's inner door; each opening lets gas in."""
        if is_open and not self.door_open:
            self._spike += _DOOR_SPIKE
        self.door_open = is_open

    def values(self) -> dict[str, float]:
        """Return the present reading, by GAS_COLUMNS."""
        present = np.maximum(_MEAN + self._deviation + self._spike, _FLOOR)
        return dict(zip(GAS_COLUMNS, present.tolist(), strict=True))
