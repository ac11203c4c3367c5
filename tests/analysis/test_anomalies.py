"""What is told of a cell in trouble, and that a healthy one is left in peace."""

import os
from pathlib import Path

import numpy as np
import pytest

from cryoline.analysis.anomalies import AnomalyWatch, efficiency_anomaly
from cryoline.analysis.cycling_tables import cycling_tables
from cryoline.analysis.voltammetry import cycle_charges

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = (
    Path(os.environ.get("CRYOLINE_SHARED_DATA", REPOSITORY / "../shared/data"))
    / "cycling"
)
ROWS = 400


def charging(*, sign=1.0):
    """One half cycle at 1 mA, a row each 30 s, 0.2 to 1.0 V or back."""
    level = np.linspace(0.2, 1.0, ROWS)
    return {
        "instrument_time_s": 30.0 * np.arange(ROWS),
        "potential_v": level if sign > 0 else level[::-1].copy(),
        "current_a": np.full(ROWS, sign * 1e-3),
        "cycle_number": np.ones(ROWS, dtype=int),
        "half_cycle": np.full(ROWS, 3),
        "step_index": np.full(ROWS, 7),
    }


def told(columns, *, page=ROWS):
    watch = AnomalyWatch()
    found = []
    for first in range(0, len(columns["half_cycle"]), page):
        part = {n: c[first : first + page].tolist() for n, c in columns.items()}
        optional = ("step_index", "contact", "range_a")
        extra = {n: part.pop(n) for n in optional if n in part}
        found += watch.add(*part.values(), **extra)
    return found


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("page", [1, 7, ROWS])
def test_a_potential_that_falls_back_again_and_again_is_a_soft_short(
    sign, page
) -> None:
    columns = charging(sign=sign)
    for row in (100, 150, 200, 250):
        columns["potential_v"][row : row + 8] -= sign * 0.06

    (anomaly,) = told(columns, page=page)

    assert (anomaly.kind, anomaly.severity) == ("soft_short", "major")
    assert anomaly.instrument_time_s == 200 * 30.0  # at the third fall, not the end
    assert anomaly.value == pytest.approx(0.06, abs=0.003)
    assert "in half cycle 3 (cycle 1)" in anomaly.message


def test_noise_and_one_nucleation_are_no_short() -> None:
    columns = charging()
    columns["potential_v"] += 2e-3 * np.random.default_rng(1).standard_normal(ROWS)
    columns["potential_v"][100:120] -= 0.05

    assert told(columns) == []


def test_a_current_that_stops_within_its_step_is_a_lost_contact() -> None:
    columns = charging()
    columns["current_a"][200:] = 1e-9

    (anomaly,) = told(columns)

    assert anomaly.kind == "contact_loss"
    assert anomaly.instrument_time_s == 202 * 30.0
    assert "1e-09 A flow where 0.001 A are asked" in anomaly.message


def test_the_last_digit_of_a_converter_is_no_current_that_was_set() -> None:
    # As at the ends of a voltammogram of a wafer: 10 uA range, 15 bits.
    columns = charging() | {"range_a": np.full(ROWS, 1e-5)}
    columns["current_a"] = 3.36e-10 * np.tile(
        [1, 1, 1, 1, 1, 1, 0, 0, 0, 0], ROWS // 10
    )
    assert told(columns) == []
    del columns["range_a"]
    assert [a.kind for a in told(columns)] == ["contact_loss"]  # nobody knows better
    columns["current_a"][0] = 3e-6  # the largest so far says how small they are
    assert told(columns) == []


def test_a_rest_that_follows_is_another_step() -> None:
    columns = charging()
    columns["current_a"][200:] = 0.0
    columns["step_index"][200:] = 8

    assert told(columns) == []
    del columns["step_index"]  # and nobody says which it is
    assert told(columns) == []


def test_a_potential_that_no_cell_has_or_that_jumps_is_a_lost_contact() -> None:
    railed, jumped = charging(), charging()
    railed["potential_v"][300:] = -2.0
    jumped["potential_v"][300:] = 2.5

    assert [a.kind for a in told(railed)] == ["contact_loss"]
    assert "0.799 V jumped to 2.500 V within 30 s" in told(jumped)[0].message


