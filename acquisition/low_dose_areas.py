"""Where images go that only serve the others: beside the region, along the tilt axis.

Record, preview, view and search are centred on the region, as SerialEM lays them out.
Focus and tracking may be displaced along the tilt axis: there the specimen keeps its
height at all tilts, while an offset d across it would move the focus by d tan t. What
a displaced image costs is charged where it lies. So it must lie clear of what is to be
recorded, or its overlap is accepted, and charged to the region as well.

    offset >= radius of the known beam + half diagonal of the record + tracking limit
"""

import math
from dataclasses import dataclass
from typing import Final

from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.plan_settings import (
    Finite,
    NotNegative,
    Pixels,
    PlanSettings,
    Positive,
)
from cryoline.devices.exposure import Exposure, Purpose

__all__ = ["DisplacedArea", "Separation", "separation"]

_MAY_BE_DISPLACED: Final = (Purpose.FOCUS, Purpose.TRACKING)


class DisplacedArea(PlanSettings):
    """A field beside the region, for images to focus or to track by.

    Example
    -------
    >>> record = Exposure(
    ...     specimen="nw-01", width_px=256, height_px=256, pixel_nm=1.0, dwell_s=1e-5
    ... )
    >>> area = DisplacedArea(offset_nm=400.0, width_px=128, height_px=128)
    >>> area.beside(record, Purpose.TRACKING, dwell_s=4e-6).offset_y_nm
    400.0
    """

    offset_nm: Finite
    """Of its centre from the region's, along the tilt axis; either sign."""
    width_px: Pixels | None = None
    """As the record's, if not given; so are height and pixel."""
    height_px: Pixels | None = None
    pixel_nm: Positive | None = None
    tracking_limit_nm: NotNegative = 50.0
    """How far the fields may be off the place that they are meant for."""
    accept_overlap: bool = False
    """Whether it may lie nearer than it should; what overlaps is charged twice."""

    def beside(self, record: Exposure, purpose: Purpose, *, dwell_s: float) -> Exposure:
        """Return one frame on this area, at the tilt of what is recorded.

        Raises PlanRefused if it lies too near and overlap is not accepted.
        """
        if purpose not in _MAY_BE_DISPLACED:
            raise PlanRefused(
                f"low-dose areas: {purpose.value} is centred on the region; only "
                f"{' and '.join(_MAY_BE_DISPLACED)} may be displaced"
            )
        beside = Exposure(
            **record.model_dump()
            | {
                "purpose": purpose,
                "width_px": self.width_px or record.width_px,
                "height_px": self.height_px or record.height_px,
                "pixel_nm": self.pixel_nm or record.pixel_nm,
                "dwell_s": dwell_s,
                "n_frames": 1,
                "offset_y_nm": record.offset_y_nm + self.offset_nm,
            }
        )
        self._check(separation(record, beside, limit_nm=self.tracking_limit_nm))
        return beside

    def _check(self, found: "Separation") -> None:
        if found.is_clear or self.accept_overlap:
            return
        raise PlanRefused(
            f"low-dose areas: offset_nm = {self.offset_nm:g} nm along the tilt axis is "
            f"too near to the region: {found.needed_nm:.0f} nm are needed (beam "
            f"{found.beam_radius_nm:.0f} nm + half diagonal of the record "
            f"{found.half_diagonal_nm:.0f} nm + tracking limit "
            f"{self.tracking_limit_nm:g} nm), the edges are {found.gap_nm:.0f} nm "
            "apart; give a larger offset, a smaller area, or accept_overlap=True to "
            "have the region charged with it"
        )


@dataclass(frozen=True)
class Separation:
    """How far a displaced area lies from what is recorded."""

    offset_nm: float
    """From centre to centre."""
    beam_radius_nm: float
    """Of the known beam: to the corner of its field, and the disc's radius beyond."""
    half_diagonal_nm: float
    """Of the record."""
    limit_nm: float
    gap_nm: float
    """From the edge of the known beam to the edge of the record along the axis, if
    nothing is off its place; negative if they overlap."""

    @property
    def needed_nm(self) -> float:
        """The least offset that keeps them apart, however the fields are turned."""
        return self.beam_radius_nm + self.half_diagonal_nm + self.limit_nm

    @property
    def is_clear(self) -> bool:
        """Whether nothing of it can fall on the record."""
        return self.offset_nm >= self.needed_nm


def separation(record: Exposure, other: Exposure, *, limit_nm: float) -> Separation:
    """Return how far another exposure of the same region lies from the record.

    limit_nm: how far the fields may be off the place that they are meant for
    """
    offset_nm = math.hypot(
        other.offset_x_nm - record.offset_x_nm, other.offset_y_nm - record.offset_y_nm
    )
    beam_radius_nm = _half_diagonal_nm(other) + other.beam_diameter_nm / 2
    turned = math.radians(record.rotation_deg)
    half_along_nm = (record.pixel_nm / 2) * (
        record.width_px * abs(math.sin(turned))
        + record.height_px * abs(math.cos(turned))
    )
    return Separation(
        offset_nm,
        beam_radius_nm,
        _half_diagonal_nm(record),
        limit_nm,
        offset_nm - beam_radius_nm - half_along_nm,
    )


def _half_diagonal_nm(exposure: Exposure) -> float:
    return exposure.pixel_nm * math.hypot(exposure.width_px, exposure.height_px) / 2
