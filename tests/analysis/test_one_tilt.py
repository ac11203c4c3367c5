"""A step on one tilt against a matrix, and how such steps end where the batch does."""

import numpy as np
import pytest

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.tomography import OnlineReconstruction, mlem

SIZE, SLICES = 21, 70  # more slices than one block


def weights(angle_deg: float, pixels: int, size: int = SIZE):
    """The projector of one slice (u, z * x): shares fall linearly to 0 at a pixel."""
    z, x = np.mgrid[:size, :size].reshape(2, -1) - (size - 1) / 2
    angle = np.deg2rad(angle_deg)
    u = x * np.cos(angle) + z * np.sin(angle)
    pixel = np.arange(pixels) - (pixels - 1) / 2
    return np.clip(1 - np.abs(pixel[:, None] - u), 0, None)


@pytest.mark.parametrize("pixels", [14, 21, 40])
@pytest.mark.parametrize("angle_deg", [0.0, -37.0, 70.0])
def test_a_step_is_that_of_a_matrix(angle_deg, pixels) -> None:
    rng = np.random.default_rng(1)
    first, second = rng.poisson(30.0, (2, pixels, SLICES)).astype(float)
    rays = rng.random((pixels, SLICES))
    mask = rng.random((SIZE, SIZE)) < 0.9
    online = OnlineReconstruction(
        (SIZE, SIZE, SLICES), ordered=True, strength=0.7, width=pixels, mask=mask
    )
    online.add(first, 10.0)
    before = online.volume.reshape(-1, SLICES).astype(float)

    online.add(second, angle_deg, rays, exposure=1.5)

    matrix = weights(angle_deg, pixels)
    asked = second / (1.5 * matrix @ before + rays) - 1
    wanted = before * (1 + 0.7 * matrix.T @ asked)
    np.testing.assert_allclose(
        online.volume.reshape(-1, SLICES), wanted, rtol=2e-4, atol=1e-5
    )
    seen = matrix.any(axis=0)  # the change is that of voxels on the detector
    moved = np.linalg.norm((wanted - before)[seen]) / np.linalg.norm(wanted[seen])
    assert online.convergence.relative_change == pytest.approx(moved, rel=1e-3)
    assert online.convergence.iterations == 2


def body_and_counts():
    z, x, y = np.mgrid[:SIZE, :SIZE, :4] - 10.0
    body = 8.0 * np.exp(-((x - 2) ** 2 + (z + 3) ** 2 + y**2 / 40) / 18)
    angles = np.arange(-60.0, 61.0, 10.0)
    means = [weights(angle, SIZE) @ body.reshape(-1, 4) for angle in angles]
    return body, angles, np.random.default_rng(2).poisson(means).astype(float)


def test_ordered_steps_settle_at_the_batch_result() -> None:
    body, angles, counts = body_and_counts()
    online = OnlineReconstruction(body.shape, ordered=True)
    for angle, image in zip(angles, counts, strict=True):
        online.add(image, angle)
    grown = online.volume
    online.settle(20)
    settled = online.volume

    batch = mlem(counts, angles, 20)

    def off(volume, other):
        return np.linalg.norm(volume - other) / np.linalg.norm(other)

    def likelihood(volume):
        flat = volume.reshape(-1, 4).astype(float)
        means = np.array([weights(angle, SIZE) @ flat for angle in angles])
        return (counts * np.log(means + 1e-12) - means).sum()

    assert likelihood(settled) > likelihood(batch)
    # Where the two still differ the counts don't tell them apart.
    assert off(settled, batch) < 0.1 < off(grown, batch)
    assert online.convergence.tilts == angles.size


def test_ordered_bits_do_not_depend_on_threads_or_on_other_elements() -> None:
    rng = np.random.default_rng(3)
    counts = rng.poisson(5.0, (2, 3, SIZE, SLICES)).astype(float)
    many = OnlineReconstruction((2, SIZE, SIZE, SLICES), ordered=True, threads=3)
    many.extend(counts, [0.0, 30.0, -50.0])

    for element in range(2):
        one = OnlineReconstruction((SIZE, SIZE, SLICES), ordered=True)
        for tilt, angle in enumerate([0.0, 30.0, -50.0]):
            one.add(counts[element, tilt], angle)
        np.testing.assert_array_equal(many.volume[element], one.volume)
    assert (many.volume >= 0).all()


def test_what_ordered_steps_can_t_take_is_refused() -> None:
    image = np.ones((SIZE, SLICES))
    online = OnlineReconstruction((SIZE, SIZE, SLICES), ordered=True)

    with pytest.raises(KernelInputError, match="no tilt was added; add one first"):
        online.settle()
    with pytest.raises(KernelInputError, match="88 deg; a step on one tilt needs"):
        online.add(image, 88.0)
    with pytest.raises(KernelInputError, match=r"strength 1.5 is outside 0..1"):
        OnlineReconstruction((4, 4, 4), ordered=True, strength=1.5)
