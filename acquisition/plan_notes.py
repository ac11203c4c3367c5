"""What a plan knows and no instrument does, as part of its events."""

import time
from collections.abc import Mapping
from typing import Any

__all__ = ["PlanNotes"]


class PlanNotes:
    """A readable whose values are set by the plan that reads it.

    ``fields`` gives each field's unit. What was never noted is NaN.

    Example
    -------
    >>> notes = PlanNotes("tilt", {"target_deg": "deg"})
    >>> notes.note(target_deg=-5.0)
    >>> notes.read()["tilt_target_deg"]["value"]
    -5.0
    """

    parent = None

    def __init__(self, name: str, fields: Mapping[str, str]) -> None:
        self.name = name
        self._units = dict(fields)
        self._values = dict.fromkeys(self._units, float("nan"))
        self._time = time.time()

    def note(self, **values: float) -> None:
        """Set some fields; raises KeyError for one that was not declared."""
        for field, value in values.items():
            if field not in self._units:
                raise KeyError(f"{self.name} has no field {field!r}")
            self._values[field] = float(value)
        self._time = time.time()

    def clear(self) -> None:
        """Forget every value."""
        self._values = dict.fromkeys(self._units, float("nan"))

    def read(self) -> dict[str, Any]:
        """Return every field, as bluesky reads a device."""
        return {
            f"{self.name}_{field}": {"value": value, "timestamp": self._time}
            for field, value in self._values.items()
        }

    def describe(self) -> dict[str, Any]:
        """Describe every field, with its unit."""
        return {
            f"{self.name}_{field}": {
                "source": "plan",
                "dtype": "number",
                "shape": [],
                "units": unit,
            }
            for field, unit in self._units.items()
        }

    def read_configuration(self) -> dict[str, Any]:
        """Return nothing: all of it changes."""
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        """Describe nothing."""
        return {}
