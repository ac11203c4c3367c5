"""The promises of a beam that can be tried only with the beam on the specimen."""

import json
import time
from dataclasses import replace
from typing import Final

from cryoline.acquisition.contract import Breach, Check
from cryoline.acquisition.contract_beam_rig import BeamRig, Ended
from cryoline.devices.exposure import Outcome

__all__ = ["EXPOSING"]

_BEAM_OFF_S: Final = 0.5
_SHORT_S: Final = 0.3
_LONG_S: Final = 2.0
_ENDLESS_S: Final = 6.0
_TIME_PLAY: Final = 0.03  # relative
_CHARGE_PLAY: Final = 0.02
_CURRENT_PLAY: Final = 0.25
"""Between a measured current and the charge of an exposure just after."""
_FRAMES: Final = 3


def _counts_together(rig: BeamRig) -> str:
    """One exposure of several frames, counted once, with all that is said of it."""
    before = int(rig.get("ExposureCounter_RBV"))
    ticket = rig.expose(rig.order(wall_s=_SHORT_S, frames=_FRAMES))
    found = rig.ended(before, wall_s=_SHORT_S)
    rig.until(lambda: False, timeout_s=0.3)
    later = rig.ended(before, wall_s=0.0)
    if found.counter != before + 1:
        raise Breach(f"the counter went from {before} to {found.counter}")
    if found != later:
        raise Breach(
            f"at the counter's change: {found} by {found.ticket}; 0.3 s later "
            f"{later} by {later.ticket}"
        )
    if found.ticket != ticket:
        raise Breach(f"LastTicket_RBV is {found.ticket}, exposed was {ticket}")
    return f"exposure {found.counter}: {found}"


def _ends_after_its_frames(rig: BeamRig) -> str:
    before = int(rig.get("ExposureCounter_RBV"))
    rig.expose(rig.order(wall_s=_SHORT_S, frames=_FRAMES))
    found = rig.ended(before, wall_s=_SHORT_S)
    _must_be(found, Outcome.COMPLETE)
    if found.frames != _FRAMES:
        raise Breach(f"{_FRAMES} frames were asked, {found.frames} made")
    expected_s = _SHORT_S * rig.rate
    if abs(found.beam_on_s / expected_s - 1) > _TIME_PLAY:
        raise Breach(
            f"{expected_s:.4g} s were asked, LastTime_RBV {found.beam_on_s:.4g}"
        )
    _must_be_blanked(rig)
    return str(found)


def _charge_is_current_times_time(rig: BeamRig) -> str:
    current_pa = rig.measured_current_pa()
    before = int(rig.get("ExposureCounter_RBV"))
    rig.expose(rig.order(wall_s=_SHORT_S))
    found = rig.ended(before, wall_s=_SHORT_S)
    counted_pa = found.charge_c / found.beam_on_s * 1e12 if found.beam_on_s else 0.0
    text = f"{current_pa:.4g} pA measured, {counted_pa:.4g} pA by the charge counted"
    if abs(counted_pa / current_pa - 1) > _CURRENT_PLAY:
        raise Breach(text)
    return text


def _ends_at_max_time(rig: BeamRig) -> str:
    before = int(rig.get("ExposureCounter_RBV"))
    limit_s = _SHORT_S * rig.rate
    rig.expose(rig.order(wall_s=_LONG_S, max_time_s=limit_s))
    found = rig.ended(before, wall_s=_LONG_S)
    _must_be(found, Outcome.MAX_TIME)
    if not 0.5 < found.beam_on_s / limit_s <= 1 + _TIME_PLAY:
        raise Breach(f"max_time_s {limit_s:.4g} s: {found}")
    _must_be_blanked(rig)
    return f"max_time_s {limit_s:.4g} s: {found}"


def _ends_at_max_charge(rig: BeamRig) -> str:
    current_pa = rig.measured_current_pa()
    before = int(rig.get("ExposureCounter_RBV"))
    limit_c = current_pa * 1e-12 * _SHORT_S * rig.rate
    rig.expose(rig.order(wall_s=_LONG_S, max_charge_c=limit_c))
    found = rig.ended(before, wall_s=_LONG_S)
    _must_be(found, Outcome.MAX_CHARGE)
    if not 0.5 < found.charge_c / limit_c <= 1 + _CHARGE_PLAY:
        raise Breach(f"max_charge_c {limit_c:.4g} C: {found}")
    _must_be_blanked(rig)
    return f"max_charge_c {limit_c:.4g} C: {found}"


