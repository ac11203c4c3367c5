"""The one way to expose a specimen.

    reserve    the ledger has the worst case on disk
    prepare    each detector waits for the ticket
    arm        with the ticket, a maximum time and a maximum charge
    trigger    the instrument exposes, and ends it by itself
    wait       until the instrument has counted the exposure of this very ticket
    settle     by the charge that it counted
    save       one event, once the data is on disk

It can't be rewound: a pause blanks, what was cut is settled, and then it is decided
anew whether the field is exposed once more.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Readable, Status
from bluesky.utils import FailedStatus, Msg, MsgGenerator, plan, short_uid

from cryoline.acquisition.dose_columns import DoseColumns
from cryoline.acquisition.dose_records import Settlement
from cryoline.acquisition.errors import DoseRefused, ExposureCut
from cryoline.devices.errors import DeviceError, ExposureFailed, ExposureRefused
from cryoline.devices.exposure import Exposure, ExposureResult, Outcome, Ticket
from cryoline.devices.interfaces import ExposingBeam, ExposureRecorder

__all__ = ["close_series", "expose", "expose_once"]

_MAY_FAIL_TO_BEGIN: Final = 3
"""How often a pause may disarm an exposure before it begins."""
_WAIT_S: Final = 1.0
"""Wall time after which a wait is looked at again."""
_LOOK_S: Final = 0.1
_DATA_TIMEOUT_S: Final = 60.0
"""Wall time for the data of an exposure to reach the disk after its end."""
_log = logging.getLogger("cryoline.expose")


@plan
def expose(
    beam: ExposingBeam,
    detectors: Sequence[ExposureRecorder],
    exposure: Exposure,
    *,
    stream: str = "primary",
    also: Sequence[Readable[Any]] = (),
    retakes: int = 1,
) -> MsgGenerator[ExposureResult]:
    """Expose within the leave of the dose ledger, and save one event in an open run.

    detectors: staged; they record the exposure
    also: devices to be read in the same event
    retakes: how often an exposure is repeated that a pause of this session has cut, or
        its dead-man; each costs a reservation of its own

    An exposure that the instrument ends at its maximum charge is partial, and is not
    repeated: the field has its dose; the event says so. Raises DoseRefused before
    anything is exposed, ExposureCut for one that stays cut, after its event was saved,
    or DeviceError. Whatever happens: the beam is blanked, the ledger true.
    """
    # A deferred pause takes effect before the exposure or after it.
    yield from bps.checkpoint()
    result: ExposureResult = yield from bpp.rewindable_wrapper(
        _expose(beam, detectors, exposure, stream, also, retakes), False
    )
    yield from bps.checkpoint()
    return result


@plan
def expose_once(
    beam: ExposingBeam,
    detectors: Sequence[ExposureRecorder],
    exposure: Exposure,
    *,
    also: Sequence[Readable[Any]] = (),
    retakes: int = 1,
    md: dict[str, Any] | None = None,
) -> MsgGenerator[ExposureResult]:
    """Make one exposure, as a run of its own; see `expose`.

    An exposure that the ledger refuses opens no run.
    """
    _md = {
        "plan_name": "expose_once",
        "technique": "exposure",
        "specimen": exposure.specimen,
        "region": exposure.region,
        "exposure": exposure.model_dump(mode="json"),
        **(md or {}),
    }

    made: list[ExposureResult] = []

    @bpp.stage_decorator(list(detectors))
    @bpp.run_decorator(md=_md)
    def inner() -> MsgGenerator[None]:
        result = yield from expose(
            beam, detectors, exposure, also=also, retakes=retakes
        )
        made.append(result)

    def reserved() -> MsgGenerator[None]:
        yield Msg("preflight", None, (exposure,))
        yield from inner()  # which returns the run's uid

    yield from bpp.finalize_wrapper(reserved(), close_series)
    return made[0]


def close_series() -> MsgGenerator[None]:
    """Give back what a series has not used, however it has ended."""
    yield Msg("close_series", None)


@dataclass(frozen=True)
class _Take:
    """One exposure that has ended."""

    result: ExposureResult
    cut_here: bool
    """Whether this session has blanked the beam on the way."""
    settlement: Settlement

    @property
    def may_be_repeated(self) -> bool:
        """Whether it was cut by an interruption that is over."""
        # Not if somebody else has blanked: whoever presses the panic button does not
        # want the beam to come back by itself.
        outcome = self.result.outcome
        return outcome is Outcome.DEAD_MAN or (outcome is Outcome.CUT and self.cut_here)


def _expose(
    beam: ExposingBeam,
    detectors: Sequence[ExposureRecorder],
    exposure: Exposure,
    stream: str,
    also: Sequence[Readable[Any]],
    retakes: int,
) -> MsgGenerator[ExposureResult]:
    """Take, again if that may be, and save the event of what was taken last."""
    taken: _Take | None = None
    refusal: DoseRefused | None = None
    failures = 0
    while taken is None or (taken.may_be_repeated and retakes > 0):
        if taken is not None:
            retakes -= 1
            _log.warning("%s; it is repeated", _what_was_cut(beam, exposure, taken))
        try:
            take = yield from _take_or_clear(beam, detectors, exposure, stream)
        except DoseRefused as error:
            if taken is None:
                raise
            refusal = error
            break
        if take is not None:
            taken = take
            continue
        failures += 1
        retakes += taken is not None  # nothing was taken
        if failures > _MAY_FAIL_TO_BEGIN:
            raise ExposureRefused(
                f"{beam.name}: the exposure did not begin, {failures} times in a row: "
                f"{beam.why()}"
            )
    yield from bps.create(name=stream)
    for device in (beam, DoseColumns(taken.settlement), *also, *detectors):
        # A pause that cuts the first describing of a device loses its reading.
        while (yield Msg("read", device)) is None:
            continue
    yield from bps.save()
    if taken.result.outcome in (Outcome.CUT, Outcome.DEAD_MAN, Outcome.INTERLOCK):
        raise ExposureCut(
            f"{_what_was_cut(beam, exposure, taken)}, and is not repeated"
            + (f" ({refusal})" if refusal else "")
            + "; what was recorded until then is in the run, marked by its outcome"
        ) from refusal
    return taken.result


def _take_or_clear(
    beam: ExposingBeam,
    detectors: Sequence[ExposureRecorder],
    exposure: Exposure,
    stream: str,
) -> MsgGenerator[_Take | None]:
    """Make one take; if it can't be finished, blank and settle whatever is open."""
    try:
        return (yield from _take(beam, detectors, exposure, stream))
    except Exception as error:
        # One message: the RunEngine may throw at its yield, but does it before. What
        # it throws is the failure of a status, of which this is the clean-up.
        with contextlib.suppress(FailedStatus):
            yield Msg("clear_exposure", beam, *detectors)
        if isinstance(error, FailedStatus) and isinstance(error.__cause__, DeviceError):
            raise error.__cause__ from None  # it says what to do
        raise


