"""Projector and EM against formulas of their own; handedness; what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.tomography import (
    OnlineReconstruction,
    backproject,
    mlem,
    project,
    stack_from_images,
)

ANGLES_DEG = np.arange(-60.0, 61.0, 15.0)
SIZE, SLICES = 21, 5
# Odd and even, narrower and wider than the detector, more slices than one block.
SHAPES = [((21, 21, 5), 21), ((16, 24, 3), 20), ((9, 12, 70), 31)]


def weights(nz: int, nx: int, pixels: int, angles_deg: NDArray[np.float64]):
    """The projector of one slice as a matrix (tilt * u, z * x), by a formula.

    A voxel's share in a pixel falls linearly with their distance, to 0 at one pixel.
    """
    z, x = np.mgrid[:nz, :nx].reshape(2, -1).astype(float)
    z, x = z - (nz - 1) / 2, x - (nx - 1) / 2
    pixel = np.arange(pixels) - (pixels - 1) / 2
    rows = []
    for angle in np.deg2rad(angles_deg):
        u = x * np.cos(angle) + z * np.sin(angle)
        rows.append(np.clip(1 - np.abs(pixel[:, None] - u), 0, None))
    return np.vstack(rows)


def counts(seed=1, level=3.0, tilts=ANGLES_DEG.size, size=SIZE, slices=SLICES):
    rng = np.random.default_rng(seed)
    return rng.poisson(level, (tilts, size, slices)).astype(np.float32)


@pytest.mark.parametrize(("shape", "pixels"), SHAPES)
def test_projection_is_that_of_the_dense_formula(shape, pixels) -> None:
    volume = np.random.default_rng(2).random(shape, dtype=np.float32)

    projections = project(volume, ANGLES_DEG, width=pixels)

    nz, nx = shape[:2]
    matrix = weights(nz, nx, pixels, ANGLES_DEG)
    dense = (matrix @ volume.reshape(-1, shape[2])).reshape(-1, pixels, shape[2])
    # float32 sums of up to 24 terms
    np.testing.assert_allclose(projections, dense, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(("shape", "pixels"), SHAPES)
def test_backprojection_is_the_adjoint(shape, pixels) -> None:
    rng = np.random.default_rng(3)
    volume = rng.standard_normal(shape).astype(np.float32)
    rays = rng.standard_normal((ANGLES_DEG.size, pixels, shape[2])).astype(np.float32)

    forwards = np.vdot(project(volume, ANGLES_DEG, width=pixels).astype(float), rays)
    backwards = np.vdot(volume, backproject(rays, ANGLES_DEG, shape).astype(float))

    norm = np.linalg.norm(volume) * np.linalg.norm(rays)
    assert abs(forwards - backwards) < 1e-6 * norm


def test_mass_is_kept_at_every_tilt_that_sees_all() -> None:
    volume = np.zeros((30, 30, 4), np.float32)
    volume[8:22, 8:22] = np.random.default_rng(4).random((14, 14, 4))

    projections = project(volume, ANGLES_DEG)

    np.testing.assert_allclose(projections.sum((1, 2)), volume.sum(), rtol=1e-6)


def test_what_misses_the_detector_lands_nowhere() -> None:
    volume = np.zeros((25, 25, 1), np.float32)
    volume[0, 0], volume[-1, -1], volume[0, -1], volume[-1, 0] = 1, 2, 4, 8

    projections = project(volume, [45.0, -45.0])

    # The far corners lie 17 pixels from the axis, the detector ends at 12.
    assert projections[0].sum() == pytest.approx(12.0, rel=1e-6)
    assert projections[1].sum() == pytest.approx(3.0, rel=1e-6)
    assert (projections[:, [0, 1, -2, -1]] == 0).all()


def test_a_pixel_beside_a_bright_voxel_is_neither_lost_nor_negative() -> None:
    """A pixel's part of a row is a difference, which must not be eaten by rounding."""
    volume = np.ones((24, 24, 1), np.float32)
    volume[7, 15], volume[12, 3] = 1e5, 3e5
    angles = np.random.default_rng(8).uniform(-89, 89, 60)

    projections = project(volume, angles)

    dense = (weights(24, 24, 24, angles) @ volume.reshape(-1)).reshape(-1, 24)
    assert (projections >= 0).all()
    # shares are right to half a millionth: of 3e5 this is 0.15
    np.testing.assert_allclose(projections[..., 0], dense, rtol=1e-5, atol=0.2)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    a=st.floats(-3, 3, width=32),
    b=st.floats(-3, 3, width=32),
    angle_deg=st.floats(-89, 89),
)
def test_projection_is_linear(seed, a, b, angle_deg) -> None:
    rng = np.random.default_rng(seed)
    one, two = rng.random((2, 8, 11, 3), dtype=np.float32)

    together = project(a * one + b * two, [angle_deg])

    apart = a * project(one, [angle_deg]) + b * project(two, [angle_deg])
    np.testing.assert_allclose(together, apart, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 50))
