"""Calibrations with their dates: no series is paid with one that is too old.

What a dose hangs on is the current and the pixel size, and where it lands on the image
shift. Their dates stand in the configuration, with who found them and how long they
hold. How old the *measured* current is goes by the instrument's clock, and is the
guard's matter: ``dose.current_age_max_s``.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cryoline.acquisition.errors import PlanRefused

__all__ = [
    "NO_RULES",
    "Calibration",
    "CalibrationsSection",
    "ImageShiftCalibration",
    "PixelSizeCalibration",
    "ProbeCurrentCalibration",
    "refuse_old",
]

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Dated(_Model):
    date: date
    by: Annotated[str, Field(min_length=1)]
    """Who has found it."""
    max_age_days: _Positive


class ProbeCurrentCalibration(_Dated):
    """The electrometer, compared with a Faraday cup."""

    shown_over_true: _Positive
    """The current that the instrument shows over that of the cup."""


class PixelSizeCalibration(_Dated):
    """The scan, compared with a standard: one value, or one by magnification."""

    pixel_nm: _Positive | None = None
    pixel_nm_by_magnification: dict[str, _Positive] = {}

    @model_validator(mode="after")
    def _has_one_kind(self) -> "PixelSizeCalibration":
        if (self.pixel_nm is None) == (not self.pixel_nm_by_magnification):
            raise ValueError("give pixel_nm or pixel_nm_by_magnification")
        return self


class ImageShiftCalibration(_Dated):
    """The shift of the scan field, compared with the stage."""

    seen_over_asked: _Positive
    rotation_deg: _Finite = 0.0
    """Of the shift's x axis from the image's."""


class CalibrationsSection(_Model):
    """What an instrument's doses are paid with; what is left out has no rule."""

    probe_current: ProbeCurrentCalibration | None = None
    pixel_size: PixelSizeCalibration | None = None
    image_shift: ImageShiftCalibration | None = None

    def as_of(self, today: date | None = None) -> Iterator["Calibration"]:
        """Yield each one that there is, with its age; today is the wall clock's."""
        today = today or datetime.now(UTC).astimezone().date()
        for name in type(self).model_fields:
            found: _Dated | None = getattr(self, name)
            if found is None:
                continue
            common = set(_Dated.model_fields)
            yield Calibration(
                name,
                found.model_dump(exclude=common, exclude_defaults=True),
                found.date.isoformat(),
                found.by,
                (today - found.date).days,
                found.max_age_days,
            )


NO_RULES: Final = CalibrationsSection()
"""Of an instrument without calibrations."""


@dataclass(frozen=True)
class Calibration:
    """One calibration, as old as it is now."""

    name: str
    values: dict[str, Any]
    date: str
    by: str
    age_days: int
    max_age_days: float

    def as_dict(self) -> dict[str, Any]:
        """Return what a program may read, and what the ledger keeps."""
        return asdict(self)

    @property
    def refusal(self) -> str:
        """Why nothing may be paid with it, "" if it may."""
        what = self.name.replace("_", " ")
        if self.age_days < 0:
            return (
                f"calibration: the {what} is of {self.date}, which is "
                f"{-self.age_days} days ahead; is this computer's clock right, or the "
                f"date in [calibrations.{self.name}]?"
            )
        if self.age_days > self.max_age_days:
            return (
                f"calibration: the {what} of {self.date}, by {self.by}, is "
                f"{self.age_days} days old (limit {self.max_age_days:g} days); "
                "calibrate again, and write value and date into "
                f"[calibrations.{self.name}]"
            )
        return ""


def refuse_old(section: CalibrationsSection, today: date | None = None) -> None:
    """Raise PlanRefused that names each calibration that is too old."""
    refusals = [c.refusal for c in section.as_of(today) if c.refusal]
    if refusals:
        raise PlanRefused("\n".join(refusals))
