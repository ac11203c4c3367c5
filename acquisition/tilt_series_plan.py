"""The plan that maps a specimen at many tilts, within its dose.

At each tilt: move, settle, find the specimen in a quick image, wait until it is at
rest, map it. Every one of these exposures goes through `expose`, and the whole
series is reserved before the stage moves.
"""

import math
from collections.abc import Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import FailedStatus, Msg, MsgGenerator, plan

from cryoline.acquisition.dose_plan import plan_dose
from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.expose import close_series, expose
from cryoline.acquisition.following import Aim, Follower, drift_nm_per_min
from cryoline.acquisition.plan_notes import PlanNotes
from cryoline.acquisition.specimen import Specimen
from cryoline.acquisition.tilt_exposures import (
    Scan,
    TiltExposures,
    Tracking,
    tilt_exposures,
    worst_case_tilt_series,
)
from cryoline.acquisition.tilt_schemes import Scheme
from cryoline.acquisition.tracking import Position
from cryoline.devices.clock import InstrumentClock
from cryoline.devices.errors import DeviceError, MoveFailed
from cryoline.devices.exposure import Exposure, ProbeCurrent
from cryoline.devices.interfaces import ExposingBeam, ExposureRecorder, TiltStage

__all__ = ["check_tilt_series", "tilt_series"]

_POSITION_TOLERANCE_DEG = 0.1
_ALWAYS = {
    "index": "",
    "target_deg": "deg",
    "aim_across_nm": "nm",
    "aim_along_nm": "nm",
}
"""What every event says: which tilt, and where the specimen was looked for."""
_FOLLOWED = {
    "branch": "",
    "predicted_across_nm": "nm",
    "predicted_along_nm": "nm",
    "predicted_focus_change_nm": "nm",
    "measured_across_nm": "nm",
    "measured_along_nm": "nm",
    "drift_nm_per_min": "nm/min",
    "at_rest": "",
}
"""What the event of a map says besides; NaN is not measured, at rest is 1."""


