"""What the potentiostat's converters make of the true potential and current."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["CURRENT_RANGES_A", "Digitiser", "range_for"]

# All [A], after common laboratory cyclers.
CURRENT_RANGES_A: Final = np.array([10e-6, 100e-6, 1e-3, 10e-3, 100e-3])
_POTENTIAL_SPANS_V: Final = (2.5, 5.0, 10.0)
_BITS: Final = 16
_FULL_SCALE: Final = 1.1  # of the range: an overload can still be told
_OVERLOAD: Final = 1.05
_RANGE_UP: Final = 0.9  # the next decade's 0.09: the same place on the way down
_CURRENT_NOISE: Final = 2e-5  # rms, of the range
_POTENTIAL_NOISE_V: Final = 5e-6  # rms
_IMPEDANCE_NOISE: Final = 2e-3  # rms, of the magnitude, in each part


def range_for(current_a: float) -> float:
    """Return the smallest current range that holds a current, A."""
    return float(CURRENT_RANGES_A[_range_indices(np.array([current_a]))[0]])


class Digitiser:
    """Ranges, noise and rounding of one program's points.

    The noise of point n does not depend on how the points are portioned, because
    each takes the next two numbers of one random stream.

    potential_max_v: the largest magnitude to be measured; selects the span
    """

    def __init__(self, rng: np.random.Generator, *, potential_max_v: float) -> None:
        self._rng = rng
        self._index = 0
        span_v = next(
            (span for span in _POTENTIAL_SPANS_V if potential_max_v <= span),
            _POTENTIAL_SPANS_V[-1],
        )
        self._potential_lsb_v = 2 * span_v / 2**_BITS

    @property
    def range_a(self) -> float:
        """The current range at present, A."""
        return float(CURRENT_RANGES_A[self._index])

    def preset_range(self, current_a: float) -> None:
        """Choose the range for a current that is about to be set."""
        self._index = int(_range_indices(np.array([current_a]))[0])

    def read(self, potential_v: float, current_a: float) -> tuple[float, float]:
        """Return rounded values for a display, without noise."""
        lsb_a = self._current_lsb_a(np.float64(self.range_a))
        return (
            float(np.round(potential_v / self._potential_lsb_v))
            * self._potential_lsb_v,
            float(np.round(current_a / lsb_a) * lsb_a),
        )

    def measure(
        self, potential_v: NDArray[np.float64], current_a: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], ...]:
        """Return measured potential (V), current (A), range (A), overload (0 or 1).

        Autorange sets the range of a point by the one before.
        """
        wanted = _range_indices(current_a)
        used = np.concatenate(([self._index], wanted[:-1]))
        self._index = int(wanted[-1])
        range_a = CURRENT_RANGES_A[used]
        noise = self._rng.standard_normal((len(current_a), 2))
        measured_v = potential_v + _POTENTIAL_NOISE_V * noise[:, 0]
        measured_v = np.round(measured_v / self._potential_lsb_v)
        measured_a = current_a + _CURRENT_NOISE * range_a * noise[:, 1]
        full_a = _FULL_SCALE * range_a
        measured_a = np.clip(measured_a, -full_a, full_a)
        lsb_a = self._current_lsb_a(range_a)
        return (
            measured_v * self._potential_lsb_v,
            np.round(measured_a / lsb_a) * lsb_a,
            range_a,
            (np.abs(current_a) > _OVERLOAD * range_a).astype(float),
        )

    def measure_impedance(self, true_ohm: complex) -> complex:
        """Return a measured impedance, ohm."""
        noise = self._rng.standard_normal(2) * _IMPEDANCE_NOISE * abs(true_ohm)
        return true_ohm + complex(*noise)

    @staticmethod
    def _current_lsb_a(
        range_a: NDArray[np.float64] | np.float64,
    ) -> NDArray[np.float64] | np.float64:
        return 2 * _FULL_SCALE * range_a / 2**_BITS


def _range_indices(current_a: NDArray[np.float64]) -> NDArray[np.intp]:
    indices = np.searchsorted(_RANGE_UP * CURRENT_RANGES_A, np.abs(current_a))
    return np.minimum(indices, len(CURRENT_RANGES_A) - 1)
