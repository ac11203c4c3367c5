"""The instrument: what it records does not depend on who is watching."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoline.sim.cell_parameters import nanowire, wafer
from cryoline.sim.cell_source import CellSource
from cryoline.sim.errors import RefusedError
from cryoline.sim.measurement import Digitiser
from cryoline.sim.point_buffer import COLUMNS
from cryoline.sim.potentiostat import Potentiostat, PotentiostatState

COLUMN = SimpleNamespace(**{name: i for i, name in enumerate(COLUMNS)})


def program(steps, *, uid="p", low_v=-0.1, high_v=3.2, current_a=0.01, dt_s=60.0):
    return json.dumps(
        {
            "uid": uid,
            "safety": {
                "potential_min_v": low_v,
                "potential_max_v": high_v,
                "current_max_a": current_a,
            },
            "record": {"dv_v": 0.001, "dt_s": dt_s},
            "steps": steps,
            "cycle_starts_at_step": 0,
        }
    )


def scan(end_v, rate_mv_per_s, start_v=None):
    return {
        "type": "voltage_scan",
        "start_v": start_v,
        "end_v": end_v,
        "rate_mv_per_s": rate_mv_per_s,
    }


# Odd lengths on purpose: steps end inside a record interval and between polls.
MIXED = [
    scan(2.7505, 2.0),
    {"type": "open_circuit_voltage", "duration_s": 33.3},
    scan(2.801, 1.0),
    {"type": "loop", "goto_step": 0, "cycle_count": 2},
]


def run(times_s, *, seed=1, steps=MIXED, parameters=None, start_s=0.0, **safety):
    """Run a program, looking at it only at the given times."""
    device = Potentiostat(CellSource(parameters or wafer()), seed=seed)
    device.load(program(steps, **safety))
    device.start(start_s)
    for time_s in times_s:
        device.advance(start_s + time_s)
    return device


def test_program_of_mixed_steps_has_every_column_right() -> None:
    device = run([1e6])
    rows = device.points.rows
    assert device.state is PotentiostatState.FINISHED
    assert device.message == ""
    np.testing.assert_array_equal(rows[:, COLUMN.point_index], np.arange(len(rows)))
    assert (np.diff(rows[:, COLUMN.instrument_time_s]) > 0).all()
    assert set(rows[:, COLUMN.cycle_number]) == {1, 2}
    assert set(rows[:, COLUMN.half_cycle]) == {0, 1, 2, 3}
    assert set(rows[:, COLUMN.step_index]) == {0, 1, 2}
    # Each step ends with a point at its very end.
    first_scan = rows[rows[:, COLUMN.step_index] == 0]
    first_scan = first_scan[first_scan[:, COLUMN.cycle_number] == 1]
    assert first_scan[-1, COLUMN.instrument_time_s] == pytest.approx(0.0495 / 2e-3)
    assert device.progress_percent() == 100.0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.01, 60.0), min_size=1, max_size=60))
def test_points_are_the_same_bit_for_bit_whatever_the_polling_rhythm(gaps_s) -> None:
    rhythm = np.cumsum(gaps_s)
    polled = run([*rhythm.tolist(), 1e6])
    np.testing.assert_array_equal(polled.points.rows, run([1e6]).points.rows)


def test_points_are_the_same_whenever_a_fresh_cell_is_started() -> None:
    early, late = run([1e6]).points.rows, run([1e6], start_s=12_345.6).points.rows
    np.testing.assert_array_equal(early[:, 2:], late[:, 2:])
    np.testing.assert_allclose(late[:, 1] - early[:, 1], 12_345.6, atol=1e-6)


def test_seed_and_program_number_choose_the_noise() -> None:
    def potentials(device):
        return device.points.rows[:, COLUMN.potential_v]

    assert (potentials(run([1e6], seed=1)) == potentials(run([1e6], seed=1))).all()
    digitiser = Digitiser(np.random.default_rng([1, 1, 1]), potential_max_v=5.0)
    other = Digitiser(np.random.default_rng([1, 1, 2]), potential_max_v=5.0)
    true = np.full(100, 1e-6)
    assert (digitiser.measure(true, true)[1] != other.measure(true, true)[1]).any()


def test_point_holds_the_mean_since_the_last_one() -> None:
    device = run([1e6], steps=[scan(2.79, 0.2)])
    rows = device.points.rows
    assert len(rows) == 10
    # Five staircase steps of 0.2 mV a point: their mean lies 0.4 mV before the last.
    expected_v = 2.8 - 0.001 * np.arange(1, 11) + 0.0004
    # Half a step of the 16-bit converter over +-5 V, and its noise.
    np.testing.assert_allclose(rows[:, COLUMN.potential_v], expected_v, atol=1.2e-4)


def test_coulomb_counter_is_the_charge_that_the_cell_passed() -> None:
    device = run([1e6], steps=[scan(0.05, 0.5), scan(2.5, 0.5)])
    truth_mah = device.source.charge_mah
    assert device.points.rows[-1, COLUMN.charge_mah] == pytest.approx(truth_mah)
    lithiation_mah, delithiation_mah = device.cycle_charges_mah()
    assert delithiation_mah - lithiation_mah == pytest.approx(truth_mah)


def test_measured_current_integrates_to_the_counter() -> None:
    rows = run([1e6], steps=[scan(0.05, 0.5)]).points.rows
    interval_s = np.diff(rows[:, COLUMN.instrument_time_s], prepend=0.0)
    integral_mah = (rows[:, COLUMN.current_a] * interval_s).sum() / 3.6
    # Converter steps of 0.34 nA and noise of 0.2 nA average out over 2750 points.
    assert integral_mah == pytest.approx(rows[-1, COLUMN.charge_mah], rel=1e-3)


def test_range_follows_the_current() -> None:
    rows = run([1e6], parameters=nanowire(), steps=[scan(0.05, 0.5)]).points.rows
    ranges = rows[:, COLUMN.range_a]
    assert ranges[0] == pytest.approx(1e-5)
    assert ranges[-1] >= 1e-3
    assert not rows[:, COLUMN.overload].any()


def test_current_that_jumps_beyond_its_range_is_flagged_once() -> None:
    digitiser = Digitiser(np.random.default_rng(0), potential_max_v=5.0)
    measured = digitiser.measure(np.zeros(3), np.array([1e-6, 5e-5, 5e-5]))
    assert measured[2].tolist() == pytest.approx([1e-5, 1e-5, 1e-4])
    assert measured[3].tolist() == [0.0, 1.0, 0.0]
    assert measured[1][1] == pytest.approx(1.1e-5)  # the converter's full scale


def test_safety_limit_ends_the_whole_run_at_open_circuit() -> None:
    device = run([1e6], steps=[scan(0.01, 0.5)], current_a=2e-6)
    assert device.state is PotentiostatState.FAILED
    assert device.message.startswith("potentiostat: -2.")
    assert "e-06 A passed the safety limit 2e-06 A in step 0 (cycle 1)" in (
        device.message
    )
    assert device.message.endswith("the cell is at open circuit")
    assert device.reading().current_a == 0.0
    last_s = device.points.rows[-1, COLUMN.instrument_time_s]
    device.advance(2e6)
    assert device.points.rows[-1, COLUMN.instrument_time_s] == last_s


def test_constant_current_stops_at_its_potential() -> None:
    steps = [
        {"type": "constant_current", "current_a": -1e-3, "until_potential_v": 0.02},
        {"type": "constant_current", "current_a": 1e-3, "until_potential_v": 1.5},
    ]
    rows = run([1e6], parameters=nanowire(), steps=steps).points.rows
    # From half a cycle to the next the direction turns.
    assert set(rows[:, COLUMN.half_cycle]) == {0, 1}
    lithiation = rows[rows[:, COLUMN.half_cycle] == 0]
    assert lithiation[:, COLUMN.current_a].mean() == pytest.approx(-1e-3, rel=1e-3)
    assert (lithiation[:, COLUMN.range_a] == 10e-3).all()  # 90 % of 1 mA is less


def test_stop_leaves_the_points_and_the_cell() -> None:
    device = run([10.0])
    device.stop(20.0)
    assert device.state is PotentiostatState.STOPPED
    count = len(device.points)
    device.advance(1000.0)
    assert len(device.points) == count > 0
    device.stop(1001.0)  # harmless when nothing runs


def test_pages_are_handed_out_from_any_index() -> None:
    device = run([1e6], steps=[scan(0.01, 1.0), scan(3.0, 1.0)])
    count = len(device.points)
    assert len(device.read_page(0)) == 5000
    assert device.unread == count - 5000
    assert len(device.read_page(count)) == 0
    with pytest.raises(RefusedError, match=f"point {count + 1} is not recorded"):
        device.read_page(count + 1)


def test_requests_out_of_turn_are_refused_with_what_to_do() -> None:
    device = Potentiostat(CellSource(wafer()), seed=0)
    with pytest.raises(RefusedError) as refusal:
        device.start(0.0)
    assert str(refusal.value) == (
        "potentiostat: no program is loaded (state idle); "
        "write one to Program before Start"
    )
    device.load(program(MIXED, uid="first"))
    device.start(0.0)
    with pytest.raises(RefusedError) as refusal:
        device.load(program(MIXED, uid="second"))
    assert str(refusal.value) == (
        "potentiostat: a program can't be loaded while program first runs; "
        "wait for its end or write Stop"
    )
    assert device.program_uid == "first"


def test_refused_program_leaves_the_accepted_one() -> None:
    device = Potentiostat(CellSource(wafer()), seed=0)
    device.load(program(MIXED, uid="first"))
    with pytest.raises(RefusedError):
        device.load(program([scan(0.01, 0.0)], uid="second"))
    assert device.program_uid == "first"
    assert device.state is PotentiostatState.LOADED
