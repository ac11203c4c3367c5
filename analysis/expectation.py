"""Expectation maximisation over the tilts that are there: the state of one volume.

`mlem` fills it at once, `OnlineReconstruction` a tilt at a time; the iteration is the
same, so that the two can't drift apart.
"""

from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoline.analysis.blocks import (
    aligned,
    blocks_of,
    for_each_block,
    from_tiles,
    to_blocks,
    to_tiles,
)
from cryoline.analysis.lanes import LANES
from cryoline.analysis.one_tilt import along_detector, one_tilt
from cryoline.analysis.patches import (
    PADDING,
    VOXELS,
    Patches,
    find_patches,
    sensitivity,
    tiles_of,
)
from cryoline.analysis.projector import em

__all__ = ["PAPER_ITERATIONS", "Convergence", "Expectation"]

PAPER_ITERATIONS: Final = 20
"""He et al. 2021, Methods: 20 iterations of EM ("multiplicative SIRT")."""

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
        self._support = support[:, :, None] if support.ndim == 2 else support
        self._plane = np.ascontiguousarray(self._support.any(axis=2))
        self._tiles = tiles_of(self._plane)
        self._per_element = blocks_of(shape[3])
        self._angles_rad: NDArray[np.float64] = np.empty(0)
        self._exposure: NDArray[np.float32] = np.empty((shape[0], 0), np.float32)
        self._counts = self._room(0)
        self._background = self._room(0)
        self._net = np.zeros(shape[0])
        blocks = shape[0] * self._per_element
        self._blocks = aligned((blocks, len(self._tiles), VOXELS, LANES))
        self._iterations = 0
        self.convergence = Convergence(0, 0, float("nan"), float("nan"))

    @property
    def tilts(self) -> int:
        """How many tilts are there."""
        return self._angles_rad.size

    @property
    def volume(self) -> NDArray[np.float32]:
        """(element, z, x, y), counts per voxel and unit of exposure; a copy."""
        return from_tiles(self._blocks, self._tiles, self.shape)

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
        for name in ("_patches", "_weight"):
            self.__dict__.pop(name, None)

    @cached_property
    def _patches(self) -> Patches:
        """Those of the tilts so far; made when they are first asked for."""
        return find_patches(self._plane, self._tiles, self.pixels, self._angles_rad)

    @cached_property
    def _weight(self) -> NDArray[np.float32]:
        """(element, tile, voxel), counts that a unit in a voxel would give in all."""
        shape = (self.shape[0], self.tilts, self.pixels + PADDING)
        gain = np.zeros(shape, np.float32)
        gain[:, :, 1 : 1 + self.pixels] = self._exposure[:, :, None]
        weight = np.zeros((self.shape[0], len(self._tiles), VOXELS), np.float32)
        for flat, seen in zip(gain.reshape(self.shape[0], -1), weight, strict=True):
            sensitivity(flat, self._patches, seen)
        return weight

    def begin(self, start: NDArray[np.float32] | None = None) -> None:
        """Begin with a volume (element, z, x, y), or with one that is even.

        The even one holds as many counts as were measured above the background.
        """
        if start is None:
            each = np.broadcast_to(self._support, self.shape[1:]).sum(axis=2)
            slices = to_tiles(each[None, :, :, None].astype(np.float32), self._tiles)
            seen = (self._weight * slices[..., 0]).sum(axis=(1, 2), dtype=float)
            level = np.maximum(self._net, 1.0) / np.maximum(seen, 1e-30)
            self._blocks = self._evenly(level)
        else:
            self._blocks = to_tiles(start * self._support, self._tiles)
        self._iterations = 0

    def iterate(self, n_iter: int) -> None:
        """Take n_iter steps on all tilts."""
        tilts = self.tilts
        patches, weight = self._patches, self._weight
        reports = np.zeros((len(self._blocks), 3))

        def work(block: int) -> None:
            element = block // self._per_element
            em(
                self._blocks[block],
                self._counts[block, :tilts],
                self._background[block, :tilts],
                self._exposure[element],
                weight[element],
                patches,
                n_iter,
                reports[block],
            )

        for_each_block(work, range(len(self._blocks)), self._threads)
        self._report(reports, n_iter)

    def step_on_last(self, strength: float) -> None:
        """Take one step on the tilt that came last, on it alone."""
        tilt = self.tilts - 1
        angles_rad = self._angles_rad[tilt:]
        order = along_detector(self._tiles, float(angles_rad[0]))
        patches = find_patches(self._plane, self._tiles[order], self.pixels, angles_rad)
        reports = np.zeros((len(self._blocks), 3))

        def work(block: int) -> None:
            one_tilt(
                self._blocks[block],
                self._counts[block, tilt],
                self._background[block, tilt],
                float(self._exposure[block // self._per_element, tilt]),
                strength,
                order,
                patches,
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
        return aligned((blocks, tilts, self.pixels, LANES))

    def _evenly(self, level: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return blocks with the level of each element where there may be something."""
        even = level.astype(np.float32)[:, None, None, None] * self._support
        return to_tiles(np.broadcast_to(even, self.shape), self._tiles)
