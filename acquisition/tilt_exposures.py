"""Every exposure of a tilt series, known before the first one: pure.

The plan and its twin, `worst_case_tilt_series`, both take their exposures from here,
so what is reserved is what may be made.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.fluence import allocate_over_tilts
from cryoline.acquisition.low_dose_areas import DisplacedArea
from cryoline.acquisition.plan_settings import (
    Finite,
    NotNegative,
    Pixels,
    PlanSettings,
    Positive,
)
from cryoline.acquisition.specimen import Specimen
from cryoline.acquisition.tilt_schemes import Scheme
from cryoline.devices.exposure import Exposure, Purpose

__all__ = [
    "Scan",
    "TiltExposures",
    "Tracking",
    "share_frames",
    "tilt_exposures",
    "worst_case_tilt_series",
]


class Scan(PlanSettings):
    """How one tilt is mapped; as He et al. did, in 114 s."""

    width_px: Pixels = 512
    height_px: Pixels = 512
    pixel_nm: Positive = 2.134
    dwell_s: Positive = 19.767e-6
    n_frames: Annotated[int, Field(ge=1)] = 22
    """A tilt, on average over the series."""
    total_frames: Annotated[int, Field(ge=1)] | None = None
    """Of all tilts together, in place of n_frames; see `plan_dose`."""
    flyback_s: NotNegative = 0.0
    """A line."""
    flyback_blanked: bool = True
    factor_at_60deg: Annotated[float, Field(ge=1, le=100, allow_inf_nan=False)] = 1.0
    """How many times the frames of 0 deg a tilt of 60 deg gets: 1 is all alike, 2
    is 1 / cos t."""

    def frames_over(self, scheme: Scheme) -> tuple[int, ...]:
        """Return the frames of each tilt of a scheme."""
        total = self.total_frames or self.n_frames * len(scheme.angles_deg)
        return share_frames(scheme, total, factor_at_60deg=self.factor_at_60deg)


class Tracking(PlanSettings):
    """How the specimen is kept in the field, and when it is at rest."""

    dwell_s: Positive = 4e-6
    """Of a tracking image; on the field of the map, it costs 1/109 of its dose."""
    area: DisplacedArea | None = None
    """Where it is taken; without one, on the field of the map."""
    settle_s: NotNegative = 3.0
    """Wait after a move."""
    drift_wait_s: Positive = 20.0
    """Between the two images that the drift is measured by."""
    drift_limit_nm_per_min: Positive = 10.0
    drift_retries: Annotated[int, Field(ge=0, le=20)] = 2
    """Further images, ``drift_wait_s`` apart, if the specimen drifts faster."""
    axis_offset_nm: Finite = 0.0
    """n0: how far the specimen lies beside the tilt axis, as calibrated."""
    height_nm: Finite = 0.0
    """z0: how far above it, as far as it is known beforehand."""
    skip_below_nm: NotNegative = 0.0
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


def share_frames(
    scheme: Scheme, total: int, *, factor_at_60deg: float = 1.0
) -> tuple[int, ...]:
    """Share the frames of a series out to its tilts, at least one to each.

    Their sum is ``total``; what whole frames leave over goes to the tilts that fall
    short most.

    >>> from cryoline.acquisition.tilt_schemes import continuous
    >>> share_frames(continuous(-60, 60, 30), 50, factor_at_60deg=2.0)
    (14, 8, 7, 8, 13)
    """
    if total < len(scheme.angles_deg):
        raise PlanRefused(
            f"tilt series: {total} frames for {len(scheme.angles_deg)} tilts; give "
            "each at least one"
        )
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
    area = tracking.area or DisplacedArea(offset_nm=0.0, accept_overlap=True)
    record = Exposure(
        specimen=specimen.name,
        region=region,
        purpose=Purpose.RECORD,
        **scan.model_dump(exclude={"n_frames", "total_frames", "factor_at_60deg"}),
    )
    image = area.beside(record, Purpose.TRACKING, dwell_s=tracking.dwell_s)
    return tuple(
        TiltExposures(
            index=index,
            branch=branch,
            tracking=image.model_copy(update={"tilt_deg": tilt_deg}),
            record=record.model_copy(
                update={"tilt_deg": tilt_deg, "n_frames": n_frames}
            ),
        )
        for index, (tilt_deg, branch, n_frames) in enumerate(
            zip(
                scheme.angles_deg,
                scheme.branches,
                scan.frames_over(scheme),
                strict=True,
            )
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
