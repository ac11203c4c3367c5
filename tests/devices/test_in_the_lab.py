"""The devices on real PVs of the simulated laboratory."""

import asyncio
import itertools
import threading
import time
from typing import Any

import pytest

from cryoline.devices import (
    Beam,
    CryoStage,
    CyclicVoltammetry,
    EdsDetector,
    Glovebox,
    HaadfDetector,
    InstrumentClock,
    OpenCircuitVoltage,
    Operator,
    Potentiostat,
    Program,
    SafetyLimits,
)
from cryoline.devices.errors import OperatorRefused, ProgramFailed, ProgramRefused
from cryoline.sim.laboratory import Lab

pytestmark = pytest.mark.lab

SAFETY = SafetyLimits(potential_min_v=-0.05, potential_max_v=3.05, current_max_a=0.01)


def connected(device: Any) -> Any:
    device.wait_for_connection(timeout=10)
    return device


@pytest.fixture
def potentiostat(lab: Lab) -> Potentiostat:
    return connected(Potentiostat("SIM:POT1:", name="potentiostat"))


@pytest.fixture
def operator(lab: Lab) -> Operator:
    return connected(Operator("SIM:OP1:", name="operator"))


def run_to_end(potentiostat: Potentiostat, program: Program) -> None:
    potentiostat.prepare(program).wait(20)
    potentiostat.kickoff().wait(20)
    potentiostat.complete().wait(60)


def all_points(potentiostat: Potentiostat) -> dict[str, list[Any]]:
    async def collect() -> list[Any]:
        return [page async for page in potentiostat.collect_pages()]

    columns: dict[str, list[Any]] = {}
    for page in asyncio.run(collect()):
        for key, values in page["data"].items():
            columns.setdefault(key.removeprefix("potentiostat_"), []).extend(values)
    return columns


@pytest.mark.parametrize(
    ("device", "prefix"),
    [
        (Potentiostat, "SIM:POT1:"),
        (Glovebox, "SIM:GB1:"),
        (Operator, "SIM:OP1:"),
        (InstrumentClock, "SIM:CLK:"),
        (CryoStage, "SIM:STAGE1:"),
        (Beam, "SIM:BEAM1:"),
        (HaadfDetector, "SIM:HAADF1:"),
        (EdsDetector, "SIM:EDS1:"),
    ],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_every_pv_of_a_device_exists_and_every_number_has_its_unit(
    lab: Lab, device: Any, prefix: str
) -> None:
    connected(device(prefix, name="x"))

    described = {**device(prefix, name="x").describe()}

    units = {"v": "V", "a": "A", "s": "s", "mah": "mAh", "degc": "degC"}
    units |= {"mbar": "mbar", "ppm": "ppm", "deg": "deg", "nm": "nm", "c": "C"}
    units |= {"pa": "pA", "kev": "keV", "percent": "%"}
    for key, value in described.items():
        unit = units.get(key.rpartition("_")[2])
        if unit:
            assert value["units"] == unit, key


def test_a_sweep_is_collected_whole_and_goes_where_it_was_told(
    potentiostat: Potentiostat,
) -> None:
    sweep = CyclicVoltammetry(
        vertex1_v=1.0, vertex2_v=2.0, rate_mv_per_s=1.0, n_cycles=1
    )
    start_v = potentiostat.potential_v.get()

    run_to_end(potentiostat, Program(steps=(sweep,), safety=SAFETY))
    points = all_points(potentiostat)

    assert len(points["potential_v"]) == pytest.approx(
        (start_v - 1.0 + 1.0) / 1e-3, rel=0.01
    )
    assert min(points["potential_v"]) == pytest.approx(1.0, abs=2e-3)
    assert points["potential_v"][-1] == pytest.approx(2.0, abs=2e-3)
    times = points["instrument_time_s"]
    assert all(b > a for a, b in itertools.pairwise(times))
    assert times[-1] - times[0] == pytest.approx((start_v - 1.0 + 1.0) / 1e-3, abs=3)


def test_collecting_again_gives_nothing_twice(potentiostat: Potentiostat) -> None:
    run_to_end(potentiostat, a_rest(300))

    assert all_points(potentiostat)
    assert all_points(potentiostat) == {}


def test_the_instruments_own_refusal_reaches_the_person(
    potentiostat: Potentiostat,
) -> None:
    sweep = CyclicVoltammetry(
        vertex1_v=0.01, vertex2_v=12.0, rate_mv_per_s=1.0, n_cycles=1
    )
    program = Program(steps=(sweep,), safety=SAFETY)

    with pytest.raises(ProgramRefused, match=r"refused the program: .*12 V"):
        potentiostat.prepare(program).wait(20)

    assert potentiostat.program_uid.get() != program.uid


def test_a_program_is_not_replaced_while_it_runs(potentiostat: Potentiostat) -> None:
    running = a_rest(1e6)
    potentiostat.prepare(running).wait(20)
    potentiostat.kickoff().wait(20)

    with pytest.raises(ProgramRefused, match=r"can.t be loaded while"):
        potentiostat.prepare(a_rest(10)).wait(20)

    assert potentiostat.program_uid.get() == running.uid
    potentiostat.stop()


def test_the_safety_limit_ends_the_run_in_the_instrument(
    potentiostat: Potentiostat,
) -> None:
    # The SEI forms below 1.2 V with about 1e-7 A: a limit that the sweep must meet.
    careful = SafetyLimits(
        potential_min_v=-0.05, potential_max_v=3.05, current_max_a=2e-8
    )
    sweep = CyclicVoltammetry(
        vertex1_v=0.5, vertex2_v=2.9, rate_mv_per_s=1.0, n_cycles=1
    )
    potentiostat.prepare(Program(steps=(sweep,), safety=careful)).wait(20)
    potentiostat.kickoff().wait(20)

    with pytest.raises(ProgramFailed, match=r"ended the program: .*2e-08"):
        potentiostat.complete().wait(60)

    points = all_points(potentiostat)
    assert 0.6 < min(points["potential_v"]) < 1.4
    assert max(abs(a) for a in points["current_a"][:-1]) < 2.5e-8


def test_the_operator_confirms_after_a_while(operator: Operator) -> None:
    began = operator.instrument_time_s.get()

    operator.set("Close the box.").wait(20)

    assert operator.instrument_time_s.get() - began >= 30


def test_a_refusal_carries_the_instruction(operator: Operator) -> None:
    import epics

    epics.caput("SIM:OP1:AutoConfirm", 0, wait=True)
    status = operator.set("Close the box.")
    threading.Event().wait(0.5)
    epics.caput("SIM:OP1:Answer", 2, wait=True)

    with pytest.raises(OperatorRefused, match=r"refused by the operator: 'Close"):
        status.wait(20)


def test_an_instruction_that_the_panel_cant_show_is_refused_whole(
    operator: Operator,
) -> None:
    with pytest.raises(ValueError, match="has 600 bytes; the panel shows 1 to 511"):
        operator.set("x" * 600)


def test_waiting_goes_by_the_instruments_clock(lab: Lab) -> None:
    clock = connected(InstrumentClock("SIM:CLK:", name="clock"))
    before_s, began = clock.instrument_time_s.get(), time.monotonic()

    clock.set(2000.0).wait(20)

    assert clock.instrument_time_s.get() - before_s >= 2000
    assert time.monotonic() - began < 5  # 0.5 s at a factor of 4000


def a_rest(duration_s: float) -> Program:
    return Program(
        steps=(OpenCircuitVoltage(duration_s=duration_s),),
        safety=SafetyLimits(potential_min_v=-1, potential_max_v=4, current_max_a=0.01),
    )
