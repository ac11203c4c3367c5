"""How far the readings of now lie from the limits of a route: vacuum, cold, gases."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cryoline.acquisition.route_limits import Limit, unit_of
from cryoline.acquisition.route_model import Route

__all__ = ["Margin", "margins"]

_BY_FACTOR: Final = ("mbar", "ppm")
"""Units of what spans decades."""


@dataclass(frozen=True)
class Margin:
    """One limit, and where its sensor stands."""

    where: str
    """The leg, or "ready" for what must hold before the first."""
    sensor: str
    value: float
    bound: float
    """The nearest that would stop it, or forbid to begin."""
    broken: str
    """The bound that is broken now, as in "above 1e-07 mbar"; "" if none is."""

    @property
    def unit(self) -> str:
        """Of value and bound."""
        return unit_of(self.sensor)

    @property
    def text(self) -> str:
        """How far it is from its bound, for a person."""
        if self.unit in _BY_FACTOR and self.value > 0:
            return f"a factor of {max(self.bound / self.value, 0):.3g}"
        return f"{abs(self.bound - self.value):.3g} {self.unit}"


def margins(
    route: Route, legs: Iterable[str], values: Mapping[str, float]
) -> list[Margin]:
    """Return the margin of each limit that stops, of the legs in their order.

    values: sensor -> what it reads; limits of others are left out
    """
    limits = [("ready", limit) for limit in route.ready]
    limits += [(leg, limit) for leg in legs for limit in route.legs[leg].limits]
    found = []
    for where, limit in limits:
        bound = _nearest(limit, values.get(limit.sensor, math.nan))
        if bound is not None:
            value = values[limit.sensor]
            beyond = limit.forbids_to_begin(value)
            broken = limit.broken_bound(value, beginning=True) if beyond else ""
            found.append(Margin(where, limit.sensor, value, bound, broken))
    return found


def _nearest(limit: Limit, value: float) -> float | None:
    bounds = [
        bound
        for bound in (
            limit.stop_above,
            limit.refuse_above,
            limit.stop_below,
            limit.refuse_below,
        )
        if bound is not None
    ]
    if not bounds or math.isnan(value):
        return None
    return min(bounds, key=lambda bound: abs(bound - value))
