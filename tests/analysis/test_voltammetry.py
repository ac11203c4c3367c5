"""Charges of cycles and half cycles, against formulas and whatever the pages."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoline.analysis.errors import AnalysisError, KernelInputError
from cryoline.analysis.voltammetry import Completed, CycleAccumulator, cycle_charges

COLUMNS = (
    "instrument_time_s",
    "current_a",
    "charge_mah",
    "cycle_number",
    "half_cycle",
)


def triangles(amplitudes_a, *, half_period_s=1000.0, rows=400):
    """Triangle currents: half cycle k holds amplitude k times half_period / 2 coulomb.

    The rows are means over their interval, and the counter is the exact integral.
    """
    edges = np.linspace(0.0, half_period_s, rows + 1)
    shape_c = np.where(
        edges < half_period_s / 2,
        edges**2 / half_period_s,
        half_period_s / 2 - (half_period_s - edges) ** 2 / half_period_s,
    )
    time, current, charge, cycle, half = [], [], [], [], []
    before_c = 0.0
    for k, amplitude in enumerate(amplitudes_a):
        passed_c = amplitude * shape_c
        time.append(k * half_period_s + edges[1:])
        current.append(np.diff(passed_c) / np.diff(edges))
        charge.append((before_c + passed_c[1:]) / 3.6)
        before_c += passed_c[-1]
        cycle.append(np.full(rows, 1 + k // 2))
        half.append(np.full(rows, k))
    columns = (time, current, charge, cycle, half)
    return dict(zip(COLUMNS, map(np.concatenate, columns), strict=True))


def in_pages(columns, sizes, **options):
    accumulator = CycleAccumulator(**options)
    rows = len(columns["half_cycle"])
    parts, first = [], 0
    for size in [*sizes, rows]:
        page = {name: column[first : first + size] for name, column in columns.items()}
        parts.append(accumulator.add(**page))
        first += size
    parts.append(accumulator.finish())
    return Completed(
        tuple(half for part in parts for half in part.half_cycles),
        tuple(cycle for part in parts for cycle in part.cycles),
    )


def test_triangle_currents_give_the_area_of_the_triangles() -> None:
    # 500 s x 36 uA = 18 mC = 5 uAh in, 90 % of it out.
    result = cycle_charges(**triangles([-36e-6, 32.4e-6]))

    (cycle,) = result.cycles
    assert cycle.lithiation_mah == pytest.approx(5e-3, rel=1e-12)
    assert cycle.delithiation_mah == pytest.approx(4.5e-3, rel=1e-12)
    assert cycle.coulombic_efficiency == pytest.approx(0.9, rel=1e-12)
    assert [half.charge_mah for half in result.half_cycles] == pytest.approx(
        [-5e-3, 4.5e-3], rel=1e-12
    )


def test_each_cycle_has_its_own_charges_points_and_times() -> None:
    result = cycle_charges(**triangles([-36e-6, 18e-6, -72e-6, 72e-6]))

    assert [c.cycle_number for c in result.cycles] == [1, 2]
    assert [c.lithiation_mah for c in result.cycles] == pytest.approx([5e-3, 10e-3])
    assert [c.coulombic_efficiency for c in result.cycles] == pytest.approx([0.5, 1.0])
    assert [c.points for c in result.cycles] == [800, 800]
    assert [c.time_end_s for c in result.cycles] == [2000.0, 4000.0]
    assert result.half_cycles[2].time_start_s == 2000.0
    assert [h.cycle_number for h in result.half_cycles] == [1, 1, 2, 2]


def test_charge_that_flows_back_within_a_sweep_counts_on_its_own_side() -> None:
    columns = triangles([-36e-6, 18e-6])
    columns["half_cycle"] = np.zeros(800, dtype=int)

    result = cycle_charges(**columns)

    (half,) = result.half_cycles
    (cycle,) = result.cycles
    assert half.charge_mah == pytest.approx(-2.5e-3)
    assert (cycle.lithiation_mah, cycle.delithiation_mah) == pytest.approx(
        (5e-3, 2.5e-3)
    )


@given(
    amplitudes=st.lists(st.floats(-1e-3, 1e-3), min_size=1, max_size=6),
    sizes=st.lists(st.integers(0, 90), max_size=12),
)
@settings(max_examples=80, deadline=None)
def test_pages_cut_anywhere_give_the_same_bits(amplitudes, sizes) -> None:
    columns = triangles(amplitudes, rows=37)
    columns["current_a"] = columns["current_a"] + np.sin(
        np.arange(columns["current_a"].size)
    )

    # repr, as NaN is not equal to itself
    whole = cycle_charges(**columns, electrode_mass_mg=0.3)
    assert repr(in_pages(columns, sizes, electrode_mass_mg=0.3)) == repr(whole)


def test_the_sums_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    n = 500
    columns = {
        "instrument_time_s": np.cumsum(rng.uniform(0.1, 9.0, n)),
        "current_a": rng.normal(0, 1e-4, n),
        "charge_mah": np.cumsum(rng.normal(0, 1e-5, n)),
        "cycle_number": np.repeat([1, 2], n // 2),
        "half_cycle": np.repeat([0, 1, 2, 3, 4], n // 5),
    }
    lithiation = {1: 0.0, 2: 0.0}
    integral = dict.fromkeys(range(5), 0.0)
    for k in range(n):
        step = columns["charge_mah"][k] - (columns["charge_mah"][k - 1] if k else 0.0)
        lithiation[columns["cycle_number"][k]] += max(0.0, -step)
        if k:
            seconds = np.diff(columns["instrument_time_s"][k - 1 : k + 1])[0]
            integral[columns["half_cycle"][k]] += (
                columns["current_a"][k] * seconds / 3.6
            )

    result = cycle_charges(
        instrument_time_s=columns["instrument_time_s"],
        current_a=columns["current_a"],
        charge_mah=columns["charge_mah"],
        cycle_number=columns["cycle_number"],
        half_cycle=columns["half_cycle"],
    )

    assert [c.lithiation_mah for c in result.cycles] == pytest.approx(
        list(lithiation.values()), rel=1e-12
    )
    assert [h.integral_mah for h in result.half_cycles] == pytest.approx(
        list(integral.values()), rel=1e-9
    )


def test_a_cycle_is_handed_out_as_soon_as_the_next_begins() -> None:
    columns = triangles([-1e-5, 1e-5, -1e-5])
    accumulator = CycleAccumulator()

    def rows(first, last):
        return {name: column[first:last] for name, column in columns.items()}

    assert accumulator.add(**rows(0, 800)).cycles == ()
    (cycle,) = accumulator.add(**rows(800, 801)).cycles
    assert cycle.cycle_number == 1
    assert cycle.complete
    rest = accumulator.finish(complete=False)
    assert [c.complete for c in rest.cycles] == [False]
    assert accumulator.finish() == Completed((), ())


@pytest.mark.parametrize(("gained", "flag"), [(1.004, False), (1.006, True)])
def test_more_out_than_in_is_flagged_above_1_005(gained: float, flag: bool) -> None:
    (cycle,) = cycle_charges(**triangles([-36e-6, gained * 36e-6])).cycles

    assert cycle.ce_flag is flag


def test_without_lithiation_the_efficiency_is_nan_and_not_flagged() -> None:
    (cycle,) = cycle_charges(**triangles([36e-6])).cycles

    assert math.isnan(cycle.coulombic_efficiency)
    assert not cycle.ce_flag
    assert cycle.delithiation_mah == pytest.approx(5e-3)


@pytest.mark.parametrize(("gain", "flag"), [(1.008, False), (1.012, True)])
def test_a_current_off_by_more_than_1_percent_is_flagged(
    gain: float, flag: bool
) -> None:
    # The net charge of the cycle is zero: a test of the net alone would see nothing.
    columns = triangles([-36e-5, 36e-5])
    columns["current_a"] = columns["current_a"] * gain

    result = cycle_charges(**columns)

    assert [c.counter_disagrees for c in result.cycles] == [flag]
    assert [h.counter_disagrees for h in result.half_cycles] == [flag, flag]


def test_charges_per_gram_need_the_mass() -> None:
    columns = triangles([-36e-6, 18e-6])

    (heavy,) = cycle_charges(**columns, electrode_mass_mg=0.5).cycles
    (unknown,) = cycle_charges(**columns).cycles

    assert heavy.lithiation_mah_per_g == pytest.approx(10.0)
    assert heavy.delithiation_mah_per_g == pytest.approx(5.0)
    assert math.isnan(unknown.lithiation_mah_per_g)


def test_a_lost_counter_reading_loses_no_charge() -> None:
    columns = triangles([-36e-6, 36e-6])
    columns["charge_mah"][[0, 17, 18, 500]] = math.nan

    (cycle,) = cycle_charges(**columns).cycles

    assert cycle.lithiation_mah == pytest.approx(5e-3, rel=1e-9)
    assert cycle.points == 800


def test_a_lost_current_is_missing_from_the_integral_and_shows() -> None:
    columns = triangles([-36e-5, 36e-5])
    columns["current_a"][150:250] = math.nan

    (cycle,) = cycle_charges(**columns).cycles

    assert cycle.counter_disagrees
    assert cycle.lithiation_mah == pytest.approx(5e-2)


def test_a_record_that_begins_within_a_program_takes_its_first_row_as_reference() -> (
    None
):
    columns = triangles([-36e-6, 36e-6])
    columns["charge_mah"] = columns["charge_mah"] + 2.0

    (cycle,) = cycle_charges(**columns, counter_start_mah=None).cycles
    (wrong,) = cycle_charges(**columns).cycles

    assert cycle.delithiation_mah == pytest.approx(5e-3)
    assert wrong.delithiation_mah == pytest.approx(2.005, rel=1e-4)
    assert wrong.counter_disagrees


def test_rejects_columns_that_do_not_fit() -> None:
    columns = triangles([-36e-6])

    with pytest.raises(KernelInputError, match=r"unequal rows: .*charge_mah 399"):
        cycle_charges(**columns | {"charge_mah": columns["charge_mah"][1:]})
    with pytest.raises(KernelInputError, match="cycle_number has 3 rows"):
        cycle_charges(**columns | {"cycle_number": [1, 1, 1], "half_cycle": [1, 1, 1]})
    with pytest.raises(KernelInputError, match="half_cycle: not int values"):
        cycle_charges(**columns | {"half_cycle": [None] * 400})
    with pytest.raises(KernelInputError, match="current_a has 2 dimensions"):
        cycle_charges(**columns | {"current_a": np.zeros((400, 2))})
    with pytest.raises(AnalysisError, match=r"mass 0 mg is not above 0 mg"):
        CycleAccumulator(electrode_mass_mg=0)