def _dead_man(rig: BeamRig) -> str:
    before = int(rig.get("ExposureCounter_RBV"))
    rig.expose(rig.order(wall_s=_ENDLESS_S))
    rig.until(lambda: False, timeout_s=_SHORT_S)
    rig.fall_silent()
    rig.until(lambda: bool(rig.get("Blanked_RBV")), timeout_s=2.0)
    after_s = time.monotonic() - rig.last_beat_s
    if not rig.get("Blanked_RBV"):
        raise Breach(f"the beam is on {after_s:.2f} s after the last beat")
    found = rig.ended(before, wall_s=0.0)
    if after_s > _BEAM_OFF_S:
        raise Breach(f"the beam was off {after_s:.2f} s after the last beat")
    _must_be(found, Outcome.DEAD_MAN)
    return f"off {after_s:.2f} s after the last beat: {found}"


def _blank_ends_it(rig: BeamRig) -> str:
    before = int(rig.get("ExposureCounter_RBV"))
    rig.expose(rig.order(wall_s=_ENDLESS_S))
    rig.until(lambda: False, timeout_s=_SHORT_S)
    begun_s = time.monotonic()
    rig.put("Blank", 1)
    if not rig.get("Blanked_RBV"):
        raise Breach("Blank has completed, and the beam is on")
    took_s = time.monotonic() - begun_s
    found = rig.ended(before, wall_s=0.0)
    _must_be(found, Outcome.CUT)
    return f"off after {took_s:.2f} s: {found}"


def _logs_by_counter(rig: BeamRig) -> str:
    before = int(rig.get("ExposureCounter_RBV"))
    rig.expose(rig.order(wall_s=_SHORT_S))
    found = rig.ended(before, wall_s=_SHORT_S)
    rig.put("LogRequest", found.counter + 1000)
    if text := rig.get("Log_RBV"):
        raise Breach(f"LogRequest {found.counter + 1000}, not made yet: {text[:60]}")
    rig.put("LogRequest", found.counter)
    try:
        record = json.loads(rig.get("Log_RBV"))
        logged = Ended(
            ticket=record["ticket"],
            counter=record["counter"],
            charge_c=record["charge_c"],
            beam_on_s=record["beam_on_s"],
            frames=record["frames"],
            outcome=Outcome(record["outcome"]),
        )
        boot_id = record["boot_id"]
    except (ValueError, KeyError, TypeError) as error:
        raise Breach(
            f"LogRequest {found.counter}: Log_RBV is no record ({error!r}): "
            f"{rig.get('Log_RBV')[:60]!r}"
        ) from None
    shown = replace(found, charge_c=logged.charge_c, beam_on_s=logged.beam_on_s)
    is_same = abs(found.charge_c - logged.charge_c) <= 1e-3 * found.charge_c
    if logged != shown or not is_same:
        raise Breach(
            f"shown {found} by {found.ticket}; logged {logged} by {logged.ticket}"
        )
    if boot_id != rig.get("BootId_RBV"):
        raise Breach(f"logged boot_id {boot_id}, BootId_RBV {rig.get('BootId_RBV')}")
    return f"record {found.counter}: {logged}"


def _ticket_is_good_once(rig: BeamRig) -> str:
    before = int(rig.get("ExposureCounter_RBV"))
    order = rig.order(wall_s=_SHORT_S)
    rig.expose(order)
    rig.ended(before, wall_s=_SHORT_S)
    return rig.refuses_to_arm(order, "a ticket that was exposed")


def _must_be(found: Ended, outcome: Outcome) -> None:
    if found.outcome is not outcome:
        raise Breach(f"it must end as {outcome.name.lower()}: {found}")


def _must_be_blanked(rig: BeamRig) -> None:
    if not rig.get("Blanked_RBV"):
        raise Breach("it is counted as ended, and Blanked_RBV is 0")


EXPOSING: Final = (
    Check(
        "counts at once",
        "an exposure: the counter goes up by 1, when Last* are all there",
        _counts_together,
        acts=True,
    ),
    Check(
        "ends after its frames",
        f"{_FRAMES} frames in {_SHORT_S:g} s",
        _ends_after_its_frames,
        acts=True,
    ),
    Check(
        "counts the charge",
        "MeasureCurrent, an exposure; LastCharge_RBV / LastTime_RBV",
        _charge_is_current_times_time,
        acts=True,
    ),
    Check(
        "ends at max_time_s",
        f"{_LONG_S:g} s of frames, max_time_s {_SHORT_S:g} s",
        _ends_at_max_time,
        acts=True,
    ),
    Check(
        "ends at max_charge_c",
        f"{_LONG_S:g} s of frames, max_charge_c as of {_SHORT_S:g} s",
        _ends_at_max_charge,
        acts=True,
    ),
    Check(
        "dead-man",
        f"the beats end in an exposure: off within {_BEAM_OFF_S:g} s",
        _dead_man,
        acts=True,
    ),
    Check("Blank ends it", "Blank in an exposure", _blank_ends_it, acts=True),
    Check(
        "logs by counter",
        "LogRequest of the exposure just made, and of one not made yet",
        _logs_by_counter,
        acts=True,
    ),
    Check(
        "a ticket is good once",
        "Arm with the ticket of an exposure that was made",
        _ticket_is_good_once,
        acts=True,
    ),
)
