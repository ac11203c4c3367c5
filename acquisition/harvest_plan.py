"""The plan that stops a cell in a named state, records it, and begins to open it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import bluesky.plan_stubs as bps
from bluesky.utils import Msg, MsgGenerator, plan

from cryoline.acquisition.cycling import cycle
from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.protocol import HarvestAt, Protocol
from cryoline.acquisition.protocol_amounts import MAH_PER_G_OF_LI
from cryoline.acquisition.protocol_files import load_protocol
from cryoline.acquisition.resume import find_kept, is_whole, resume_program
from cryoline.acquisition.routes import check_route, load_route
from cryoline.acquisition.specimen import Specimen
from cryoline.acquisition.transfer_plan import transfer
from cryoline.devices.cycle_starts import directions
from cryoline.devices.cycling_protocol import ProgramState
from cryoline.devices.interfaces import InstrumentTimer, OperatorPanel, ProgramRunner

__all__ = ["HarvestRuns", "harvest", "harvest_record", "keep_state", "read_state"]


class HarvestRuns(NamedTuple):
    """What a harvest leaves: its runs' uids, and the state that was recorded."""

    cycling: str
    transfer: str | None
    state: dict[str, Any]
    to_do: str
    """What a person does next."""


@plan
def harvest(
    potentiostat: ProgramRunner,
    protocol: Protocol | str | Path,
    specimen: Specimen,
    at: HarvestAt,
    *,
    clock: InstrumentTimer,
    operator: OperatorPanel | None = None,
    route: str | Path | None = None,
    vessels: Mapping[str, Any] | None = None,
    resume: bool = False,
    md: dict[str, Any] | None = None,
) -> MsgGenerator[HarvestRuns]:
    """Cycle until a condition holds, stop in the state wanted, and take the cell out.

    at: cycle count, charge, lithiation x or retention, whichever comes first, and the
    state; the instrument stops there, whether this session lives or not
    route: whose first leg is walked then, with its vessels and the operator
    resume: go on with the program of a session that has ended

    The state at harvest is a row of the specimen's custody record, which what is made
    of it inherits.
    """
    found = load_protocol(protocol)
    _check_last_state(found, specimen, at)
    first_state = None
    if route is not None:
        if operator is None or vessels is None:
            raise PlanRefused("harvest: a route needs its vessels and an operator")
        loaded = load_route(route)
        first_state = next(
            leg.to for leg in loaded.legs.values() if leg.from_ == loaded.start
        )
        check_route(loaded, specimen=specimen.name, to=first_state, vessels=vessels)
    if resume:
        cycled = yield from _go_on(potentiostat, found, specimen, at, md)
    else:
        cycled = yield from cycle(
            potentiostat, found, specimen, harvest_at=at, operator=operator, md=md
        )
    state = yield from harvest_record(
        potentiostat, found, specimen, at, run=cycled, clock=clock
    )
    moved = None
    to_do = (
        f"Disconnect {specimen.name} from {potentiostat.name}, where it waits at open "
        "circuit, and begin its route: transfer(...)"
    )
    if route is not None and operator is not None and vessels is not None:
        moved = yield from transfer(
            route,
            specimen,
            vessels=vessels,
            operator=operator,
            clock=clock,
            to=first_state,
            resume=resume,
            md={"harvest": state, **(md or {})},
        )
        to_do = f"Go on with transfer({str(route)!r}, ...), from {first_state!r}"
    return HarvestRuns(cycled, moved, state, to_do)


@plan
def harvest_record(
    potentiostat: ProgramRunner,
    protocol: Protocol | str | Path,
    specimen: Specimen,
    at: HarvestAt,
    *,
    run: str,
    clock: InstrumentTimer,
) -> MsgGenerator[dict[str, Any]]:
    """Write the state in which the program has ended to the custody record.

    run: the last one of the program, of its own and those that continue it
    Raises PlanRefused if the program is not at its end, or is not the run's.
    """
    found = load_protocol(protocol)
    yield from _check_ended(potentiostat, run)
    readings = yield from read_state(potentiostat, clock)
    state = {
        "state": at.state,
        "cycling_run": run,
        "protocol": found.name,
        "asked": _asked(at),
        **readings,
        "lithiation_x": _lithiation_x(found, specimen, readings["charge_mah"]),
    }
    yield from keep_state(specimen, state)
    return state


