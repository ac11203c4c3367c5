"""Each line of the demo's table can fail: a wrong value leaves its band."""

import math
from typing import Any

import pytest

from cryoline.acquisition.demo_checks import (
    Line,
    charge_lines,
    peak_lines,
    point_lines,
    recorded_lines,
    row_lines,
)

CYCLES: dict[str, list[float]] = {
    "cycle_number": [1],
    "lithiation_mah": [2.0],
    "delithiation_mah": [1.6],
    "coulombic_efficiency": [0.8],
}
TRUTH = {"lithiation_mah": 2.0, "delithiation_mah": 1.6}
PEAKS: list[dict[str, Any]] = [
    {"cycle_number": 1, "direction": "cathodic", "potential_v": 0.901},
    *(
        {"cycle_number": 1, "direction": "anodic", "potential_v": potential_v}
        for potential_v in (0.361, 0.530)
    ),
]


def triangle(points_a_sweep: int = 2990, period_s: float = 29_900) -> dict[str, Any]:
    """Return a whole cycle that begins at the upper vertex."""
    half = [3.0 - 2.99 * (k + 1) / points_a_sweep for k in range(points_a_sweep)]
    potential = half + half[::-1]
    count = len(potential)
    return {
        "potential_v": potential,
        "instrument_time_s": [period_s * (k + 1) / count for k in range(count)],
        "cycle_number": [1] * count,
    }


def judge_points(points: dict[str, Any]) -> list[Line]:
    return point_lines(
        points, low_v=0.01, high_v=3.0, rate_mv_per_s=0.2, record_dv_mv=1.0
    )


def failing(lines: list[Line]) -> list[str]:
    return [line.name for line in lines if not line.holds]


def test_a_good_run_holds_on_every_line() -> None:
    assert failing(judge_points(triangle())) == []
    assert failing(charge_lines(CYCLES, **TRUTH)) == []
    assert failing(peak_lines(PEAKS)) == []


def test_a_lost_page_fails() -> None:
    assert failing(judge_points(triangle(points_a_sweep=2900))) == ["points"]


def test_a_clock_that_runs_wrong_fails() -> None:
    assert failing(judge_points(triangle(period_s=29_880))) == ["time of the sweep"]


@pytest.mark.parametrize("error", [0.99, 1.01])
def test_a_charge_that_is_one_percent_off_fails(error: float) -> None:
    wrong = CYCLES | {"lithiation_mah": [2.0 * error]}

    assert failing(charge_lines(wrong, **TRUTH)) == ["lithiation, cycle 1"]


def test_more_charge_out_than_in_fails() -> None:
    wrong = CYCLES | {"coulombic_efficiency": [1.006]}
    truth = {"lithiation_mah": 1.98, "delithiation_mah": 1.99}

    assert "CE, cycle 1" in failing(charge_lines(wrong, **truth))


def test_a_shifted_and_a_missing_peak_fail() -> None:
    shifted = [p | {"potential_v": p["potential_v"] + 0.05} for p in PEAKS]

    assert len(failing(peak_lines(shifted))) == len(PEAKS)
    assert failing(peak_lines(PEAKS[1:])) == ["SEI peak, cycle 1"]


def test_one_row_too_many_or_too_few_fails() -> None:
    lines = row_lines([("raw/points", 100, 100), ("a", 100, 99), ("b", 100, 101)])

    assert failing(lines) == ["rows a", "rows b"]


def test_a_half_cycle_that_is_missing_or_off_fails() -> None:
    counted = {0: 0.0575, 1: -0.0534, 2: 0.0538}
    found: dict[str, list[float]] = {
        "half_cycle": [0, 1],
        "charge_mah": [0.0575, -0.0535],
    }

    assert failing(recorded_lines(found, counted)) == [
        "half cycles",
        "half cycle 1",
        "half cycle 2",
    ]


def test_nan_never_holds() -> None:
    assert not Line("x", math.nan, 0, 1, "", "").holds
