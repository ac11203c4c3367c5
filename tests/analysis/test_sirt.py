"""SIRT against the same steps with a sparse matrix."""

import numpy as np
import pytest
from scipy import sparse

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.sirt import sirt
from cryoline.analysis.tomography import project

ANGLES_DEG = np.arange(-60.0, 61.0, 15.0)
SIZE, SLICES = 21, 5


def matrix():
    """The projector of one slice, (tilt * u, z * x), by a formula."""
    z, x = np.mgrid[:SIZE, :SIZE].reshape(2, -1) - (SIZE - 1) / 2
    pixel = np.arange(SIZE) - (SIZE - 1) / 2
    rows = []
    for angle in np.deg2rad(ANGLES_DEG):
        u = x * np.cos(angle) + z * np.sin(angle)
        rows.append(np.clip(1 - np.abs(pixel[:, None] - u), 0, None))
    return sparse.csr_matrix(np.vstack(rows))


@pytest.mark.parametrize("non_negative", [True, False])
@pytest.mark.parametrize("relaxation", [1.0, 1.7])
def test_steps_are_those_of_a_sparse_matrix(non_negative, relaxation) -> None:
    rng = np.random.default_rng(1)
    data = rng.normal(2.0, 3.0, (ANGLES_DEG.size, SIZE, SLICES))
    mask = rng.random((SIZE, SIZE)) < 0.8

    volume = sirt(
        data, ANGLES_DEG, 6, mask=mask,
        relaxation=relaxation, non_negative=non_negative,
    )  # fmt: skip

    full = matrix()
    inside = mask.reshape(-1, 1).astype(float)
    rows = full @ inside
    rows = np.divide(1, rows, out=np.zeros_like(rows), where=rows > 1e-6)
    columns = np.asarray(full.sum(axis=0)).reshape(-1, 1)
    columns = np.divide(inside, columns, out=np.zeros_like(columns), where=columns > 0)
    x = np.zeros((SIZE * SIZE, SLICES))
    for _ in range(6):
        rest = rows * (data.reshape(-1, SLICES) - full @ x)
        x += relaxation * columns * (full.T @ rest)
        x = np.maximum(x, 0) if non_negative else x
    error = np.linalg.norm(volume.reshape(-1, SLICES) - x) / np.linalg.norm(x)
    assert error < 1e-5


def test_a_body_is_found_and_more_steps_leave_less() -> None:
    body = np.zeros((2, SIZE, SIZE, SLICES), np.float32)
    body[0, 7:13, 9:15, 1:4], body[1, 4:8, 5:9] = 5.0, 2.0
    data = project(body, ANGLES_DEG)

    rests = [
        np.linalg.norm(project(sirt(data, ANGLES_DEG, n), ANGLES_DEG) - data)
        for n in (5, 20, 80)
    ]

    assert rests[0] > rests[1] > rests[2]
    assert rests[2] < 0.03 * np.linalg.norm(data)
    again = sirt(data, ANGLES_DEG, 20, start=sirt(data, ANGLES_DEG, 60), threads=3)
    np.testing.assert_array_equal(again, sirt(data, ANGLES_DEG, 80))


def test_nothing_that_one_begins_with_is_left_where_nothing_can_be() -> None:
    data = np.ones((ANGLES_DEG.size, SIZE, SLICES))
    mask = np.zeros((SIZE, SIZE), bool)
    mask[5:16, 5:16] = True

    volume = sirt(data, ANGLES_DEG, 2, start=np.ones((SIZE, SIZE, SLICES)), mask=mask)

    assert (volume[~mask] == 0).all()
    assert (volume[mask] > 0).any()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"relaxation": 2.0}, r"relaxation 2 is outside 0..2"),
        ({"n_iter": 0}, "n_iter 0 is below 1"),
        ({"start": np.zeros((3, 3, 3))}, "start .* doesn't fit"),
        ({"angles_deg": [0.0]}, "1 angles don't fit 9 projections"),
    ],
)
def test_bad_input_is_refused(options, text) -> None:
    data = np.ones((ANGLES_DEG.size, SIZE, SLICES))
    with pytest.raises(KernelInputError, match=text):
        sirt(data, **({"angles_deg": ANGLES_DEG} | options))
