"""The half cell against independent formulas and the figures of its validation."""

import math

import numpy as np
import pytest

from cryoline.sim.cell import SiliconHalfCell
from cryoline.sim.cell_kernel import open_circuit_v, sub_step
from cryoline.sim.cell_parameters import (
    CellParameters,
    nanowire,
    open_circuit_tables,
    solid_state,
    wafer,
)
from cryoline.sim.cell_state import (
    CRYSTALLINE_C,
    CURRENT_CONTROL,
    CURRENT_TOO_HIGH,
    NODES,
    OPEN_CIRCUIT,
    POTENTIAL_CONTROL,
    POTENTIAL_TOO_LOW,
    PROGRESS_SIZE,
    RECORDED_V,
    STEP_DONE,
    SUB_STEP_S,
    Limits,
    Segment,
)

NANOWIRE_AREA_CM2 = 1.27
NANOWIRE_MASS_G = 0.168e-3 * NANOWIRE_AREA_CM2
SAFE = Limits(-1.0, 4.0, 0.1, 1e-3, 60.0)


def run(cell, segment, *, limits=SAFE, sub_step_s=1.0):
    """Run one segment to its end; returns its rows and why it ended."""
    progress = np.zeros(PROGRESS_SIZE)
    progress[SUB_STEP_S] = sub_step_s
    progress[RECORDED_V] = cell.potential_v
    rows = np.empty((20_000, 4))
    count, reason = cell.drive(segment, limits, progress, math.inf, rows)
    return rows[:count], reason


def sweep(cell, end_v, rate_v_per_s=2e-4, sub_step_s=1.0):
    start_v = cell.potential_v
    duration_s = abs(end_v - start_v) / rate_v_per_s
    slope = math.copysign(rate_v_per_s, end_v - start_v)
    segment = Segment(POTENTIAL_CONTROL, start_v, slope, duration_s, -math.inf)
    rows, reason = run(cell, segment, sub_step_s=sub_step_s)
    assert reason == STEP_DONE
    return rows


def peaks_v(potential_v, current_a, *, prominence):
    """Local maxima that rise above both their sides, found without scipy."""
    height = prominence * current_a.max()
    found = []
    for k in range(1, len(current_a) - 1):
        if not current_a[k - 1] < current_a[k] >= current_a[k + 1]:
            continue
        higher = np.flatnonzero(current_a > current_a[k])
        left = higher[higher < k]
        right = higher[higher > k]
        valley_left = current_a[(left[-1] if len(left) else 0) : k].min()
        valley_right = current_a[k : (right[0] if len(right) else None)].min()
        if current_a[k] - max(valley_left, valley_right) > height:
            found.append(potential_v[k])
    return found


@pytest.fixture(scope="module")
def voltammograms():
    """Two cycles of the wafer at 0.2 mV/s: (cathodic, anodic) rows of each."""
    cell = SiliconHalfCell(wafer())
    return [(sweep(cell, 0.01), sweep(cell, 3.0)) for _ in range(2)]


def test_cycles_last_as_long_as_the_scan_rate_says(voltammograms) -> None:
    durations_s = [down[-1, 0] + up[-1, 0] for down, up in voltammograms]
    assert durations_s == pytest.approx([28_900, 29_900], abs=1e-6)


def test_a_point_is_recorded_each_millivolt(voltammograms) -> None:
    (first_down, first_up), _ = voltammograms
    assert (len(first_down), len(first_up)) == (2790, 2990)


# +-30 mV is the validation's pass band; the first cathodic peak is that of the SEI.
def test_sei_forms_at_0_90_v_in_the_first_cycle_only(voltammograms) -> None:
    (first, _), (second, _) = voltammograms
    peaks = peaks_v(first[:, 1], -first[:, 2], prominence=0.02)
    assert peaks[0] == pytest.approx(0.900, abs=0.030)
    later = peaks_v(second[:, 1], -second[:, 2], prominence=0.02)
    assert later == pytest.approx([0.196, 0.048], abs=0.030)


@pytest.fixture(scope="module")
def wafer_cycles():
    """25 cycles of the wafer at 0.2 mV/s: charges (cycle, way) in uAh, and the cell."""
    cell = SiliconHalfCell(wafer())
    charges = np.empty((25, 2))
    depths_nm = np.empty(25)
    for cycle in range(25):
        before = np.array([cell.lithiation_mah, cell.delithiation_mah])
        for end_v in (0.01, 3.0):
            sweep(cell, end_v, sub_step_s=5.0)
        after = np.array([cell.lithiation_mah, cell.delithiation_mah])
        charges[cycle] = 1e3 * (after - before)
        unreacted = cell.state[CRYSTALLINE_C] / cell.parameters.capacity_c
        depths_nm[cycle] = 2000.0 * (1 - unreacted)  # of the preset's 2 um
    return charges, depths_nm


def test_cathodic_charge_of_the_wafer_fades_with_every_cycle(wafer_cycles) -> None:
    cathodic = wafer_cycles[0][:, 0]
    assert (np.diff(cathodic) < 0).all()
    assert cathodic[24] < 0.8 * cathodic[1]


