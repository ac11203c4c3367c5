"""The world's own account of the fluence, against points counted one by one."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoline.sim.fluence_map import CELL_NM, FluenceMap

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


def seen_points(
    places_nm: np.ndarray, tilt_deg: float, parts: np.ndarray | float = 1.0
) -> np.ndarray:
    """Count points, as the beam sees them, in the cells of the specimen's plane."""
    shape = FluenceMap().cells.shape
    x_nm, y_nm = places_nm.T
    columns = np.floor(x_nm / math.cos(math.radians(tilt_deg)) / CELL_NM)
    row = (np.floor(y_nm / CELL_NM) + shape[0] / 2).astype(int)
    column = (columns + shape[1] / 2).astype(int)
    counted = np.bincount(
        row * shape[1] + column,
        np.broadcast_to(parts, len(places_nm)),
        minlength=math.prod(shape),
    ).reshape(shape)
    return counted / counted.sum()


def share(fluence: FluenceMap, tilt_deg: float) -> np.ndarray:
    """Return the part of one electron that each cell got."""
    return fluence.cells * CELL_NM**2 * math.cos(math.radians(tilt_deg))


def evenly(number: int, low: tuple[float, float], high: tuple[float, float]) -> Any:
    """Return number x number places in a rectangle, each somewhere in its own part."""
    parts = np.stack(np.meshgrid(np.arange(number), np.arange(number)), axis=-1)
    places = (parts + np.random.default_rng(1).random(parts.shape)) / number
    return low + places.reshape(-1, 2) * np.subtract(high, low)


def test_turned_field_lies_where_its_points_lie() -> None:
    """Positive turns the lines from +x to +y; only half of the frame was scanned."""
    fluence = FluenceMap()
    fluence.deposit(
        E_C,
        tilt_deg=50.0,
        low_nm=(-90.0, -60.0),
        high_nm=(110.0, 0.0),
        rotation_deg=25.0,
        about_nm=(10.0, 0.0),
    )
    along_line, down = evenly(1600, (-100.0, -60.0), (100.0, 0.0)).T
    angle = math.radians(25.0)
    places = np.stack(
        (
            10.0 + along_line * math.cos(angle) - down * math.sin(angle),
            along_line * math.sin(angle) + down * math.cos(angle),
        ),
        axis=-1,
    )
    found = share(fluence, 50.0)

    assert math.fsum(found.ravel()) == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_allclose(
        found, seen_points(places, 50.0), atol=5e-3 * found.max()
    )


def test_parked_disc_has_its_tail() -> None:
    fluence = FluenceMap()
    fluence.deposit(
        E_C, tilt_deg=40.0, low_nm=(5.0, 7.0), high_nm=(5.0, 7.0), diameter_nm=100.0
    )
    unit = evenly(1200, (-1.0, -1.0), (1.0, 1.0))
    unit = unit[np.hypot(*unit.T) < 1.0]
    places = np.array((5.0, 7.0)) + np.concatenate((50.0 * unit, 100.0 * unit))
    parts = np.repeat((0.95, 0.05), len(unit))
    found = share(fluence, 40.0)

    assert math.fsum(found.ravel()) == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_allclose(
        found, seen_points(places, 40.0, parts), atol=5e-3 * found.max()
    )


def test_wide_beam_spreads_a_scan_beyond_its_field() -> None:
    fluence = FluenceMap()
    fluence.deposit(
        E_C * 400.0**2,
        tilt_deg=0.0,
        low_nm=(-200.0, -200.0),
        high_nm=(200.0, 200.0),
        diameter_nm=80.0,
    )
    rows, columns = (n // 2 for n in fluence.cells.shape)
    total = fluence.cells.sum() * CELL_NM**2

    assert total == pytest.approx(400.0**2, rel=1e-12)
    assert fluence.cells[rows, columns] == pytest.approx(1.0)
    # At the edge of the field half of it; beyond the tail's radius nothing.
    edge = fluence.cells[rows, columns + 24 : columns + 26].mean()
    assert edge == pytest.approx(0.5, abs=0.02)
    assert 0.0 < fluence.cells[rows, columns + 32] < 0.02
    assert fluence.cells[rows, columns + 36] == 0.0


def test_beyond_the_border_of_the_map_nothing_comes_back() -> None:
    fluence = FluenceMap()
    fluence.deposit(
        1e-9,
        tilt_deg=0.0,
        low_nm=(1500.0, 1100.0),
        high_nm=(1800.0, 1300.0),
        rotation_deg=10.0,
        about_nm=(1650.0, 1200.0),
    )

    assert fluence.cells[:, :100].max() == 0.0
    assert fluence.cells[:100].max() == 0.0
