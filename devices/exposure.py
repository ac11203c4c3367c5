"""One exposure of a specimen as data: what is asked, what is allowed, what happened.

A fluence is beam-normal and a mean over the scanned field, in electrons per nm2.
"""

import math
from enum import IntEnum, StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Exposure",
    "ExposureResult",
    "Outcome",
    "ProbeCurrent",
    "Purpose",
    "SpecimenName",
    "Ticket",
]

SpecimenName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$", max_length=60)
]
"""Of a specimen or region: letters, digits, point and hyphen; part of file names."""

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Tilt = Annotated[float, Field(ge=-89, le=89, allow_inf_nan=False)]
_Pixels = Annotated[int, Field(ge=1, le=8192)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Purpose(StrEnum):
    """What an exposure is for; all of them cost the specimen the same."""

    SEARCH = "search"
    VIEW = "view"
    FOCUS = "focus"
    TRACKING = "tracking"
    PREVIEW = "preview"
    RECORD = "record"


class Outcome(IntEnum):
    """How an exposure ended, as LastOutcome_RBV counts."""

    NONE = 0
    COMPLETE = 1
    CUT = 2
    """Blanked by somebody before its end."""
    MAX_CHARGE = 3
    MAX_TIME = 4
    DEAD_MAN = 5
    INTERLOCK = 6


class Exposure(_Model):
    """A raster scan over a field of a specimen's region, n times.

    Images are (y, x), the tilt axis along y. What is charged hangs on where it lies:
    ``offset_*`` from the region's centre, as the beam sees it at this tilt.
    ``center_*`` is what the scan unit is told; tracking moves that, and the place on
    the specimen stays.
    """

    specimen: SpecimenName
    region: SpecimenName = "region-1"
    purpose: Purpose = Purpose.RECORD
    width_px: _Pixels
    height_px: _Pixels
    pixel_nm: _Positive
    dwell_s: _Positive
    n_frames: Annotated[int, Field(ge=1)] = 1
    flyback_s: _NotNegative = 0.0
    """Per line."""
    flyback_blanked: bool = True
    tilt_deg: _Tilt = 0.0
    center_x_nm: _Finite = 0.0
    """Shift of the scan field from the optical axis, across the tilt axis."""
    center_y_nm: _Finite = 0.0
    offset_x_nm: _Finite = 0.0
    """Of the field's centre from its region's, across the tilt axis."""
    offset_y_nm: _Finite = 0.0
    """Along the tilt axis: where focus and tracking areas go."""
    rotation_deg: _Finite = 0.0
    """Scan rotation, from x toward y, about the field's centre."""
    beam_diameter_nm: _NotNegative = 0.0
    """0 if focused; else the beam is a disc of that size on the specimen: it is
    defocused, or parked (1 x 1 px)."""

    @property
    def width_nm(self) -> float:
        """The scanned field's, across the tilt axis unless it is rotated."""
        return self.width_px * self.pixel_nm

    @property
    def height_nm(self) -> float:
        """The scanned field's, along the tilt axis unless it is rotated."""
        return self.height_px * self.pixel_nm

    @property
    def area_nm2(self) -> float:
        """What its charge is spread over: the field, or the beam if that is larger."""
        disc_nm2 = math.pi * (self.beam_diameter_nm / 2) ** 2
        return max(self.width_px * self.height_px * self.pixel_nm**2, disc_nm2)

    @property
    def beam_on_s(self) -> float:
        """Instrument time in which the beam is on the specimen."""
        line_s = self.width_px * self.dwell_s
        if not self.flyback_blanked:
            line_s += self.flyback_s
        return self.n_frames * self.height_px * line_s

    @property
    def duration_s(self) -> float:
        """Instrument time from the first pixel to the last, flyback included."""
        line_s = self.width_px * self.dwell_s + self.flyback_s
        return self.n_frames * self.height_px * line_s


class Ticket(_Model):
    """Leave to make one exposure, on disk in the ledger before it exists here."""

    uid: str
    exposure: Exposure
    current_pa: _Positive
    """Probe current as last measured."""
    current_limit_pa: _Positive
    """What the reservation assumes: measured, and the margin."""
    max_time_s: _Positive
    """Beam-on time at which the instrument blanks."""
    max_charge_c: _Positive
    """Charge at which the instrument blanks."""
    reserved_e_per_nm2: _Positive

    def arming(self) -> dict[str, Any]:
        """Return what the instrument needs to know to arm this exposure."""
        keys = (
            "width_px",
            "height_px",
            "pixel_nm",
            "dwell_s",
            "n_frames",
            "flyback_s",
            "flyback_blanked",
            "center_x_nm",
            "center_y_nm",
        )
        scan = {key: getattr(self.exposure, key) for key in keys}
        # An instrument that does not know these refuses them, and needs them not.
        for key in ("rotation_deg", "beam_diameter_nm"):
            if getattr(self.exposure, key):
                scan[key] = getattr(self.exposure, key)
        limits = {"max_time_s": self.max_time_s, "max_charge_c": self.max_charge_c}
        return {"ticket": self.uid, **scan, **limits}


class ProbeCurrent(_Model):
    """What is known of the beam's current."""

    current_pa: _NotNegative
    """As last measured."""
    age_s: _NotNegative
    """Instrument time since then."""
    current_max_pa: _Positive
    """What the source can give at most."""


class ExposureResult(_Model):
    """What the instrument counted, as it logged it."""

    ticket_uid: str
    outcome: Outcome
    charge_c: _NotNegative
    beam_on_s: _NotNegative
    frames: Annotated[int, Field(ge=0)]
    """Complete frames."""
    counter: Annotated[int, Field(ge=0)]
    """The instrument's exposure counter after this one."""
    boot_id: str

    @property
    def is_partial(self) -> bool:
        """Whether it ended before its last pixel."""
        return self.outcome is not Outcome.COMPLETE
