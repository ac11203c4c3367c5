import numpy as np
import pytest

from cryoline.sim.damage import (
    column_fluence,
    elements_left,
    void_fraction,
    warm_factor,
)
from cryoline.sim.phantom import Phantom, make_bead, make_wire
from cryoline.sim.phantom_knobs import ELEMENTS
from cryoline.sim.projection import project
from cryoline.sim.specimen_voxels import SpecimenVoxels, list_voxels

SILICON = ELEMENTS.index("Si")


@pytest.fixture(scope="module")
def wire() -> SpecimenVoxels:
    return list_voxels(make_wire(1, seed=3, shape=(96, 96, 128)), seed=3)


def solid(shape: tuple[int, int, int], inside: np.ndarray) -> SpecimenVoxels:
    density = np.where(inside, np.float32(50.0), np.float32(0.0))
    elements = {e: np.zeros(shape, np.float32) for e in ELEMENTS}
    return list_voxels(Phantom(elements | {"Si": density}, 2.0, {}))


def field(fluence_e_per_nm2: float) -> dict[str, object]:
    cells = np.full((80, 80), fluence_e_per_nm2, np.float32)
    return {"fluence": cells, "cell_nm": 8.0}


@pytest.mark.parametrize("tilt_deg", [0.0, 1e-7, 5.0, 44.9, 45.0, -60.0, 70.0, 90.0])
def test_no_atom_is_lost_at_any_tilt(wire: SpecimenVoxels, tilt_deg: float) -> None:
    np.testing.assert_allclose(project(wire, tilt_deg).atoms, wire.atoms, rtol=1e-6)


@pytest.mark.parametrize("tilt_deg", [0.0, 20.0, 60.0, -35.0])
def test_bead_appears_at_x_cos_plus_z_sin(tilt_deg: float) -> None:
    projection = project(list_voxels(make_bead()), tilt_deg)
    silicon = projection.atoms_per_nm2[SILICON]
    u_nm = (np.arange(silicon.shape[0]) - (silicon.shape[0] - 1) / 2) * 2.0
    tilt = np.deg2rad(tilt_deg)

    seen_nm = (silicon.sum(1) @ u_nm) / silicon.sum()

    assert seen_nm == pytest.approx(20 * np.cos(tilt) + 10 * np.sin(tilt), abs=0.1)


@pytest.mark.parametrize("tilt_deg", [0.0, 30.0, 45.0, -60.0])
def test_solid_slab_is_as_thick_as_its_path_without_ripples(tilt_deg: float) -> None:
    shape = (40, 400, 8)
    slab = solid(shape, np.ones(shape, bool))
    # 80 nm along the beam; u around the axis is far from the slab's ends.
    seen = project(slab, tilt_deg).atoms_per_nm2[SILICON]
    middle = seen[len(seen) // 2 - 10 : len(seen) // 2 + 10]

    expected = 50.0 * 80.0 / np.cos(np.deg2rad(tilt_deg))
    np.testing.assert_allclose(middle, expected, rtol=1e-6)


def test_projection_agrees_with_a_brute_force_one(wire: SpecimenVoxels) -> None:
    """Each voxel cut into 16 x 16 points; bins of one voxel."""
    projection = project(wire, 33.0)
    n_u = projection.atoms_per_nm2.shape[1]
    z, x, y = wire.place[::97].astype(float).T
    density = wire.density[::97, SILICON]
    part = (np.arange(16) + 0.5) / 16 - 0.5
    dz, dx = (a.ravel() for a in np.meshgrid(part, part))
    cos, sin = np.cos(np.deg2rad(33.0)), np.sin(np.deg2rad(33.0))
    u = (x[:, None] + dx - 47.5) * cos + (z[:, None] + dz - 47.5) * sin + n_u / 2
    expected = np.zeros((n_u, 128))
    rows = np.broadcast_to(y[:, None].astype(int), u.shape)
    weight = np.broadcast_to(density[:, None] * 2.0 / 256, u.shape)
    np.add.at(expected, (np.floor(u).astype(int), rows), weight)
    few = SpecimenVoxels(
        wire.place[::97], wire.density[::97], wire.void_rank[::97], wire.shape, 2.0
    )

    found = project(few, 33.0).atoms_per_nm2[SILICON]

    # 256 points share a voxel out to about 1/16 of it.
    assert np.abs(found - expected).max() < 0.15 * 50 * 2.0
    assert np.abs(found - expected).mean() < 0.01 * found.max()


# Fluence: voids in the silicon, SEI left; of the design's table.
DAMAGE = [
    (1.97e6, 0.0, 1.000),
    (4.3e6, 0.0002, 0.999),
    (7.7e6, 0.005, 0.966),
    (8.9e6, 0.016, 0.92),
    (1.0e7, 0.047, 0.85),
    (1.2e7, 0.27, 0.61),
    (1.5e7, 0.88, 0.15),
]


@pytest.mark.parametrize(("fluence", "voids", "sei"), DAMAGE)
def test_damage_follows_the_series_of_the_paper(
    wire: SpecimenVoxels, fluence: float, voids: float, sei: float
) -> None:
    left = project(wire, 0.0, **field(fluence)).atoms / wire.atoms  # type: ignore[arg-type]

    assert 1 - left[SILICON] == pytest.approx(voids, abs=0.001 + 0.02 * voids)
    assert left[ELEMENTS.index("F")] == pytest.approx(sei, abs=0.005)


def test_carbon_and_fluorine_go_before_oxygen_and_silicon_last() -> None:
    left = dict(zip(ELEMENTS, elements_left(1.1e7), strict=True))

    assert left["C"] < left["F"] < left["O"] < left["Si"] == 1.0
    assert void_fraction(0.0) == 0.0
    assert (elements_left(0.0) == 1.0).all()


def test_only_columns_that_were_exposed_are_damaged(wire: SpecimenVoxels) -> None:
    cells = np.zeros((64, 64), np.float32)  # of 4 nm: 256 nm, as long as the wire
    cells[32:, :] = 2e7  # y > 0
    fresh = project(wire, 0.0).atoms_per_nm2
    damaged = project(wire, 0.0, fluence=cells, cell_nm=4.0).atoms_per_nm2

    np.testing.assert_array_equal(damaged[..., :64], fresh[..., :64])
    left = damaged[..., 64:].sum((1, 2)) / fresh[..., 64:].sum((1, 2))
    assert (left < 2e-3).all()


def test_column_fluence_takes_x_and_y_from_the_middle() -> None:
    cells = np.arange(12, dtype=np.float32).reshape(3, 4)  # (y, x) of 10 nm
    found = column_fluence(cells, 10.0, n_x=8, n_y=8, voxel_nm=5.0)  # 40 x 40 nm

    # x: -17.5 and -12.5 are in column 0; y: -17.5 is off the map, -12.5 in row 0.
    np.testing.assert_array_equal(found[:, 0], 0.0)
    np.testing.assert_array_equal(found[:, 1], [0, 0, 1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(found[0], [0, 0, 0, 4, 4, 8, 8, 0])


def test_warm_specimen_is_five_times_as_tender() -> None:
    assert warm_factor(-178.0) == warm_factor(-140.0) == 1.0
    assert warm_factor(20.0) == warm_factor(25.0) == 5.0
    assert 1.0 < warm_factor(-100.0) < 5.0
