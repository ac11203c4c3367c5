"""Expectation maximisation over the tilts that are there: the state of one volume.

`mlem` fills it at once, `OnlineReconstruction` a tilt at a time; the iteration is the
same, so that the two can't drift apart.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoline.analysis.one_tilt import one_tilt
from cryoline.analysis.projector import (
    LANES,
    em,
    for_each_block,
    from_blocks,
    sensitivity,
    tiles_of,
    to_blocks,
)

__all__ = ["Convergence", "Expectation"]

_FIRST_CAPACITY: Final = 8


class Convergence(NamedTuple):
    """How far the last iteration still moved the volume."""

    tilts: int
    iterations: int
    """In all, since the volume was even."""
    relative_change: float
    """Root mean square change in the last iteration, as a part of the volume's."""
    log_likelihood: float
    """Of the counts that the last iteration was on, before it; without constants."""


class Expectation:
    """A volume, the counts of the tilts so far, and the step that fits one to them.

    shape: (element, z, x, y)
    pixels: of the detector along u
    support: (z, x) or (z, x, y), False where there can be nothing
    Checks nothing: its callers do.
    """

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        pixels: int,
        support: NDArray[np.bool_],
        threads: int,
    ) -> None:
        self.shape = shape
        self.pixels = pixels
        self._threads = threads
        plane = support[:, :, None] if support.ndim == 2 else support
        self._plane = np.ascontiguousarray(plane.any(axis=2))
        self._tiles = tiles_of(self._plane)
        self._allowed: NDArray[np.float32] = np.broadcast_to(plane, shape[1:]).astype(
            np.float32
        )
        self._per_element = -(-shape[3] // LANES)
        self._weight = np.zeros(shape[:3], np.float32)
        self._angles_rad: NDArray[np.float64] = np.empty(0)
        self._exposure: NDArray[np.float32] = np.empty((shape[0], 0), np.float32)
        self._counts = self._room(0)
        self._background = self._room(0)
        self._net = np.zeros(shape[0])
        self._blocks = self._evenly(np.zeros(shape[0]))
        self._iterations = 0
        self.convergence = Convergence(0, 0, float("nan"), float("nan"))

    @property
    def tilts(self) -> int:
        """How many tilts are there."""
        return self._angles_rad.size

    @property
    def volume(self) -> NDArray[np.float32]:
        """(element, z, x, y), counts per voxel and unit of exposure; a copy."""
        return from_blocks(self._blocks, self.shape[3])

    def extend(
        self,
        counts: NDArray[np.float32],
        angles_rad: NDArray[np.float64],
        background: NDArray[np.float32],
        exposure: NDArray[np.float32],
    ) -> None:
        """Add tilts.

        counts, background: (element, tilt, u, y)
        exposure: (element, tilt)
        """
        first, last = self.tilts, self.tilts + angles_rad.size
        if last > self._counts.shape[1]:
            capacity = max(last, 2 * first, _FIRST_CAPACITY if first else last)
            for name in ("_counts", "_background"):
                grown = self._room(capacity)
                grown[:, :first] = getattr(self, name)[:, :first]
                setattr(self, name, grown)
        self._counts[:, first:last] = to_blocks(counts)
        self._background[:, first:last] = to_blocks(background)
        self._angles_rad = np.append(self._angles_rad, angles_rad)
        self._exposure = np.ascontiguousarray(np.hstack([self._exposure, exposure]))
        # One tilt after the other, so that the sums don't depend on how they came.
        for tilt in range(angles_rad.size):
            self._net += counts[:, tilt].sum(axis=(1, 2), dtype=float)
            self._net -= background[:, tilt].sum(axis=(1, 2), dtype=float)
        for weight, gain in zip(self._weight, exposure, strict=True):
            sensitivity(
                np.ascontiguousarray(gain),
                self.pixels,
                np.cos(angles_rad),
                np.sin(angles_rad),
                weight,
            )

    def begin(self, start: NDArray[np.float32] | None = None) -> None:
        """Begin with a volume (element, z, x, y), or with one that is even.

        The even one holds as many counts as were measured above the background.
        """
        if start is None:
            seen = (self._weight[..., None] * self._allowed).sum(
                axis=(1, 2, 3), dtype=float
            )
            level = np.maximum(self._net, 1.0) / np.maximum(seen, 1e-30)
            self._blocks = self._evenly(level)
        else:
            self._blocks = to_blocks(start * self._allowed)
        self._iterations = 0

    def iterate(self, n_iter: int) -> None:
        """Take n_iter steps on all tilts."""
        tilts = self.tilts
        cosines, sines = np.cos(self._angles_rad), np.sin(self._angles_rad)
        reports = np.zeros((len(self._blocks), 3))

        def work(block: int) -> None:
            element = block // self._per_element
            em(
                self._blocks[block],
                self._counts[block, :tilts],
                self._background[block, :tilts],
                self._exposure[element],
                self._weight[element],
                self._tiles,
                cosines,
                sines,
                n_iter,
                reports[block],
            )

        for_each_block(work, range(len(self._blocks)), self._threads)
        self._report(reports, n_iter)

    def step_on_last(self, strength: float) -> None:
        """Take one step on the tilt that came last, on it alone."""
        tilt = self.tilts - 1
        angle = float(self._angles_rad[tilt])
        reports = np.zeros((len(self._blocks), 3))

        def work(block: int) -> None:
            one_tilt(
                self._blocks[block],
                self._counts[block, tilt],
                self._background[block, tilt],
                float(self._exposure[block // self._per_element, tilt]),
                strength,
                self._plane,
                float(np.cos(angle)),
                float(np.sin(angle)),
                reports[block],
            )

        for_each_block(work, range(len(self._blocks)), self._threads)
        self._report(reports, 1)

    def _report(self, reports: NDArray[np.float64], steps: int) -> None:
        changed, there, likelihood = reports.sum(axis=0)
        self._iterations += steps
        self.convergence = Convergence(
            self.tilts,
            self._iterations,
            float(np.sqrt(changed / there)) if there > 0 else 0.0,
            float(likelihood),
        )

    def _room(self, tilts: int) -> NDArray[np.float32]:
        blocks = self.shape[0] * self._per_element
        return np.zeros((blocks, tilts, self.pixels, LANES), np.float32)

    def _evenly(self, level: NDArray[np.float64]) -> NDArray[np.float32]:
        even: Any = level.astype(np.float32)[:, None, None, None] * self._allowed
        return to_blocks(even)
