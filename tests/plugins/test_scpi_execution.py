"""The program in the bridge, on a small cell, with time and meter played exactly."""

from typing import Any

import numpy as np
import orjson
import pytest

from cryoline.devices.cycling_protocol import (
    ConstantCurrent,
    ConstantVoltage,
    CyclicVoltammetry,
    Harvest,
    Loop,
    OpenCircuitVoltage,
    Program,
    Record,
    SafetyLimits,
    Step,
    Tag,
    VoltageScan,
)
from cryoline.ioc.points import COLUMNS
from cryoline.ioc.potentiostat_panel import PotentiostatLimits
from cryoline.plugins.scpi_potentiostat.admission import admit
from cryoline.plugins.scpi_potentiostat.errors import RequestRefused
from cryoline.plugins.scpi_potentiostat.execution import Execution
from cryoline.plugins.scpi_potentiostat.meter import Drive, Reading
from cryoline.plugins.scpi_potentiostat.tally import Tally
from cryoline.sim.cell_parameters import wafer
from cryoline.sim.cell_source import CellSource
from cryoline.sim.potentiostat import Potentiostat
from cryoline.sim.scpi_cell import Clamp, MicroCell

PERIOD_S = 1 / 16  # adds up without rounding
LIMITS = PotentiostatLimits(20.0, 1.0, 200.0, 1000)


def program(*steps: Step, **settings: Any) -> Program:
    safety = {"potential_min_v": 0.0, "potential_max_v": 3.0, "current_max_a": 0.01}
    safety |= settings.pop("safety", {})
    return Program(
        steps=steps,
        safety=SafetyLimits(**safety),
        record=Record(dv_v=0.01, dt_s=1.0),
        **settings,
    ).lowered()


class Bench:
    """A cell, a meter without noise, and time that passes when told to."""

    def __init__(self, program: Program, cell: MicroCell | None = None) -> None:
        self.cell = cell or MicroCell(resistance_ohm=20.0)
        self.now_s = 1000.0
        self.run = Execution(program, self.now_s, self.cell.open_circuit_v)
        self.points: list[dict[str, float]] = []
        self.driven: list[Drive] = []
        self.truth: list[tuple[float, float, float]] = []

    def tick(self) -> None:
        drive = self.run.drive(self.now_s)
        self.driven.append(drive)
        if drive.level_v is None:
            clamp = Clamp(0.0, 20.0, is_voltage=False)
        else:
            clamp = Clamp(drive.level_v, drive.limit_a, is_voltage=True)
        potential_v, current_a = self.cell.drive(PERIOD_S, clamp)
        self.now_s += PERIOD_S
        self.truth.append((self.now_s, potential_v, current_a))
        self.run.take(self.now_s, Reading(potential_v, current_a, 0.01))
        self.points += self.run.take_points()

    def finish(self, ticks: int = 20_000) -> "Bench":
        for _ in range(ticks):
            if self.run.ended:
                return self
            self.tick()
        raise AssertionError(f"still in step {self.run.step_index}")

    def column(self, name: str) -> "np.ndarray[Any, Any]":
        return np.array([point[name] for point in self.points])


def test_sweep_has_its_rate_ends_where_it_must_and_the_next_one_begins_there() -> None:
    bench = Bench(
        program(
            VoltageScan(start_v=1.7, end_v=2.2, rate_mv_per_s=50.0),
            VoltageScan(end_v=1.9, rate_mv_per_s=100.0),
        )
    ).finish()
    levels = [d.level_v for d in bench.driven if d.level_v is not None]

    assert levels[0] == 1.7
    assert max(levels) == 2.2
    assert levels[-1] == 1.9
    top = levels.index(2.2)
    assert np.diff(levels[:top]) == pytest.approx(50e-3 * PERIOD_S)
    assert abs(levels[top + 1] - 2.2) <= 100e-3 * PERIOD_S + 1e-12  # no jump
    assert bench.run.elapsed_s == pytest.approx(10.0 + 3.0, abs=3 * PERIOD_S)


def test_bridge_that_was_stopped_for_a_while_does_not_jump() -> None:
    bench = Bench(program(VoltageScan(end_v=2.4, rate_mv_per_s=20.0)))
    for _ in range(5):
        bench.tick()
    before_v = bench.driven[-1].level_v
    bench.now_s += 600.0
    bench.tick()
    after_v = bench.driven[-1].level_v

    assert before_v is not None
    assert after_v is not None
    assert 0 < after_v - before_v <= 20e-3 * 0.5 + 1e-12
    bench.finish()
    assert bench.driven[-1].level_v == 2.4