def test_the_wafers_front_comes_to_a_stand(wafer_cycles) -> None:
    depths_nm = wafer_cycles[1]
    assert 20 < depths_nm[24] < 30  # where the study finds what the electrolyte left
    assert depths_nm[24] - depths_nm[9] < 1.0


def test_new_sei_costs_lithium_in_every_cycle(wafer_cycles) -> None:
    efficiency = wafer_cycles[0][:, 1] / wafer_cycles[0][:, 0]
    assert efficiency[0] < 0.9
    assert (0.98 < efficiency[1:]).all()
    assert (efficiency[1:] < 0.995).all()


def test_lithium_leaves_in_two_anodic_peaks(voltammograms) -> None:
    _, first_up = voltammograms[0]
    peaks = peaks_v(first_up[:, 1], first_up[:, 2], prominence=0.02)
    assert peaks == pytest.approx([0.339, 0.509], abs=0.030)


def test_counter_is_the_integral_of_the_recorded_mean_currents(voltammograms) -> None:
    down, up = voltammograms[1]
    for rows, start_c in ((down, voltammograms[0][1][-1, 3]), (up, down[-1, 3])):
        interval_s = np.diff(rows[:, 0], prepend=0.0)
        integral_c = start_c + np.cumsum(rows[:, 2] * interval_s)
        # Rounding of sums of 1e4 terms.
        np.testing.assert_allclose(integral_c, rows[:, 3], rtol=0, atol=1e-12)


def test_every_lithium_that_enters_is_in_silicon_dead_silicon_or_sei() -> None:
    cell = SiliconHalfCell(wafer())
    for _ in range(4):  # ageing traps lithium from the third cycle on
        sweep(cell, 0.01, rate_v_per_s=1e-3)
        sweep(cell, 2.8, rate_v_per_s=1e-3)
    assert cell.dead_fraction > 0
    # Back at the first potential, so that the double layer holds what it held.
    assert cell.charge_mah + cell.lithium_mah == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("potential_v", "hysteresis", "steps"),
    [
        (0.15, -1.0, [(0.5, 0.240, 0.036), (0.38, 0.085, 0.022), (0.12, 0.55, 0.15)]),
        (0.40, 1.0, [(0.47, 0.290, 0.024), (0.43, 0.470, 0.030), (0.1, 0.70, 0.18)]),
    ],
)
def test_open_circuit_table_inverts_the_sum_of_sigmoids(
    potential_v, hysteresis, steps
) -> None:
    content = sum(w / (1 + math.exp((potential_v - u) / b)) for w, u, b in steps)
    logit = math.log(content / (1 - content))
    found = open_circuit_v(logit, hysteresis, open_circuit_tables())
    # Linear interpolation on a grid of 0.05 in logit.
    assert found == pytest.approx(potential_v, abs=2e-4)


def test_capacity_is_that_of_li15si4_by_faraday() -> None:
    by_faraday = 3.75 * 96485.33 / 3.6 / 28.0855  # mAh per g of silicon
    cell = SiliconHalfCell(nanowire())
    assert cell.capacity_mah / NANOWIRE_MASS_G == pytest.approx(by_faraday, rel=1e-3)


def test_fresh_cell_at_rest_does_not_change() -> None:
    cell = SiliconHalfCell(wafer())
    before = cell.state.copy()
    cell.rest(1e9)
    np.testing.assert_array_equal(cell.state, before)
    # ... which is what the equations say: it stays within the converter's step.
    sub_step(cell.state, cell.parameters, cell.tables, OPEN_CIRCUIT, 0.0, 3600.0)
    assert cell.potential_v == pytest.approx(2.8, abs=1e-4)


def test_lithium_spreads_evenly_at_rest() -> None:
    cell = SiliconHalfCell(nanowire())
    run(cell, Segment(CURRENT_CONTROL, -2e-4, 0.0, 5000.0, -math.inf))
    run(cell, Segment(CURRENT_CONTROL, 5e-4, 0.0, 200.0, math.inf))
    assert np.ptp(cell.state[:NODES]) > 1e-3
    charge_mah = cell.charge_mah
    cell.rest(20 * cell.parameters.diffusion_time_s)
    assert np.ptp(cell.state[:NODES]) < 1e-3
    # The solver's tolerance, 1e-8 of 1C, for as long as the rest.
    assert cell.charge_mah == pytest.approx(charge_mah, abs=1e-7)


def constant_current(current_a, until_v):
    return Segment(CURRENT_CONTROL, current_a, 0.0, math.inf, until_v)


