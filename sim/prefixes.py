"""The names under which the laboratory's instruments are served."""

from typing import Final

__all__ = ["GROUPS", "INSTRUMENT_GROUPS", "PREFIXES"]

PREFIXES: Final = {
    "potentiostat": "SIM:POT1:",
    "glovebox": "SIM:GB1:",
    "operator": "SIM:OP1:",
    "clock": "SIM:CLK:",
    "stage": "SIM:STAGE1:",
    "beam": "SIM:BEAM1:",
    "haadf": "SIM:HAADF1:",
    "eds": "SIM:EDS1:",
    "carrier": "SIM:CARRIER1:",
    "plunge": "SIM:LN2POT1:",
    "suitcase": "SIM:CASE1:",
    "pfib": "SIM:FIB1:",
    "holder": "SIM:HOLD1:",
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
    "haadf": ("haadf",),
    "eds": ("eds",),
    "transfer": ("carrier", "plunge", "suitcase", "pfib", "holder"),
}
"""The prefixes that each server process serves."""

INSTRUMENT_GROUPS: Final = {
    server: tuple(g for g in groups if g not in ("lab", "truth"))
    for server, groups in GROUPS.items()
}
"""Those that stand for an instrument, with heartbeat, time and boot id below each."""
