"""The promises of a potentiostat that can be tried only with a program of its own."""

import math
from typing import Final

import numpy as np

from cryoline.acquisition.contract import Breach, Check
from cryoline.acquisition.contract_potentiostat_rig import PotentiostatRig
from cryoline.devices.cycling_protocol import ProgramState

__all__ = ["RUNNING"]

_SHORT_S: Final = 0.6
_LONG_S: Final = 60.0
_AWAY_S: Final = 1.0
_STOPPED_S: Final = 2.0
_SMALL_A: Final = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5)
"""Limits of current that a sweep passes: the smallest is taken that it accepts."""
_FAST_MV_PER_S: Final = 50.0


def _runs_to_its_end(rig: PotentiostatRig) -> str:
    program = rig.program(rig.rest_step(_SHORT_S), *rig.sweeps(_SHORT_S))
    rig.begin(program)
    state = rig.ends(within_s=3 * _SHORT_S)
    if state is not ProgramState.FINISHED:
        raise Breach(f"the state is {state.name}: {rig.get('Message_RBV')}")
    rig.must_be_open()
    rig.must_become("Progress_RBV", 100.0, "%")
    return f"finished with {rig.get('PointCount_RBV'):.0f} points"


def _have_finished(rig: PotentiostatRig) -> None:
    """Run the program to its end, unless it just was."""
    if rig.state is not ProgramState.FINISHED:
        _runs_to_its_end(rig)


def _points_by_pages(rig: PotentiostatRig) -> str:
    _have_finished(rig)
    rows = rig.points()
    if not len(rows):
        raise Breach("the program has ended, and there is no point")
    columns = rig.columns
    if not np.array_equal(rows[:, columns.index("point_index")], np.arange(len(rows))):
        raise Breach("the points' indices are not 0, 1, 2, ...")
    times_s = rows[:, columns.index("instrument_time_s")]
    if not np.all(np.diff(times_s) >= 0):
        raise Breach("the points' instrument time goes back")
    steps = set(rows[:, columns.index("step_index")])
    if not {1.0, 2.0} <= steps:
        raise Breach(f"there are points of the steps {sorted(steps)}, not of 1 and 2")
    middle = len(rows) // 2
    if not np.array_equal(rig.page(middle), rows[middle : middle + 5000]):
        raise Breach(f"the page from {middle} differs from the same points before")
    return f"{len(rows)} points, also from {middle} on"


def _keeps_them_for_another(rig: PotentiostatRig) -> str:
    _have_finished(rig)
    first = rig.points()
    second = type(rig)(rig.prefix)  # as another session would come
    if second.get("ProgramUid_RBV") != rig.get("ProgramUid_RBV"):
        raise Breach("a second client sees another program")
    if not np.array_equal(second.points(), first):
        raise Breach("a second client gets other points")
    before = str(rig.get("Message_RBV"))
    rig.put("PointRequest", len(first) + 1000)
    if not rig.get("Message_RBV") and not before:
        raise Breach("a request behind the last point is not refused with a reason")
    return f"{len(first)} points, twice the same"


def _runs_unwatched(rig: PotentiostatRig) -> str:
    rig.begin(rig.program(rig.rest_step(_LONG_S)))
    boot_id, count = rig.get("BootId_RBV"), rig.get("PointCount_RBV")
    rig.until(lambda: False, timeout_s=_AWAY_S)  # nobody reads anything
    if rig.state is not ProgramState.RUNNING:
        raise Breach(f"after {_AWAY_S:g} s alone the state is {rig.state.name}")
    grown = rig.get("PointCount_RBV") - count
    if grown <= 0:
        raise Breach(f"no point was recorded in {_AWAY_S:g} s alone")
    if rig.get("BootId_RBV") != boot_id:
        raise Breach("BootId_RBV changed while a program ran")
    return f"{grown:.0f} points in {_AWAY_S:g} s alone"


def _one_program_at_a_time(rig: PotentiostatRig) -> str:
    program = rig.program(rig.rest_step(_LONG_S))
    rig.begin(program)
    reason = _reason(rig, "Program", rig.text(), "a second program")
    _reason(rig, "Start", 1, "a second Start")
    if rig.get("ProgramUid_RBV") != program.uid:
        raise Breach("the running program was replaced")
    return reason


