from dataclasses import replace

import numpy as np
import pytest

from cryoline.sim.haadf_image import HaadfModel, scattering_nm2
from cryoline.sim.phantom import Phantom, make_bead
from cryoline.sim.phantom_knobs import ELEMENTS
from cryoline.sim.specimen_voxels import list_voxels
from cryoline.sim.tilt_render import undrifted_view

GAIN, OFFSET = 10.0, 1000.0


def silicon_slab(thickness_nm: float) -> Phantom:
    shape = (int(thickness_nm / 2), 32, 64)
    elements = {e: np.zeros(shape, np.float32) for e in ELEMENTS}
    return Phantom(elements | {"Si": np.full(shape, 50, np.float32)}, 2.0, {})


@pytest.fixture(scope="module")
def slab() -> HaadfModel:
    return HaadfModel(list_voxels(silicon_slab(60.0)))


def test_60_nm_of_silicon_give_674_electrons_a_pixel(slab: HaadfModel) -> None:
    view = undrifted_view(0.0, width_px=24, height_px=48, dwell_s=20e-6, n_frames=22)
    image = slab.render(view)
    electrons = (image.counts - OFFSET) / GAIN

    assert image.counts.shape == (48, 24)
    assert electrons[:, 8:16].mean() == pytest.approx(674, rel=0.01)
    # Poisson noise of the mean of 22 frames, and 2 electrons rms of the electronics.
    noise = np.sqrt((674 + 2**2) / 22)
    assert electrons[:, 8:16].std() == pytest.approx(noise, rel=0.2)
    assert image.n_frames == 22
    assert image.live_time_s == pytest.approx(22 * 24 * 48 * 20e-6)


def test_cross_sections_go_with_z_to_the_1_7() -> None:
    found = dict(zip(ELEMENTS, scattering_nm2(), strict=True))

    assert found["Si"] == pytest.approx(1.2e-5, rel=0.01)
    assert found["Si"] / found["C"] == pytest.approx((14 / 6) ** 1.7)


def test_long_dwell_saturates_at_16_bits(slab: HaadfModel) -> None:
    view = undrifted_view(0.0, width_px=24, height_px=48, dwell_s=1e-3, n_frames=1)

    assert slab.render(view).counts.max() == 65_535.0


def test_bead_is_seen_at_positive_x_and_moves_with_the_offset() -> None:
    bead = HaadfModel(list_voxels(make_bead()))
    view = undrifted_view(30.0, width_px=128, height_px=96, pixel_nm=2.0, n_frames=2)
    view = replace(view, offset_x_nm=np.full(2, -8.0), offset_y_nm=np.full(2, 30.0))
    signal = np.clip(bead.render(view).counts - OFFSET - 100, 0, None)
    y, x = (
        (signal.sum(1 - axis) @ (np.arange(n) + 0.5)) / signal.sum()
        for axis, n in ((0, 96), (1, 128))
    )

    u_nm = 20 * np.cos(np.pi / 6) + 10 * np.sin(np.pi / 6)
    assert x == pytest.approx(64 + (u_nm - 8) / 2, abs=0.15)
    assert y == pytest.approx(48 + 15, abs=0.15)


def test_pixels_that_were_never_scanned_are_0(slab: HaadfModel) -> None:
    view = undrifted_view(0.0, width_px=24, height_px=48, n_frames=1)
    half = replace(
        view,
        frame_fraction=np.array([0.5]),
        frame_charge_c=view.frame_charge_c * 0.5,
    )
    image, whole = slab.render(half), slab.render(view)

    assert (image.counts[24:] == 0).all()
    assert (image.counts[:24] > 0).all()
    assert image.counts[:24, 8:16].mean() == pytest.approx(
        whole.counts[:24, 8:16].mean(), rel=0.02
    )
    assert image.n_frames == 0


def test_same_view_gives_the_same_image_and_another_exposure_another(
    slab: HaadfModel,
) -> None:
    view = undrifted_view(0.0, width_px=24, height_px=48)
    first, again = slab.render(view).counts, slab.render(view).counts
    other = slab.render(replace(view, seed=(0, 1))).counts

    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
