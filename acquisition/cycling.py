"""Plans that cycle a cell. The program runs in the instrument, not in the plan."""

import math
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator, plan

from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.program_run import run_program
from cryoline.acquisition.protocol import HarvestAt, Protocol
from cryoline.acquisition.protocol_checks import (
    InstrumentLimits,
    program_faults,
    start_faults,
)
from cryoline.acquisition.protocol_files import load_protocol
from cryoline.acquisition.specimen import Specimen
from cryoline.devices.cycling_protocol import (
    CyclicVoltammetry,
    Program,
    ProgramState,
    Record,
    SafetyLimits,
)
from cryoline.devices.interfaces import OperatorPanel, ProgramRunner

__all__ = ["cycle", "cyclic_voltammetry", "run_program"]


@plan
def cycle(
    potentiostat: ProgramRunner,
    protocol: Protocol | str | Path,
    specimen: Specimen,
    *,
    harvest_at: HarvestAt | None = None,
    operator: OperatorPanel | None = None,
    md: dict[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Run a protocol on a specimen's cell, in the instrument; collect its points.

    protocol: a shipped one by name, a file, or a `Protocol`
    harvest_at: where the instrument finishes early, in place of the protocol's own

    What the protocol asks is checked against the electrode, the instrument and the
    cell's open-circuit potential before anything moves; with an operator, the cell
    once it is connected. Safety limits and harvest run in the instrument. Returns the
    run's uid.

    Raises ProtocolError if the protocol can't be used for the specimen, PlanRefused
    if the instrument or the cell is not fit for it.
    """
    found = load_protocol(protocol)
    program = found.program(specimen, harvest=harvest_at)
    yield from check_program(potentiostat, found.name, program)

    def check_cell() -> MsgGenerator[None]:
        yield from _check_cell(potentiostat, found, specimen)

    if operator is None:
        yield from check_cell()
    wanted = harvest_at or found.harvest
    _md = {
        "plan_name": "cycle",
        "technique": found.kind,
        "plan_args": {
            "potentiostat": potentiostat.name,
            "protocol": found.name,
            "harvest_at": wanted and wanted.model_dump(mode="json", exclude_none=True),
        },
        "protocol": found.model_dump(mode="json", exclude_none=True),
        **specimen.metadata(),
        **(md or {}),
    }
    instruction = f"Connect {specimen.name} to {potentiostat.name} and close the box."
    uid: str = yield from run_program(
        potentiostat,
        program,
        operator=operator,
        instruction=instruction,
        before_start=check_cell if operator is not None else None,
        md=_md,
    )
    return uid


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


def check_program(
    potentiostat: ProgramRunner, name: str, program: Program
) -> MsgGenerator[None]:
    """Refuse a program that the instrument can't run, or while it runs another."""
    yield from _check_is_free(potentiostat)
    limits = InstrumentLimits(
        potentiostat.name,
        (yield from bps.rd(potentiostat.potential_min_v)),
        (yield from bps.rd(potentiostat.potential_max_v)),
        (yield from bps.rd(potentiostat.current_max_a)),
        (yield from bps.rd(potentiostat.scan_rate_max_mv_per_s)),
    )
    if faults := program_faults(program, limits):
        raise PlanRefused("\n".join(f"{name}: {fault}" for fault in faults))


def _check_is_free(potentiostat: ProgramRunner) -> MsgGenerator[None]:
    state = yield from bps.rd(potentiostat.state)
    if state == ProgramState.RUNNING:
        name = potentiostat.name
        uid = yield from bps.rd(potentiostat.program_uid)
        raise PlanRefused(
            f"{name}: a program is running ({uid}); wait for its end, or choose "
            f"another channel. If it is yours, go on with it (cryoline resume {name}, "
            f"or resume_program({name})), or stop it: {name}.stop()"
        )


def _check_cell(
    potentiostat: ProgramRunner, protocol: Protocol, specimen: Specimen
) -> MsgGenerator[None]:
    if not (yield from bps.rd(potentiostat.contact)):
        raise PlanRefused(
            f"{potentiostat.name}: no cell is connected; connect {specimen.name}"
        )
    potential_v = yield from bps.rd(potentiostat.potential_v)
    for fault in start_faults(protocol, float(potential_v), specimen.name):
        raise PlanRefused(f"{potentiostat.name}: {fault}")


def _check_instrument(
    potentiostat: ProgramRunner,
    low_v: float,
    high_v: float,
    scan_rate_mv_per_s: float,
    current_limit_a: float,
) -> MsgGenerator[None]:
    """Ask the instrument what it can do, before anything moves."""
    name = potentiostat.name
    yield from _check_is_free(potentiostat)
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
