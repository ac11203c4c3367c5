"""Checked access to the fields of a program, with refusals that name the place."""

import math
from collections.abc import Sequence
from typing import Any, NoReturn

from cryoline.sim.errors import ProgramError

__all__ = ["Fields"]


class Fields:
    """One JSON object of a program.

    place: how a refusal names it, e.g. "step 2 (voltage_scan)"
    known: the keys it may have
    """

    def __init__(self, place: str, raw: dict[str, Any], known: Sequence[str]) -> None:
        self._place = place
        self._raw = raw
        unknown = sorted(set(raw) - set(known))
        if unknown:
            self.refuse(f"unknown key {unknown[0]!r}; known: {', '.join(known)}")

    @classmethod
    def of_step(cls, index: int, raw: dict[str, Any], known: Sequence[str]) -> "Fields":
        """Return the fields of the step with this index."""
        return cls(f"step {index} ({raw['type']})", raw, ("type", *known))

    def within(
        self, key: str, known: Sequence[str], optional: Sequence[str] = ()
    ) -> "Fields":
        """Return the fields of the object under `key`."""
        raw = self._raw.get(key)
        if not isinstance(raw, dict):
            self.refuse(f"{key} is missing; give {', '.join(known)}")
        return Fields(f"{self._place} {key}", raw, (*known, *optional))

    def has(self, key: str) -> bool:
        """Return whether a key is given, and not null."""
        return self._raw.get(key) is not None

    def number(
        self,
        key: str,
        low: float,
        high: float,
        unit: str,
        *,
        of: str = "the instrument's",
    ) -> float:
        """Return a number of low..high, whose limits are those `of` something."""
        value = self._raw.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(f"{key} must be a number ({unit}), not {value!r}")
        if not (math.isfinite(value) and low <= value <= high):
            unit = f" {unit}" if unit else ""
            self.refuse(
                f"{key} {value:g}{unit} is outside {of} {low:g}..{high:g}{unit}; "
                "choose a value in between"
            )
        return float(value)

    def number_or_none(
        self,
        key: str,
        low: float,
        high: float,
        unit: str,
        *,
        of: str = "the instrument's",
    ) -> float | None:
        """Return a number of low..high, or None if it is not given."""
        return self.number(key, low, high, unit, of=of) if self.has(key) else None

    def integer(self, key: str, low: int, high: int) -> int:
        """Return a whole number of low..high."""
        value = self._raw.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(f"{key} must be a whole number, not {value!r}")
        if not low <= value <= high:
            self.refuse(f"{key} {value} is outside {low}..{high}")
        return value

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """Return a whole number, or those of a list; none if it is not given."""
        value = self._raw.get(key)
        if not isinstance(value, list):
            return (self.integer(key, low, high),) if self.has(key) else ()
        return tuple(
            Fields(self._place, {key: one}, (key,)).integer(key, low, high)
            for one in value
        )

    def refuse(self, why: str) -> NoReturn:
        """Raise ProgramError for this place."""
        raise ProgramError(f"potentiostat: {self._place}: {why}")
