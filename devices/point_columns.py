"""The columns of a potentiostat's points: JSON types, units, and what they become."""

from collections.abc import Callable
from typing import Any, Final

__all__ = ["IMPEDANCE_COLUMNS", "POINT_COLUMNS", "convert"]

POINT_COLUMNS: Final[dict[str, tuple[str, str]]] = {
    "point_index": ("integer", ""),
    "instrument_time_s": ("number", "s"),
    "potential_v": ("number", "V"),
    "current_a": ("number", "A"),
    "charge_mah": ("number", "mAh"),
    "cycle_number": ("integer", ""),
    "half_cycle": ("integer", ""),
    "step_index": ("integer", ""),
    "range_a": ("number", "A"),
    "overload": ("boolean", ""),
    "compliance": ("boolean", ""),
    "contact": ("boolean", ""),
}
"""Columns of a point: JSON type and unit. Delithiating currents are positive."""

IMPEDANCE_COLUMNS: Final[dict[str, tuple[str, str]]] = {
    "frequency_hz": ("number", "Hz"),
    "z_real_ohm": ("number", "ohm"),
    "z_imag_ohm": ("number", "ohm"),
}
"""Further ones of a program that measures an impedance; 0 in its other points."""

_FROM_JSON_TYPE: Final[dict[str, Callable[[Any], Any]]] = {
    "number": lambda values: values.tolist(),
    "integer": lambda values: values.astype(int).tolist(),
    "boolean": lambda values: values.astype(bool).tolist(),
}


def convert(kind: str, values: Any) -> list[Any]:
    """Return a column of doubles as plain numbers of its JSON type."""
    converted: list[Any] = _FROM_JSON_TYPE[kind](values)
    return converted