def test_charge_is_the_integral_of_the_current() -> None:
    bench = Bench(program(VoltageScan(end_v=2.4, rate_mv_per_s=50.0))).finish()
    time_s, _, current_a = (np.array(c) for c in zip(*bench.truth, strict=True))
    # The meter's readings are all there is: what the cell got between two of them
    # differs by the curve of the current, not by more.
    expected_mah = np.trapezoid(current_a, time_s) / 3.6

    assert bench.run.tally.net_mah == pytest.approx(expected_mah, rel=0.02)
    assert bench.points[-1]["charge_mah"] == bench.run.tally.net_mah


def test_held_current_ends_at_its_potential_and_never_aims_beyond_the_window() -> None:
    up = ConstantCurrent(current_a=1e-3, until_potential_v=2.5)
    down = ConstantCurrent(current_a=-1e-3, until_potential_v=0.5)
    bench = Bench(
        program(up, down, ConstantCurrent(current_a=1e-3, until_duration_s=2))
    )
    bench.finish()

    levels = sorted({d.level_v for d in bench.driven if d.level_v is not None})
    # 5 mV beyond where each ends; the last one has no potential of its own.
    assert levels == pytest.approx([0.495, 2.505, 3.0])
    assert {d.limit_a for d in bench.driven} == {1e-3}
    assert max(v for _, v, _ in bench.truth) <= 2.505 + 1e-9
    assert min(v for _, v, _ in bench.truth) >= 0.495 - 1e-9
    assert max(abs(a) for _, _, a in bench.truth) <= 1e-3
    assert bench.run.failure == ""


def test_meter_alone_stops_a_held_current_where_its_step_would_end() -> None:
    """What becomes of the cell if the bridge dies: nobody reads, nobody drives."""
    bench = Bench(program(ConstantCurrent(current_a=-1e-3, until_potential_v=0.5)))
    drive = bench.run.drive(bench.now_s)
    assert drive.level_v is not None
    clamp = Clamp(drive.level_v, drive.limit_a, is_voltage=True)
    potential_v, current_a = bench.cell.drive(600.0, clamp)

    assert potential_v == pytest.approx(0.495)
    assert abs(current_a) < 1e-4


def test_current_to_a_potential_that_is_reached_drives_nothing() -> None:
    rest = OpenCircuitVoltage(duration_s=0.5)
    already = ConstantCurrent(current_a=1e-3, until_potential_v=1.0)
    bench = Bench(program(rest, already)).finish()

    assert {d.level_v for d in bench.driven} == {None}
    assert bench.run.failure == ""
    assert bench.run.progress_percent() == 100.0


def test_potential_is_held_until_the_current_has_died_away() -> None:
    hold = ConstantVoltage(potential_v=2.2, until_current_a=1e-4)
    bench = Bench(program(hold, safety={"current_max_a": 0.05})).finish()

    assert abs(bench.truth[-1][2]) <= 1e-4 < abs(bench.truth[-2][2])
    assert bench.truth[-1][1] == pytest.approx(2.2)


@pytest.mark.parametrize(
    ("step", "safety", "reason"),
    [
        (
            ConstantCurrent(current_a=1e-3, until_duration_s=100.0),
            {"potential_max_v": 2.0},
            "is where the safety limits stop the current",
        ),
        (
            VoltageScan(end_v=2.9, rate_mv_per_s=200.0),
            {"current_max_a": 1e-3},
            "A reached the safety limit 0.001 A",
        ),
        (
            ConstantCurrent(current_a=-1e-3, until_duration_s=100.0),
            {"charge_max_mah": 1e-3},
            "mAh reached the safety limit 0.001 mAh",
        ),
    ],
)
def test_safety_limit_ends_the_program_with_the_reason(
    step: Step, safety: dict[str, float], reason: str
) -> None:
    bench = Bench(program(step, OpenCircuitVoltage(duration_s=9.0), safety=safety))
    bench.finish()

    assert reason in bench.run.failure
    assert "in step 0 (cycle 1)" in bench.run.failure
    assert "the cell is at open circuit" in bench.run.failure
    assert bench.run.drive(bench.now_s).level_v is None
    # The meter itself let nothing beyond.
    limits = bench.run.program.safety
    assert max(abs(a) for _, _, a in bench.truth) <= limits.current_max_a
    assert max(v for _, v, _ in bench.truth) <= limits.potential_max_v


def test_resting_cell_that_leaves_the_window_ends_the_program() -> None:
    bench = Bench(program(OpenCircuitVoltage(duration_s=9.0)))
    bench.tick()
    bench.run.take(bench.now_s + 0.1, Reading(3.2, 0.0, 1e-6))

    assert "3.2 V reached the safety limit 3 V" in bench.run.failure


