"""A series' volume against its maps, cut, binned and iterated by hand."""

import numpy as np
import pytest
from scipy import ndimage

from cryoline.analysis.eds import ElementMaps, background_maps
from cryoline.analysis.tomography import mlem
from cryoline.analysis.volume import SeriesVolume, VolumeSettings

ANGLES_DEG = (-60.0, -35.0, -10.0, 15.0, 40.0, 65.0)
EXPOSURE = (0.5, 1.0, 0.8, 1.0, 1.0, 0.5)
CONTINUUM = np.array([60.0, 30.0])
STRAYS_PX = (0, 0, 5, 0, -3, 0)


@pytest.fixture(scope="module")
def maps():
    """Maps (y, x) of 28 x 80 px, two elements; the body lies off in some."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:28, :80]
    found = []
    for off in STRAYS_PX:
        body = np.exp(-(((x - 39.5 - off) / 4) ** 2) - ((y - 12.0) / 6) ** 2)
        counts = rng.poisson([20 * body, 6 * body]).astype(np.uint32)
        sides = rng.poisson(0.1 + body).astype(np.uint32)
        found.append(ElementMaps(("Si", "O"), counts, sides, np.zeros(1, np.int64)))
    return found


def grown(maps, **settings):
    given = VolumeSettings(
        size_voxels=8, background_sigma_px=2.0, final_iterations=4, **settings
    )
    volume = SeriesVolume(given, elements=2)
    for one, angle_deg, exposure in zip(maps, ANGLES_DEG, EXPOSURE, strict=True):
        volume.add(one, CONTINUUM, angle_deg, exposure=exposure)
    return volume


def by_hand(maps, moves, *, steps=4, bin_px=2):
    """Return the volume of the maps' middles, moved, binned, without a filter."""

    def projections(images):
        size = 16 // bin_px
        out = np.zeros((2, len(images), size, size))
        for tilt, (image, move) in enumerate(zip(images, moves, strict=True)):
            for u in range(size):
                for v in range(size):
                    rows = slice(6 + v * bin_px, 6 + (v + 1) * bin_px)
                    left = 32 + move + u * bin_px
                    out[:, tilt, u, v] = image[:, rows, left : left + bin_px].sum(
                        axis=(1, 2)
                    )
        return out

    background = [background_maps(one, CONTINUUM, sigma_px=2.0) for one in maps]
    return mlem(
        projections([one.counts for one in maps]),
        ANGLES_DEG,
        steps,
        background=projections(background),
        exposure=EXPOSURE,
    )


@pytest.mark.parametrize("align", [False, True])
def test_it_is_the_iteration_on_counts_background_and_exposure(maps, align) -> None:
    volume = grown(maps, align=align, sigma_voxels=0.0, live_iterations=2)
    moves = np.rint(volume.strays_px).astype(int).tolist()

    assert any(moves) is align
    if align:  # what is no circle about the axis
        assert moves[2] >= 3
        assert moves[4] <= -1
    np.testing.assert_allclose(volume.final(), by_hand(maps, moves), rtol=1e-5)
    np.testing.assert_allclose(volume.live(), by_hand(maps, moves, steps=2), rtol=1e-5)


def test_the_filter_is_as_wide_in_nm_on_fine_voxels_and_mixes_no_elements(maps) -> None:
    volume = grown(maps, align=False, sigma_voxels=1.5)

    for bin_px, found in ((2, volume.final()), (1, [volume.full(0), volume.full(1)])):
        for plain, one in zip(
            by_hand(maps, [0] * 6, bin_px=bin_px), found, strict=True
        ):
            smooth = ndimage.gaussian_filter(plain, 3.0 / bin_px, mode="constant")
            np.testing.assert_allclose(one, smooth, rtol=1e-4, atol=1e-6)


def test_a_tilt_that_comes_after_a_look_is_in_the_next_one(maps) -> None:
    volume = grown(maps, align=False)
    before = volume.live()

    volume.add(maps[0], CONTINUUM, 60.0)

    assert volume.convergence.tilts == 7
    assert np.abs(volume.live() - before).max() > 0.01 * before.max()