def test_em_scales_with_the_counts_and_stays_positive(seed, scale) -> None:
    data = counts(seed % 1000, tilts=3, size=9)

    volume = mlem(data, [-40.0, 0.0, 40.0], 3)
    scaled = mlem(scale * data, [-40.0, 0.0, 40.0], 3)

    assert (volume >= 0).all()
    np.testing.assert_allclose(scaled, scale * volume, rtol=1e-4, atol=1e-5)


def test_em_is_that_of_a_sparse_matrix() -> None:
    data = counts()
    rng = np.random.default_rng(5)
    start = rng.random((SIZE, SIZE, SLICES), dtype=np.float32) + 0.5
    rays = rng.random(data.shape, dtype=np.float32)
    exposure = rng.random(ANGLES_DEG.size) + 0.5

    volume = mlem(data, ANGLES_DEG, 6, start=start, background=rays, exposure=exposure)

    matrix = sparse.csr_matrix(weights(SIZE, SIZE, SIZE, ANGLES_DEG))
    matrix = sparse.diags(np.repeat(exposure, SIZE)) @ matrix
    x = start.reshape(-1, SLICES).astype(float)
    measured = data.reshape(-1, SLICES)
    sensitivity = np.asarray(matrix.sum(axis=0)).reshape(-1, 1)
    for _ in range(6):
        expected = matrix @ x + rays.reshape(-1, SLICES)
        x *= (matrix.T @ (measured / expected)) / sensitivity
    error = np.linalg.norm(volume.reshape(-1, SLICES) - x) / np.linalg.norm(x)
    assert error < 1e-5


def test_em_finds_a_body_in_noiseless_counts() -> None:
    body = np.zeros((SIZE, SIZE, SLICES), np.float32)
    body[7:13, 9:15, 1:4] = 5.0
    angles = np.arange(-85.0, 86.0, 5.0)

    volume = mlem(project(body, angles), angles, 60)

    assert np.corrcoef(volume.ravel(), body.ravel())[0, 1] > 0.98
    assert volume.sum() == pytest.approx(body.sum(), rel=1e-3)


def test_the_likelihood_never_falls() -> None:
    data, likelihoods, changes = counts(), [], []

    for n_iter in range(1, 12):
        online = OnlineReconstruction((SIZE, SIZE, SLICES), n_iter=n_iter)
        online.add(data[0], 0.0)
        online.add(data[1], 30.0)
        assert online.convergence.tilts == 2
        assert online.convergence.iterations == n_iter
        likelihoods.append(online.convergence.log_likelihood)
        changes.append(online.convergence.relative_change)

    assert (np.diff(likelihoods) > 0).all()
    assert (np.diff(changes) < 0).all()


def test_background_belongs_to_the_model() -> None:
    body = np.zeros((SIZE, SIZE, SLICES), np.float32)
    body[8:13, 8:13] = 4.0
    rays = np.full((ANGLES_DEG.size, SIZE, SLICES), 6.0, np.float32)
    data = project(body, ANGLES_DEG) + rays

    with_it = mlem(data, ANGLES_DEG, 20, background=rays)
    without = mlem(data, ANGLES_DEG, 20)

    outside = np.hypot(*(np.mgrid[:SIZE, :SIZE] - 10)) > 6
    assert with_it[outside].mean() < 0.1 * without[outside].mean()
    assert with_it.sum() == pytest.approx(body.sum(), rel=0.1)