def test_lost_contact_is_no_potential_that_is_reached() -> None:
    bench = Bench(program(ConstantCurrent(current_a=1e-3, until_potential_v=2.6)))
    for _ in range(5):
        bench.tick()
    bench.cell.is_connected = False
    bench.finish()

    assert not bench.run.has_contact
    assert "the current fell from 0.001 A to 0 A at once" in bench.run.failure
    assert bench.points[-1]["contact"] == 0.0


def test_cycles_half_cycles_and_loops_are_counted() -> None:
    sweep = CyclicVoltammetry(
        vertex1_v=1.5, vertex2_v=2.0, rate_mv_per_s=200.0, n_cycles=3
    )
    bench = Bench(program(sweep, Tag(tag="end"))).finish()

    assert list(dict.fromkeys(bench.column("cycle_number"))) == [1, 2, 3]
    assert list(dict.fromkeys(bench.column("half_cycle"))) == [0, 1, 2, 3, 4, 5]
    assert bench.run.progress_percent() == 100.0


def test_inner_loop_begins_anew_in_each_pass_of_the_outer_one() -> None:
    rest = OpenCircuitVoltage(duration_s=0.1)
    bench = Bench(
        program(
            rest,
            rest,
            Loop(goto_step=1, cycle_count=3),
            Loop(goto_step=0, cycle_count=2),
        )
    ).finish()
    entered = [p["step_index"] for p in bench.points]

    assert entered == [0, 1, 1, 1, 0, 1, 1, 1]


def test_harvest_ends_early_and_only_after_its_step() -> None:
    down = ConstantCurrent(current_a=-1e-3, until_potential_v=1.0)
    up = ConstantCurrent(current_a=1e-3, until_potential_v=2.0)
    loop = Loop(goto_step=0, cycle_count=50)
    bench = Bench(
        program(down, up, loop, harvest=Harvest(after_step=1, cycle_count=2))
    ).finish()

    assert bench.run.tally.cycle_number == 2
    assert bench.truth[-1][1] >= 2.0 - 1e-3  # delithiated
    assert bench.run.failure == ""


def test_a_delithiation_that_is_there_already_counts_for_the_harvest() -> None:
    up = ConstantCurrent(current_a=1e-3, until_potential_v=1.2)
    down = ConstantCurrent(current_a=-1e-3, until_potential_v=1.0)
    wanted = Harvest(after_step=0, cycle_count=1)
    bench = Bench(program(up, down, harvest=wanted))

    assert bench.run.reading.potential_v > 1.2
    assert bench.run.ended  # nothing was driven
    assert bench.run.failure == ""


@pytest.mark.parametrize("after", [0, 1])
def test_retention_is_of_the_charge_in_the_direction_of_the_step_that_has_ended(
    after: int,
) -> None:
    down = ConstantCurrent(current_a=-1e-3, until_potential_v=1.0)
    up = ConstantCurrent(current_a=1e-3, until_potential_v=2.0)
    wanted = Harvest(after_step=after, retention=0.9, reference_cycle=1)
    tally = Tally(program(down, up, Loop(goto_step=0, cycle_count=9), harvest=wanted))
    ripe = []
    for cycle, capacity_c in enumerate((4.0, 3.7, 3.5), start=1):
        for index, way in ((0, -1.0), (1, 1.0)):
            tally.enter(index, way)
            tally.add(way * capacity_c)
            if tally.is_ripe(index):
                ripe.append((cycle, index))

    assert ripe == [(3, after)]


def test_step_ends_at_a_charge_and_at_a_reading_of_the_counter() -> None:
    down = ConstantCurrent(current_a=-1e-3, until_duration_s=60, until_charge_mah=1e-3)
    back = ConstantCurrent(
        current_a=1e-3, until_duration_s=60, until_net_charge_mah=0.0
    )
    bench = Bench(program(down, back)).finish()
    step_mah = 1e-3 * PERIOD_S / 3.6

    last_down = [p for p in bench.points if p["step_index"] == 0][-1]
    assert last_down["charge_mah"] == pytest.approx(-1e-3, abs=1.01 * step_mah)
    assert bench.run.tally.net_mah == pytest.approx(0.0, abs=1.01 * step_mah)


