import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from cryoline.sim.phantom import (
    BEAD_CENTER_NM,
    Phantom,
    make_bead,
    make_wire,
)
from cryoline.sim.phantom_knobs import ELEMENTS, SILICON_PER_NM3, wire_knobs
from cryoline.sim.phantom_store import SpecimenKey, load_or_make, specimen_path

SMALL = (96, 96, 128)


@pytest.fixture(scope="module")
def wires() -> dict[int, Phantom]:
    return {n: make_wire(n, seed=7, shape=SMALL) for n in (0, 1, 36, 100)}


def equal(first: Phantom, second: Phantom) -> bool:
    return all(np.array_equal(first.elements[e], second.elements[e]) for e in ELEMENTS)


def test_same_seed_gives_the_same_wire_and_another_another() -> None:
    small = (48, 48, 48)
    first = make_wire(36, seed=7, shape=small)

    assert equal(first, make_wire(36, seed=7, shape=small))
    assert not equal(first, make_wire(36, seed=8, shape=small))


def test_capacity_lost_is_the_papers(wires: dict[int, Phantom]) -> None:
    assert wire_knobs(1).capacity_loss == wire_knobs(2).capacity_loss == 0
    assert wire_knobs(36).capacity_loss == pytest.approx(0.055, abs=1e-3)
    assert wire_knobs(100).capacity_loss == pytest.approx(0.308, abs=1e-3)


@pytest.mark.parametrize(("n_cycles", "dead"), [(1, 0.0), (36, 0.055), (100, 0.308)])
def test_dead_silicon_is_the_capacity_lost(
    wires: dict[int, Phantom], n_cycles: int, dead: float
) -> None:
    # One point; a long wire with breaks too, whose parts are not dead.
    assert wires[n_cycles].truth["dead_silicon"] == pytest.approx(dead, abs=0.01)
    if n_cycles == 100:
        long = make_wire(n_cycles, seed=7)
        assert long.truth["dead_silicon"] == pytest.approx(dead, abs=0.01)


def test_cycles_open_the_core_and_let_the_sei_in(wires: dict[int, Phantom]) -> None:
    silicon = [wires[n].truth["silicon_of_core"] for n in (0, 1, 36, 100)]
    sei = [wires[n].truth["sei_of_core"] for n in (1, 36, 100)]

    # Of the prototype: 1, 0.955, 0.55, 0.37 and 0, 0.41, 0.63.
    np.testing.assert_allclose(silicon, [1, 0.955, 0.55, 0.37], atol=0.03)
    np.testing.assert_allclose(sei, [0, 0.41, 0.63], atol=0.04)
    assert sei[0] < sei[1] < sei[2]


def test_first_cycle_leaves_a_core_in_a_shell_of_20_nm() -> None:
    wire = make_wire(1, seed=3, shape=SMALL)
    silicon = wire.elements["Si"] > 0.9 * SILICON_PER_NM3
    matter = np.sum(list(wire.elements.values()), axis=0) > 0
    # Equivalent radii of the mean cross-section; pores count as core.
    area_nm2 = wire.voxel_nm**2 / SMALL[2]
    filled = matter.sum() + wire.truth["pores_of_core"] * matter.sum() * 0.4
    outer_nm = np.sqrt(filled * area_nm2 / np.pi)

    assert outer_nm == pytest.approx(37.5 + 20.0, abs=1.5)
    assert wire.elements["F"][silicon].max() == 0
    assert wire.elements["Si"][SMALL[0] // 2, SMALL[1] // 2].max() == SILICON_PER_NM3
    # Fluorine sits inside, carbon outside of the shell.
    x_nm = np.abs(np.arange(SMALL[1]) - 47.5) * wire.voxel_nm
    profile = {e: wire.elements[e].sum((0, 2)) for e in ("F", "C")}
    mean_nm = {e: (x_nm * p).sum() / p.sum() for e, p in profile.items()}
    assert mean_nm["F"] < mean_nm["C"] - 1.0


def test_wire_is_longer_than_the_papers_field() -> None:
    wire = make_wire(1, seed=0)

    assert wire.elements["Si"].shape[2] * wire.voxel_nm > 512 * 2.134
    # It ends inside of its box on all sides across.
    matter = np.sum(list(wire.elements.values()), axis=0) > 0
    assert not matter[[0, -1]].any()
    assert not matter[:, [0, -1]].any()


def test_bead_is_where_it_says() -> None:
    bead = make_bead()
    z, x, y = (
        (index - (n - 1) / 2) * bead.voxel_nm
        for index, n in zip(
            np.nonzero(bead.elements["Si"]), bead.elements["Si"].shape, strict=True
        )
    )

    assert (x.mean(), z.mean()) == pytest.approx(BEAD_CENTER_NM, abs=0.2)
    assert y.mean() == pytest.approx(0.0, abs=0.2)


def _make(directory: Path) -> None:
    load_or_make(directory, SpecimenKey("bead", seed=5))


def test_file_is_made_once_and_read_by_all(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    makers = [context.Process(target=_make, args=(tmp_path,)) for _ in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    path = specimen_path(tmp_path)
    born = path.stat().st_ino

    found = load_or_make(tmp_path, SpecimenKey("bead", seed=5))

    assert [maker.exitcode for maker in makers] == [0, 0, 0]
    assert path.stat().st_ino == born
    assert equal(found, make_bead())
    assert found.voxel_nm == 2.0
    assert found.truth["x_nm"] == 20.0


def test_file_of_another_specimen_or_a_damaged_one_is_made_anew(tmp_path: Path) -> None:
    path = specimen_path(tmp_path)
    load_or_make(tmp_path, SpecimenKey("bead", seed=5))
    born = path.stat().st_ino
    load_or_make(tmp_path, SpecimenKey("bead", seed=6))
    assert path.stat().st_ino != born

    with path.open("r+b") as file:
        file.truncate(5000)
    assert equal(load_or_make(tmp_path, SpecimenKey("bead", seed=6)), make_bead())


def test_unknown_specimen_is_refused() -> None:
    with pytest.raises(ValueError, match="specimen 'fly' is unknown; choose one of wi"):
        SpecimenKey("fly")
