"""Element volumes with a HAADF volume as a guide, where counts are rare.

1. A step of expectation maximisation (`mlem`), with the background in the model.
2. Each element is regressed on the guide, linearly, in a small Gaussian window around
   each voxel: its edges come from the guide, its amounts from the counts. Ten rounds.
3. What a guide of atomic number can't tell apart (O and F, by far the most alike) it is
   not asked: it shapes the sum of these elements, but how a place's sum is shared out
   between them the counts alone say (`guided_shares`).

The local regression is the guided filter of He, Sun and Tang (IEEE PAMI 35, 1397,
2013). Without step 3 the guide invents its own chemistry; with it the guide can neither
add to the contrast between these elements nor take from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.expectation import Expectation
from cryoline.analysis.guided_shares import Rays, share_out
from cryoline.analysis.tomography_input import (
    background_of,
    exposure_of,
    radians,
    support_of,
    with_element,
)

__all__ = ["GuideSettings", "guided_em"]

_PROJECTIONS = ("tilt", "u", "y")
_TRUNCATE = 2.5
"""Widths at which the windows end; more only costs time."""
_BRIGHT = 99.0
"""Per cent of the guided voxels that are darker than what counts as bright."""
_LARGEST_STEP = 20.0
"""By which the sum rule may raise a voxel in one round, or lower it."""


@dataclass(frozen=True)
class GuideSettings:
    """How far the guide is followed. One setting for all doses and specimens.

    Frozen on training seeds of `bench/dose_score.py` [A].
    """

    n_iter: int = 10
    window_voxels: float = 2.0
    """Standard deviation of the window of the local regression."""
    floor: float = 0.06
    """Contrast of the guide below which it is noise, as a part of its bright level."""
    sum_rule: float = 0.0
    """Power of the step to the sum rule, 0 to 1; 0 leaves it out."""
    share_iterations: int = 10
    """Of the unguided volumes that share out what the guide can't tell apart."""
    share_voxels: float = 5.5
    """Of the Gaussian over these."""
    shell_voxels: float = 4.0
    """Width of the shells around the core in which shares are found first."""

    def __post_init__(self) -> None:
        if min(self.n_iter, self.share_iterations) < 1:
            raise KernelInputError(
                f"n_iter {self.n_iter}, share_iterations {self.share_iterations}: take "
                "at least one step"
            )
        widths = (self.window_voxels, self.share_voxels, self.shell_voxels)
        if min(*widths, self.floor) <= 0:
            raise KernelInputError(
                f"window_voxels {widths[0]:g}, share_voxels {widths[1]:g}, "
                f"shell_voxels {widths[2]:g}, floor {self.floor:g}: give values above 0"
            )
        if not 0 <= self.sum_rule <= 1:
            raise KernelInputError(f"sum_rule {self.sum_rule:g}: give 0 to 1")


