"""Keep the specimen in the field from tilt to tilt: images turned into positions."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.acquisition.errors import SpecimenLost
from cryoline.acquisition.tilt_exposures import TiltExposures, Tracking
from cryoline.acquisition.tracking import Position, Prediction, Tracker
from cryoline.analysis.registration import shift, warm_up

__all__ = ["Aim", "Follower", "drift_nm_per_min"]

_LEAST_CONFIDENCE: Final = 0.15
"""Below, two images have nothing in common that was found."""

_LARGEST_ERROR_NM: Final = 10.0
"""Standard error along the axis above which its texture alone is looked at."""

_LEAST_CONFIDENCE_ALONG: Final = 0.3
"""Below, what was found there may be noise: 0.27 at most in 60 trials."""

_BRIGHT: Final = 5.0
"""Times the noise of the background: the specimen."""

_WIDEST_PART: Final = 0.4
"""Of the field: a larger shift can't be told from one the other way round."""

_NEAR_PART: Final = 0.1
"""Of the field: a specimen that the first image shows farther from its middle is seen
anew, in an image that is put on it. An edge may cut it, and it is far to compare."""

_LARGEST_IMAGE_PX: Final = 256
"""Larger ones are binned first: a quarter of the time, and still good to 0.5 nm."""


@dataclass(frozen=True)
class Aim:
    """Where the scan field is put, from the optical axis."""

    across_nm: float
    along_nm: float


@dataclass(frozen=True)
class _Sight:
    image: NDArray[Any]
    aim: Aim
    position: Position