def test_nothing_is_found_outside_the_mask() -> None:
    mask = np.zeros((SIZE, SIZE, SLICES), bool)
    mask[5:15, 4:16, 1:] = True

    volume = mlem(counts(), ANGLES_DEG, 3, mask=mask)

    assert (volume[~mask] == 0).all()
    assert (volume[mask] > 0).any()


def test_elements_and_slices_do_not_touch_each_other() -> None:
    data = np.stack([counts(1, slices=70), counts(2, slices=70)])

    together = mlem(data, ANGLES_DEG, 3)

    for element in range(2):
        alone = mlem(data[element], ANGLES_DEG, 3)
        np.testing.assert_array_equal(together[element], alone)
    order = np.random.default_rng(6).permutation(70)
    start = np.ones((SIZE, SIZE, 70), np.float32)
    straight = mlem(data[0], ANGLES_DEG, 3, start=start)
    shuffled = mlem(data[0][..., order], ANGLES_DEG, 3, start=start)
    np.testing.assert_array_equal(straight[..., order], shuffled)


@pytest.mark.parametrize("threads", [2, 5])
def test_bits_do_not_depend_on_the_threads(threads) -> None:
    data = np.stack([counts(1, slices=130), counts(2, slices=130)])

    alone = mlem(data, ANGLES_DEG, 3)

    np.testing.assert_array_equal(alone, mlem(data, ANGLES_DEG, 3, threads=threads))
    np.testing.assert_array_equal(
        project(alone, ANGLES_DEG), project(alone, ANGLES_DEG, threads=threads)
    )


def test_the_last_of_many_volumes_is_that_of_the_batch() -> None:
    data, rays = counts(1), 0.1 * counts(2)
    exposure = np.linspace(0.5, 1.5, ANGLES_DEG.size)
    online = OnlineReconstruction((SIZE, SIZE, SLICES), n_iter=4)

    for k, angle in enumerate(ANGLES_DEG):
        online.add(data[k], angle, rays[k], exposure=exposure[k])

    batch = mlem(data, ANGLES_DEG, 4, background=rays, exposure=exposure)
    np.testing.assert_array_equal(online.volume, batch)
    at_once = OnlineReconstruction((SIZE, SIZE, SLICES), n_iter=4)
    at_once.extend(data, ANGLES_DEG, rays, exposure=exposure)
    np.testing.assert_array_equal(at_once.volume, batch)
    assert at_once.convergence == online.convergence


def test_a_warm_start_goes_on_where_the_tilt_before_ended() -> None:
    data = counts(1)
    volume = OnlineReconstruction((SIZE, SIZE, SLICES), n_iter=2, warm=True)

    volume.add(data[0], 0.0)
    first = volume.volume
    volume.add(data[1], 20.0)

    expected = mlem(data[:2], [0.0, 20.0], 2, start=first)
    np.testing.assert_array_equal(volume.volume, expected)
    assert volume.convergence.iterations == 4


def test_an_even_start_holds_the_counts_above_the_background() -> None:
    angles, rng = [-30.0, 0.0, 30.0], np.random.default_rng(9)
    background = rng.uniform(0.0, 4.0, (3, 8, 2)).astype(np.float32)
    counts = rng.poisson(6.0 + background)
    level = (counts.sum() - background.sum()) / project(
        np.ones((8, 8, 2)), angles
    ).sum()

    found = mlem(counts, angles, 2, background=background)

    even = np.full((8, 8, 2), level)
    wanted = mlem(counts, angles, 2, start=even, background=background)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_twenty_steps_are_taken_as_the_paper_took_them() -> None:
    counts = np.random.default_rng(9).poisson(5.0, (3, 8, 2))

    asked, default = mlem(counts, [-30, 0, 30], 20), mlem(counts, [-30, 0, 30])

    np.testing.assert_array_equal(default, asked)


def test_images_become_projections_by_one_function_only() -> None:
    images = np.arange(24).reshape(2, 3, 4)  # (tilt, y, x)

    stack = stack_from_images(images)

    assert stack.shape == (2, 4, 3)
    np.testing.assert_array_equal(stack[1], images[1].T)
    with pytest.raises(KernelInputError, match=r"no stack; give \(tilt, y, x\)"):
        stack_from_images(images[0])