def _reason(rig: PotentiostatRig, name: str, value: object, what: str) -> str:
    rig.put(name, value)
    if rig.state is not ProgramState.RUNNING:
        raise Breach(f"{what} ended the first: the state is {rig.state.name}")
    if not (reason := str(rig.get("Message_RBV"))):
        raise Breach(f"{what} while one runs: Message_RBV gives no reason")
    return reason


def _starts_nothing_else(rig: PotentiostatRig) -> str:
    _have_finished(rig)
    rig.put("Start", 1)
    if rig.state is not ProgramState.FINISHED:
        raise Breach(f"Start after the end made {rig.state.name} of it")
    if not (reason := str(rig.get("Message_RBV"))):
        raise Breach("Start after the end: Message_RBV gives no reason")
    return reason


def _stops(rig: PotentiostatRig) -> str:
    rig.begin(rig.program(rig.rest_step(_LONG_S)))
    rig.until(lambda: rig.get("PointCount_RBV") > 1, timeout_s=5.0)
    rig.put("Stop", 1)
    took_s = rig.until(
        lambda: rig.state is not ProgramState.RUNNING, timeout_s=_STOPPED_S
    )
    if took_s is None or rig.state is not ProgramState.STOPPED:
        raise Breach(f"{_STOPPED_S:g} s after Stop the state is {rig.state.name}")
    rig.must_be_open()
    if not len(rig.points()):
        raise Breach("stopped, and what was measured is gone")
    return f"stopped, {rig.get('PointCount_RBV'):.0f} points kept"


def _safety_ends_it(rig: PotentiostatRig) -> str:
    """A sweep with a limit of current that it must pass."""
    up, back = (
        step.model_copy(update={"rate_mv_per_s": _fast(rig)})
        for step in rig.sweeps(1.0)
    )
    for limit_a in _SMALL_A:
        program = rig.program(up, back, current_max_a=limit_a)
        rig.put("Program", program.to_json())
        if rig.get("ProgramUid_RBV") == program.uid:
            break
    else:
        raise Breach(f"no limit of current is accepted: {rig.get('Message_RBV')}")
    rig.begin(program)
    state = rig.ends(within_s=1.0)
    if state is not ProgramState.FAILED:
        raise Breach(
            f"a sweep with a limit of {limit_a:g} A made the state {state.name}, with "
            f"{rig.get('Message_RBV')!r}"
        )
    rig.must_be_open()
    if not (reason := str(rig.get("Message_RBV"))):
        raise Breach("failed, and Message_RBV gives no reason")
    return reason


def _fast(rig: PotentiostatRig) -> float:
    return min(_FAST_MV_PER_S, float(rig.get("ScanRateMax_RBV")))


def _window_holds(rig: PotentiostatRig) -> str:
    """A cell that is outside its safety limits before anything was done."""
    here_v = float(rig.get("Potential_RBV"))
    high_v = float(rig.get("PotentialMax_RBV"))
    sign = math.copysign(1.0, high_v - here_v - 1.0)
    edges_v = sorted((here_v + 0.3 * sign, here_v + 0.6 * sign))
    program = rig.program(
        rig.rest_step(_LONG_S), potential_min_v=edges_v[0], potential_max_v=edges_v[1]
    )
    rig.load(program)
    rig.put("Start", 1)
    # Refused, or ended at once: both protect the cell.
    if rig.ends(within_s=0.0) is ProgramState.RUNNING:
        raise Breach(
            f"a cell at {here_v:.3g} V runs within {edges_v[0]:.3g}..{edges_v[1]:.3g} V"
        )
    if not (reason := str(rig.get("Message_RBV"))):
        raise Breach("not run, and Message_RBV gives no reason")
    return reason


RUNNING: Final = tuple(
    Check(name, asked, run, acts=True)
    for name, asked, run in (
        ("runs to its end", "a rest and two sweeps", _runs_to_its_end),
        ("points by pages", "PointRequest of all, then the middle", _points_by_pages),
        ("keeps the points", "all points by a second client", _keeps_them_for_another),
        ("starts once", "Start after the end", _starts_nothing_else),
        ("runs unwatched", f"{_AWAY_S:g} s without a client", _runs_unwatched),
        ("one at a time", "Program, Start while one runs", _one_program_at_a_time),
        ("stops", "Stop in the middle", _stops),
        ("current limit ends it", "a sweep beyond its safety limit", _safety_ends_it),
        ("window protects", "Start with the cell outside its limits", _window_holds),
    )
)
