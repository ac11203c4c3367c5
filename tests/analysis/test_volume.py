from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from cryoline.analysis.eds import HE_2021, Events, element_maps, net_counts
from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.volume import SeriesVolume, VolumeSettings, detector_share
from cryoline.sim.phantom import make_bead, make_wire
from cryoline.sim.specimen_voxels import list_voxels
from cryoline.sim.tilt_render import HE_ANGLES_DEG, render_tilt_series

ELEMENTS = tuple(window.element for window in HE_2021)


def reconstruct(series, settings=None, *, sign=1.0):
    """Return the volume of a rendered series."""
    volume = SeriesVolume(settings)
    for tilt in series:
        maps = element_maps(
            Events(tilt.eds.y, tilt.eds.x, tilt.eds.channel), HE_2021, (512, 512)
        )
        continuum = net_counts(maps.spectrum, HE_2021).continuum
        share = detector_share(np.bincount(tilt.eds.quadrant, minlength=4))
        volume.add(maps, continuum, sign * tilt.tilt_deg, exposure=share)
    return volume


def on_grid(atoms, voxel_nm, settings, pixel_nm):
    """Return the truth on the volume's grid, as coarse as that."""
    size, step = settings.size_voxels, settings.bin_px * pixel_nm / voxel_nm
    axes = [
        (np.arange(size) - (size - 1) / 2) * step + (n - 1) / 2 for n in atoms.shape
    ]
    smooth = ndimage.gaussian_filter(atoms.astype(np.float32), step / 2.355)
    grid = np.meshgrid(*axes, indexing="ij")
    return ndimage.map_coordinates(smooth, grid, order=1, mode="constant")


@pytest.fixture(scope="module")
def wire():
    return make_wire(seed=5)


@pytest.fixture(scope="module")
def series(wire):
    return list(render_tilt_series(list_voxels(wire), seed=5))


@pytest.fixture(scope="module")
def volume(series):
    return reconstruct(series)


@pytest.fixture(scope="module")
def final(volume):
    return volume.final()


def test_each_element_is_where_the_specimen_has_it(wire, volume, final):
    settings = volume.settings
    for element, found in zip(ELEMENTS, final, strict=True):
        truth = on_grid(wire.elements[element], wire.voxel_nm, settings, 2.134)
        correlation = np.corrcoef(found.ravel(), truth.ravel())[0, 1]
        # Over five seeds .965, .86, .83 and .81; an empty volume has none.
        least = {"Si": 0.93, "O": 0.81, "F": 0.77, "C": 0.74}[element]
        assert correlation > least, (element, correlation)


def test_the_core_is_silicon_and_the_shell_is_not(final):
    silicon, oxygen, fluorine, _ = final
    middle = slice(40, 88)
    z, x = np.mgrid[:128, :128] - 63.5
    radius_nm = np.hypot(z, x) * 4.268
    core, shell = radius_nm < 25, (radius_nm > 44) & (radius_nm < 52)

    def contrast(element):
        flat = element[:, :, middle].mean(axis=2)
        return flat[core].mean() / flat[shell].mean()

    assert contrast(silicon) > 5
    assert contrast(oxygen) < 0.7
    assert contrast(fluorine) < 0.7


def test_the_live_volume_comes_close_to_the_final_one(volume, final):
    live = volume.live()

    assert np.corrcoef(live[0].ravel(), final[0].ravel())[0, 1] > 0.97


def test_full_volumes_show_the_same_in_finer_voxels(wire, series):
    settings = VolumeSettings(size_voxels=32, bin_px=8, full_bin_px=4)
    volume = reconstruct(series[::3], settings)
    coarse, full = volume.final()[0], volume.full(0)

    assert full.shape == (64, 64, 64)

    def off(moved_voxels):
        moved = np.roll(full, moved_voxels, axis=1).reshape(32, 2, 32, 2, 32, 2)
        return np.linalg.norm(moved.sum(axis=(1, 3, 5)) - coarse)

    # Of the same field, to less than a fine voxel.
    assert off(0) < 0.05 * np.linalg.norm(coarse)
    assert off(1) > 0.1 * np.linalg.norm(coarse)
    fine = replace(settings, size_voxels=64, bin_px=4)
    truth = on_grid(wire.elements["Si"], wire.voxel_nm, fine, 2.134)
    # Nine tilts instead of 25: .87
    assert np.corrcoef(full.ravel(), truth.ravel())[0, 1] > 0.8


def test_full_voxels_have_to_divide_the_coarse_ones():
    with pytest.raises(KernelInputError, match="full_bin_px 2 does not divide bin_px"):
        VolumeSettings(bin_px=3, full_bin_px=2)
    with pytest.raises(KernelInputError, match="add a tilt first"):
        SeriesVolume(VolumeSettings(size_voxels=8)).full(0)


def test_a_map_that_lies_off_across_the_axis_is_moved_back(series):
    few = series[::3]
    moved = [few[0], *few[1:]]
    off_px = 8
    shifted = few[4].eds.x.astype(int) + off_px
    kept = shifted < 512
    events = {
        name: getattr(few[4].eds, name)[kept] for name in ("y", "channel", "quadrant")
    }
    moved[4] = replace(few[4], eds=SimpleNamespace(x=shifted[kept], **events))

    aligned, left = (
        reconstruct(moved, VolumeSettings(size_voxels=64, bin_px=4, align=align))
        for align in (True, False)
    )

    truth = reconstruct(few, VolumeSettings(size_voxels=64, bin_px=4)).final()
    strays = aligned.strays_px
    assert strays[4] == pytest.approx(off_px, abs=1.5)
    assert np.abs(np.delete(strays, 4)).max() < 1.5
    assert (left.strays_px == 0).all()

    def error(volume):
        return np.linalg.norm(volume.final()[0] - truth[0])

    assert error(aligned) < 0.3 * error(left)


def test_a_second_pass_gives_the_same_bits(series):
    settings = VolumeSettings(size_voxels=32, final_iterations=3)
    once, again = (reconstruct(series[:5], settings) for _ in range(2))

    assert (again.live() == once.live()).all()
    assert (again.final() == once.final()).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_bead_is_found_where_it_lies_unless_angles_are_negated(sign):
    angles = HE_ANGLES_DEG[::3]
    series = render_tilt_series(list_voxels(make_bead()), angles_deg=angles, seed=2)
    volume = reconstruct(series, sign=sign).final().sum(axis=0)
    bright = np.where(volume > 0.5 * volume.max(), volume, 0.0)
    z, x, _ = (np.array(ndimage.center_of_mass(bright)) - 63.5) * 4.268

    off_nm = np.hypot(x - 20.0, z - 10.0)
    if sign > 0:
        assert off_nm < 4.268
    else:
        assert off_nm > 2 * 4.268


def test_half_a_shadowed_detector_counts_half():
    assert detector_share([100, 100, 100, 100]) == pytest.approx(1.0)
    assert detector_share([0, 100, 100, 0]) == pytest.approx(0.5)
    assert detector_share([0, 0, 0, 0]) == 1.0


def test_a_map_smaller_than_the_volume_is_refused():
    maps = element_maps(Events([0], [0], [0]), HE_2021, (64, 64))

    with pytest.raises(KernelInputError, match="64 x 64 px is smaller than the volume"):
        SeriesVolume(VolumeSettings()).add(maps, [1.0] * 4, 0.0)


def test_no_tilt_gives_no_volume():
    with pytest.raises(KernelInputError, match="no tilt was added"):
        SeriesVolume(VolumeSettings(size_voxels=8)).final()
