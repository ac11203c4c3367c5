"""Column names of the Battery Data Format (BDF) 1.3.0 that are understood here.

A BDF file names its columns for machines (``voltage_volt``) or for people
(``Voltage / V``). One file is one cell; cycles keep the numbers that they have.
"""

from collections.abc import Sequence
from typing import Final

__all__ = ["LABELS", "REQUIRED", "machine_names"]

REQUIRED: Final = ("test_time_second", "voltage_volt", "current_ampere")
"""Without one of these it is no BDF."""

LABELS: Final = {
    "Test Time / s": "test_time_second",
    "Voltage / V": "voltage_volt",
    "Current / A": "current_ampere",
    "Unix Time / s": "unix_time_second",
    "Cycle Count / 1": "cycle_count",
    "Step Count / 1": "step_count",
    "Step ID / 1": "step_id",
    "Step Index / 1": "step_index",
    "Net Capacity / Ah": "net_capacity_ah",
    "Charging Capacity / Ah": "charging_capacity_ah",
    "Discharging Capacity / Ah": "discharging_capacity_ah",
}
"""Names for people, and what machines call the same."""


def machine_names(names: Sequence[str]) -> list[str]:
    """Return the names for machines; what is not known stays as it is.

    >>> machine_names(["Voltage / V", "step_id", "Humidity / %"])
    ['voltage_volt', 'step_id', 'Humidity / %']
    """
    return [LABELS.get(name.strip(), name.strip()) for name in names]
