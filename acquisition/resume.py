"""The plan that goes on with a program whose session has ended."""

from typing import Any, Final

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import Msg, MsgGenerator, plan

from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.program_run import collect_program
from cryoline.acquisition.unfinished import KeptProgram
from cryoline.devices.cycling_protocol import Program, ProgramState
from cryoline.devices.interfaces import ProgramRunner
from cryoline.devices.potentiostat import Attachment

__all__ = ["find_kept", "is_whole", "resume_program"]

_OF_ONE_RUN: Final = frozenset(
    ("uid", "time", "scan_id", "plan_type", "plan_name", "versions", "session")
) | {"instrument", "continues", "first_point", "custody"}
"""What a start document says of its own run, and not of what is measured."""


@plan
def resume_program(
    potentiostat: ProgramRunner, *, md: dict[str, Any] | None = None
) -> MsgGenerator[str]:
    """Go on with the program that the instrument holds, in a run that continues.

    It finds the runs of the program in the journals and collects the points that none
    of them holds from the instrument's memory, then those that still come. Nothing is
    lost or doubled: each point's index is in one run. The new run's start document has
    ``continues``, the uid of the run before, and ``first_point``. Returns its uid.

    Raises PlanRefused if there is nothing to go on with, or a session is at it.
    """
    kept = yield from find_kept(potentiostat)
    if (yield from is_whole(potentiostat, kept)):
        raise PlanRefused(
            f"{potentiostat.name}: program {kept.uid} has ended, and all of its "
            f"{kept.next_point} points are in run {kept.runs[-1]}; there is nothing to "
            "go on with"
        )
    program = Program.model_validate(kept.start["program"])
    _md = {
        **{k: v for k, v in kept.start.items() if k not in _OF_ONE_RUN},
        "plan_name": "resume_program",
        "continues": kept.runs[-1],
        "first_point": kept.next_point,
        **(md or {}),
    }

    @bpp.run_decorator(md=_md)
    def inner() -> MsgGenerator[None]:
        attachment = Attachment(program, kept.next_point)
        yield from bps.prepare(potentiostat, attachment, wait=True)
        yield from collect_program(potentiostat, start=False)

    run: str = yield from inner()
    return run


def find_kept(potentiostat: ProgramRunner) -> MsgGenerator[KeptProgram]:
    """Return what the journals hold of the program in the instrument.

    Raises PlanRefused if they hold nothing, or nobody may go on with it.
    """
    name = potentiostat.name
    uid = yield from bps.rd(potentiostat.program_uid)
    kept: KeptProgram | None = (yield Msg("find_program", None, uid)) if uid else None
    if kept is None:
        raise PlanRefused(
            f"{name}: holds {f'program {uid}' if uid else 'no program'}, of which this "
            "data directory has no run; was the instrument restarted, or is it another "
            "session's?"
        )
    if kept.is_open:
        raise PlanRefused(
            f"{name}: a living session collects program {uid}; end it first"
        )
    if (yield from bps.rd(potentiostat.state)) == ProgramState.LOADED:
        raise PlanRefused(
            f"{name}: program {uid} was loaded and never started; begin it anew"
        )
    return kept


def is_whole(potentiostat: ProgramRunner, kept: KeptProgram) -> MsgGenerator[bool]:
    """Return whether the program has ended, and the journals hold all of its points."""
    state = yield from bps.rd(potentiostat.state)
    count = yield from bps.rd(potentiostat.point_count)
    return bool(state != ProgramState.RUNNING and count <= kept.next_point)
