"""The score of a volume: 1 for the truth itself, and told apart from its mirror."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from cryoline.acquisition.demo_truth import Truth, score_volumes

VOXEL_NM = 2.0


def bent_wire() -> dict[str, NDArray[np.float32]]:
    """A core in its shell along y, bent along z, off the axis in x."""
    z, x, y = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * VOXEL_NM for n in (48, 48, 240)), indexing="ij"
    )
    r = np.hypot(x - 3.0, z - 4.0 * np.cos(2 * np.pi * y / 600))
    return {
        "Si": np.where(r < 16, 50, 0).astype(np.float32),
        "O": np.where((r >= 16) & (r < 26), 22, 0).astype(np.float32),
    }


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    with h5py.File(tmp_path / "specimen.h5", "w") as file:
        file.attrs["voxel_nm"] = VOXEL_NM
        file.create_group("truth")
        for name, volume in bent_wire().items():
            file[name] = volume
    return Truth.read(tmp_path / "specimen.h5")


def coarse(truth: Truth, size_nm: float = 4.0) -> dict[str, NDArray[np.float32]]:
    return {name: truth.atoms(name, (32, 32, 100), size_nm) for name in ("Si", "O")}


def test_no_atom_is_lost_in_a_coarser_grid(truth: Truth) -> None:
    atoms = truth.atoms("Si", (24, 24, 120), 4.0)

    assert atoms.sum() == pytest.approx(bent_wire()["Si"].sum() * 8.0)


def test_the_truth_itself_scores_one(truth: Truth) -> None:
    scores = score_volumes(coarse(truth), truth, voxel_nm=4.0)

    assert scores == pytest.approx({"Si": 1.0, "O": 1.0, "handedness": 1.0})


def test_where_the_origin_was_put_does_not_matter(truth: Truth) -> None:
    moved = {n: np.roll(v, (2, -1, 1), (0, 1, 2)) for n, v in coarse(truth).items()}

    assert score_volumes(moved, truth, voxel_nm=4.0)["Si"] == pytest.approx(1.0)


def test_a_mirrored_volume_shows_in_its_handedness(truth: Truth) -> None:
    mirrored = {n: v[::-1] for n, v in coarse(truth).items()}

    scores = score_volumes(mirrored, truth, voxel_nm=4.0)

    assert scores["handedness"] < -0.7
    assert scores["Si"] > 0.8  # so round that nothing else tells


def test_swapped_elements_and_an_empty_volume_score_nothing(truth: Truth) -> None:
    found = coarse(truth)
    swapped = score_volumes({"Si": found["Si"], "O": found["Si"]}, truth, voxel_nm=4.0)
    empty = score_volumes({"Si": found["Si"], "O": 0 * found["O"]}, truth, voxel_nm=4.0)

    assert swapped["O"] < 0.2
    assert empty["O"] == 0.0
