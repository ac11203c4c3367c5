"""Footprints: areas against projected points, charges against their sums."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryoline.analysis.coverage import cover
from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.footprint import BEAM_PARTS, Footprint, Grid, deposit

Array = NDArray[np.float64]
TILTS = range(-60, 61, 5)

sizes = st.floats(5, 500)
places = st.floats(-300, 300)
fields = st.tuples(places, places, sizes, sizes, st.floats(-180, 180))
tilts = st.floats(-75, 75)
focused = st.tuples(fields, tilts).map(lambda f: Footprint(*f[0], f[1]))
wide = st.tuples(fields, tilts, st.floats(1, 400)).map(
    lambda f: Footprint(*f[0], f[1], f[2])
)


def around(footprint: Footprint, cells: int = 50) -> Grid:
    """Return a grid that holds all of a footprint, off its middle."""
    reach = footprint.reach_nm + 1
    low = (footprint.x_nm - 1.1 * reach, footprint.y_nm - 1.3 * reach)
    return Grid.upright(low, 2.5 * reach / cells, cells, cells)


def charge(cells: Array, grid: Grid, footprint: Footprint) -> float:
    """Return what the cells hold, in units of what was put in."""
    normal_nm2 = grid.cell_nm2 * math.cos(math.radians(footprint.tilt_deg))
    return float(cells.sum()) * normal_nm2 / footprint.spread_nm2


def hit(footprint: Footprint, x_nm: Array, y_nm: Array) -> NDArray[np.bool_]:
    """Return which points of the untilted specimen plane lie in the field, projected.

    The plain way: from the specimen to the beam, where the field has its size.
    """
    cosine = math.cos(math.radians(footprint.tilt_deg))
    u = x_nm * cosine - footprint.x_nm * cosine
    v = y_nm - footprint.y_nm
    turn = math.radians(footprint.rotation_deg)
    across = u * math.cos(turn) + v * math.sin(turn)
    along = v * math.cos(turn) - u * math.sin(turn)
    return np.asarray(
        (abs(across) <= footprint.width_nm / 2)
        & (abs(along) <= footprint.height_nm / 2)
    )


def by_points(footprint: Footprint, grid: Grid, per_cell: int) -> Array:
    """Return covered parts of the cells of an upright grid by counting points."""
    step = grid.across_nm[0] / (grid.columns * per_cell)
    x0, y0 = (c - n / 2 * step * per_cell for c, n in
              ((grid.x_nm, grid.columns), (grid.y_nm, grid.rows)))  # fmt: skip
    x = x0 + (np.arange(grid.columns * per_cell) + 0.5) * step
    y = y0 + (np.arange(grid.rows * per_cell) + 0.5) * step
    counted = hit(footprint, *np.meshgrid(x, y))
    shape = (grid.rows, per_cell, grid.columns, per_cell)
    return np.asarray(counted.reshape(shape).mean(axis=(1, 3)))


@pytest.mark.parametrize(("part", "hits"), [(0.8, 25), (1.05, 18), (1.5, 6)])
def test_a_point_is_hit_at_as_many_tilts_as_its_projection_lies_in_the_field(
    part: float, hits: int
) -> None:
    half = 546.3
    fields = [Footprint(0, 0, 2 * half, 2 * half, tilt_deg=t) for t in TILTS]
    projected = [abs(part * half * math.cos(math.radians(t))) <= half for t in TILTS]
    point = Grid.upright((part * half - 0.05, 100.0), 0.1, 1, 1)

    assert sum(projected) == hits
    assert deposit(point, [(field, 1.0) for field in fields]).item() == hits


@settings(max_examples=60, deadline=None)
@given(focused)
def test_covered_parts_are_those_that_projected_points_count(
    footprint: Footprint,
) -> None:
    grid = around(footprint, cells=16)

    difference = deposit(grid, [(footprint, 1.0)]) - by_points(footprint, grid, 32)

    # Points miss up to one of 32 at each edge that passes a cell.
    assert np.abs(difference).max() < 2.5 / 32
    assert abs(difference.mean()) < 0.5 / 32


@settings(max_examples=150, deadline=None)
@given(st.one_of(focused, wide))
def test_the_sum_of_the_map_is_the_charge(footprint: Footprint) -> None:
    grid = around(footprint)

    cells = deposit(grid, [(footprint, 1.0)])

    assert charge(cells, grid, footprint) == pytest.approx(1.0, abs=1e-12)
    assert cells.min() >= 0
    assert cells.max() <= 1 + 1e-12


@settings(max_examples=100, deadline=None)
@given(st.one_of(focused, wide), places, places)
def test_the_map_moves_with_what_it_shows(
    footprint: Footprint, x_nm: float, y_nm: float
) -> None:
    grid = around(footprint, cells=20)
    moved = footprint._replace(x_nm=footprint.x_nm + x_nm, y_nm=footprint.y_nm + y_nm)
    grid_moved = grid._replace(x_nm=grid.x_nm + x_nm, y_nm=grid.y_nm + y_nm)

    np.testing.assert_allclose(
        deposit(grid_moved, [(moved, 1.0)]),
        deposit(grid, [(footprint, 1.0)]),
        atol=1e-9,
    )


@settings(max_examples=100, deadline=None)
@given(focused, st.floats(1, 100))
def test_a_field_covers_all_cells_of_its_own_grid_exactly(
    footprint: Footprint, cell_nm: float
) -> None:
    grid = Grid.on(footprint, cell_nm)

    assert (deposit(grid, [(footprint, 3.0)]) == 3.0).all()
    assert grid.columns <= 128
    cell_across = footprint.width_nm / grid.columns
    assert cell_across >= min(cell_nm, footprint.width_nm) * (1 - 1e-9)


@settings(max_examples=100, deadline=None)
@given(focused, st.integers(0, 40), st.integers(0, 40))
def test_a_part_of_a_grid_shows_what_the_whole_does(
    footprint: Footprint, row: int, column: int
) -> None:
    grid = around(footprint, cells=50)

    whole = deposit(grid, [(footprint, 1.0)])
    cell_nm = grid.across_nm[0] / 50
    low = (
        grid.x_nm + (column - 25) * cell_nm,
        grid.y_nm + (row - 25) * cell_nm,
    )
    part = deposit(Grid.upright(low, cell_nm, 10, 7), [(footprint, 1.0)])

    expected = whole[row : row + 7, column : column + 10]
    np.testing.assert_allclose(part[:, : expected.shape[1]][: len(expected)], expected,
                               atol=1e-9)  # fmt: skip
    cell = grid.cell(row, column)
    assert deposit(cell, [(footprint, 1.0)]).item() == pytest.approx(
        whole[row, column], abs=1e-9
    )
    assert grid.cell_at(cell.x_nm, cell.y_nm) == (row, column)


@pytest.mark.parametrize(
    ("width_nm", "beam_nm", "tilt_deg"),
    [(2, 300, 0), (2, 300, 60), (200, 300, 30), (400, 100, 0), (300, 300, -45)],
)
def test_a_beam_that_is_a_disc_spreads_as_electrons_do(
    width_nm: float, beam_nm: float, tilt_deg: float
) -> None:
    """A million electrons, each at some place of the field and of the beam."""
    rng = np.random.default_rng(3)
    footprint = Footprint(20, -10, width_nm, width_nm / 2, 25, tilt_deg, beam_nm)
    n = 1_000_000
    parts, widths = zip(*BEAM_PARTS, strict=True)
    diameter = beam_nm * rng.choice(widths, n, p=parts)
    radius, angle = (
        np.sqrt(rng.random(n)) * diameter / 2,
        2 * math.pi * rng.random(n),
    )
    a, b = (rng.random(n) - 0.5) * width_nm, (rng.random(n) - 0.5) * width_nm / 2
    cosine, sine = math.cos(math.radians(25)), math.sin(math.radians(25))
    u = a * cosine - b * sine + radius * np.cos(angle)
    y = -10 + a * sine + b * cosine + radius * np.sin(angle)
    x = 20 + u / math.cos(math.radians(tilt_deg))
    grid = around(footprint, cells=20)
    cell = grid.across_nm[0] / 20
    edges = [c + (np.arange(21) - 10) * cell for c in (grid.y_nm, grid.x_nm)]
    counted, *_ = np.histogram2d(y, x, bins=edges)

    # The same number of electrons in each cell, but for their noise.
    normal_nm2 = grid.cell_nm2 * math.cos(math.radians(tilt_deg))
    expected = deposit(grid, [(footprint, n * normal_nm2 / footprint.spread_nm2)])

    difference = np.abs(counted - expected)
    # Edges are steps of a sixteenth where a wide beam is scanned.
    assert difference.max() < 5 * math.sqrt(expected.max()) + 0.04 * expected.max()
    assert difference.sum() / n < 0.02


def test_a_polygon_that_is_none_is_refused() -> None:
    with pytest.raises(KernelInputError, match=r"shape \(2, 2\); give \(corner, 2\)"):
        cover(np.zeros((2, 2)), 4, 4)
    with pytest.raises(KernelInputError, match="a corner is not finite"):
        cover(np.array([(0, 0), (1, 0), (1, math.nan)]), 4, 4)


def test_corners_may_go_round_either_way() -> None:
    corners = np.array([(0.2, 0.3), (7.1, 1.2), (5.0, 6.9), (1.0, 4.0)])

    one, other = cover(corners, 8, 8), cover(corners[::-1].copy(), 8, 8)

    np.testing.assert_allclose(one, other, atol=1e-12)
    x, y = corners.T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert one.sum() == pytest.approx(area, abs=1e-12)
