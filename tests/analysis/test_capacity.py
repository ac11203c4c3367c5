"""Retention and sums over cycles, and the resistance at a switch of the current."""

import math

import numpy as np
import pytest

from cryoline.analysis.capacity import CapacityTrend, capacity_trend, ir_drop
from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.voltammetry import cycle_charges


def cycles(charges_mah, *, complete=True):
    """Cycles of these (lithiation, delithiation) charges, numbered from 1."""
    steps = np.array([part for out, back in charges_mah for part in (-out, back)])
    number = np.arange(steps.size)
    ended = cycle_charges(
        instrument_time_s=number * 3600.0,
        current_a=steps * 1e-3,
        charge_mah=np.cumsum(steps),
        cycle_number=1 + number // 2,
        half_cycle=number,
    ).cycles
    return [cycle._replace(complete=complete) for cycle in ended]


def test_retention_is_nan_until_the_reference_and_one_there() -> None:
    found = capacity_trend(cycles([(4, 3), (3, 2), (2, 1)]))

    retention = [trend.retention for trend in found]
    assert retention == pytest.approx([math.nan, 1.0, 0.5], nan_ok=True)
    assert [trend.lost_mah for trend in found] == pytest.approx([1, 2, 3])
    expected = np.cumsum([3 / 4, 2 / 3, 1 / 2])
    assert [trend.ce_sum for trend in found] == pytest.approx(expected)


def test_an_unfinished_cycle_is_no_reference() -> None:
    trend = CapacityTrend(1)
    (torso,) = cycles([(4, 1)], complete=False)

    assert math.isnan(trend.add(torso).retention)


def test_a_cycle_without_lithiation_leaves_the_sum_as_it_was() -> None:
    found = capacity_trend(cycles([(0, 3), (4, 2)]), reference_cycle=1)

    assert [trend.ce_sum for trend in found] == pytest.approx([0.0, 0.5])
    assert found[1].retention == pytest.approx(2 / 3)


def test_a_reference_below_zero_is_refused() -> None:
    with pytest.raises(KernelInputError, match="reference cycle -1: cycles are"):
        CapacityTrend(-1)


def switched(*, resistance_ohm=200.0, share=1.0):
    """Rows 1 s apart: a rest, then 1 mA, of which the first row sees a share."""
    current = np.r_[np.zeros(5), share * 1e-3, np.full(5, 1e-3)]
    return np.arange(11.0), 0.5 + resistance_ohm * current, current


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_the_drop_is_taken_over_a_row_in_which_the_switch_fell(share) -> None:
    drop = ir_drop(*switched(share=share))

    assert drop.drop_v == pytest.approx(0.2)
    assert drop.resistance_ohm == pytest.approx(200.0)
    assert drop.lapse_s == (1.0 if share == 1.0 else 2.0)


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_row_that_is_not_finite_hides_no_switch(column) -> None:
    rows = np.array(switched(share=0.4))
    rows[column, 5] = math.nan

    drop = ir_drop(*rows)

    assert drop.drop_v == pytest.approx(0.2)
    assert drop.resistance_ohm == pytest.approx(200.0)
    assert drop.lapse_s == 2.0


def test_the_first_switch_counts_and_none_gives_nan() -> None:
    time, potential, current = switched()
    later = np.r_[current[:8], -current[8:]]

    assert ir_drop(time, potential, later).lapse_s == 1.0
    for rows in (slice(6, None), slice(0, 5), slice(0, 1)):
        found = ir_drop(time[rows], potential[rows], current[rows])
        assert math.isnan(found.resistance_ohm)
