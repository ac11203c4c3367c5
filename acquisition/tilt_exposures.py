"""Every exposure of a tilt series, known before the first one: pure.

The plan and its twin, `worst_case_tilt_series`, both take their exposures from here,
so what is reserved is what may be made.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.fluence import allocate_over_tilts
from cryoline.acquisition.specimen import Specimen
from cryoline.acquisition.tilt_schemes import Scheme
from cryoline.devices.exposure import Exposure, Purpose

__all__ = [
    "Scan",
    "TiltExposures",
    "Tracking",
    "frames_per_tilt",
    "tilt_exposures",
    "worst_case_tilt_series",
]

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="wrap")
    @classmethod
    def _refuse(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise PlanRefused(
                f"{cls.__name__}: {name} = {first['input']!r}: {first['msg']}"
            ) from error


class Scan(_Settings):
    """How one tilt is mapped; as He et al. did, in 114 s."""

    width_px: Annotated[int, Field(ge=1, le=8192)] = 512
    height_px: Annotated[int, Field(ge=1, le=8192)] = 512
    pixel_nm: _Positive = 2.134
    dwell_s: _Positive = 19.767e-6
    n_frames: Annotated[int, Field(ge=1)] = 22
    """A tilt, on average over the series."""
    flyback_s: _NotNegative = 0.0
    """A line."""
    flyback_blanked: bool = True
    factor_at_60deg: Annotated[float, Field(ge=1, le=100, allow_inf_nan=False)] = 1.0
    """How many times the frames of 0 deg a tilt of 60 deg gets: 1 is all alike, 2
    is 1 / cos t."""


class Tracking(_Settings):
    """How the specimen is kept in the field, and when it is at rest."""

    dwell_s: _Positive = 4e-6
    """Of a tracking image, which has the field of the map: 1/109 of its dose."""
    settle_s: _NotNegative = 3.0
    """Wait after a move."""
    drift_wait_s: _Positive = 20.0
    """Between the two images that the drift is measured by."""
    drift_limit_nm_per_min: _Positive = 10.0
    drift_retries: Annotated[int, Field(ge=0, le=20)] = 2
    """Further images, ``drift_wait_s`` apart, if the specimen drifts faster."""
    axis_offset_nm: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """n0: how far the specimen lies beside the tilt axis, as calibrated."""
    height_nm: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """z0: how far above it, as far as it is known beforehand."""
    skip_below_nm: _NotNegative = 0.0
    """Take no image where the last prediction and the fit were better than this."""

    @property
    def most_images(self) -> int:
        """Images of one tilt at most: one to find the specimen, the rest for drift."""
        return 2 + self.drift_retries


@dataclass(frozen=True)
class TiltExposures:
    """What may be exposed at one tilt: images to track by, then the map."""

    index: int
    branch: int
    tracking: Exposure
    record: Exposure

    @property
    def tilt_deg(self) -> float:
        """The tilt that is asked of the stage."""
        return self.record.tilt_deg


def frames_per_tilt(
    scheme: Scheme, n_frames: int, *, factor_at_60deg: float = 1.0
) -> tuple[int, ...]:
    """Share the frames of a series out to its tilts, at least one to each.

    Their sum is ``n_frames`` for each tilt; what whole frames leave over goes to the
    tilts that fall short most.

    >>> from cryoline.acquisition.tilt_schemes import continuous
    >>> frames_per_tilt(continuous(-60, 60, 30), 10, factor_at_60deg=2.0)
    (14, 8, 7, 8, 13)
    """
    total = n_frames * len(scheme.angles_deg)
    shares = allocate_over_tilts(
        total,
        scheme.angles_deg,
        factor_at_60deg=factor_at_60deg,
        start_deg=scheme.center_deg,
    )
    frames = np.maximum(1, np.floor(shares + 1e-9).astype(int))
    while frames.sum() < total:
        frames[np.argmax(shares - frames)] += 1
    while frames.sum() > total:  # some got their one frame from the others
        frames[np.argmax(np.where(frames > 1, frames - shares, -math.inf))] -= 1
    return tuple(int(n) for n in frames)


def tilt_exposures(
    specimen: Specimen, region: str, scheme: Scheme, scan: Scan, tracking: Tracking
) -> tuple[TiltExposures, ...]:
    """Return the exposures of every tilt, in the order of acquisition."""
    frames = frames_per_tilt(
        scheme, scan.n_frames, factor_at_60deg=scan.factor_at_60deg
    )
    field = {
        "specimen": specimen.name,
        "region": region,
        **scan.model_dump(exclude={"dwell_s", "n_frames", "factor_at_60deg"}),
    }
    return tuple(
        TiltExposures(
            index=index,
            branch=branch,
            tracking=Exposure(
                **field,
                purpose=Purpose.TRACKING,
                dwell_s=tracking.dwell_s,
                tilt_deg=tilt_deg,
            ),
            record=Exposure(
                **field,
                purpose=Purpose.RECORD,
                dwell_s=scan.dwell_s,
                n_frames=frames[index],
                tilt_deg=tilt_deg,
            ),
        )
        for index, (tilt_deg, branch) in enumerate(
            zip(scheme.angles_deg, scheme.branches, strict=True)
        )
    )


def worst_case_tilt_series(
    specimen: Specimen,
    *,
    region: str = "region-1",
    scheme: Scheme,
    scan: Scan | None = None,
    tracking: Tracking | None = None,
) -> tuple[Exposure, ...]:
    """Return every exposure that `tilt_series` may make, in time order.

    >>> from cryoline.acquisition.tilt_schemes import bidirectional
    >>> series = worst_case_tilt_series(
    ...     Specimen(name="nw-01"), scheme=bidirectional(60, -60, 5)
    ... )
    >>> [f"{e.beam_on_s:.2f} s" for e in series if e.purpose == "record"][:2]
    ['114.00 s', '114.00 s']
    """
    tracking = tracking or Tracking()
    tilts = tilt_exposures(specimen, region, scheme, scan or Scan(), tracking)
    return tuple(
        exposure
        for tilt in tilts
        for exposure in (*(tilt.tracking,) * tracking.most_images, tilt.record)
    )
