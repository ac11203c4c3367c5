"""The names under which the laboratory's instruments are served."""

from typing import Final

__all__ = ["GROUPS", "PREFIXES"]

PREFIXES: Final = {
    "potentiostat": "SIM:POT1:",
    "glovebox": "SIM:GB1:",
    "operator": "SIM:OP1:",
    "clock": "SIM:CLK:",
    "stage": "SIM:STAGE1:",
    "beam": "SIM:BEAM1:",
    "lab": "SIM:LAB:",
    "truth": "SIM:TRUTH:",
}

GROUPS: Final = {
    "potentiostat": ("potentiostat",),
    "glovebox": ("glovebox",),
    "operator": ("operator",),
    "clock": ("clock", "lab", "truth"),
    "stage": ("stage",),
    "beam": ("beam",),
}
"""The prefixes that each server process serves, its own first."""
