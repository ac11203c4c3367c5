"""In which order a tilt series visits its angles: pure geometry.

Three different orders are all called "dose-symmetric" in the field; here each has
the name that its program gives it. A two-sided order takes the end of its first
side first: which side that is, is always said, never guessed.

An end is reached if the last step falls short of it, or passes it by less than
0.34 of a step, as SerialEM counts.
"""

import math
from collections.abc import Callable
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, model_validator

from cryoline.acquisition.errors import PlanRefused

__all__ = [
    "Scheme",
    "alternate",
    "bidirectional",
    "continuous",
    "cosine",
    "dose_symmetric_grouped",
    "swing",
]

_OVERSHOOT: Final = 0.34
"""Part of a step by which the last tilt may pass its end."""

_STEEPEST_DEG: Final = 90.0
_MOST_TILTS: Final = 2000


class Scheme(BaseModel):
    """The angles of a series in the order of acquisition, and how they came about.

    Example
    -------
    >>> bidirectional(60, -60, 5).angles_deg[11:15]
    (55.0, 60.0, -5.0, -10.0)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    parameters: dict[str, float]
    """What it was made with; names carry their units."""
    angles_deg: tuple[float, ...]
    branches: tuple[int, ...] = ()
    """Of each tilt 0 or 1: the tilts of a branch follow each other on one side."""
    center_deg: float = 0.0
    """Where a dose that grows with tilt is least."""

    @model_validator(mode="before")
    @classmethod
    def _one_branch_unless_said(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("branches"):
            return {**values, "branches": (0,) * len(values.get("angles_deg", ()))}
        return values

    @model_validator(mode="after")
    def _can_be_visited(self) -> "Scheme":
        if not self.angles_deg or len(self.branches) != len(self.angles_deg):
            raise PlanRefused(
                f"{self.name}: {len(self.angles_deg)} angles and {len(self.branches)} "
                "branches; give one branch for each of 1 or more angles"
            )
        _check_angles(self.name, dict.fromkeys(self.angles_deg, "a tilt"))
        return self

    def metadata(self) -> dict[str, Any]:
        """Return what a start document says of the scheme."""
        return {
            "scheme": {"name": self.name, "parameters": dict(self.parameters)},
            "angles_deg": list(self.angles_deg),
        }


def continuous(from_deg: float, to_deg: float, step_deg: float) -> Scheme:
    """Go from one end to the other.

    >>> continuous(-10, 10, 5).angles_deg
    (-10.0, -5.0, 0.0, 5.0, 10.0)
    """
    who = "continuous"
    _check_angles(who, {from_deg: "from_deg", to_deg: "to_deg"})
    _check_step(who, "step_deg", step_deg, abs(to_deg - from_deg))
    steps = math.floor(abs(to_deg - from_deg) / step_deg + _OVERSHOOT)
    signed_deg = math.copysign(step_deg, to_deg - from_deg)
    return Scheme(
        name=who,
        parameters={"from_deg": from_deg, "to_deg": to_deg, "step_deg": step_deg},
        angles_deg=tuple(_clean(from_deg + k * signed_deg) for k in range(steps + 1)),
    )


def cosine(
    first_end_deg: float,
    second_end_deg: float,
    step_at_zero_deg: float,
    *,
    start_deg: float = 0.0,
) -> Scheme:
    """Take steps that shrink with the cosine of the tilt (Saxton), first side first.

    >>> cosine(60, -60, 10).angles_deg[:4]
    (0.0, 10.0, 19.84807753, 29.25403952)
    """
    who, steps = "cosine", {"step_at_zero_deg": step_at_zero_deg}
    sign = _check_two_sides(who, first_end_deg, second_end_deg, start_deg, steps)
    visited: list[tuple[int, float]] = []
    for side, end_deg in enumerate((first_end_deg, second_end_deg)):
        tilt_deg = start_deg
        while True:
            step = step_at_zero_deg * math.cos(math.radians(tilt_deg))
            tilt_deg += sign * step
            if sign * tilt_deg >= sign * end_deg + _OVERSHOOT * step:
                break
            visited.append((side, tilt_deg))
        sign = -sign
    return _two_sided(who, first_end_deg, second_end_deg, start_deg, steps, visited)


def bidirectional(
    first_end_deg: float,
    second_end_deg: float,
    step_deg: float,
    *,
    start_deg: float = 0.0,
) -> Scheme:
    """Go from the start to the first end, then from the start to the second.

    >>> bidirectional(10, -15, 5).angles_deg
    (0.0, 5.0, 10.0, -5.0, -10.0, -15.0)
    """
    return _equal_steps(
        "bidirectional",
        *(first_end_deg, second_end_deg, step_deg, start_deg),
        order=lambda side, k: (side, k),
    )


def dose_symmetric_grouped(
    first_end_deg: float,
    second_end_deg: float,
    step_deg: float,
    *,
    group: int,
    start_deg: float = 0.0,
) -> Scheme:
    """Change sides after each group of tilts, as SerialEM does.

    >>> dose_symmetric_grouped(-60, 60, 5, group=2).angles_deg[:9]
    (0.0, -5.0, -10.0, 5.0, 10.0, -15.0, -20.0, 15.0, 20.0)
    """
    if isinstance(group, bool) or not isinstance(group, int) or group < 1:
        raise PlanRefused(
            f"dose_symmetric_grouped: group = {group!r}; "
            "give a whole number of tilts, 1 or more"
        )
    return _equal_steps(
        "dose_symmetric_grouped",
        *(first_end_deg, second_end_deg, step_deg, start_deg),
        order=lambda side, k: ((k - 1) // group, side, k),
        group=group,
    )


def swing(
    first_end_deg: float,
    second_end_deg: float,
    step_deg: float,
    *,
    start_deg: float = 0.0,
) -> Scheme:
    """Change sides after each tilt, the same side first each time (Leginon).

    >>> swing(15, -15, 5).angles_deg
    (0.0, 5.0, -5.0, 10.0, -10.0, 15.0, -15.0)
    """
    return _equal_steps(
        "swing",
        *(first_end_deg, second_end_deg, step_deg, start_deg),
        order=lambda side, k: (k, side),
    )


def alternate(
    first_end_deg: float,
    second_end_deg: float,
    step_deg: float,
    *,
    start_deg: float = 0.0,
) -> Scheme:
    """Visit both sides at each distance, beginning where the last one ended (Hagen).

    >>> alternate(4, -4, 1).angles_deg
    (0.0, 1.0, -1.0, -2.0, 2.0, 3.0, -3.0, -4.0, 4.0)
    """
    return _equal_steps(
        "alternate",
        *(first_end_deg, second_end_deg, step_deg, start_deg),
        # Odd distances begin on the first side, even ones on the second.
        order=lambda side, k: (k, side if k % 2 else 1 - side),
    )


def _equal_steps(
    who: str,
    first_end_deg: float,
    second_end_deg: float,
    step_deg: float,
    start_deg: float,
    *,
    order: Callable[[int, int], tuple[int, ...]],
    **more: float,
) -> Scheme:
    """Sort the tilts of both sides by side (0 is the first) and distance in steps."""
    steps = {"step_deg": step_deg}
    sign = _check_two_sides(who, first_end_deg, second_end_deg, start_deg, steps)
    offsets: list[tuple[int, int]] = []
    signs = (sign, -sign)
    for side, end_deg in enumerate((first_end_deg, second_end_deg)):
        reach = signs[side] * (end_deg - start_deg) + _OVERSHOOT * step_deg
        k = 1
        while k * step_deg < reach:
            offsets.append((side, k))
            k += 1
    offsets.sort(key=lambda offset: order(*offset))
    visited = [(side, start_deg + signs[side] * k * step_deg) for side, k in offsets]
    return _two_sided(
        who, first_end_deg, second_end_deg, start_deg, {**steps, **more}, visited
    )


def _two_sided(
    who: str,
    first_end_deg: float,
    second_end_deg: float,
    start_deg: float,
    more: dict[str, float],
    visited: list[tuple[int, float]],
) -> Scheme:
    return Scheme(
        name=who,
        parameters={
            "start_deg": start_deg,
            "first_end_deg": first_end_deg,
            "second_end_deg": second_end_deg,
            **more,
        },
        angles_deg=(float(start_deg), *(_clean(tilt_deg) for _, tilt_deg in visited)),
        branches=(0, *(side for side, _ in visited)),
        center_deg=start_deg,
    )


def _clean(tilt_deg: float) -> float:
    """Return a tilt without the last bits of its sum, and never -0."""
    return round(tilt_deg, 9) + 0.0


def _check_angles(who: str, angles_deg: dict[float, str]) -> None:
    for value, name in angles_deg.items():
        if not abs(value) < _STEEPEST_DEG:  # NaN is not
            raise PlanRefused(
                f"{who}: {name} = {value:g} deg is not between -90 and 90 deg; "
                "choose an angle that the holder can reach"
            )


def _check_two_sides(
    who: str,
    first_end_deg: float,
    second_end_deg: float,
    start_deg: float,
    steps_deg: dict[str, float],
) -> float:
    """Return the sign of the first side."""
    names = ("first_end_deg", "second_end_deg", "start_deg")
    angles = (first_end_deg, second_end_deg, start_deg)
    _check_angles(who, dict(zip(angles, names, strict=True)))
    if not (first_end_deg - start_deg) * (second_end_deg - start_deg) < 0:
        raise PlanRefused(
            f"{who}: the ends {first_end_deg:g} and {second_end_deg:g} deg do not lie "
            f"on both sides of the start, {start_deg:g} deg; choose a start between "
            "them, or a continuous series"
        )
    for name, step_deg in steps_deg.items():
        _check_step(who, name, step_deg, abs(first_end_deg - second_end_deg))
    return math.copysign(1.0, first_end_deg - start_deg)


def _check_step(who: str, name: str, step_deg: float, range_deg: float) -> None:
    if not (math.isfinite(step_deg) and step_deg > 0):
        raise PlanRefused(f"{who}: {name} = {step_deg:g} deg; give more than 0 deg")
    if range_deg / step_deg > _MOST_TILTS:
        raise PlanRefused(
            f"{who}: {name} = {step_deg:g} deg makes {range_deg / step_deg:.0f} tilts "
            f"over {range_deg:g} deg, more than {_MOST_TILTS}; choose a larger step"
        )
