"""Where each quantity of the cold chain stands in the kernel's arrays."""

from typing import Final

__all__ = [
    "AIR",
    "BATTERY",
    "CONTAMINATION",
    "DEVITRIFIED",
    "DOCKED",
    "FIB_GATE",
    "FIB_SET",
    "FROST",
    "FROZEN",
    "GATE",
    "HOLDER",
    "HOLDER_TOPPED",
    "LEAK",
    "MAINS",
    "PORT_PUMP",
    "POT",
    "POT_TOPPED",
    "PUMP",
    "P_FIB",
    "P_MAX",
    "P_PORT",
    "P_SUITCASE",
    "SIZE",
    "STAGE",
    "SUITCASE",
    "SUITCASE_DRY",
    "SUITCASE_TOPPED",
    "SURROUNDINGS",
    "SWITCHES",
    "T_CARRIER",
    "T_FIB",
    "T_HOLDER",
    "T_MAX",
    "T_POT",
    "T_SUITCASE",
    "WARMEST_FROZEN",
]

# The state: temperatures degC, pressures mbar, nitrogen ml, battery Wh, air s,
# contamination monolayers, frost nm; FROZEN and DEVITRIFIED 0 or 1.
(
    T_CARRIER,
    T_MAX,
    CONTAMINATION,
    FROST,
    AIR,
    FROZEN,
    DEVITRIFIED,
    WARMEST_FROZEN,
    T_POT,
    POT,
    T_SUITCASE,
    P_SUITCASE,
    P_MAX,
    SUITCASE,
    BATTERY,
    P_PORT,
    T_FIB,
    P_FIB,
    T_HOLDER,
    HOLDER,
) = range(20)
SIZE: Final = 20

# The switches: what surrounds the carrier, and 0 or 1.
(
    SURROUNDINGS,
    POT_TOPPED,
    SUITCASE_TOPPED,
    HOLDER_TOPPED,
    SUITCASE_DRY,
    PUMP,
    MAINS,
    DOCKED,
    PORT_PUMP,
    GATE,
    FIB_GATE,
) = range(11)
SWITCHES: Final = 11

# The settings: leak mbar l/s, PFIB and microscope stage degC.
LEAK, FIB_SET, STAGE = range(3)
