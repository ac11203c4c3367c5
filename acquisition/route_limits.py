"""Limits of a route: where a reading warns, and where it stops the way.

What a limit rules on is a sensor, named as VESSEL.SIGNAL with the signal's unit at its
end.
"""

import re
from enum import IntEnum
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["SENSOR", "Limit", "RouteModel", "Severity", "check_sensor", "unit_of"]

SENSOR: Final = re.compile(r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")
_UNITS: Final = {
    "degc": "degC",
    "mbar": "mbar",
    "ppm": "ppm",
    "percent": "%",
    "s": "s",
}

_Number = Annotated[float, Field(allow_inf_nan=False)]


class RouteModel(BaseModel):
    """The root of what stands in a route file: no unknown key, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Severity(IntEnum):
    """How far a reading is out of its limit."""

    NONE = 0
    WARN = 1
    STOP = 2


def unit_of(sensor: str) -> str:
    """Return the unit of a sensor, from the end of its name."""
    return _UNITS.get(sensor.rpartition("_")[2], "")


def check_sensor(value: str) -> str:
    """Return a sensor's name, or raise ValueError."""
    if not SENSOR.match(value):
        raise ValueError(f"{value!r} is no sensor; write VESSEL.SIGNAL")
    if not unit_of(value):
        raise ValueError(
            f"{value!r} has no unit at its end; it is one of "
            f"{', '.join('_' + unit for unit in _UNITS)}"
        )
    return value


class Limit(RouteModel):
    """Where a reading warns and where it stops the leg; either side, or both."""

    sensor: str
    warn_above: _Number | None = None
    stop_above: _Number | None = None
    refuse_above: _Number | None = None
    """Stricter than stop: the leg doesn't begin beyond it."""
    warn_below: _Number | None = None
    stop_below: _Number | None = None
    refuse_below: _Number | None = None
    flag: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] | None = None
    """What the specimen is marked with for life if it is passed; by default the signal
    without its unit, and nothing for a filling in percent."""
    advice: str = ""
    """What to do about it."""

    _sensor = field_validator("sensor")(check_sensor)

    @model_validator(mode="after")
    def _order(self) -> Self:
        bounds = self.model_dump(exclude={"sensor", "flag", "advice"})
        if all(value is None for value in bounds.values()):
            raise ValueError(
                f"the limit of {self.sensor} limits nothing; give one of "
                f"{', '.join(bounds)}"
            )
        for inner in ("warn", "refuse"):
            for side, sign in (("above", 1), ("below", -1)):
                near, far = bounds[f"{inner}_{side}"], bounds[f"stop_{side}"]
                if near is not None and far is not None and sign * near > sign * far:
                    raise ValueError(
                        f"{inner}_{side} = {near:g} of {self.sensor} lies beyond "
                        f"stop_{side} = {far:g}; exchange them"
                    )
        return self

    @property
    def mark(self) -> str:
        """The flag of a specimen for which it was passed; none for mere supplies."""
        if self.flag is not None:
            return self.flag
        signal = self.sensor.partition(".")[2]
        if signal.endswith("_percent"):
            return ""
        return signal.rpartition("_")[0].replace("_", "-")

    def severity(self, value: float) -> Severity:
        """Return how bad a reading is within a leg; what is no number stops it."""
        if value != value:
            return Severity.STOP
        if _beyond(value, self.stop_above, self.stop_below):
            return Severity.STOP
        if _beyond(value, self.warn_above, self.warn_below):
            return Severity.WARN
        return Severity.NONE

    def forbids_to_begin(self, value: float) -> bool:
        """Return whether a leg may not begin at this reading."""
        return self.severity(value) is Severity.STOP or _beyond(
            value, self.refuse_above, self.refuse_below
        )

    def broken_bound(self, value: float, *, beginning: bool = False) -> str:
        """Return the bound that a reading breaks, as in "above 1e-07 mbar"."""
        kinds = ("stop", "refuse", "warn") if beginning else ("stop", "warn")
        for kind in kinds:
            for side, sign in (("above", 1), ("below", -1)):
                bound = getattr(self, f"{kind}_{side}")
                if bound is not None and sign * value > sign * bound:
                    return f"{side} {bound:g} {unit_of(self.sensor)}"
        return "no number"


def _beyond(value: float, above: float | None, below: float | None) -> bool:
    return (above is not None and value > above) or (
        below is not None and value < below
    )
