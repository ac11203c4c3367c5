"""Where the specimen will lie at the next tilt: the geometry of tracking, no images.

A specimen that lies n0 beside the tilt axis and z0 above it appears at

    u = n0 cos t + z0 sin t        across the tilt axis
    w = z0 cos t - n0 sin t        along the beam

so the next shift follows from the last ones, as PACEtomo, Leginon and SerialEM
predict it. z0 is fitted to each branch of a series by itself: a stage errs
differently on both sides. The first step's error, about z0 sin(step), can't be
predicted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

__all__ = ["Position", "Prediction", "Tracker"]

_REMEMBERED: Final = 4
"""Measured shifts of a branch that its z0 is fitted to."""

_WARRANTED: Final = 2
"""Measured shifts below which a fit says nothing of its error."""


class Position(NamedTuple):
    """Where the specimen was seen at one tilt, from the optical axis."""

    tilt_deg: float
    across_nm: float
    along_nm: float


@dataclass(frozen=True)
class Prediction:
    """Where the specimen should appear after the next move."""

    across_nm: float
    along_nm: float
    focus_change_nm: float
    """How much higher it will lie than at the last tilt of this branch."""
    height_nm: float
    """The z0 that was assumed."""


class _Shift(NamedTuple):
    sine: float
    """Growth of sin t."""
    across_nm: float
    """What is left of the measured shift without n0's part."""


@dataclass
class _Branch:
    last: Position
    shifts: list[_Shift] = field(default_factory=list)
    last_error_nm: float = math.inf


class Tracker:
    """Predicts each tilt's position from those that were measured before.

    ``start`` is where the specimen is seen before the first move; every branch
    departs from there. ``axis_offset_nm`` is n0, as calibrated, and ``height_nm`` z0
    as far as it is known beforehand.

    Example
    -------
    >>> tracker = Tracker(Position(0.0, 0.0, 0.0))
    >>> tracker.measured(Position(5.0, 87.0, 0.0), branch=0)
    >>> round(tracker.predict(10.0, branch=0).across_nm)
    173
    """

    def __init__(
        self, start: Position, *, axis_offset_nm: float = 0.0, height_nm: float = 0.0
    ) -> None:
        self._start = start
        self._axis_offset_nm = axis_offset_nm
        self._height_nm = height_nm
        self._branches: dict[int, _Branch] = {}

    def predict(self, tilt_deg: float, *, branch: int) -> Prediction:
        """Return where the specimen should appear at a tilt of this branch."""
        last = self._last(branch)
        height = self._height(branch)
        cosine, sine = _growth(last.tilt_deg, tilt_deg)
        return Prediction(
            across_nm=last.across_nm + self._axis_offset_nm * cosine + height * sine,
            along_nm=last.along_nm,
            focus_change_nm=height * cosine - self._axis_offset_nm * sine,
            height_nm=height,
        )

    def measured(self, position: Position, *, branch: int) -> None:
        """Learn where the specimen really was, and refit this branch's z0."""
        predicted = self.predict(position.tilt_deg, branch=branch)
        here = self._branches.setdefault(branch, _Branch(self._start))
        cosine, sine = _growth(here.last.tilt_deg, position.tilt_deg)
        moved_nm = position.across_nm - here.last.across_nm
        here.shifts.append(_Shift(sine, moved_nm - self._axis_offset_nm * cosine))
        del here.shifts[:-_REMEMBERED]
        here.last_error_nm = math.hypot(
            position.across_nm - predicted.across_nm,
            position.along_nm - predicted.along_nm,
        )
        here.last = position
        # What a branch that has seen nothing yet will begin with.
        self._height_nm = _fit(here.shifts, otherwise=self._height_nm)

    def may_skip(self, limit_nm: float, *, branch: int) -> bool:
        """Whether the next prediction needs no image.

        Both must be small: how well the fit describes the branch's last shifts, and
        by how much the last prediction was wrong.
        """
        here = self._branches.get(branch)
        if here is None or len(here.shifts) < _WARRANTED:
            return False
        return max(self._fit_error_nm(here), here.last_error_nm) <= limit_nm

    def reset(self, position: Position) -> None:
        """Forget what was measured: image shift or reference have changed.

        The specimen is seen at ``position`` now. The last z0 is kept as a first guess.
        """
        self._start = position
        self._branches.clear()

    def _last(self, branch: int) -> Position:
        here = self._branches.get(branch)
        return here.last if here else self._start

    def _height(self, branch: int) -> float:
        here = self._branches.get(branch)
        return _fit(here.shifts if here else (), otherwise=self._height_nm)

    def _fit_error_nm(self, here: _Branch) -> float:
        height = _fit(here.shifts, otherwise=self._height_nm)
        squares = [(s.across_nm - height * s.sine) ** 2 for s in here.shifts]
        return math.sqrt(sum(squares) / len(squares))


def _growth(from_deg: float, to_deg: float) -> tuple[float, float]:
    """Return by how much cos t and sin t grow."""
    a, b = math.radians(from_deg), math.radians(to_deg)
    return math.cos(b) - math.cos(a), math.sin(b) - math.sin(a)


def _fit(shifts: Sequence[_Shift], *, otherwise: float) -> float:
    """Return the z0 that explains the shifts best, by least squares."""
    weight = sum(s.sine**2 for s in shifts)
    if weight == 0.0:
        return otherwise
    return sum(s.sine * s.across_nm for s in shifts) / weight