@plan
def tilt_series(
    stage: TiltStage,
    beam: ExposingBeam,
    detectors: Sequence[ExposureRecorder],
    specimen: Specimen,
    *,
    scheme: Scheme,
    clock: InstrumentClock,
    region: str = "region-1",
    scan: Scan | None = None,
    tracking: Tracking | None = None,
    total_e_per_nm2: float | None = None,
    budget_e_per_nm2: float | None = None,
    tilt_limit_deg: float = 60.0,
    md: dict[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Record one map per tilt, never passing the region's budget; return the run's uid.

    The first of the detectors gives the images that the specimen is tracked by; all
    of them record the maps. With ``total_e_per_nm2`` the frames of each tilt follow
    from it and from the current as measured (`plan_dose`), whatever ``scan`` says of
    them. ``budget_e_per_nm2`` bounds this series in its worst case; without one it may
    take what the ledger leaves. ``tilt_limit_deg`` is the holder's.

    Raises PlanRefused, or DoseRefused for what the series may cost at most
    (`worst_case_tilt_series`), before anything moves.
    """
    scan, tracking = scan or Scan(), tracking or Tracking()
    check_tilt_series(stage, detectors, scheme, budget_e_per_nm2, tilt_limit_deg)
    _check_fluence("total_e_per_nm2", total_e_per_nm2, "the frames that scan says")
    tilt_exposures(specimen, region, scheme, scan, tracking)  # what can't be is refused

    def series() -> MsgGenerator[str]:
        shared = scan
        if total_e_per_nm2 is not None:
            current: ProbeCurrent | None = None
            while current is None:
                current = yield Msg("probe_current", beam)
            shared = plan_dose(
                scheme,
                scan,
                tracking,
                total_e_per_nm2=total_e_per_nm2,
                current_pa=current.current_pa,
            ).scan
        tilts = tilt_exposures(specimen, region, scheme, shared, tracking)
        worst_case = worst_case_tilt_series(
            specimen, region=region, scheme=scheme, scan=shared, tracking=tracking
        )
        series_uid = yield Msg(
            "preflight",
            None,
            worst_case,
            budget_e_per_nm2=budget_e_per_nm2,
            ancestors=specimen.ancestors,
        )
        _md = {
            "plan_name": "tilt_series",
            "technique": "tilt-eds",
            "region": region,
            **scheme.metadata(),
            "scan": shared.model_dump(mode="json"),
            "tracking": tracking.model_dump(mode="json"),
            "frames_per_tilt": [tilt.record.n_frames for tilt in tilts],
            "total_e_per_nm2": total_e_per_nm2,
            "budget_e_per_nm2": budget_e_per_nm2,
            "dose_series": series_uid,
            **specimen.metadata(),
            **(md or {}),
        }

        @bpp.stage_decorator(list(detectors))
        @bpp.run_decorator(md=_md)
        def inner() -> MsgGenerator[None]:
            at = _Tilts(stage, beam, detectors, clock, tracking, tilts[0])
            for tilt in tilts:
                yield from at.one_tilt(tilt)

        uid: str = yield from inner()
        return uid

    # A series that is cut short gives back what it did not use.
    uid: str = yield from bpp.finalize_wrapper(series(), close_series)
    return uid


def check_tilt_series(
    stage: TiltStage,
    detectors: Sequence[ExposureRecorder],
    scheme: Scheme,
    budget_e_per_nm2: float | None,
    tilt_limit_deg: float,
) -> None:
    """Raise PlanRefused for a series that can't be, as far as a look can tell."""
    if not detectors:
        raise PlanRefused(
            "tilt_series: no detectors; give at least one, the first for tracking"
        )
    if not hasattr(detectors[0], "last_frame"):
        raise PlanRefused(
            f"tilt_series: {detectors[0].name} gives no images to track by; give a "
            "detector first that does, as a HaadfDetector"
        )
    _check_fluence("budget_e_per_nm2", budget_e_per_nm2, "all that the ledger leaves")
    low, high = stage.alpha_deg.limits
    axis = stage.alpha_deg.name
    for tilt_deg in scheme.angles_deg:
        if not abs(tilt_deg) <= tilt_limit_deg:
            raise PlanRefused(
                f"{axis}: {tilt_deg:g} deg is outside {-tilt_limit_deg:g}.."
                f"{tilt_limit_deg:g} deg; choose a smaller tilt, or raise "
                "tilt_limit_deg if the holder allows it"
            )
        if not low <= tilt_deg <= high:
            raise PlanRefused(
                f"{axis}: {tilt_deg:g} deg is outside {low:g}..{high:g} deg; "
                "choose a tilt that the stage can reach"
            )


def _check_fluence(name: str, e_per_nm2: float | None, otherwise: str) -> None:
    if e_per_nm2 is not None and not (math.isfinite(e_per_nm2) and e_per_nm2 > 0):
        raise PlanRefused(
            f"tilt_series: {name} = {e_per_nm2:g} e/nm2; give more than 0 e/nm2, or "
            f"none for {otherwise}"
        )


class _Tilts:
    """The steps of every tilt, with what was learned at the last ones."""

    def __init__(
        self,
        stage: TiltStage,
        beam: ExposingBeam,
        detectors: Sequence[ExposureRecorder],
        clock: InstrumentClock,
        tracking: Tracking,
        first: TiltExposures,
    ) -> None:
        self._stage = stage
        self._beam = beam
        self._detectors = list(detectors)
        self._imaging: Any = detectors[0]
        self._clock = clock
        self._tracking = tracking
        self._follower = Follower(first, tracking)
        self._map_notes = PlanNotes("tilt", _ALWAYS | _FOLLOWED)
        self._image_notes = PlanNotes("tilt", _ALWAYS)

    def one_tilt(self, tilt: TiltExposures) -> MsgGenerator[None]:
        """Move, settle, track, wait until at rest, map."""
        predicted = self._follower.predict(tilt)
        aim = Aim(predicted.across_nm, predicted.along_nm)
        self._map_notes.clear()
        self._map_notes.note(
            branch=tilt.branch,
            predicted_across_nm=predicted.across_nm,
            predicted_along_nm=predicted.along_nm,
            predicted_focus_change_nm=predicted.focus_change_nm,
        )
        yield from bps.checkpoint()
        yield from self._move(tilt.tilt_deg)
        if self._follower.needs_image(tilt):
            aim = yield from self._track(tilt, aim)
        yield from self._expose(
            self._detectors, tilt, tilt.record, aim, self._map_notes, "primary"
        )

    def _move(self, tilt_deg: float) -> MsgGenerator[None]:
        axis = self._stage.alpha_deg
        try:
            yield from bps.abs_set(axis, tilt_deg, wait=True)
        except FailedStatus as error:
            if isinstance(error.__cause__, DeviceError):
                raise error.__cause__ from None  # it says what to do
            raise
        here = yield from _reading(axis)
        if not abs(here - tilt_deg) <= _POSITION_TOLERANCE_DEG:
            raise MoveFailed(
                f"{axis.name}: {tilt_deg:g} deg was asked, the stage rests at "
                f"{here:g} deg; see what holds it, then make the series of the tilts "
                "that are left"
            )
        yield from bps.abs_set(self._clock, self._tracking.settle_s, wait=True)

    def _track(self, tilt: TiltExposures, aim: Aim) -> MsgGenerator[Aim]:
        """Find the specimen, then look again until it does not drift."""
        last, last_s = yield from self._look(tilt, aim)
        for _ in range(1 + self._tracking.drift_retries):
            yield from bps.checkpoint()
            yield from bps.abs_set(self._clock, self._tracking.drift_wait_s, wait=True)
            now, now_s = yield from self._look(tilt, _at(last))
            rate = drift_nm_per_min(last, now, now_s - last_s)
            at_rest = rate <= self._tracking.drift_limit_nm_per_min
            self._map_notes.note(drift_nm_per_min=rate, at_rest=at_rest)
            last, last_s = now, now_s
            if at_rest:
                break
        self._follower.at_rest(last, tilt)
        self._map_notes.note(
            measured_across_nm=last.across_nm, measured_along_nm=last.along_nm
        )
        return _at(last)

    def _look(
        self, tilt: TiltExposures, aim: Aim
    ) -> MsgGenerator[tuple[Position, float]]:
        """Return where the specimen is, and when, in instrument time."""
        yield from self._expose(
            [self._imaging], tilt, tilt.tracking, aim, self._image_notes, "tracking"
        )
        now_s = yield from _reading(self._clock)
        return self._follower.see(self._imaging.last_frame(), aim, tilt), now_s

    def _expose(
        self,
        detectors: list[ExposureRecorder],
        tilt: TiltExposures,
        exposure: Exposure,
        aim: Aim,
        notes: PlanNotes,
        stream: str,
    ) -> MsgGenerator[None]:
        notes.note(
            index=tilt.index,
            target_deg=tilt.tilt_deg,
            aim_across_nm=aim.across_nm,
            aim_along_nm=aim.along_nm,
        )
        yield from expose(
            self._beam,
            detectors,
            _aimed(exposure, aim),
            stream=stream,
            also=[self._stage, self._clock, notes],
        )


def _reading(device: Any) -> MsgGenerator[float]:
    """Read one value; a hard pause gives none, then it is read again."""
    value = None
    while value is None:
        value = yield from bps.rd(device, default_value=None)
    return float(value)


def _at(position: Position) -> Aim:
    return Aim(position.across_nm, position.along_nm)


def _aimed(exposure: Exposure, aim: Aim) -> Exposure:
    """Return the exposure with its field on its place of the specimen, checked anew."""
    center = {
        "center_x_nm": aim.across_nm + exposure.offset_x_nm,
        "center_y_nm": aim.along_nm + exposure.offset_y_nm,
    }
    return Exposure(**exposure.model_dump() | center)
