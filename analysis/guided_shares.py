"""How the sum of elements that a guide can't tell apart is shared out: by counts alone.

1. Shells around the core element's body; in each, one amount an element, fitted to the
   counts of all tilts. What changes away from silicon is a few numbers, so it is found
   where single voxels hold next to no counts.
2. What the shells don't explain: the ratio of unguided volumes of the counts, and of
   what the shells predict for them, both under a wide Gaussian.

The guide has no part in this but for the outline of bodies.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryoline.analysis.expectation import Expectation

__all__ = ["Rays", "share_out"]

_SHELLS: Final = 5
_FIT_STEPS: Final = 40
_FLOOR: Final = 0.02
"""Of the brightest place, that is added to both sides of a ratio."""
_HALF: Final = 0.5

Volume = NDArray[np.float32]


class Rays:
    """Counts of some elements, and what is needed to expect them.

    counts, background: (element, tilt, u, y); exposure: (element, tilt)
    support: (z, x) or (z, x, y)
    """

    def __init__(
        self,
        counts: Volume,
        background: Volume,
        exposure: Volume,
        angles_rad: NDArray[np.float64],
        support: NDArray[np.bool_],
        threads: int,
    ) -> None:
        self.counts, self.background, self.exposure = counts, background, exposure
        self._angles_rad, self._support = angles_rad, support
        self._threads = threads

    def project(self, volumes: Volume) -> Volume:
        """Return (volume, tilt, u, y) of volumes (volume, z, x, y)."""
        # tomography exports what needs this module, so it can't be imported above
        from cryoline.analysis.tomography import project

        angles_deg, width = np.rad2deg(self._angles_rad), self.counts.shape[2]
        return project(volumes, angles_deg, width=width, threads=self._threads)

    def unguided(
        self, counts: Volume, shape: tuple[int, int, int, int], n_iter: int
    ) -> Volume:
        """Return plain EM of counts in place of these, after n_iter steps."""
        state = Expectation(shape, counts.shape[2], self._support, self._threads)
        state.extend(counts, self._angles_rad, self.background, self.exposure)
        state.begin()
        state.iterate(n_iter)
        return state.volume


def share_out(
    volume: Volume,
    rays: Rays,
    alike: Sequence[int],
    core: int,
    *,
    shell_voxels: float,
    n_iter: int,
    sigma: float,
) -> None:
    """Share the sum of some elements of a volume (element, z, x, y), in place.

    rays: of these elements only
    Each counts in units of its own total, so that none outweighs the others. An element
    that is nowhere has no share, and nothing is done.
    """
    chosen = list(alike)
    totals = volume[chosen].sum(axis=(1, 2, 3), dtype=float).astype(np.float32)
    if (totals <= 0).any():
        return
    body = (volume[chosen] / totals[:, None, None, None]).sum(axis=0)
    parts = _shells(volume[core], shell_voxels) * body
    shape = (len(chosen), *body.shape)
    expected = _fitted(parts, rays)
    seen = rays.project(expected) * rays.exposure[:, :, None, None] + rays.background
    found = _wide(rays.unguided(rays.counts, shape, n_iter), sigma)
    known = _wide(rays.unguided(seen, shape, n_iter), sigma)
    floor = _FLOOR * np.maximum(known.max(axis=(1, 2, 3), keepdims=True), 1e-12)
    shares = expected * ((found + floor) / (known + floor))
    shares /= totals[:, None, None, None]
    together = shares.sum(axis=0)
    shares /= np.maximum(together, 1e-3 * together.max())
    for element, total, share in zip(chosen, totals, shares, strict=True):
        shared = body * share
        volume[element] = shared * (total / max(float(shared.sum(dtype=float)), 1e-12))


def _shells(core: Volume, width: float) -> Volume:
    """Return (shell, z, x, y): hats over the distance from the core's body, sum 1."""
    calm = ndimage.gaussian_filter(core, 1.0, mode="constant")
    lit = calm[calm > 0.2 * calm.max()]
    level = float(np.percentile(lit, 90)) if lit.size else np.inf
    outside = calm < _HALF * level
    if outside.all():
        return np.ones((1, *core.shape), np.float32)
    away = ndimage.distance_transform_edt(outside) / width
    away = np.minimum(away, _SHELLS - 1)
    each = np.arange(_SHELLS)[:, None, None, None]
    return np.asarray(np.clip(1 - np.abs(away - each), 0, 1), np.float32)


def _fitted(parts: Volume, rays: Rays) -> Volume:
    """Return (element, z, x, y): the parts in the amounts that fit the counts (EM)."""
    through = rays.project(parts)
    volumes = []
    for counts, background, exposure in zip(
        rays.counts, rays.background, rays.exposure, strict=True
    ):
        seen = through * exposure[:, None, None]
        weight = np.maximum(seen.sum(axis=(1, 2, 3), dtype=float), 1e-12)
        net = max(float(counts.sum(dtype=float) - background.sum(dtype=float)), 1.0)
        amounts = np.full(len(parts), net / weight.sum())
        for _ in range(_FIT_STEPS):
            expected = np.tensordot(amounts, seen, axes=1) + background
            ratio = counts / np.maximum(expected, 1e-9)
            amounts = amounts * np.tensordot(seen, ratio, axes=3) / weight
        volumes.append(np.tensordot(amounts, parts, axes=1))
    return np.asarray(volumes, np.float32)


def _wide(volumes: Volume, sigma: float) -> Volume:
    return np.stack(
        [
            ndimage.gaussian_filter(one, sigma, mode="constant", truncate=3.0)
            for one in volumes
        ]
    )