def read_state(
    potentiostat: ProgramRunner, clock: InstrumentTimer
) -> MsgGenerator[dict[str, Any]]:
    """Return where an electrode is, by the instrument that has cycled it."""
    return {
        "cycle_number": int((yield from bps.rd(potentiostat.cycle_number))),
        "potential_v": float((yield from bps.rd(potentiostat.potential_v))),
        "charge_mah": float((yield from bps.rd(potentiostat.charge_mah))),
        "instrument_time_s": float((yield from bps.rd(clock))),
    }


def keep_state(specimen: Specimen, state: dict[str, Any]) -> MsgGenerator[None]:
    """Write a state at harvest to the specimen's custody record."""
    parent = specimen.ancestors[-1] if specimen.ancestors else None
    yield Msg("custody_register", None, specimen.name, parent=parent)
    yield Msg("custody_harvest", None, specimen.name, state)


def _go_on(
    potentiostat: ProgramRunner,
    protocol: Protocol,
    specimen: Specimen,
    at: HarvestAt,
    md: dict[str, Any] | None,
) -> MsgGenerator[str]:
    """Collect what is left of the program that a session has begun for this harvest."""
    kept = yield from find_kept(potentiostat)
    asked = (kept.start.get("plan_args") or {}).get("harvest_at")
    begun = kept.start["specimen"], (kept.start.get("protocol") or {}).get("name")
    if begun != (specimen.name, protocol.name) or asked != _asked(at):
        raise PlanRefused(
            f"harvest: {potentiostat.name} holds program {kept.uid}, begun for "
            f"{begun[0]} by {begun[1] or 'no protocol'} with harvest_at = {asked}; "
            "give the same to go on with it"
        )
    if (yield from is_whole(potentiostat, kept)):
        return kept.runs[-1]
    run: str = yield from resume_program(potentiostat, md=md)
    return run


def _asked(at: HarvestAt) -> dict[str, Any]:
    return at.model_dump(mode="json", exclude_none=True)


def _check_ended(potentiostat: ProgramRunner, run: str) -> MsgGenerator[None]:
    """Refuse a state that is not the one at harvest, or another program's."""
    name = potentiostat.name
    state = ProgramState(int((yield from bps.rd(potentiostat.state))))
    if state != ProgramState.FINISHED:
        raise PlanRefused(
            f"harvest: {name} is {state.name.lower()}, and a cell is harvested where "
            "its program has finished; wait for its end (resume_program)"
        )
    uid = yield from bps.rd(potentiostat.program_uid)
    kept = (yield Msg("find_program", None, uid)) if uid else None
    if kept is None or run not in kept.runs:
        runs = "none here" if kept is None else ", ".join(kept.runs)
        raise PlanRefused(
            f"harvest: run {run} is none of the program that {name} holds "
            f"({uid or 'none'}; runs: {runs}); its state is another cell's or "
            "another program's"
        )


def _lithiation_x(
    protocol: Protocol, specimen: Specimen, charge_mah: float
) -> float | None:
    """Return x in LixSi by the charge since the start, SEI counted as lithium."""
    if specimen.electrode_mass_mg is None:
        return None
    per_x_mah = MAH_PER_G_OF_LI * specimen.electrode_mass_mg * 1e-3
    return protocol.start_lithiation_x - charge_mah / per_x_mah


def _check_last_state(protocol: Protocol, specimen: Specimen, at: HarvestAt) -> None:
    """Refuse a protocol that ends in another state if no condition is met before."""
    steps = protocol.program(specimen, harvest=at).steps
    wanted = 1.0 if at.state == "delithiated" else -1.0
    ways = [way for way in directions(steps) if way]
    if ways[-1:] != [wanted]:
        raise PlanRefused(
            f"harvest: {protocol.name} would not end {at.state} if no condition is met "
            "before; add a step that brings the electrode there"
        )
