"""What a program takes on paper, against sums by hand."""

from typing import Any

import pytest

from cryoline.acquisition import Protocol, Specimen
from cryoline.acquisition.protocol_forecast import forecast_program

CELL = Specimen(name="nw-01", electrode_mass_mg=0.2, electrode_area_cm2=1.27)
SAFETY = {"potential_min_v": 0.0, "potential_max_v": 3.0, "current_max_a": 0.01}
RECORD = {"dt_s": 60.0, "dv_v": 0.001}


def forecast(*steps: dict[str, Any], potential_v: float | None = None, **more: Any):
    found = Protocol.model_validate(
        {"name": "p", "steps": steps, "safety": SAFETY, "record": RECORD}
    )
    return forecast_program(found.program(CELL), potential_v=potential_v, **more)


def current(milliampere: float, **ends: Any) -> dict[str, Any]:
    return {"type": "constant_current", "current_ma": milliampere, **ends}


def scan(end_v: float) -> dict[str, Any]:
    return {"type": "voltage_scan", "end_v": end_v, "rate_mv_per_s": 0.5}


def loop(goto_step: int, cycle_count: int) -> dict[str, Any]:
    return {"type": "loop", "goto_step": goto_step, "cycle_count": cycle_count}


REST = {"type": "open_circuit_voltage", "duration_s": 100.0}


def test_a_current_ends_by_the_limit_that_comes_first() -> None:
    # 1 mA: 0.5 mAh are 1800 s, and 0.25 mAh of the electrode 900 s.
    step = current(-1.0, until_duration_s=3600, until_charge_mah=0.5)

    assert forecast(step).duration_s == pytest.approx(1800)
    assert forecast(step).charge_mah == pytest.approx(0.5)
    assert forecast(step, capacity_mah=0.25).duration_s == pytest.approx(900)


def test_loops_within_loops_run_as_often_as_their_product() -> None:
    # A rest, twice; a rest behind it; all three times.
    found = forecast(REST, loop(0, 2), REST, loop(0, 3))

    assert found.duration_s == pytest.approx(3 * (2 + 1) * 100)


def test_a_half_cycle_ends_where_the_way_turns_and_not_at_a_step() -> None:
    out, back = (current(sign, until_duration_s=60) for sign in (-1.0, 1.0))

    assert forecast(out, out, REST, out, back, back, out).half_cycles == 3
    assert forecast(scan(0.1), scan(2.0), back, potential_v=2.5).half_cycles == 2


def test_points_are_those_of_time_and_of_potential() -> None:
    found = forecast(scan(0.5), potential_v=2.5)

    # 2 V at 0.5 mV/s: 4000 s, a point a minute, and one each millivolt.
    assert found.duration_s == pytest.approx(4000)
    assert 2000 + 4000 / 60 <= found.points_at_most <= 2000 + 4000 / 60 + 3
    assert found.sweeps == 1
    assert found.duration_is_exact


def test_a_sweep_from_nobody_knows_where_takes_its_longest_way() -> None:
    found = forecast(scan(0.5))

    assert found.duration_s == pytest.approx(2500 / 0.5)  # from 3 V
    assert not found.duration_is_exact


def test_an_impedance_takes_three_periods_of_each_frequency() -> None:
    found = forecast(
        {
            "type": "impedance_spectroscopy",
            "amplitude_v": 0.01,
            "start_frequency_hz": 100.0,
            "end_frequency_hz": 0.1,
            "points_per_decade": 1,
        }
    )

    assert found.duration_s == pytest.approx(3 * (0.01 + 0.1 + 1 + 10))
