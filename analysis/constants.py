"""Constants of nature, the one file that analysis and the simulator share.

Source of all values: CODATA 2018 (Tiesinga et al., Rev. Mod. Phys. 93, 025010,
2021); those without an uncertainty are exact since the 2019 SI.
"""

from typing import Final

__all__ = [
    "BOLTZMANN_J_PER_K",
    "ELEMENTARY_CHARGE_C",
    "FARADAY_C_PER_MOL",
    "GAS_CONSTANT_J_PER_MOL_K",
    "ZERO_CELSIUS_K",
]

ELEMENTARY_CHARGE_C: Final = 1.602176634e-19
"""Charge of a proton, exact."""

BOLTZMANN_J_PER_K: Final = 1.380649e-23
"""Boltzmann constant, exact."""

FARADAY_C_PER_MOL: Final = 96485.33212
"""Charge of a mole of electrons."""

GAS_CONSTANT_J_PER_MOL_K: Final = 8.31446261815324
"""Molar gas constant, exact."""

ZERO_CELSIUS_K: Final = 273.15
"""0 degC on the thermodynamic scale, exact."""
