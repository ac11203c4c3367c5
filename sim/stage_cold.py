"""The cold of the holder: a tip on a dewar that empties.

Between events both follow closed formulas, so they don't depend on who asks when.
"""

import math
from typing import Final

from cryoline.sim.errors import RefusedError

__all__ = ["EMPTIES_IN_S", "REFILL_BELOW_PERCENT", "ColdStage"]

_AT_START_DEGC: Final = -178.0  # [S1]
_BATH_DEGC: Final = -190.0  # [S0]; the tip can't be colder
_AMBIENT_DEGC: Final = 25.0
_TAU_COLD_S: Final = 400.0  # [A]
_TAU_DRY_S: Final = 4000.0  # [A]
EMPTIES_IN_S: Final = 8.9 * 3600.0
"""300 ml at 1.5 W [A]; 22.4 ml per W and hour, from the heat of evaporation."""
REFILL_BELOW_PERCENT: Final = 30.0
"""[A] when somebody tops it up, if nobody uses the microscope."""
_TARGET_MAX_DEGC: Final = 30.0


class ColdStage:
    """Temperature of the tip and filling of the dewar."""

    def __init__(self, *, time_s: float = 0.0) -> None:
        self.target_degc = _AT_START_DEGC
        self._from_s = time_s
        self._from_degc = _AT_START_DEGC
        self._level_from_s = time_s
        self._level_from = 100.0
        self._held_degc: float | None = None

    def level_percent(self, time_s: float) -> float:
        """Return how full the dewar is."""
        spent = 100.0 * (time_s - self._level_from_s) / EMPTIES_IN_S
        return max(0.0, self._level_from - spent)

    def reaches_level_at_s(self, percent: float) -> float:
        """Return when the dewar will be that full, or was."""
        return self._level_from_s + EMPTIES_IN_S * (self._level_from - percent) / 100.0

    def temperature_degc(self, time_s: float) -> float:
        """Return the temperature of the tip."""
        if self._held_degc is not None:
            return self._held_degc
        return self._unheld_degc(time_s)

    def _unheld_degc(self, time_s: float) -> float:
        empty_s = self.reaches_level_at_s(0.0)
        cold_s = min(time_s, max(empty_s, self._from_s))
        temperature_degc = self._from_degc
        if cold_s > self._from_s:
            bath_degc = max(_BATH_DEGC, self.target_degc)
            temperature_degc = bath_degc + (temperature_degc - bath_degc) * math.exp(
                -(cold_s - self._from_s) / _TAU_COLD_S
            )
        if time_s > cold_s:
            temperature_degc = _AMBIENT_DEGC + (
                temperature_degc - _AMBIENT_DEGC
            ) * math.exp(-(time_s - cold_s) / _TAU_DRY_S)
        return temperature_degc

    def set_target(self, degc: float, time_s: float) -> None:
        """Regulate the tip to a temperature."""
        if not _BATH_DEGC <= degc <= _TARGET_MAX_DEGC:
            raise RefusedError(
                f"stage: TempSet {degc:g} degC is outside {_BATH_DEGC:g}.."
                f"{_TARGET_MAX_DEGC:g} degC; choose a value in between"
            )
        self._rebase(time_s)
        self.target_degc = degc

    def fill(self, percent: float, time_s: float) -> None:
        """Let the dewar be that full from now on."""
        self._rebase(time_s)
        self._level_from_s = time_s
        self._level_from = percent

    def hold(self, degc: float | None) -> None:
        """Let the tip be at a temperature whatever cools it (a fault); None: no more.

        Without it the tip is as if nothing had been.
        """
        self._held_degc = degc

    def _rebase(self, time_s: float) -> None:
        self._from_degc = self._unheld_degc(time_s)
        self._from_s = time_s
