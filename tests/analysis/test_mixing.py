"""Measures of mixing against wires whose truth is known, and when they're not sure."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.mixing import Mixing, mixing, volume_measures
from cryoline.analysis.tomography import mlem, project

ANGLES_DEG = np.arange(-60.0, 61.0, 10.0)
SIZE, SLICES, VOXEL_NM = 48, 12, 3.0
CORE_NM, SHELL_NM = 30.0, 24.0


def wire(invaded=0.0, shell_nm=SHELL_NM):
    """Si, O, F, C of a round wire; SEI takes a part of its core."""
    z, x = np.meshgrid(*(np.arange(SIZE) - (SIZE - 1) / 2,) * 2, indexing="ij")
    radius = np.hypot(z, x)[..., None] * VOXEL_NM * np.ones(SLICES)
    core = np.clip((CORE_NM - radius) / VOXEL_NM + 0.5, 0, 1)
    whole = np.clip((CORE_NM + shell_nm - radius) / VOXEL_NM + 0.5, 0, 1)
    sei = whole - core + invaded * core
    parts = [4 * (1 - invaded) * core, 2 * sei, 1.5 * sei, 1.5 * sei]
    return np.stack(parts).astype(np.float32)


def em(counts, background, exposure):
    return mlem(counts, ANGLES_DEG, 6, background=background, exposure=exposure)


def measured(volume, level, seed=1, behind_silicon=0.0):
    """Measure drawn counts; behind_silicon: more background believed than there is."""
    exposure = np.full(ANGLES_DEG.size, level, np.float32)
    expected = project(volume, ANGLES_DEG) * level
    background = np.full_like(expected, 0.1 * expected.mean())
    rng = np.random.default_rng(seed)
    counts = rng.poisson(expected + background).astype(np.float32)
    background = background + behind_silicon * expected[:1]
    return mixing(
        em,
        counts,
        ANGLES_DEG,
        VOXEL_NM,
        background=background,
        exposure=exposure,
        rounds=2,
    )


def test_the_truth_itself_is_measured_right() -> None:
    found = volume_measures(wire(invaded=0.3), VOXEL_NM)

    assert found.core_radius_nm == pytest.approx(CORE_NM, abs=1.0)
    assert found.sei_thickness_nm == pytest.approx(SHELL_NM, abs=1.0)
    assert found.sei_in_core == pytest.approx(0.3, abs=0.01)
    assert found.dead_silicon == 0


@pytest.mark.parametrize("invaded", [0.0, 0.4])
def test_rare_counts_give_thickness_and_invasion_within_their_errors(invaded) -> None:
    found = measured(wire(invaded), level=0.02)

    thickness, part = found["sei_thickness_nm"], found["sei_in_core"]
    # half a voxel beside the error by counting: rings are a voxel wide
    assert abs(thickness.value - SHELL_NM) < 3 * thickness.sigma + VOXEL_NM / 2
    assert abs(part.value - invaded) < 4 * part.sigma + 0.02
    assert part.sigma < 0.15


def test_a_vote_in_the_volume_would_find_sei_where_there_is_none() -> None:
    """Why the core is not measured in the volume: blur and wedge fill it."""
    volume = wire()
    counts = project(volume, ANGLES_DEG)
    made = em(counts, None, None)

    assert volume_measures(made, VOXEL_NM).sei_in_core > 0.1


def test_dead_silicon_is_never_trusted_and_says_why() -> None:
    dead = measured(wire(), level=0.02)["dead_silicon"]

    assert not dead.trusted
    assert "lower bound" in dead.why


def test_lengths_say_that_blur_thins_the_shell() -> None:
    found = measured(wire(), level=0.02)

    assert "too thin" in found["sei_thickness_nm"].caveat
    assert found["sei_in_core"].caveat == ""


def test_wires_of_1_36_and_100_cycles_are_told_apart(monkeypatch) -> None:
    """At the papers' dose, on coarse voxels; `bench/mixing.py` takes fine ones."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
    from mixing import compared

    report = compared([21], rounds=1, across=48, along=16, voxel_nm=4.0)

    invasion, thickness = report["order"]
    assert invasion["measure"] == "sei_in_core"
    assert invasion["apart"]
    # lengths are known to a voxel, too coarse here to tell 36 from 100
    assert thickness["holds"]
    assert not thickness["against"]
    for row in report["measures"]:
        if row["trusted"]:
            assert row["inside"], row
    for row in report["errors"]:
        assert max(row["guided"].values()) < 0.7, row  # an empty volume: 1


def test_a_part_below_nothing_is_not_trusted() -> None:
    """A continuum of silicon that is taken off where there was none."""
    part = measured(wire(), level=0.2, behind_silicon=0.1)["sei_in_core"]

    assert part.value < -0.1
    assert not part.trusted
    assert "further below 0 than 2 standard errors" in part.why


def test_a_thin_shell_is_not_trusted() -> None:
    found = measured(wire(shell_nm=5.0), level=0.02)

    assert not found["sei_in_core"].trusted
    assert found["sei_in_core"].why


def test_fewer_counts_have_larger_errors() -> None:
    many = measured(wire(0.3), level=0.2)["sei_in_core"].sigma
    few = measured(wire(0.3), level=0.01)["sei_in_core"].sigma

    assert few > 1.5 * many


def test_each_measure_comes_with_its_error() -> None:
    assert set(measured(wire(), 0.05)) == {field.name for field in fields(Mixing)}


def test_what_is_no_wire_or_no_count_is_refused() -> None:
    with pytest.raises(KernelInputError, match="no silicon"):
        volume_measures(np.zeros((4, 8, 8, 8)), VOXEL_NM)
    with pytest.raises(KernelInputError, match="finite values"):
        volume_measures(np.zeros((8, 8, 8)), VOXEL_NM)
    with pytest.raises(KernelInputError, match="whole numbers"):
        mixing(em, np.full((4, ANGLES_DEG.size, 8, 8), 0.5), ANGLES_DEG, VOXEL_NM)