def guided_em(
    projections: ArrayLike,
    angles_deg: ArrayLike,
    guide: ArrayLike,
    *,
    background: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    alike: Sequence[int] = (),
    brightness: Sequence[float] | None = None,
    core: int = 0,
    settings: GuideSettings | None = None,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Return element volumes (element, z, x, y) whose edges are those of a guide.

    projections: (element, tilt, u, y), counts as measured, background and all
    guide: (z, x, y) >= 0, the HAADF volume, in any unit
    background: of the projections' shape, expected counts that are not from within
    exposure: (tilt,) or (element, tilt), counts per unit of projected volume; 1 if None
    mask: (z, x) or (z, x, y), False where there can be nothing
    alike: elements (their indices) that the guide can't tell apart; the counts alone
        say how their sum is shared out. For (Si, O, F, C): (1, 2)
    core: the element from whose body these may change outwards
    brightness: (element,) of the guide per unit of volume; only for the sum rule

    An axis `element` may be left out, as in `mlem`. What is on offer at which dose, and
    what is not: docs/explanations/element-volumes-at-low-dose.md.
    Raises KernelInputError if shapes don't fit, or anything is negative or not finite.
    """
    how = settings or GuideSettings()
    counts = with_element("projections", projections, _PROJECTIONS)
    elements, tilts, pixels, slices = counts.shape
    bright = with_element("guide", guide, ("z", "x", "y"))
    if len(bright) != 1 or bright.shape[3] != slices:
        raise KernelInputError(
            f"guide {np.shape(guide)} doesn't fit projections {np.shape(projections)}; "
            f"give one volume (z, x, {slices})"
        )
    shape = (elements, *bright.shape[1:])
    _check_elements(elements, alike, core, brightness, how)
    support = support_of(mask, shape)
    angles = radians(angles_deg, tilts=tilts)
    below = background_of(background, counts.shape, _PROJECTIONS)
    gains = exposure_of(exposure, elements, tilts)
    state = Expectation(shape, pixels, support, threads)
    state.extend(counts, angles, below, gains)
    inside = np.broadcast_to(
        support[:, :, None] if support.ndim == 2 else support, shape[1:]
    ).astype(np.float32)
    follow = _LocalRegression(bright[0], inside, how)
    state.begin()
    for _ in range(how.n_iter):
        state.iterate(1)
        volume = np.stack([follow(one) for one in state.volume])
        if how.sum_rule and brightness is not None:
            volume *= _to_sum(volume, bright[0], brightness) ** how.sum_rule
        state.begin(volume)
    volume = state.volume
    if len(alike) > 1:
        some = list(alike)
        rays = Rays(counts[some], below[some], gains[some], angles, support, threads)
        share_out(
            volume,
            rays,
            some,
            core,
            shell_voxels=how.shell_voxels,
            n_iter=how.share_iterations,
            sigma=how.share_voxels,
        )
    return volume if np.ndim(projections) == 4 else volume[0]


class _LocalRegression:
    """The linear regression of a volume on the guide, in a window at each voxel."""

    def __init__(
        self,
        guide: NDArray[np.float32],
        inside: NDArray[np.float32],
        settings: GuideSettings,
    ) -> None:
        self._guide, self._inside = guide, inside
        self._sigma = settings.window_voxels
        self._weight = np.maximum(self._windowed(inside), 1e-3)
        self._mean = self._windowed(guide * inside) / self._weight
        square = self._windowed(guide * guide * inside) / self._weight
        lit = guide[inside > 0]
        level = float(np.percentile(lit, _BRIGHT)) if lit.size else 0.0
        noise = max(settings.floor * level, 1e-12) ** 2
        variance = np.maximum(square - self._mean**2, 0) + noise
        self._variance = np.asarray(variance, np.float32)

    def __call__(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the volume as its windows' regressions see it, their mean."""
        there = volume * self._inside
        mean = self._windowed(there) / self._weight
        both = self._windowed(there * self._guide) / self._weight
        slope = np.asarray((both - self._mean * mean) / self._variance, np.float32)
        slope *= self._inside
        start = mean * self._inside - slope * self._mean
        line = self._windowed(slope) * self._guide + self._windowed(start)
        seen = np.maximum(line, 0) * self._inside / self._weight
        return np.asarray(seen, np.float32)

    def _windowed(self, volume: NDArray[Any]) -> NDArray[np.float32]:
        filtered = ndimage.gaussian_filter(
            volume, self._sigma, mode="constant", truncate=_TRUNCATE
        )
        return np.asarray(filtered, np.float32)


def _to_sum(
    volume: NDArray[np.float32],
    guide: NDArray[np.float32],
    brightness: Sequence[float],
) -> NDArray[np.float32]:
    """Return the factor that makes the elements' brightness that of the guide."""
    sums = np.tensordot(np.asarray(brightness, np.float32), volume, axes=1)
    least = max(float(guide.max()), 1e-12) * 1e-4
    factor = np.clip(guide / np.maximum(sums, least), 1 / _LARGEST_STEP, _LARGEST_STEP)
    return np.asarray(factor, np.float32)


def _check_elements(
    elements: int,
    alike: Sequence[int],
    core: int,
    brightness: Sequence[float] | None,
    settings: GuideSettings,
) -> None:
    """Raise KernelInputError if what is said of single elements doesn't fit them."""
    if len(set(alike)) != len(alike) or not all(0 <= e < elements for e in alike):
        raise KernelInputError(
            f"alike {tuple(alike)}: give different indices of the {elements} elements"
        )
    if not 0 <= core < elements:
        raise KernelInputError(
            f"core {core}: give the index of one of the {elements} elements"
        )
    if settings.sum_rule > 0 and brightness is None:
        raise KernelInputError(
            f"sum_rule {settings.sum_rule:g} needs the brightness of each element; "
            "give it, or a sum_rule of 0"
        )
    if brightness is not None and (
        len(brightness) != elements or not np.all(np.asarray(brightness) >= 0)
    ):
        raise KernelInputError(
            f"brightness {tuple(brightness)}: give one value of 0 or more for each of "
            f"the {elements} elements"
        )
