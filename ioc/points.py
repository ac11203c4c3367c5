"""What a potentiostat's page of points holds."""

from typing import Final

__all__ = ["COLUMNS", "PAGE_ROWS"]

COLUMNS: Final = (
    "point_index",
    "instrument_time_s",
    "potential_v",
    "current_a",
    "charge_mah",
    "cycle_number",
    "half_cycle",
    "step_index",
    "range_a",
    "overload",
    "compliance",
    "contact",
    "frequency_hz",
    "z_real_ohm",
    "z_imag_ohm",
)
PAGE_ROWS: Final = 5000
