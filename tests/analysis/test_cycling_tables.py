"""The tables of a record at once: what its caller chose is in them."""

import math

import numpy as np
import pytest

from cryoline.analysis.cycling_tables import cycling_tables

CHARGES_MAH = (4.0, 3.0, 2.0)


def points():
    """Three cycles at 1 mA of these charges, out and back, a row each minute."""
    steps = [sign * q for q in CHARGES_MAH for sign in (-1.0, 1.0)]
    rows = [round(60 * abs(step)) for step in steps]
    current_a = np.repeat([1e-3 if s > 0 else -1e-3 for s in steps], rows)
    half_cycle = np.repeat(np.arange(6), rows)
    return {
        "instrument_time_s": 60.0 * np.arange(1, current_a.size + 1),
        "potential_v": 0.5 + 0.1 * np.sin(np.arange(current_a.size) / 20),
        "current_a": current_a,
        "charge_mah": np.cumsum(current_a) / 60e-3,
        "cycle_number": 1 + half_cycle // 2,
        "half_cycle": half_cycle,
    }


def test_retention_is_against_the_cycle_that_was_chosen() -> None:
    first = cycling_tables(points(), retention_cycle=1)["cycles"]["retention"]
    second = cycling_tables(points())["cycles"]["retention"]

    assert first == pytest.approx([1.0, 3 / 4, 2 / 4], rel=1e-3)
    assert math.isnan(second[0])
    assert second[1:] == pytest.approx([1.0, 2 / 3], rel=1e-3)


def test_the_last_cycle_of_a_record_that_goes_on_is_not_complete() -> None:
    whole, torso = (cycling_tables(points(), ended=ended) for ended in (True, False))

    assert whole["cycles"]["complete"] == [True, True, True]
    assert torso["cycles"]["complete"] == [True, True, False]
    assert torso["half_cycles"]["complete"] == [True] * 5 + [False]


def test_specific_charges_are_there_if_the_mass_is_known() -> None:
    found = cycling_tables(points(), electrode_mass_mg=2.0)["cycles"]

    assert found["delithiation_mah_per_g"] == pytest.approx(
        [2000, 1500, 1000], rel=0.01
    )
    assert "delithiation_mah_per_g" not in cycling_tables(points())["cycles"]


@pytest.mark.parametrize(("drift_mah", "flagged"), [(5e-6, False), (2e-5, True)])
def test_noise_at_rest_is_no_disagreement_of_counter_and_integral(
    drift_mah, flagged
) -> None:
    rest = {name: column[:61] for name, column in points().items()}
    rest["charge_mah"] = np.zeros(61)
    rest["current_a"] = np.full(61, drift_mah * 1e-3)  # in an hour, so much
    rest["half_cycle"] = np.zeros(61, int)
    rest["cycle_number"] = np.ones(61, int)

    found = cycling_tables(rest)["half_cycles"]["counter_disagrees"]

    assert found == [flagged]
