"""What the scan unit is armed with: one exposure, and the limits that end it."""

import json
import math
from dataclasses import dataclass
from typing import Any, Final

from cryoline.sim.errors import RefusedError

__all__ = ["TICKET_MAX", "ScanOrder", "read_order"]

TICKET_MAX: Final = 39
"""Bytes that an EPICS string holds."""
_PIXELS_MAX: Final = 8192
_FRAMES_MAX: Final = 10_000

_WHOLE: Final = {
    "width_px": (1, _PIXELS_MAX, "px"),
    "height_px": (1, _PIXELS_MAX, "px"),
    "n_frames": (1, _FRAMES_MAX, "frames"),
}
# What a scan unit can do: all [A], after common ones.
_NUMBERS: Final = {
    "pixel_nm": (0.01, 1000.0, "nm"),
    "dwell_s": (1e-7, 10.0, "s"),
    "flyback_s": (0.0, 1.0, "s"),
    "center_x_nm": (-1e5, 1e5, "nm"),
    "center_y_nm": (-1e5, 1e5, "nm"),
    "max_time_s": (1e-9, 1e6, "s"),
    "max_charge_c": (1e-18, 1.0, "C"),
}
_OPTIONAL: Final = {
    "rotation_deg": (-360.0, 360.0, "deg"),
    "beam_diameter_nm": (0.0, 1000.0, "nm"),
}
"""Left out they are 0."""


@dataclass(frozen=True)
class ScanOrder:
    """A raster scan over a field, n times, with limits of its own.

    The beam is on while it dwells, and in the flyback unless that is blanked. Lines
    are far shorter than anything drifts, so within one the beam counts as on by the
    line's mean.
    """

    ticket: str
    width_px: int
    height_px: int
    n_frames: int
    pixel_nm: float
    dwell_s: float
    flyback_s: float
    flyback_blanked: bool
    center_x_nm: float
    center_y_nm: float
    max_time_s: float
    """Of beam on."""
    max_charge_c: float
    rotation_deg: float = 0.0
    """Of the scan about its field's centre; positive turns the lines from +x to +y."""
    beam_diameter_nm: float = 0.0
    """Of a beam that is defocused; 0: a probe far smaller than a pixel."""

    @property
    def is_parked(self) -> bool:
        """Whether the beam stays in one place."""
        return self.width_px == self.height_px == 1

    @property
    def _dwelling_s(self) -> float:
        return self.width_px * self.dwell_s

    @property
    def frame_s(self) -> float:
        """Instrument time from a frame's first pixel to the next one's."""
        return self.height_px * (self._dwelling_s + self.flyback_s)

    @property
    def duration_s(self) -> float:
        """Instrument time of all frames."""
        return self.n_frames * self.frame_s

    @property
    def pixel_part(self) -> float:
        """Part of the duration that is spent on pixels."""
        return self._dwelling_s / (self._dwelling_s + self.flyback_s)

    @property
    def on_part(self) -> float:
        """Part of the duration that the beam is on the specimen."""
        return self.pixel_part if self.flyback_blanked else 1.0

    @property
    def beam_on_s(self) -> float:
        """Instrument time that the beam is on the specimen in all frames."""
        flyback_s = 0.0 if self.flyback_blanked else self.flyback_s
        return self.n_frames * self.height_px * (self._dwelling_s + flyback_s)


def read_order(text: str) -> ScanOrder:
    """Return the order in a text of JSON, or refuse it with the reason."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise RefusedError(f"beam: Arm: no JSON ({error}); write one object") from None
    if not isinstance(values, dict):
        raise RefusedError(f"beam: Arm: {text[:40]!r} is no object of JSON")
    wanted = {"ticket", "flyback_blanked", *_WHOLE, *_NUMBERS}
    if missing := sorted(wanted - set(values)):
        raise RefusedError(f"beam: Arm: {', '.join(missing)} missing")
    known = wanted | set(_OPTIONAL)
    if unknown := sorted(set(values) - known):
        raise RefusedError(
            f"beam: Arm: unknown key {unknown[0]}; known: {', '.join(sorted(known))}"
        )
    ticket = values["ticket"]
    if not isinstance(ticket, str) or not 0 < len(ticket.encode()) <= TICKET_MAX:
        raise RefusedError(
            f"beam: Arm: ticket must be a text of 1..{TICKET_MAX} bytes, not {ticket!r}"
        )
    if not isinstance(values["flyback_blanked"], bool):
        raise RefusedError("beam: Arm: flyback_blanked must be true or false")
    for key, (low, high, unit) in _WHOLE.items():
        _check(key, values[key], low, high, unit, whole=True)
    for key, limits in (_NUMBERS | _OPTIONAL).items():
        if key in values:
            _check(key, values[key], *limits, whole=False)
    return ScanOrder(**values)


def _check(
    key: str, value: Any, low: float, high: float, unit: str, *, whole: bool
) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        kind = "a whole number" if whole else "a number"
        raise RefusedError(f"beam: Arm: {key} must be {kind} in {unit}, not {value!r}")
    if not (low <= value <= high and math.isfinite(value)):
        raise RefusedError(
            f"beam: Arm: {key} {value:g} {unit} is outside {low:g}..{high:g} {unit}; "
            "choose a value in between"
        )
