"""Plans that cycle a cell. The program runs in the instrument, not in the plan."""

import contextlib
import math
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import FailedStatus, MsgGenerator, RequestAbort, RequestStop, plan

from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.operator_step import confirm
from cryoline.acquisition.specimen import Specimen
from cryoline.devices.cycling_protocol import (
    CyclicVoltammetry,
    Program,
    ProgramState,
    Record,
    SafetyLimits,
)
from cryoline.devices.errors import ProgramFailed
from cryoline.devices.interfaces import OperatorPanel, ProgramRunner

__all__ = ["cyclic_voltammetry", "run_program"]

_COLLECT_EVERY_S = 0.5
"""Wall time between two looks for new points."""


@plan
def cyclic_voltammetry(
    potentiostat: ProgramRunner,
    specimen: Specimen,
    *,
    n_cycles: int = 1,
    vertex_low_v: float = 0.01,
    vertex_high_v: float = 3.0,
    scan_rate_mv_per_s: float = 0.2,
    record_dv_mv: float = 1.0,
    current_limit_a: float = 0.01,
    operator: OperatorPanel | None = None,
    md: dict[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Lithiate to the low and delithiate to the high vertex, n times; end delithiated.

    It begins at the potential that the cell has. Safety limits, 50 mV outside the
    vertices and ``current_limit_a``, run in the instrument. Returns the run's uid.

    Raises PlanRefused before anything moves if the sweep is not one that this
    instrument can make.
    """
    _check_sweep(n_cycles, vertex_low_v, vertex_high_v, scan_rate_mv_per_s)
    _check_positive("record_dv_mv", record_dv_mv, "mV")
    _check_positive("current_limit_a", current_limit_a, "A")
    yield from _check_instrument(
        potentiostat, vertex_low_v, vertex_high_v, scan_rate_mv_per_s, current_limit_a
    )
    program = Program(
        steps=(
            CyclicVoltammetry(
                vertex1_v=vertex_low_v,
                vertex2_v=vertex_high_v,
                rate_mv_per_s=scan_rate_mv_per_s,
                n_cycles=n_cycles,
            ),
        ),
        # The staircase may overshoot by noise, never by 50 mV.
        safety=SafetyLimits(
            potential_min_v=vertex_low_v - 0.05,
            potential_max_v=vertex_high_v + 0.05,
            current_max_a=current_limit_a,
        ),
        record=Record(dv_v=record_dv_mv / 1e3),
    )
    _md = {
        "plan_name": "cyclic_voltammetry",
        "technique": "cyclic-voltammetry",
        "plan_args": {
            "potentiostat": potentiostat.name,
            "n_cycles": n_cycles,
            "vertex_low_v": vertex_low_v,
            "vertex_high_v": vertex_high_v,
            "scan_rate_mv_per_s": scan_rate_mv_per_s,
            "record_dv_mv": record_dv_mv,
            "current_limit_a": current_limit_a,
        },
        **specimen.metadata(),
        **(md or {}),
    }
    instruction = f"Connect {specimen.name} to {potentiostat.name} and close the box."
    uid: str = yield from run_program(
        potentiostat, program, operator=operator, instruction=instruction, md=_md
    )
    return uid


@plan
def run_program(
    potentiostat: ProgramRunner,
    program: Program,
    *,
    operator: OperatorPanel | None = None,
    instruction: str = "Connect the cell.",
    md: dict[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Load a program, start it, and collect its points until the instrument is done.

    1. A program that fails leaves every point that was taken in the run.
    2. A person's abort or stop also stops the instrument.
    3. Any other end of the session leaves the program running: it is safe where
       it is, and its points stay in the instrument.
    """
    _md = {"program": program.lowered().model_dump(mode="json"), **(md or {})}

    @bpp.run_decorator(md=_md)
    def inner() -> MsgGenerator[None]:
        if operator is not None:
            yield from confirm(operator, instruction)
        yield from bps.prepare(potentiostat, program, wait=True)
        yield from bps.declare_stream(potentiostat, name="points", collect=True)
        # A pause must not rewind: a program is started once, and the points of a
        # second collect would get the sequence numbers of the first.
        yield from bpp.rewindable_wrapper(started(), False)

    def started() -> MsgGenerator[None]:
        yield from bps.kickoff(potentiostat, wait=True)
        yield from bpp.contingency_wrapper(
            _collect_until_done(potentiostat),
            except_plan=lambda error: _stop_if_a_person_said_so(potentiostat, error),
            auto_raise=True,
        )

    uid: str = yield from inner()
    return uid


def _collect_until_done(potentiostat: ProgramRunner) -> MsgGenerator[None]:
    group = f"{potentiostat.name}-program"
    status = yield from bps.complete(potentiostat, group=group, wait=False)
    while True:
        # The status itself is asked, not the answer to `wait`: a hard pause cuts
        # the wait short. Asked first, so that the last collect misses nothing.
        ended = status.done
        yield from bps.collect(potentiostat, name="points", return_payload=False)
        if ended:
            break
        yield from bps.checkpoint()  # where a deferred pause may take effect
        with contextlib.suppress(FailedStatus):  # raised below, after collecting
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


def _check_sweep(
    n_cycles: int, low_v: float, high_v: float, scan_rate_mv_per_s: float
) -> None:
    if isinstance(n_cycles, bool) or not isinstance(n_cycles, int) or n_cycles < 1:
        raise PlanRefused(
            f"cyclic_voltammetry: n_cycles = {n_cycles!r}; "
            "give a whole number, 1 or more"
        )
    _check_positive("scan_rate_mv_per_s", scan_rate_mv_per_s, "mV/s")
    if not (math.isfinite(low_v) and math.isfinite(high_v) and low_v < high_v):
        raise PlanRefused(
            f"cyclic_voltammetry: vertices {low_v:g} V and {high_v:g} V; "
            "vertex_low_v must be below vertex_high_v"
        )


def _check_positive(name: str, value: float, unit: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise PlanRefused(
            f"cyclic_voltammetry: {name} = {value:g} {unit}; give more than 0 {unit}"
        )


def _check_instrument(
    potentiostat: ProgramRunner,
    low_v: float,
    high_v: float,
    scan_rate_mv_per_s: float,
    current_limit_a: float,
) -> MsgGenerator[None]:
    """Ask the instrument what it can do, before anything moves."""
    name = potentiostat.name
    state = yield from bps.rd(potentiostat.state)
    if state == ProgramState.RUNNING:
        raise PlanRefused(
            f"{name}: a program is running; wait for its end, or stop it: {name}.stop()"
        )
    least = yield from bps.rd(potentiostat.potential_min_v)
    most = yield from bps.rd(potentiostat.potential_max_v)
    for label, value in (("vertex_low_v", low_v), ("vertex_high_v", high_v)):
        if not least <= value <= most:
            raise PlanRefused(
                f"{name}: {label} = {value:g} V is outside {least:g}..{most:g} V; "
                "choose a vertex that the instrument can apply"
            )
    fastest = yield from bps.rd(potentiostat.scan_rate_max_mv_per_s)
    if scan_rate_mv_per_s > fastest:
        raise PlanRefused(
            f"{name}: {scan_rate_mv_per_s:g} mV/s is above {fastest:g} mV/s; "
            "choose a slower sweep"
        )
    largest = yield from bps.rd(potentiostat.current_max_a)
    if current_limit_a > largest:
        raise PlanRefused(
            f"{name}: current_limit_a = {current_limit_a:g} A is above "
            f"{largest:g} A; choose a limit that the instrument can measure"
        )