def _take(
    beam: ExposingBeam,
    detectors: Sequence[ExposureRecorder],
    exposure: Exposure,
    stream: str,
) -> MsgGenerator[_Take | None]:
    """Reserve, arm, expose and settle once; None if nothing was exposed.

    A hard pause gives None in the place of an answer, and cuts every wait short. So
    all that is waited for is asked, and asked again.
    """
    ticket: Ticket | None = None
    while ticket is None:
        ticket = yield Msg("reserve_dose", beam, exposure)
    group = short_uid("expose")
    waiting = []
    for detector in detectors:
        status = yield Msg("prepare", detector, ticket, stream=stream, group=group)
        waiting.append(status)
    yield from _until_done(waiting)
    armed = yield Msg("set", beam, ticket, group=group)
    yield from _until_done([armed])
    recordings = []
    for detector in detectors:
        status = yield Msg("trigger", detector, group=group)
        recordings.append(status)
    ended = yield Msg("trigger", beam, group=group)
    yield from _until_done([ended])
    # Not the status alone: the instrument's own count of this very ticket.
    while (result := (yield Msg("exposure_result", beam, ticket))) is None:
        yield from bps.wait_for([partial(asyncio.sleep, _LOOK_S)])
    if result.outcome is Outcome.NONE:
        for detector in detectors:
            yield Msg("stop", detector)
        yield from _until_done(recordings)
        yield Msg("release_dose", None, ticket, "blanked before it began")
        return None
    settlement = yield Msg("settle_dose", None, ticket, result)
    yield from _until_recorded(detectors, recordings, ticket)
    return _Take(result, ended.cut_here, settlement)


def _until_done(statuses: Sequence[Status]) -> MsgGenerator[None]:
    """Wait for all of them; raise what one has failed with."""
    while not all(status.done for status in statuses):
        yield from bps.wait_for([partial(_moment_or_done, statuses)])
    for status in statuses:
        error = status.exception(timeout=0)
        if error is not None:
            raise error


def _until_recorded(
    detectors: Sequence[ExposureRecorder],
    recordings: Sequence[Any],
    ticket: Ticket,
) -> MsgGenerator[None]:
    """Wait until the data is on disk, but not for ever."""
    deadline_s = time.monotonic() + _DATA_TIMEOUT_S
    while not all(recording.done for recording in recordings):
        if time.monotonic() > deadline_s:
            late = [
                d.name for d, r in zip(detectors, recordings, strict=True) if not r.done
            ]
            raise ExposureFailed(
                f"{', '.join(late)}: the exposure of ticket {ticket.uid} ended "
                f"{_DATA_TIMEOUT_S:g} s ago and its data is not on disk; its dose is "
                "charged. Look at the detector's IOC and disk, then repeat"
            )
        yield from bps.wait_for([partial(_moment_or_done, recordings)])
    yield from _until_done(recordings)
    lost = [
        detector.name
        for detector, recording in zip(detectors, recordings, strict=True)
        if not recording.is_recorded
    ]
    if lost:
        raise ExposureFailed(
            f"{', '.join(lost)}: stopped waiting before the exposure of ticket "
            f"{ticket.uid} had ended, and recorded nothing; its dose is charged. Was "
            "it cancelled at the instrument? Repeat if the budget allows"
        )


async def _moment_or_done(statuses: Sequence[Status]) -> None:
    """Return when all are done or one has failed, after a moment at the latest."""
    loop = asyncio.get_running_loop()
    is_over = asyncio.Event()

    def look(_: Status) -> None:
        ended = [status for status in statuses if status.done]
        if len(ended) == len(statuses) or not all(s.success for s in ended):
            loop.call_soon_threadsafe(is_over.set)

    for status in statuses:
        status.add_callback(look)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(is_over.wait(), _WAIT_S)


def _what_was_cut(beam: ExposingBeam, exposure: Exposure, take: _Take) -> str:
    if take.result.outcome is Outcome.INTERLOCK:
        cause = beam.why()
    elif take.result.outcome is Outcome.DEAD_MAN:
        cause = "the instrument missed this session's heartbeat"
    else:
        cause = "a pause blanked it" if take.cut_here else "somebody else blanked it"
    return (
        f"{beam.name}: the exposure of {exposure.specimen}, {exposure.region}, was cut "
        f"after {take.result.beam_on_s:.3g} of {exposure.beam_on_s:.3g} s: {cause}"
    )
