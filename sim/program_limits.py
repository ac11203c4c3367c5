"""What the simulated potentiostat can do.

All [A]: no data sheet of the papers' model was found.
"""

from typing import Final

__all__ = [
    "CHARGE_MAX_MAH",
    "COMPLIANCE_V",
    "CURRENT_MAX_A",
    "CYCLES_MAX",
    "DURATION_MAX_S",
    "FREQUENCY_MAX_HZ",
    "FREQUENCY_MIN_HZ",
    "SCAN_RATE_MAX_MV_PER_S",
]

COMPLIANCE_V: Final = 10.0
CURRENT_MAX_A: Final = 0.1
SCAN_RATE_MAX_MV_PER_S: Final = 1000.0
FREQUENCY_MIN_HZ: Final = 1e-4
FREQUENCY_MAX_HZ: Final = 1e6
CHARGE_MAX_MAH: Final = 1e6
DURATION_MAX_S: Final = 1e8  # three years
CYCLES_MAX: Final = 100_000
