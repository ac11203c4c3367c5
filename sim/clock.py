"""The instrument clock: free-running at a factor of wall time, or stepped by hand."""

import time
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from cryoline.sim.errors import RefusedError

__all__ = ["FACTOR_MAX", "FACTOR_MIN", "ClockMode", "SimClock"]

FACTOR_MIN: Final = 0.1
FACTOR_MAX: Final = 1e6
"""Beyond this the cell model can't keep up on two cores (about 1e6 s a second)."""


class ClockMode(IntEnum):
    """How instrument time passes."""

    FREE = 0
    STEPPED = 1


class SimClock:
    """Instrument time in seconds since the laboratory's epoch.

    Time is continuous and never runs back, whatever is changed while it runs.

    >>> clock = SimClock(monotonic=lambda: 0.0, mode=ClockMode.STEPPED)
    >>> clock.advance_to(30.0)
    >>> clock.now()
    30.0
    """

    def __init__(
        self,
        *,
        factor: float = 1.0,
        mode: ClockMode = ClockMode.FREE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._mode = ClockMode(mode)
        self._factor = _checked_factor(factor)
        self._base_s = 0.0
        self._base_wall_s = monotonic()

    @property
    def factor(self) -> float:
        """Instrument seconds per wall second while running free."""
        return self._factor

    @property
    def mode(self) -> ClockMode:
        """Whether time runs free or waits to be stepped."""
        return self._mode

    def now(self) -> float:
        """Return the instrument time, s."""
        if self._mode is ClockMode.STEPPED:
            return self._base_s
        return self._base_s + self._factor * (self._monotonic() - self._base_wall_s)

    def set_factor(self, factor: float) -> None:
        """Run at another factor from now on; now() stays continuous."""
        checked = _checked_factor(factor)
        self.rebase(self.now())
        self._factor = checked

    def set_mode(self, mode: ClockMode) -> None:
        """Run free, or stand still until stepped; now() stays continuous."""
        self.rebase(self.now())
        self._mode = ClockMode(mode)

    def advance_to(self, time_s: float) -> None:
        """Step to `time_s`, which may not lie in the past; stepped mode only."""
        if self._mode is not ClockMode.STEPPED:
            raise RefusedError(
                "clock: the time can't be advanced while it runs free; "
                "set Mode to stepped first"
            )
        if not time_s >= self._base_s:
            raise RefusedError(
                f"clock: {time_s:g} s lies before the present {self._base_s:g} s; "
                "time never runs back"
            )
        self._base_s = time_s

    def rebase(self, time_s: float) -> None:
        """Continue from `time_s`, for models that could not keep up with the factor."""
        self._base_s = time_s
        self._base_wall_s = self._monotonic()


def _checked_factor(factor: float) -> float:
    if not FACTOR_MIN <= factor <= FACTOR_MAX:
        raise RefusedError(
            f"clock: factor {factor:g} is outside {FACTOR_MIN:g}..{FACTOR_MAX:g}; "
            "choose a factor in between"
        )
    return float(factor)
