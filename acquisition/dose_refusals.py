"""The words of the dose ledger when it says no: who, how much, what to do."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cryoline.acquisition.dose_book import Balance, from_milli
from cryoline.acquisition.errors import DoseRefused
from cryoline.devices.exposure import Exposure

__all__ = [
    "Asked",
    "blocked",
    "check_current",
    "exposure_text",
    "fluence_text",
    "over_budget",
    "over_limit",
]


class Ruling(Protocol):
    """What a refusal says of the cell that rules; `dose_ruling` finds it."""

    @property
    def held(self) -> Balance:
        """What it holds."""

    @property
    def limit(self) -> int:
        """Its limit, 1e-3 e/nm2."""

    @property
    def because(self) -> str:
        """Whose dose or limit it is as well."""


@dataclass(frozen=True)
class Asked:
    """What somebody asks of a region, and how its cost comes about."""

    what: str
    specimen: str
    region: str
    milli: int
    """The worst case, 1e-3 e/nm2."""
    n_exposures: int
    current_limit_pa: float
    current_pa: float | None = None
    """As measured, if that is known."""

    def largest_current_pa(self, allowed: int) -> float:
        """Return the current at which this would cost no more than ``allowed``.

        It is that which a person sees, the measured one, if that is known.
        """
        # Each exposure may have been rounded up by 1e-3 e/nm2.
        part = max(0, allowed - self.n_exposures) / self.milli
        return _round_down(part * (self.current_pa or self.current_limit_pa))


def fluence_text(fluence_e_per_nm2: float, digits: int = 3) -> str:
    """Return a fluence as text.

    >>> fluence_text(1.126e7), fluence_text(0.0)
    ('1.13e7 e/nm2', '0 e/nm2')
    """
    return f"{_number(fluence_e_per_nm2, digits)} e/nm2"


def exposure_text(exposure: Exposure) -> str:
    """Return in words what must be equal for an exposure to be a declared one."""
    frames = "1 frame" if exposure.n_frames == 1 else f"{exposure.n_frames} frames"
    flyback = "blanked" if exposure.flyback_blanked else f"{exposure.flyback_s:g} s"
    parts = [
        f"{exposure.purpose} of {exposure.specimen}, {exposure.region}: "
        f"{exposure.width_px} x {exposure.height_px} px at {exposure.pixel_nm:g} nm",
        f"{exposure.dwell_s * 1e6:g} us",
        frames,
        f"flyback {flyback}",
    ]
    if exposure.tilt_deg:
        parts.append(f"at {exposure.tilt_deg:g} deg")
    if exposure.offset_x_nm or exposure.offset_y_nm:
        parts.append(
            f"({exposure.offset_x_nm:g}, {exposure.offset_y_nm:g}) nm from its centre"
        )
    if exposure.rotation_deg:
        parts.append(f"turned by {exposure.rotation_deg:g} deg")
    if exposure.beam_diameter_nm:
        parts.append(f"beam {exposure.beam_diameter_nm:g} nm wide")
    return ", ".join(parts)


def check_current(name: str, current_pa: float) -> None:
    """Raise DoseRefused unless a current is a positive, finite number."""
    if not (math.isfinite(current_pa) and current_pa > 0):
        raise DoseRefused(
            f"dose: {name} of {current_pa:g} pA is no probe current; nothing was "
            "reserved. Measure it (beam.measure_current()), and check the unit of its "
            "PV"
        )


def over_limit(asked: Asked, ruling: Ruling) -> DoseRefused:
    """Return the refusal of what costs more than the fullest cell has left."""
    held, limit = ruling.held, ruling.limit
    left = max(0, limit - held.total)
    digits = _digits_that_differ(asked.milli, left)
    used = (
        "nothing is used yet"
        if held.total == 0
        else f"{_milli(held.settled)} settled, "
        f"{_milli(held.tickets + held.series)} reserved"
    )
    if ruling.because:
        used += f"; {ruling.because}"
    return DoseRefused(
        f"{_cost(asked, digits)}, {_milli(left, digits)} of {_milli(limit)} is left "
        f"({used}); {_remedy(asked, left)}"
    )


def over_budget(asked: Asked, budget: int, *, drawn: int = 0) -> DoseRefused:
    """Return the refusal of what costs more than a series' own budget.

    drawn: what the series itself holds or has spent of it already
    """
    left = max(0, budget - drawn)
    digits = _digits_that_differ(asked.milli, left)
    allowed = f"its budget is {_milli(budget, digits)}"
    if drawn:
        allowed = (
            f"{_milli(left, digits)} of the series' budget of {_milli(budget)} is left"
        )
    return DoseRefused(f"{_cost(asked, digits)}, {allowed}; {_remedy(asked, left)}")


def blocked(specimen: str, region: str, tickets: Sequence[str]) -> DoseRefused:
    """Return the refusal of anything on a region with an unseen over-charge."""
    return DoseRefused(
        f"dose: specimen {specimen}, {region} is blocked: ticket "
        f"{', '.join(tickets)} was charged more than it had reserved; see what "
        f"happened (cryoline dose show {specimen}), then: cryoline dose acknowledge "
        f"{specimen} {region} --reason TEXT"
    )


def _cost(asked: Asked, digits: int) -> str:
    count = "1 exposure" if asked.n_exposures == 1 else f"{asked.n_exposures} exposures"
    current = f"{asked.current_limit_pa:.4g} pA"
    if asked.current_pa is not None:
        margin_percent = 100 * (asked.current_limit_pa / asked.current_pa - 1)
        current += f" = {asked.current_pa:.4g} pA + {margin_percent:.3g} %"
    return (
        f"dose: specimen {asked.specimen}, {asked.region}: {asked.what} may cost "
        f"{_milli(asked.milli, digits)} ({count} at up to {current})"
    )


def _remedy(asked: Asked, allowed: int) -> str:
    largest_pa = asked.largest_current_pa(allowed)
    if largest_pa < 0.1:
        return "no current fits: take another region or specimen"
    which = "current limit" if asked.current_pa is None else "measured current"
    return (
        f"lower the {which} to {largest_pa:g} pA or less, scan fewer frames, or choose "
        "a larger pixel"
    )


def _round_down(value: float, digits: int = 3) -> float:
    """Return the value with so many digits, and never a larger one."""
    if value <= 0:
        return 0.0
    scale = 10.0 ** (digits - 1 - math.floor(math.log10(value)))
    return math.floor(value * scale) / scale


def _digits_that_differ(asked: int, allowed: int) -> int:
    """Return how many digits show that more is asked than allowed."""
    for digits in range(3, 12):
        if _number(asked / 1000, digits) != _number(allowed / 1000, digits):
            return digits
    return 12


def _milli(milli: int, digits: int = 3) -> str:
    return fluence_text(from_milli(milli), digits)


def _number(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"
