"""Where a transfer takes up: what the custody record and the carrier say together."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bluesky.utils import FailedStatus, Msg, MsgGenerator

from cryoline.acquisition.custody_records import CustodyState, LegStart
from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.route_limits import Severity
from cryoline.acquisition.route_model import Route
from cryoline.acquisition.specimen import Specimen
from cryoline.acquisition.transfer_log import judge
from cryoline.acquisition.transfer_steps import Party, until_done
from cryoline.devices.errors import DeviceError

__all__ = ["Beginning", "check_ready", "find_beginning", "load_carrier"]

_log = logging.getLogger("cryoline.transfer")


@dataclass(frozen=True)
class Beginning:
    """Where a transfer takes up."""

    state: str
    first_step: int = 0
    interrupted: LegStart | None = None
    """A leg to be ended in the record first; a killed session has left it open."""
    continues: str = ""


def find_beginning(
    party: Party, specimen: Specimen, resume: bool
) -> MsgGenerator[Beginning]:
    """Return where to begin, by the custody record and by the carrier itself."""
    custody = yield Msg("custody_state", None, specimen.name)
    values = yield from party.log.look_again()
    place = values["carrier.place"]
    open_leg = custody.open_leg
    if open_leg is not None and (open_leg.is_walked or not resume):
        raise PlanRefused(_what_is_open(custody, place))
    unfinished = custody.unfinished
    if unfinished is not None and unfinished.route == party.route.name:
        begin = _within(party.route, unfinished, place, specimen)
        interrupted = None if open_leg is None else open_leg.start
        return Beginning(begin.state, begin.first_step, interrupted, unfinished.uid)
    if open_leg is not None:
        raise PlanRefused(
            f"transfer: {specimen.name} is on leg {open_leg.start.leg} of route "
            f"{open_leg.start.route}, not of {party.route.name}; take up that route"
        )
    state = _state_of(party.route, custody, place)
    if state != party.route.start:
        _check_tag(specimen, values)
    return Beginning(state)


def _what_is_open(custody: CustodyState, place: str) -> str:
    open_leg = custody.open_leg
    if open_leg is None:
        raise ValueError(f"{custody.specimen} is on no leg")
    start = open_leg.start
    text = (
        f"transfer: {custody.specimen} is on leg {start.leg} of route {start.route} "
        f"({start.from_place} to {start.to_place}) since instrument time "
        f"{start.instrument_time_s:.0f} s; the carrier is in the {place}. "
    )
    if open_leg.is_walked:
        return (
            text + f"Process {open_leg.owner['pid']} walks it: end that session first"
        )
    return text + (
        "Its session has ended without a word: look at the carrier, valves and dewars, "
        "then go on with transfer(..., resume=True)"
    )


def _within(
    route: Route, unfinished: LegStart, place: str, specimen: Specimen
) -> Beginning:
    """Return at which step of an unfinished leg to go on."""
    leg = route.legs.get(unfinished.leg)
    if leg is None:
        raise PlanRefused(
            f"transfer: {specimen.name} is on leg {unfinished.leg}, which route "
            f"{route.name} no longer has; correct the record"
        )
    here, there = route.states[leg.from_].place, route.states[leg.to].place
    if place == here:
        return Beginning(leg.from_)
    if place == there and leg.move is not None:
        return Beginning(leg.from_, leg.steps.index(leg.move) + 1)
    raise PlanRefused(
        f"transfer: {specimen.name} is on leg {unfinished.leg} from {here} to {there}, "
        f"and the carrier is in the {place}; look, and correct the record"
    )


def _state_of(route: Route, custody: CustodyState, place: str) -> str:
    """Return the state that a specimen at rest is in."""
    known = custody.state if custody.route == route.name else ""
    if not custody.place:
        return route.start  # the carrier is not yet told of it
    if known not in route.states:
        here = [s for s, state in route.states.items() if state.place == custody.place]
        if len(here) != 1:
            raise PlanRefused(
                f"transfer: {custody.specimen} is in the {custody.place} by its "
                f"record; in route {route.name} that is "
                f"{' or '.join(map(repr, here)) or 'no state'}: say which, with "
                "session.custody.correct_place(..., state=..., reason=...)"
            )
        (known,) = here
    expected = route.states[known].place
    if place != expected:
        raise PlanRefused(
            f"transfer: {custody.specimen} is in the {expected} by its record, and the "
            f"carrier is in the {place}; look, then correct the record "
            "(session.custody.correct_place) or the carrier"
        )
    return known


def _check_tag(specimen: Specimen, values: Mapping[str, Any]) -> None:
    tag = values.get("carrier.specimen", "")
    if tag and tag not in (specimen.name, *specimen.ancestors):
        raise PlanRefused(
            f"transfer: the carrier's tag says {tag}, not {specimen.name}; "
            "is it the right specimen?"
        )


def load_carrier(
    party: Party, specimen: Specimen, begin: Beginning
) -> MsgGenerator[None]:
    """Tell the carrier which specimen it holds, and see that it is where it begins."""
    values = yield from party.log.look_again()
    at_start = begin.state == party.route.start and begin.first_step == 0
    if at_start and values.get("carrier.specimen", specimen.name) != specimen.name:
        yield from _load(party, specimen)
        values = yield from party.log.look_again()
    expected, place = party.route.states[begin.state].place, values["carrier.place"]
    if begin.first_step == 0 and place != expected:
        raise PlanRefused(
            f"transfer: {specimen.name} begins in the {expected}, and the carrier is "
            f"in the {place}; look, then correct the record or the carrier"
        )


def _load(party: Party, specimen: Specimen) -> MsgGenerator[None]:
    try:
        status = yield Msg("set", party.carrier.specimen, specimen.name, group="load")
        yield from until_done(status)
    except (DeviceError, FailedStatus) as error:
        cause = error.__cause__ if isinstance(error, FailedStatus) else error
        raise PlanRefused(f"transfer {party.route.name}: {cause}") from error


def check_ready(party: Party, begin: Beginning) -> MsgGenerator[None]:
    """Refuse to begin at all if the far end is not ready.

    A leg that was left within is finished first: its own limits rule, since a valve
    may stand open.
    """
    if begin.continues:
        return
    values = yield from party.log.look_again()
    sensors = [limit.sensor for limit in party.route.ready]
    party.log.check_readings(party.route.name, sensors, values)
    for finding in judge(
        party.route.ready, values, accept=party.accept, beginning=True
    ):
        if finding.severity is Severity.STOP:
            raise PlanRefused(
                f"transfer {party.route.name}: not ready: "
                f"{finding.text(beginning=True)}. Nothing was moved"
            )
        _log.warning("transfer %s: %s", party.route.name, finding.text())
