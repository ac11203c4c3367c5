"""What the hardware of the cold chain refuses, whoever asks.

An interlock is here and not in a plan: a hand at a display gets the same answer.
"""

import math
from dataclasses import dataclass
from typing import Final

from cryoline.sim.errors import RefusedError
from cryoline.sim.transfer_places import MOVES, UNDERWAY, Host, Place

__all__ = [
    "DECADES_MAX",
    "Doors",
    "check_dock",
    "check_gate",
    "check_load",
    "check_move",
]

DECADES_MAX: Final = 2.0
"""A gate valve opens only between pressures less than this many decades apart."""
_ATMOSPHERE_MIN_MBAR: Final = 900.0

_REACHED_FROM: Final = {
    Host.GLOVEBOX: Place.LOCK,
    Host.PFIB: Place.PFIB,
    Host.LEAP: Place.LEAP,
    Host.MICROSCOPE: Place.MICROSCOPE,
}


@dataclass
class Doors:
    """What is docked and open, and the pressures on both sides."""

    host: Host
    gate_open: bool
    fib_gate_open: bool
    suitcase_mbar: float
    port_mbar: float
    fib_mbar: float
    pot_percent: float


def check_move(here: Place, there: Place, doors: Doors) -> None:
    """Raise RefusedError if the carrier can't get from here to there now."""
    if (here, there) not in MOVES:
        ways = [b.name.lower() for a, b in MOVES if a is here]
        raise RefusedError(
            f"carrier: no way from {here.name.lower()} to {there.name.lower()}; "
            f"from here it can go to: {', '.join(ways) or 'nowhere'}"
        )
    if there is Place.POT and doors.pot_percent < 1.0:
        raise RefusedError(
            f"carrier: the plunge pot holds {doors.pot_percent:.1f} % of its liquid "
            "nitrogen, 1 % is needed; write Fill"
        )
    pair = {here, there}
    if Place.LOCK in pair and Place.POT in pair:
        _check_inner_door(doors)
    elif Place.SUITCASE in pair:
        (other,) = pair - {Place.SUITCASE}
        _check_gates(other, doors)


def _check_inner_door(doors: Doors) -> None:
    if doors.host is not Host.GLOVEBOX:
        raise RefusedError(
            "carrier: the suitcase is not docked at the glovebox, so the load lock "
            "is shut; write Dock glovebox"
        )
    if doors.gate_open or doors.port_mbar < _ATMOSPHERE_MIN_MBAR:
        raise RefusedError(
            f"carrier: the load lock is at {doors.port_mbar:.1e} mbar; its inner door "
            f"opens only above {_ATMOSPHERE_MIN_MBAR:g} mbar: shut the gate valve, "
            "switch PortPump off and write PortVent"
        )


def _check_gates(other: Place, doors: Doors) -> None:
    if _REACHED_FROM.get(doors.host) is not other:
        host = next(h for h, place in _REACHED_FROM.items() if place is other)
        raise RefusedError(
            f"carrier: the suitcase is docked at {doors.host.name.lower()}, not at "
            f"{host.name.lower()}; write Dock {host.name.lower()}"
        )
    if not doors.gate_open:
        raise RefusedError(
            "carrier: the suitcase's gate valve is shut; write GateValve open"
        )
    if other is Place.PFIB and not doors.fib_gate_open:
        raise RefusedError(
            "carrier: the gate valve of the PFIB is shut; write its GateValve open"
        )


def check_dock(host: Host, doors: Doors, here: Place, *, moving: bool) -> None:
    """Raise RefusedError if the suitcase can't be docked there, or taken away."""
    if host is doors.host:
        return
    if host is not Host.NONE and doors.host is not Host.NONE:
        raise RefusedError(
            f"suitcase: it is docked at {doors.host.name.lower()}; "
            f"write Dock none before {host.name.lower()}"
        )
    if doors.gate_open or doors.fib_gate_open:
        which = "its gate valve" if doors.gate_open else "the PFIB's gate valve"
        raise RefusedError(f"suitcase: {which} is open; shut it before you undock")
    if moving or here is Place.LOCK:
        raise RefusedError(
            "suitcase: the carrier is between glovebox and suitcase; move it to one "
            "of them before you undock"
        )


def check_gate(name: str, near_mbar: float, far_mbar: float, host: Host) -> None:
    """Raise RefusedError if a gate valve may not open between these pressures."""
    if host is Host.NONE:
        raise RefusedError(
            f"{name}: the gate valve opens only when the suitcase is docked; write Dock"
        )
    decades = abs(math.log10(near_mbar / far_mbar))
    if decades >= DECADES_MAX:
        raise RefusedError(
            f"{name}: {near_mbar:.1e} mbar inside and {far_mbar:.1e} mbar in the port "
            f"are {decades:.1f} decades apart, {DECADES_MAX:g} are allowed; "
            "pump the port (PortPump), or wait"
        )


def check_load(here: Place, name: str, present: str) -> None:
    """Raise RefusedError if another specimen can't be put on the carrier now."""
    if here in UNDERWAY:
        raise RefusedError(
            f"carrier: {present or 'a specimen'} is in the {here.name.lower()}; finish "
            f"its transfer, or take it back to the glovebox, before {name} is loaded"
        )