@pytest.fixture(scope="module")
def nanowire_cycles():
    """100 galvanostatic cycles: 0.06, then 0.4 mA/cm2, 0.02..1.5 V.

    Returns capacities (100, 2) in mAh/g and the first lithiation's rows.
    """
    cell = SiliconHalfCell(nanowire())
    sparse = SAFE._replace(record_s=600.0)
    capacities = np.empty((100, 2))
    for cycle in range(100):
        current_a = (0.06e-3 if cycle == 0 else 0.4e-3) * NANOWIRE_AREA_CM2
        for half, (sign, until_v) in enumerate(((-1, 0.02), (1, 1.5))):
            before_mah = cell.charge_mah
            segment = constant_current(sign * current_a, until_v)
            rows, reason = run(cell, segment, limits=sparse, sub_step_s=2.0)
            assert reason == STEP_DONE
            passed_mah = abs(cell.charge_mah - before_mah)
            capacities[cycle, half] = passed_mah / NANOWIRE_MASS_G
            if cycle == half == 0:
                first = rows
            cell.rest(60.0)
    return capacities, first


def test_first_nanowire_cycle_has_capacity_efficiency_and_plateau(
    nanowire_cycles,
) -> None:
    capacities, first = nanowire_cycles
    assert capacities[0] == pytest.approx([3806, 3488], rel=0.01)
    assert capacities[0, 1] / capacities[0, 0] == pytest.approx(0.917, abs=0.005)
    charge = first[:, 3] / first[-1, 3]
    plateau_v = first[(charge > 0.15) & (charge < 0.65), 1]
    assert plateau_v.min() > 0.085
    assert plateau_v.max() < 0.105


def test_nanowires_keep_94_5_and_69_2_percent_of_cycle_2(nanowire_cycles) -> None:
    delithiation = nanowire_cycles[0][:, 1]
    # +-1 point is the validation's pass band.
    assert delithiation[35] / delithiation[1] == pytest.approx(0.945, abs=0.01)
    assert delithiation[99] / delithiation[1] == pytest.approx(0.692, abs=0.01)


def test_a_low_rate_finds_part_of_what_was_lost_at_a_high_one() -> None:
    """The second cell of [S1]: 2 cycles at 0.02C, 98 at 1C, one more at 0.02C."""
    cell = SiliconHalfCell(nanowire())
    one_c_a = cell.capacity_mah * 1e-3
    sparse = SAFE._replace(record_s=600.0)
    delithiation = []
    for c_rate in [0.02] * 2 + [1.0] * 98 + [0.02]:
        for sign, until_v in ((-1, 0.02), (1, 1.5)):
            before_mah = cell.charge_mah
            segment = constant_current(sign * c_rate * one_c_a, until_v)
            run(cell, segment, limits=sparse, sub_step_s=5.0)
        delithiation.append(cell.charge_mah - before_mah)
    lost = delithiation[2] - delithiation[99]
    assert 0.2 * lost < delithiation[100] - delithiation[99] < lost
    assert delithiation[100] < 0.9 * delithiation[1]  # the rest is dead


def test_solid_state_cell_charges_as_in_the_study() -> None:
    cell = SiliconHalfCell(solid_state())
    assert -0.6 < cell.potential_v < 1.0  # in the study's window against In/InLi
    mass_g = 1.8e-3 * 0.724
    found = []
    for sign, until_v in ((-1, -0.6), (1, 1.0)):
        before_mah = cell.charge_mah
        segment = constant_current(sign * 500e-6, until_v)
        assert run(cell, segment, sub_step_s=5.0)[1] == STEP_DONE
        found.append(abs(cell.charge_mah - before_mah) / mass_g)
        cell.rest(300.0)
    assert found == pytest.approx([3314, 2537], rel=0.02)


def test_current_ends_within_a_millivolt_of_its_limit_where_the_potential_plunges():
    cell = SiliconHalfCell(nanowire())
    for current_a, until_v in ((-1e-3, 0.02), (1e-3, 1.5)):
        _, reason = run(cell, constant_current(current_a, until_v), sub_step_s=60.0)
        assert reason == STEP_DONE
        assert cell.potential_v == pytest.approx(until_v, abs=1e-3)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (SAFE._replace(potential_min_v=0.5), POTENTIAL_TOO_LOW),
        (SAFE._replace(current_max_a=2e-7), CURRENT_TOO_HIGH),
    ],
)
def test_safety_limit_ends_a_sweep(limits: Limits, reason: int) -> None:
    cell = SiliconHalfCell(wafer())
    segment = Segment(POTENTIAL_CONTROL, 2.8, -2e-4, 13_950.0, -math.inf)
    assert run(cell, segment, limits=limits)[1] == reason


def test_results_converge_with_the_sub_step(voltammograms) -> None:
    cell = SiliconHalfCell(wafer())
    segment = Segment(POTENTIAL_CONTROL, 2.8, -2e-4, 13_950.0, -math.inf)
    run(cell, segment, sub_step_s=0.5)
    coarse_c = voltammograms[0][0][-1, 3]
    assert cell.charge_mah * 3.6 == pytest.approx(coarse_c, rel=2e-3)


def test_presets_are_plain_parameters_that_can_be_varied() -> None:
    varied: CellParameters = wafer(depth_um=4.0)
    assert varied.capacity_c == pytest.approx(2 * wafer().capacity_c)