class Follower:
    """Measures where the specimen is, image by image, and says where to look next.

    The first image of a series defines the specimen's position: the middle of what is
    bright across the tilt axis, and along it that of the field. (If that is far from
    the field's middle, the next image defines it.) Each further one is
    compared with the last of its branch, which it resembles most. A shift along the
    axis is told by what differs along it; where nothing does, as on a smooth wire, the
    specimen is taken to be where it was looked for.

    The field then follows that middle, and the specimen seems to turn about it: a
    reconstruction needs no other axis. Images are (y, x), the tilt axis along y.
    """

    def __init__(self, first: TiltExposures, tracking: Tracking) -> None:
        warm_up()  # before anything is exposed
        exposure = first.tracking
        self._binning = -(
            -max(exposure.width_px, exposure.height_px) // _LARGEST_IMAGE_PX
        )
        self._pixel_nm = exposure.pixel_nm * self._binning
        self._field_nm = {
            "across": exposure.pixel_nm * exposure.width_px,
            "along": exposure.pixel_nm * exposure.height_px,
        }
        self._skip_below_nm = tracking.skip_below_nm
        self._first: _Sight | None = None
        self._last: dict[int, _Sight] = {}
        self._tracker = Tracker(
            Position(first.tilt_deg, exposure.center_x_nm, exposure.center_y_nm),
            axis_offset_nm=tracking.axis_offset_nm,
            height_nm=tracking.height_nm,
        )

    def predict(self, tilt: TiltExposures) -> Prediction:
        """Return where the specimen should appear at a tilt."""
        return self._tracker.predict(tilt.tilt_deg, branch=tilt.branch)

    def needs_image(self, tilt: TiltExposures) -> bool:
        """Whether the prediction alone is not known to be good enough."""
        return not (
            self._skip_below_nm > 0
            and self._tracker.may_skip(self._skip_below_nm, branch=tilt.branch)
        )

    def see(self, image: ArrayLike, aim: Aim, tilt: TiltExposures) -> Position:
        """Return where the specimen is in an image that was taken at an aim.

        Raises SpecimenLost if the image does not show it.
        """
        small = _binned(np.asarray(image, float), self._binning)
        reference = self._last.get(tilt.branch, self._first)
        is_first = reference is None or (
            tilt.index == 0 and reference is self._first and self._is_far_off(reference)
        )
        if reference is None or is_first:
            place = (aim.across_nm + self._middle_nm(small), aim.along_nm)
        else:
            place = self._place_nm(reference, small, aim, tilt)
        sight = _Sight(small, aim, Position(tilt.tilt_deg, *place))
        if is_first:
            self._first = sight
        self._last[tilt.branch] = sight
        return sight.position

    def at_rest(self, position: Position, tilt: TiltExposures) -> None:
        """Learn from a tilt's last position; to be called once a tilt."""
        if tilt.index == 0:
            self._tracker.reset(position)
        else:
            self._tracker.measured(position, branch=tilt.branch)

    def _is_far_off(self, sight: _Sight) -> bool:
        """Whether an image showed the specimen far from its own middle."""
        off_nm = abs(sight.position.across_nm - sight.aim.across_nm)
        return off_nm > _NEAR_PART * self._field_nm["across"]

    def _middle_nm(self, image: NDArray[np.float64]) -> float:
        """Return where the middle of what is bright lies across the axis."""
        background = np.median(image)
        noise = 1.4826 * np.median(np.abs(image - background))
        above = image - background
        bright = np.where(above > _BRIGHT * noise, above, 0.0).sum(axis=0)
        if not bright.any():
            return 0.0
        places = np.arange(bright.size) - (bright.size - 1) / 2
        return float(bright @ places / bright.sum() * self._pixel_nm)

    def _place_nm(
        self, reference: _Sight, image: NDArray[Any], aim: Aim, tilt: TiltExposures
    ) -> tuple[float, float]:
        """Return where the specimen is across and along the axis."""
        compare = partial(
            shift,
            reference_tilt_deg=reference.position.tilt_deg,
            tilt_deg=tilt.tilt_deg,
        )
        found = compare(reference.image, image)
        if found.confidence < _LEAST_CONFIDENCE:
            raise SpecimenLost(
                f"tilt_series: at {tilt.tilt_deg:g} deg the image resembles that of "
                f"{reference.position.tilt_deg:g} deg by {found.confidence:.2f} of 1, "
                f"{_LEAST_CONFIDENCE:g} is needed; {_WHAT_TO_DO}"
            )
        across_nm = self._seen_nm(found.shift_px[1], "across", tilt)
        # An image shows positions from its own centre.
        across_nm += reference.position.across_nm
        across_nm += aim.across_nm - reference.aim.across_nm
        if not found.sigma_px[0] * self._pixel_nm <= _LARGEST_ERROR_NM:
            found = compare(_texture(reference.image), _texture(image))
            if found.confidence < _LEAST_CONFIDENCE_ALONG:
                return across_nm, aim.along_nm
        along_nm = self._seen_nm(found.shift_px[0], "along", tilt)
        along_nm += reference.position.along_nm
        along_nm += aim.along_nm - reference.aim.along_nm
        return across_nm, along_nm

    def _seen_nm(self, shift_px: float, name: str, tilt: TiltExposures) -> float:
        seen_nm = shift_px * self._pixel_nm
        field_nm = self._field_nm[name]
        if abs(seen_nm) > _WIDEST_PART * field_nm:
            raise SpecimenLost(
                f"tilt_series: at {tilt.tilt_deg:g} deg the specimen lies "
                f"{seen_nm:.0f} nm {name} the tilt axis from where it was looked for, "
                f"in a field of {field_nm:.0f} nm; {_WHAT_TO_DO}"
            )
        return seen_nm


def _binned(image: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    """Return the sums of squares of pixels; what is left over at the end is cut."""
    rows, columns = (n // by for n in image.shape)
    whole = image[: rows * by, : columns * by]
    blocks = whole.reshape(rows, by, columns, by)
    return np.asarray(blocks.sum(axis=(1, 3)))


def _texture(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what differs along the tilt axis.

    The mean along it tells nothing of a shift, but the frame's edges match it best
    unshifted: along a wire, that would be tens of nm off.
    """
    return np.asarray(image - image.mean(axis=0))


_WHAT_TO_DO: Final = (
    "set the eucentric height, give tracking.height_nm, or take a larger field"
)


def drift_nm_per_min(before: Position, now: Position, seconds: float) -> float:
    """Return how fast a specimen moved between two images of the same tilt."""
    moved_nm = math.hypot(
        now.across_nm - before.across_nm, now.along_nm - before.along_nm
    )
    return 60.0 * moved_nm / seconds