def test_points_are_means_and_come_by_potential_time_and_at_the_end() -> None:
    rest = OpenCircuitVoltage(duration_s=2.5)
    bench = Bench(program(rest, VoltageScan(end_v=1.75, rate_mv_per_s=20.0))).finish()
    at_rest = [p for p in bench.points if p["step_index"] == 0]

    assert [round(p["instrument_time_s"] - 1000, 2) for p in at_rest] == [1.0, 2.0, 2.5]
    swept = [p["potential_v"] for p in bench.points if p["step_index"] == 1]
    assert len(swept) == pytest.approx((1.75 - bench.truth[0][1]) / 0.01, abs=1.5)
    assert max(swept) < 1.75  # the mean of the last stretch, not its end


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"uid": "x" * 40}, "uid: must be a text of 1..39 bytes"),
        (
            {
                "steps": [
                    {
                        "type": "impedance_spectroscopy",
                        "amplitude_v": 0.01,
                        "start_frequency_hz": 1e5,
                        "end_frequency_hz": 0.1,
                    }
                ]
            },
            "a source-meter measures no impedance; take this step out",
        ),
        (
            {"steps": [{"type": "voltage_scan", "end_v": 3.5, "rate_mv_per_s": 1.0}]},
            "end_v 3.5 V is outside the safety limits 0..3 V",
        ),
        (
            {"steps": [{"type": "voltage_scan", "end_v": 1.0, "rate_mv_per_s": 1e3}]},
            "rate_mv_per_s 1000 mV/s is outside the bridge's 0..200 mV/s",
        ),
        ({"steps": [{"type": "tag", "tag": "a"}]}, "no step does anything"),
        (
            {
                "steps": [
                    {
                        "type": "constant_current",
                        "current_a": 1e-12,
                        "until_duration_s": 1.0,
                    }
                ]
            },
            "current_a 1e-12 A is below 1e-09 A, the least that the meter can hold",
        ),
        ({"steps": [{"type": "stir"}]}, "steps.0"),
        (
            {
                "safety": {
                    "potential_min_v": 0,
                    "potential_max_v": 30,
                    "current_max_a": 1,
                }
            },
            "potential_max_v 30 V is outside the meter's -20..20 V",
        ),
    ],
)
def test_program_that_it_cant_run_is_refused_whole(
    changed: dict[str, Any], reason: str
) -> None:
    fields = program(OpenCircuitVoltage(duration_s=1.0)).model_dump(
        mode="json", exclude_none=True
    )
    with pytest.raises(RequestRefused) as refusal:
        admit(orjson.dumps(fields | changed).decode(), LIMITS, current_min_a=1e-9)
    assert reason in str(refusal.value)


def test_nothing_is_accepted_that_is_no_json() -> None:
    with pytest.raises(RequestRefused, match="program: program: Invalid JSON"):
        admit("{", LIMITS, current_min_a=1e-9)


CYCLING: dict[str, tuple[Step, ...]] = {
    "voltammetry": (
        CyclicVoltammetry(
            initial_v=2.2,
            vertex1_v=1.5,
            vertex2_v=2.4,
            final_v=2.0,
            rate_mv_per_s=100.0,
            n_cycles=2,
        ),
    ),
    "formation and rests": (
        OpenCircuitVoltage(duration_s=2.0),
        ConstantCurrent(current_a=-1e-3, until_potential_v=1.0),
        ConstantVoltage(potential_v=1.0, until_duration_s=1.0),
        OpenCircuitVoltage(duration_s=1.0),
        ConstantCurrent(current_a=1e-3, until_potential_v=2.0),
        Loop(goto_step=1, cycle_count=3),
    ),
    "loop in a loop": (
        Tag(tag="outer"),
        ConstantCurrent(current_a=-1e-3, until_potential_v=1.0),
        ConstantCurrent(current_a=1e-3, until_potential_v=2.0),
        Loop(goto_step=1, cycle_count=2),
        OpenCircuitVoltage(duration_s=0.5),
        Loop(goto_step="outer", cycle_count=2),
    ),
}


@pytest.mark.parametrize("name", list(CYCLING))
def test_steps_cycles_and_half_cycles_are_those_of_the_other_instrument(
    name: str,
) -> None:
    """Written twice, for the simulator shares no line: so they must agree."""
    wanted = program(*CYCLING[name])
    simulated = Potentiostat(CellSource(wafer()), seed=1)
    simulated.load(wanted.to_json())
    simulated.start(0.0)
    simulated.advance(1e7)
    columns = [COLUMNS.index(c) for c in ("step_index", "cycle_number", "half_cycle")]
    expected = dict.fromkeys(map(tuple, simulated.points.rows[:, columns].tolist()))

    bench = Bench(wanted, MicroCell(state=0.95)).finish()  # delithiated, as that one
    found = dict.fromkeys(
        (p["step_index"], p["cycle_number"], p["half_cycle"]) for p in bench.points
    )

    assert simulated.message == ""
    assert list(found) == list(expected)
