"""The plan that brings a specimen along a route, and keeps custody of it."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import Msg, MsgGenerator, RunEngineControlException, plan

from cryoline.acquisition.custody_records import LegReport, LegStart
from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.operator_step import confirm
from cryoline.acquisition.route_model import Route
from cryoline.acquisition.routes import check_route, fingerprint, load_route, way
from cryoline.acquisition.specimen import Specimen
from cryoline.acquisition.transfer_leg import LegWalk
from cryoline.acquisition.transfer_log import TransferLog
from cryoline.acquisition.transfer_start import (
    Beginning,
    check_ready,
    find_beginning,
    load_carrier,
)
from cryoline.acquisition.transfer_steps import Party, make_safe
from cryoline.devices.interfaces import InstrumentTimer, OperatorPanel

__all__ = ["transfer"]

_SETTLE_S: Final = 10.0
"""Instrument time for pressures to settle after valves were shut."""


@plan
def transfer(
    route: Route | str | Path,
    specimen: Specimen,
    *,
    vessels: Mapping[str, Any],
    operator: OperatorPanel,
    clock: InstrumentTimer,
    to: str | None = None,
    child: Specimen | None = None,
    resume: bool = False,
    accept: Collection[str] = (),
    md: dict[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Bring a specimen along a route, from where its custody record says that it is.

    route: a shipped one by name, a .toml file, or a loaded route
    vessels: devices by the names that the route uses; more may be given
    to: the state to end in, if the route has several ends
    child: what the route makes of the specimen on its way; the rest is its own
    resume: go on with a leg that a killed session has left open, once you have looked
    accept: flags whose limits shall only warn, as in ("temperature",)

    Every leg is refused before it begins, or stopped on its way, if a limit is passed;
    the specimen then stays where it is safe, and the error says how. A deferred pause
    takes effect between two legs. Needs the messages of `custody_guard`. Returns the
    run's uid.

    Raises PlanRefused, TransferStopped, RouteError, CustodyError.
    """
    found = route if isinstance(route, Route) else load_route(route)
    outline = check_route(found, to=to, vessels=vessels)
    used = {name: vessels[name] for name in outline.vessels}
    log = TransferLog(used, clock)
    party = Party(found, used, operator, clock, log, frozenset(accept))
    begin = yield from find_beginning(party, specimen, resume)
    names = way(found, begin.state, to)
    _check_child(found, names, child)
    yield from check_ready(party, begin)
    yield from load_carrier(party, specimen, begin)
    _md = {
        "plan_name": "transfer",
        "technique": "transfer",
        "route": found.name,
        "route_sha256": fingerprint(found),
        "route_file": found.dumped(),
        "plan_args": {
            "legs": list(names),
            "from": begin.state,
            "to": found.legs[names[-1]].to,
            "child": child.name if child else None,
            "resume": resume,
            "accept": sorted(accept),
        },
        **specimen.metadata(),
        **(md or {}),
    }

    uid: str = yield from bps.open_run(_md)
    walk = _walk(party, specimen, child, names, begin, uid)
    yield from bpp.contingency_wrapper(
        # Nothing on a leg may be done twice because of a pause.
        bpp.rewindable_wrapper(walk, False),
        except_plan=_close_failed,
        else_plan=bps.close_run,
    )
    return uid


def _close_failed(error: Exception) -> MsgGenerator[None]:
    if isinstance(error, RunEngineControlException):
        status = getattr(error, "exit_status", "abort")
        yield from bps.close_run(exit_status=status)
    else:
        yield from bps.close_run(exit_status="fail", reason=str(error))


def _walk(
    party: Party,
    specimen: Specimen,
    child: Specimen | None,
    names: tuple[str, ...],
    begin: Beginning,
    run: str,
) -> MsgGenerator[None]:
    yield Msg("custody_register", None, specimen.name, parent=_parent(specimen))
    if begin.interrupted is not None:
        yield from _take_up(party, specimen, begin.interrupted)
    carried = specimen
    first_step, continues = begin.first_step, begin.continues
    for name in names:
        yield from bps.checkpoint()  # a deferred pause finds the specimen safe here
        walk = LegWalk(
            party,
            name,
            carried.name,
            first_step=first_step,
            continues=continues,
            run=run,
        )
        yield from walk.walk()
        first_step, continues = 0, ""
        made_as = party.route.legs[name].makes
        if made_as and child is not None:
            yield Msg(
                "custody_register",
                None,
                child.name,
                parent=specimen.name,
                made_as=made_as,
            )
            carried = child


def _take_up(
    party: Party, specimen: Specimen, interrupted: LegStart
) -> MsgGenerator[None]:
    """Have a person look, and end the leg that a killed session has left open."""
    yield from confirm(
        party.operator,
        f"The session was killed while {specimen.name} was on leg {interrupted.leg}. "
        "Look at the carrier, valves and dewars; confirm to go on.",
    )
    leg = party.route.legs[interrupted.leg]
    yield from make_safe(party, leg)
    yield from bps.abs_set(party.clock, _SETTLE_S, wait=True)
    values = yield from party.log.look_again()
    now_s = yield from party.log.now_s()
    worst = {
        limit.sensor: float(values[limit.sensor])
        for limit in leg.limits
        if limit.sensor.startswith("carrier.")
    }
    report = LegReport(
        uid=interrupted.uid,
        outcome="interrupted",
        place=values["carrier.place"],
        state="",
        instrument_time_s=now_s,
        worst=worst,
        why="its session was killed or halted",
    )
    yield Msg("custody_leave", None, report)


def _check_child(route: Route, names: tuple[str, ...], child: Specimen | None) -> None:
    if child is not None and not any(route.legs[name].makes for name in names):
        raise PlanRefused(
            f"transfer {route.name}: no leg from here makes a new specimen, so "
            f"{child.name} would never be; leave child out"
        )


def _parent(specimen: Specimen) -> str | None:
    return specimen.ancestors[-1] if specimen.ancestors else None
