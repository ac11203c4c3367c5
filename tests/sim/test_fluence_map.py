"""The world's own account of the fluence, against points counted one by one."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoline.sim.fluence_map import CELL_NM, FluenceMap, covered

E_C = 1.602176634e-19
ANGLES_DEG = range(-60, 61, 5)


@settings(deadline=None)
@given(
    charge_c=st.floats(1e-13, 1e-7),
    tilt_deg=st.floats(-60.0, 60.0),
    left_nm=st.floats(-600.0, 100.0),
    top_nm=st.floats(-600.0, 100.0),
    width_nm=st.floats(1.0, 500.0),
    height_nm=st.floats(1.0, 500.0),
)
def test_integral_is_the_charge(
    charge_c, tilt_deg, left_nm, top_nm, width_nm, height_nm
) -> None:
    """The fluence counts normal to the beam, which sees a cell cos t as wide."""
    fluence = FluenceMap()
    fluence.deposit(
        charge_c,
        tilt_deg=tilt_deg,
        low_nm=(left_nm, top_nm),
        high_nm=(left_nm + width_nm, top_nm + height_nm),
    )
    seen_nm2 = CELL_NM**2 * math.cos(math.radians(tilt_deg))
    total_c = math.fsum(fluence.cells.ravel()) * seen_nm2 * E_C
    assert total_c == pytest.approx(charge_c, rel=1e-12)
    mean = charge_c / E_C / (width_nm * height_nm)
    assert fluence.max_e_per_nm2 <= mean * (1 + 1e-12)


@pytest.mark.parametrize(("at", "hits"), [(0.8, 25), (1.05, 18), (1.5, 6)])
def test_point_beside_the_field_is_hit_at_high_tilts(at, hits) -> None:
    """The brute-force figures of the geometry's definition."""
    half_nm = 400.0
    fluence = FluenceMap()
    for tilt_deg in ANGLES_DEG:
        fluence.deposit(
            E_C * (2 * half_nm) ** 2,  # 1 e/nm2
            tilt_deg=tilt_deg,
            low_nm=(-half_nm, -half_nm),
            high_nm=(half_nm, half_nm),
        )
    x_nm = at * half_nm
    rows, columns = fluence.cells.shape
    column = int(x_nm / CELL_NM + columns / 2)
    counted = sum(abs(x_nm * math.cos(math.radians(t))) < half_nm for t in ANGLES_DEG)
    assert counted == hits
    assert fluence.cells[rows // 2, column] == pytest.approx(hits, abs=0.5)


def test_cells_at_the_edge_are_covered_in_part() -> None:
    fluence = FluenceMap()
    fluence.deposit(
        E_C * 20.0 * 16.0, tilt_deg=0.0, low_nm=(0.0, -8.0), high_nm=(20.0, 8.0)
    )
    rows, columns = (n // 2 for n in fluence.cells.shape)
    hit = fluence.cells[rows - 1 : rows + 1, columns : columns + 4]
    np.testing.assert_allclose(hit, [[1.0, 1.0, 0.5, 0.0]] * 2)
    assert fluence.cells.sum() == pytest.approx(5.0)


def test_field_beyond_the_map_is_only_lost_there() -> None:
    fluence = FluenceMap()
    fluence.deposit(1e-9, tilt_deg=0.0, low_nm=(5000.0, 0.0), high_nm=(6000.0, 9.0))
    assert fluence.max_e_per_nm2 == 0.0
    fluence.deposit(
        E_C * 1e8, tilt_deg=0.0, low_nm=(-5000.0, -5000.0), high_nm=(5000.0, 5000.0)
    )
    np.testing.assert_allclose(fluence.cells, 1.0)


def test_nothing_deposited_is_nothing() -> None:
    fluence = FluenceMap()
    fluence.deposit(0.0, tilt_deg=0.0, low_nm=(0.0, 0.0), high_nm=(9.0, 9.0))
    fluence.deposit(1.0, tilt_deg=0.0, low_nm=(0.0, 0.0), high_nm=(9.0, 0.0))
    assert fluence.max_e_per_nm2 == 0.0


def test_coverage_of_a_row() -> None:
    np.testing.assert_allclose(covered(-1.0, 1.0, 2), [1 / CELL_NM, 1 / CELL_NM])
    assert covered(100.0, 200.0, 4).tolist() == [0.0] * 4
