"""Slices lie where they are asked for in nm, whatever the voxels."""

import numpy as np
import pytest

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.slabs import Volumes, find_wire


def planes(n=10):
    """Return one volume whose value is the number of its plane along x."""
    return np.broadcast_to(np.arange(n)[:, None], (1, n, n, n)).astype(float)


def test_slab_is_the_mean_of_whole_voxels_about_its_place() -> None:
    volumes = Volumes(planes(), 2.0)

    slab = volumes.slab("x", 0.0, 4.0)

    assert slab.thickness_nm == 4.0
    assert slab.values.shape == (1, 10, 10)
    np.testing.assert_allclose(slab.values, 4.5)  # planes 4 and 5 meet at 0 nm
    np.testing.assert_allclose(volumes.slab("x", 3.0, 0.1).values, 6.0)


def test_slab_at_the_edge_keeps_its_thickness_within_the_volume() -> None:
    slab = Volumes(planes(), 2.0).slab("x", 10.0, 6.0)

    assert slab.thickness_nm == 6.0
    np.testing.assert_allclose(slab.values, 8.0)


def test_finer_voxels_give_the_same_slice() -> None:
    coarse = Volumes(planes(), 2.0).slab("x", -4.0, 4.0)
    fine = Volumes(planes().repeat(2, axis=2), 1.0).slab("x", -4.0, 4.0)

    assert fine.thickness_nm == coarse.thickness_nm
    assert fine.values.mean() == pytest.approx(coarse.values.mean())


@pytest.mark.parametrize("brighter", [1.0, 1000.0])
def test_wire_is_found_off_the_centre_whatever_the_elements_units(brighter) -> None:
    z, x = np.ogrid[-20:21, -20:21]
    distance = np.hypot(z - 3, x + 5)
    core = np.repeat((distance < 5.5)[..., None], 8, axis=-1).astype(float)
    shell = np.repeat((distance < 9.5)[..., None], 8, axis=-1) - core

    (z_nm, x_nm), diameter_nm = find_wire(Volumes([brighter * core, shell], 2.0))

    assert (z_nm, x_nm) == pytest.approx((6.0, -10.0))
    assert diameter_nm == 2.0 * 19


def test_slice_beside_the_volume_is_refused() -> None:
    with pytest.raises(
        KernelInputError, match=r"slice at z = 11 nm: the volume ends at -10 and 10 nm"
    ):
        Volumes(planes(), 2.0).slab("z", 11.0, 2.0)


@pytest.mark.parametrize(
    ("values", "voxel_nm", "text"),
    [
        (np.zeros((4, 4, 4)), 2.0, r"volumes \(4, 4, 4\): give \(element, z, x, y\)"),
        (np.full((1, 2, 2, 2), np.nan), 2.0, "8 of 8 voxels are not finite"),
        (np.zeros((1, 2, 2, 2)), -1.0, "voxels of -1 nm; give a length above 0 nm"),
    ],
)
def test_what_is_no_volume_is_refused(values, voxel_nm, text) -> None:
    with pytest.raises(KernelInputError, match=text):
        Volumes(values, voxel_nm)
