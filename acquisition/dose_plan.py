"""The dose of a tilt series, either way: from a total to frames, and back. Pure."""

from dataclasses import dataclass
from typing import Final

from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.fluence import allocate_over_tilts, worst_fluence_e_per_nm2
from cryoline.acquisition.low_dose_areas import Separation, separation
from cryoline.acquisition.specimen import Specimen
from cryoline.acquisition.tilt_exposures import Scan, Tracking, tilt_exposures
from cryoline.acquisition.tilt_schemes import Scheme

__all__ = ["DosePlan", "dose_of_series", "plan_dose"]

_ANY: Final = Specimen(name="any")


@dataclass(frozen=True)
class DosePlan:
    """What a series gives its region at a current: means over the recorded field."""

    scan: Scan
    """With the frames that were found."""
    frames: tuple[int, ...]
    """Of each tilt, in the order of acquisition."""
    maps_e_per_nm2: tuple[float, ...]
    """Of each tilt's map."""
    shares_e_per_nm2: tuple[float, ...]
    """The same, if frames could be shared out by weight without being whole."""
    tracking_e_per_nm2: float
    """All images that drift may ask for, if part of them may fall on the region."""
    separation: Separation
    """Of the area that is tracked by from the map."""

    @property
    def total_e_per_nm2(self) -> float:
        """The sum of all."""
        return sum(self.maps_e_per_nm2) + self.tracking_e_per_nm2


def plan_dose(
    scheme: Scheme,
    scan: Scan | None = None,
    tracking: Tracking | None = None,
    *,
    total_e_per_nm2: float,
    current_pa: float,
) -> DosePlan:
    """Return the frames of each tilt that give a region so much and never more.

    The scan's own numbers of frames are not looked at. Tracking is taken off first,
    with each image that drift may ask for. Raises PlanRefused if a frame a tilt is
    more than the total.

    >>> from cryoline.acquisition.tilt_schemes import bidirectional
    >>> found = plan_dose(
    ...     bidirectional(60, -60, 5), total_e_per_nm2=2e6, current_pa=150.0
    ... )
    >>> found.frames[:3], f"{found.total_e_per_nm2:.5g}"
    ((19, 19, 19), '1.9963e+06')
    """
    scan, tracking = scan or Scan(), tracking or Tracking()
    one = scan.model_copy(update={"n_frames": 1, "total_frames": None})
    least = dose_of_series(scheme, one, tracking, current_pa=current_pa)
    if not least.total_e_per_nm2 <= total_e_per_nm2:
        raise PlanRefused(
            f"tilt series: one frame at each of {len(scheme.angles_deg)} tilts and its "
            f"tracking cost {least.total_e_per_nm2:.3g} e/nm2 at {current_pa:g} pA, "
            f"total_e_per_nm2 = {total_e_per_nm2:.3g} e/nm2; give more, or a shorter "
            "dwell, a larger pixel, fewer tilts, or a displaced area to track by"
        )
    left = total_e_per_nm2 - least.tracking_e_per_nm2
    total_frames = int(left / least.maps_e_per_nm2[0] * (1.0 + 1e-12))
    found = scan.model_copy(update={"total_frames": total_frames})
    return dose_of_series(scheme, found, tracking, current_pa=current_pa)


def dose_of_series(
    scheme: Scheme,
    scan: Scan | None = None,
    tracking: Tracking | None = None,
    *,
    current_pa: float,
) -> DosePlan:
    """Return what a series gives its region at a current."""
    scan, tracking = scan or Scan(), tracking or Tracking()
    tilts = tilt_exposures(_ANY, "any", scheme, scan, tracking)
    maps = tuple(worst_fluence_e_per_nm2(t.record, current_pa) for t in tilts)
    limit_nm = tracking.area.tracking_limit_nm if tracking.area else 0.0
    apart = separation(tilts[0].record, tilts[0].tracking, limit_nm=limit_nm)
    images = 0.0
    if not apart.is_clear:  # then it counts in full
        image = worst_fluence_e_per_nm2(tilts[0].tracking, current_pa)
        images = len(tilts) * tracking.most_images * image
    shares = allocate_over_tilts(
        sum(maps),
        scheme.angles_deg,
        factor_at_60deg=scan.factor_at_60deg,
        start_deg=scheme.center_deg,
    )
    frames = tuple(t.record.n_frames for t in tilts)
    return DosePlan(scan, frames, maps, tuple(shares), images, apart)