@pytest.mark.parametrize(("level_v", "lost"), [(-1.4, False), (-1.6, True),
                                                (4.7, False), (4.9, True)])  # fmt: skip
def test_no_cell_stands_beyond_15_v_below_or_48_v_above_lithium(level_v, lost) -> None:
    columns = charging() | {"potential_v": np.full(ROWS, level_v)}

    assert [a.kind for a in told(columns)] == ["contact_loss"] * lost


@pytest.mark.parametrize(
    ("jump_v", "row_s", "lost"),
    [(0.7, 30.0, True), (0.4, 30.0, False), (0.7, 90.0, False)],
)
def test_a_jump_is_one_of_half_a_volt_within_a_minute(jump_v, row_s, lost) -> None:
    columns = charging()
    columns["instrument_time_s"] = row_s * np.arange(ROWS)
    columns["potential_v"][300:] += jump_v

    assert [a.kind for a in told(columns)] == ["contact_loss"] * lost


@pytest.mark.parametrize("column", ["potential_v", "current_a"])
def test_a_row_that_is_not_finite_is_passed_over(column) -> None:
    columns = charging()
    columns[column][100:103] = np.nan
    assert told(columns) == []
    columns["potential_v"][300:] = 5.0

    assert [a.instrument_time_s for a in told(columns)] == [300 * 30.0]


def test_the_instruments_own_word_is_believed_at_once() -> None:
    columns = charging() | {"contact": np.ones(ROWS)}
    assert told(columns) == []
    columns["contact"][50:] = 0.0

    (anomaly,) = told(columns)

    assert anomaly.instrument_time_s == 50 * 30.0
    assert "says the instrument" in anomaly.message


def test_the_analysis_of_a_run_hears_what_the_instrument_tells() -> None:
    columns = charging() | {"contact": np.ones(ROWS), "range_a": np.full(ROWS, 1e-2)}
    columns["charge_mah"] = columns["instrument_time_s"] * 1e-3 / 3.6
    columns["contact"][50] = 0.0

    alarms = cycling_tables(columns)["alarms"]

    assert alarms["kind"] == ["contact_loss"]
    assert alarms["instrument_time_s"] == [50 * 30.0]
    assert "says the instrument" in alarms["message"][0]


def test_an_efficiency_above_the_limit_is_told_of_a_whole_cycle() -> None:
    steps = np.array([-1.0, 1.01])
    (cycle,) = cycle_charges(
        instrument_time_s=[0.0, 3600.0],
        current_a=steps * 1e-3,
        charge_mah=np.cumsum(steps),
        cycle_number=[4, 4],
        half_cycle=[0, 1],
    ).cycles

    anomaly = efficiency_anomaly(cycle)

    assert anomaly is not None
    assert "coulombic efficiency 1.0100 of cycle 4 is above 1.005" in anomaly.message
    assert efficiency_anomaly(cycle._replace(complete=False)) is None


@pytest.mark.recorded
@pytest.mark.parametrize(
    "name",
    [
        "gcpl.issue_211.mpt",
        "cv.issue_217.mpt",
        "Pt_poly_cv_CUT.mpt",
        "anode_half_cell_raw.parquet",
        "maccor_001.txt",
        "test.ndax",
    ],
)
def test_real_cells_that_were_well_raise_no_alarm(name) -> None:
    from cryoline.plugins.reading import read_cycling

    if not (DATA / name).exists():
        pytest.skip(f"{name} is not there: set CRYOLINE_SHARED_DATA to the real files")
    table, _ = read_cycling(DATA / name)
    columns = {
        "instrument_time_s": table.time_s,
        "potential_v": table.potential_v,
        "current_a": table.current_a,
        "cycle_number": table.cycle_number,
        "half_cycle": table.half_cycle,
    }
    if table.step_index is not None:
        columns["step_index"] = table.step_index

    assert told(columns, page=5000) == []