def bead_images(angles_deg, voxel_nm=4.0, size=41):
    """Detector images (tilt, y, x) of one bead at (x, z) = (+20, +10) nm, y = -8 nm.

    Drawn where the bead appears, by no projector: a point at +z moves to +u at a
    positive tilt.
    """
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) * voxel_nm
    images = []
    for angle in np.deg2rad(angles_deg):
        u = 20.0 * np.cos(angle) + 10.0 * np.sin(angle)
        images.append(100 * np.exp(-((x - u) ** 2 + (y + 8.0) ** 2) / 2 / 5.0**2))
    return np.random.default_rng(7).poisson(images)


def bead_place_nm(images, angles_deg, voxel_nm=4.0):
    """Where EM finds it, (x, z, y)."""
    volume = mlem(stack_from_images(images), angles_deg, 10)
    z, x, y = np.indices(volume.shape) - (volume.shape[0] - 1) / 2
    mass = volume.sum()
    return voxel_nm * np.array([(p * volume).sum() / mass for p in (x, z, y)])


def test_a_bead_is_found_where_it_is_and_mirrored_with_negated_angles() -> None:
    angles = np.arange(-60.0, 61.0, 5.0)
    images = bead_images(angles)

    found = bead_place_nm(images, angles)
    mirrored = bead_place_nm(images, -angles)

    np.testing.assert_allclose(found, [20.0, 10.0, -8.0], atol=4.0)  # a voxel
    assert abs(mirrored[1] - 10.0) > 8.0
    np.testing.assert_allclose(mirrored, [20.0, -10.0, -8.0], atol=4.0)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda d: mlem(d - 9, ANGLES_DEG), "are negative or not finite, the first at"),
        (
            lambda d: mlem(np.where(d == d[4, 3, 2], np.nan, d), ANGLES_DEG),
            "mend or leave out what the detector did not measure",
        ),
        (lambda d: mlem(d, ANGLES_DEG[1:]), "8 angles don't fit 9 projections"),
        (lambda d: mlem(d, [np.nan] * 9), "one finite angle a tilt"),
        (lambda d: mlem(d, ANGLES_DEG, 0), "n_iter 0 is below 1"),
        (lambda d: mlem(d[0], ANGLES_DEG), "projections: 2 axes"),
        (lambda d: mlem(d, ANGLES_DEG, background=-d - 1), "background: .* negative"),
        (lambda d: mlem(d, ANGLES_DEG, background=d[:3]), "background .* doesn't fit"),
        (lambda d: mlem(d, ANGLES_DEG, start=d[..., 1:]), "start: .* doesn't fit"),
        (lambda d: mlem(d, ANGLES_DEG, exposure=np.zeros(9)), "values above 0"),
        (lambda d: mlem(d, ANGLES_DEG, exposure=np.ones(3)), r"give \(9,\)"),
        (lambda d: mlem(d, ANGLES_DEG, mask=np.ones((21, 21, 9))), "mask .* a volume"),
        (lambda d: backproject(d, ANGLES_DEG, (21, 21, 9)), "y is the same in both"),
        (lambda d: project(np.where(d > 3, np.inf, d), ANGLES_DEG), "are not finite"),
        (lambda d: OnlineReconstruction((4, 4)), r"give \(z, x, y\) or"),
        (
            lambda d: OnlineReconstruction((21, 21, 5)).add(d[0].T, 0.0),
            r"projection: \(5, 21\) doesn't fit; give \(u, y\) = \(21, 5\)",
        ),
        (
            lambda d: OnlineReconstruction((21, 21, 4)).extend(d, ANGLES_DEG),
            r"projections: \(9, 21, 5\) don't fit; give \(element, tilt, u, y\)",
        ),
    ],
)
def test_bad_input_is_refused_with_a_reason(call, text) -> None:
    with pytest.raises(KernelInputError, match=text):
        call(counts())


def test_a_refused_tilt_leaves_the_volume_as_it_was() -> None:
    online = OnlineReconstruction((SIZE, SIZE, SLICES))
    online.add(counts()[0], 0.0)
    before = online.volume

    with pytest.raises(KernelInputError):
        online.add(counts()[1], 10.0, background=np.full((SIZE, SLICES), -1.0))

    np.testing.assert_array_equal(online.volume, before)
    assert online.convergence.tilts == 1
