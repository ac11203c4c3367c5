"""The names under which the laboratory's instruments are served."""

from typing import Final

__all__ = ["CHANNELS_MAX", "GROUPS", "PREFIXES", "groups", "prefixes"]

CHANNELS_MAX: Final = 16
"""How many cells the potentiostat may cycle at once."""

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
"""The prefixes that each server process serves, of a potentiostat with one channel."""


def groups(server: str, channels: int = 1) -> tuple[str, ...]:
    """Return what a server process serves; a channel of the potentiostat is a group.

    >>> groups("potentiostat", 2)
    ('potentiostat', 'potentiostat2')
    """
    further = range(2, channels + 1) if server == "potentiostat" else ()
    return (*GROUPS[server], *(f"potentiostat{k}" for k in further))


def prefixes(channels: int = 1) -> dict[str, str]:
    """Return the PV prefix of each group.

    >>> prefixes(8)["potentiostat8"]
    'SIM:POT8:'
    """
    further = {f"potentiostat{k}": f"SIM:POT{k}:" for k in range(2, channels + 1)}
    return {**PREFIXES, **further}
