"""Rows on tomography: one step of EM on a whole volume, and one more tilt."""

import numpy as np
import scipy.sparse
from interleaved import Row, compare

from cryoline.analysis.expectation import Expectation

__all__ = ["exactness", "rows"]

_TILTS_DEG = np.linspace(-60.0, 60.0, 25)
_STEPS = 4
"""Of EM in one call: what is done once a call counts for as much of it as in a run."""
_ASTRA_SLICES = 8
_SCIPY_SLICES = 64
"""With which it is fastest here: all slices at once don't fit its caches."""


def rows(size: int = 512) -> list[Row]:
    """Compare with ASTRA's projectors on a CPU, and with sparse matrices."""
    state = _state(size)
    batch = compare(
        f"mlem, one iteration, {size}^3, {_TILTS_DEG.size} tilts, 1 thread",
        lambda: state.iterate(_STEPS),
        {
            "astra (linear, CPU)": (_astra(size), _ASTRA_SLICES / size, 80.0),
            "scipy CSR @ dense, all slices": (_scipy(size, size), 1.0, 9.0),
            f"scipy CSR @ dense, {_SCIPY_SLICES} slices": (
                _scipy(size, _SCIPY_SLICES),
                _SCIPY_SLICES / size,
                9.0,
            ),
        },
        share=_STEPS,
        note="limits of this kind of core are stated in docs/explanations/kernels.md",
    )
    return batch + _one_more_tilt(state, size)


def _one_more_tilt(state: Expectation, size: int) -> list[Row]:
    """One pass through the volume: as a part of a bare copy, and in CPU seconds."""
    counts = np.random.default_rng(2).poisson(20, (1, 1, size, size))
    angles = iter(np.radians(np.tile([35.0, -35.0, 5.0, -50.0, 20.0], 9)))

    def add() -> None:
        state.extend(
            counts.astype(np.float32),
            np.array([next(angles)]),
            np.zeros(counts.shape, np.float32),
            np.ones((1, 1), np.float32),
        )
        state.step_on_last(0.5)

    source, target = np.ones((2, size**3), np.float32)
    copy = compare(
        f"one more tilt of {size}^3, one step on it, 1 thread",
        add,
        {"copy of the volume": (lambda: np.copyto(target, source), 1.0, 0.7)},
        note="1: as fast as a bare copy, each number read once and written once",
    )
    limit_s = 0.15 * (size / 512) ** 3
    own = copy[0].ours_s
    return [*copy, Row(copy[0].kernel, "0.15 CPU-s", own, limit_s, limit_s / own, 1.0)]


def exactness(size: int = 128) -> dict[str, float]:
    """Return how far our projection of a smooth body is from ASTRA's, relative."""
    import astra

    z, x = np.mgrid[:size, :size] - (size - 1) / 2
    body = np.exp(-((x - size / 10) ** 2 + (z + size / 16) ** 2) / (size / 8) ** 2)
    from cryoline.analysis.tomography import project

    ours = project(np.repeat(body[:, :, None], 1, 2), _TILTS_DEG)[:, :, 0]
    # ASTRA's rows run down, its angles turn the other way round.
    geometry = astra.create_proj_geom("parallel", 1.0, size, np.radians(_TILTS_DEG))
    projector = astra.create_projector(
        "linear", geometry, astra.create_vol_geom(size, size)
    )
    operator = astra.OpTomo(projector)
    theirs = operator.FP(body[::-1].astype(np.float32))
    error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    return {"project_against_astra_relative": float(error)}


def _state(size: int) -> Expectation:
    counts = np.random.default_rng(1).poisson(20, (1, _TILTS_DEG.size, size, size))
    state = Expectation((1, size, size, size), size, np.ones((size, size), bool), 1)
    state.extend(
        counts.astype(np.float32),
        np.radians(_TILTS_DEG),
        np.zeros(counts.shape, np.float32),
        np.ones((1, _TILTS_DEG.size), np.float32),
    )
    state.begin()
    return state


def _astra(size: int):
    import astra

    geometry = astra.create_proj_geom("parallel", 1.0, size, np.radians(_TILTS_DEG))
    projector = astra.create_projector(
        "linear", geometry, astra.create_vol_geom(size, size)
    )
    operator = astra.OpTomo(projector)
    counts = np.full((_TILTS_DEG.size, size), 20.0, np.float32)
    volume = np.ones((size, size), np.float32)
    weight = operator.BP(np.ones_like(counts))

    def iterate() -> None:
        for _ in range(_ASTRA_SLICES):
            expected = np.maximum(operator.FP(volume), 1e-12)
            volume[:] = volume * operator.BP(counts / expected) / weight

    return iterate


def _scipy(size: int, slices: int):
    """The same projector as a matrix, times so many slices at once."""
    z, x = (np.mgrid[:size, :size] - (size - 1) / 2).reshape(2, -1)
    voxel = np.arange(size * size)
    parts = []
    for tilt, angle in enumerate(np.radians(_TILTS_DEG)):
        u = x * np.cos(angle) + z * np.sin(angle) + (size - 1) / 2
        left = np.floor(u).astype(int)
        for pixel, share in ((left, 1 - (u - left)), (left + 1, u - left)):
            inside = (pixel >= 0) & (pixel < size)
            parts.append((share[inside], tilt * size + pixel[inside], voxel[inside]))
    data, row, column = (np.concatenate(part) for part in zip(*parts, strict=True))
    matrix = scipy.sparse.csr_matrix(
        (data.astype(np.float32), (row, column)),
        shape=(_TILTS_DEG.size * size, size * size),
    )
    transposed = matrix.T.tocsr()
    counts = np.full((matrix.shape[0], slices), 20.0, np.float32)
    volume = np.ones((matrix.shape[1], slices), np.float32)
    weight = np.maximum(transposed @ np.ones_like(counts[:, :1]), 1e-12)

    def iterate() -> None:
        expected = np.maximum(matrix @ volume, 1e-12)
        volume[:] = volume * (transposed @ (counts / expected)) / weight

    return iterate


if __name__ == "__main__":
    print(exactness())
    for row in rows():
        print(row.as_dict())
