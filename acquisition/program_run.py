"""Running a program in the instrument, and collecting what it measures, as one run."""

import contextlib
from collections.abc import Callable
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import FailedStatus, MsgGenerator, RequestAbort, RequestStop, plan

from cryoline.acquisition.operator_step import confirm
from cryoline.devices.cycling_protocol import Program, ProgramState
from cryoline.devices.errors import ProgramFailed
from cryoline.devices.interfaces import OperatorPanel, ProgramRunner

__all__ = ["collect_program", "run_program"]

_COLLECT_EVERY_S = 0.5
"""Wall time between two looks for new points."""


@plan
def run_program(
    potentiostat: ProgramRunner,
    program: Program,
    *,
    operator: OperatorPanel | None = None,
    instruction: str = "Connect the cell.",
    before_start: Callable[[], MsgGenerator[None]] | None = None,
    md: dict[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Load a program, start it, and collect its points until the instrument is done.

    before_start: a plan that is run once the cell is connected, and may refuse it

    1. A program that fails leaves every point that was taken in the run.
    2. A person's abort or stop also stops the instrument.
    3. Any other end of the session leaves the program running: it is safe where
       it is, and its points stay in the instrument, for `resume_program`.
    """
    _md = {"program": program.lowered().model_dump(mode="json"), **(md or {})}

    @bpp.run_decorator(md=_md)
    def inner() -> MsgGenerator[None]:
        if operator is not None:
            yield from confirm(operator, instruction)
        if before_start is not None:
            yield from before_start()
        yield from bps.prepare(potentiostat, program, wait=True)
        yield from collect_program(potentiostat, start=True)

    uid: str = yield from inner()
    return uid


def collect_program(potentiostat: ProgramRunner, *, start: bool) -> MsgGenerator[None]:
    """Collect a prepared program's points into the open run until it has ended.

    start: whether it is started first; else it runs, or has ended, already
    """
    yield from bps.declare_stream(potentiostat, name="points", collect=True)

    def collecting() -> MsgGenerator[None]:
        if start:
            yield from bps.kickoff(potentiostat, wait=True)
        yield from bpp.contingency_wrapper(
            _collect_until_done(potentiostat),
            except_plan=lambda error: _stop_if_a_person_said_so(potentiostat, error),
            auto_raise=True,
        )

    # A pause must not rewind: a program is started once, and the points of a
    # second collect would get the sequence numbers of the first.
    yield from bpp.rewindable_wrapper(collecting(), False)


def _collect_until_done(potentiostat: ProgramRunner) -> MsgGenerator[None]:
    group = f"{potentiostat.name}-program"
    status = yield from bps.complete(potentiostat, group=group, wait=False)
    while True:
        # The status itself is asked, not the answer to `wait`: a hard pause cuts
        # the wait short. Asked first, so that the last collect misses nothing.
        ended = status.done
        # The RunEngine throws the program's failure at whatever message it is at,
        # which it has done by then: it is raised below, after collecting.
        with contextlib.suppress(FailedStatus):
            yield from bps.collect(potentiostat, name="points", return_payload=False)
        if ended:
            break
        with contextlib.suppress(FailedStatus):
            yield from bps.checkpoint()  # where a deferred pause may take effect
            yield from bps.wait(
                group=group, timeout=_COLLECT_EVERY_S, error_on_timeout=False
            )
    error = status.exception(timeout=0)
    if error is not None:
        raise error
    if (yield from bps.rd(potentiostat.state)) == ProgramState.STOPPED:
        raise ProgramFailed(
            f"{potentiostat.name}: the program was stopped before its end, at the "
            "instrument; what was measured until then is in the run"
        )


def _stop_if_a_person_said_so(
    potentiostat: ProgramRunner, error: Exception
) -> MsgGenerator[None]:
    if isinstance(error, RequestAbort | RequestStop):
        yield from bps.abs_set(potentiostat.halt, 1, wait=True)
        yield from bps.collect(potentiostat, name="points", return_payload=False)
