"""What the vessels of the cold chain take, known to the world and to its servers."""

from typing import Final

__all__ = [
    "AIR_MAX_S",
    "FIB_SET_MAX_DEGC",
    "FIB_SET_MIN_DEGC",
    "LEAK_MAX_MBAR_L_PER_S",
    "TAG_BYTES",
]

FIB_SET_MIN_DEGC: Final = -190.0
"""As the cryo-APT study cools its stage [S0]."""
FIB_SET_MAX_DEGC: Final = 30.0
LEAK_MAX_MBAR_L_PER_S: Final = 1e-3
AIR_MAX_S: Final = 600.0
TAG_BYTES: Final = 60
"""Longest name on a specimen carrier's tag."""
