"""The methods that the dose score compares. Their settings are frozen.

They were chosen on the training seeds 1 to 4; a score is of other seeds. No method
sees the truth, the exponent of HAADF, or a specimen's number of cycles. `best_em`
alone takes the best of several by the scorer's leave, as a baseline may.
"""

import numpy as np
from dose_score_data import ANGLES_DEG, Measurement
from numpy.typing import NDArray
from scipy import ndimage

from cryoline.analysis.guided import GuideSettings
from cryoline.analysis.tomography import guided_em, mlem, project

TRAINING_SEEDS = (1, 2, 3, 4)
SETTINGS = GuideSettings()
ALIKE = (1, 2)  # O and F
GAUSS_VOXELS = (2.0, 2.0, 3.0, 3.0)
"""Of the reference, by element."""
WIDE_VOXELS = (4.0, 5.5, 7.0)
"""Of further unguided baselines: better than the reference for chemistry."""
_ITERATIONS = 10
_GUIDE_ITERATIONS, _GUIDE_SIGMA_PX = 15, 0.7
_LEVELS = 10

Volume = NDArray[np.float32]


def support(size: int) -> NDArray[np.bool_]:
    """Return the circle that every tilt sees, (z, x)."""
    places = np.arange(size) - (size - 1) / 2
    return np.hypot(places[:, None], places) < size / 2 - 1


def guide_of(haadf: NDArray[np.float32], voxel_nm: float) -> Volume:
    """Return the HAADF volume (z, x, y)."""
    smooth = ndimage.gaussian_filter(haadf, (0, _GUIDE_SIGMA_PX, _GUIDE_SIGMA_PX))
    return mlem(
        smooth,
        ANGLES_DEG,
        _GUIDE_ITERATIONS,
        mask=support(haadf.shape[1]),
        exposure=np.full(ANGLES_DEG.size, voxel_nm),
    )


def em(measured: Measurement, n_iter: int, start: Volume | None = None) -> Volume:
    """Return plain EM, the background in the model."""
    return mlem(
        measured.counts,
        ANGLES_DEG,
        n_iter,
        start=start,
        mask=support(measured.counts.shape[2]),
        background=measured.background,
        exposure=measured.exposure,
    )


def blurred(volume: Volume, sigmas: tuple[float, ...]) -> Volume:
    """Return each element under a Gaussian of its own width."""
    return np.stack(
        [
            ndimage.gaussian_filter(v, s, mode="constant", truncate=3.0)
            for v, s in zip(volume, sigmas, strict=True)
        ]
    )


def unguided(measured: Measurement) -> dict[str, Volume]:
    """Return the volumes of all methods that don't look at HAADF."""
    few = em(measured, 2)
    more = em(measured, 2, few)
    plain = em(measured, _ITERATIONS - 4, more)
    smooth: Volume | None = None
    for _ in range(_ITERATIONS):
        step = em(measured, 1, smooth)
        smooth = blurred(step, (1.0,) * len(step))
    found = {
        "em20": em(measured, 20 - _ITERATIONS, plain),
        "em2": few,
        "em4": more,
        "em_gauss": blurred(plain, GAUSS_VOXELS),
        "smoothed_em": plain if smooth is None else smooth,
    }
    for width in WIDE_VOXELS:
        found[f"em_gauss_{width:g}"] = blurred(plain, (width,) * len(plain))
    return found


def guided(measured: Measurement, guide: Volume) -> Volume:
    """Return what is on trial."""
    return guided_em(
        measured.counts,
        ANGLES_DEG,
        guide,
        background=measured.background,
        exposure=measured.exposure,
        mask=support(measured.counts.shape[2]),
        alike=ALIKE,
        settings=SETTINGS,
    )


def lookup(measured: Measurement, guide: Volume) -> Volume:
    """Return the control: ten numbers an element, by the guide's level, and no more."""
    step = float(np.percentile(guide[guide > 0], 99.5)) / (_LEVELS - 1)
    place = np.minimum(guide / step, _LEVELS - 1)
    levels = np.arange(_LEVELS)[:, None, None, None]
    parts = np.clip(1 - np.abs(place - levels), 0, 1).astype(np.float32)
    parts *= support(guide.shape[0])[:, :, None]
    rays = project(parts, ANGLES_DEG)
    volumes = []
    for counts, background, exposure in zip(
        measured.counts, measured.background, measured.exposure, strict=True
    ):
        seen = rays * exposure[:, None, None]
        total = np.maximum(seen.sum(axis=(1, 2, 3)), 1e-9)
        amounts = np.full(
            _LEVELS, max(counts.sum() - background.sum(), 1) / total.sum()
        )
        for _ in range(30):
            expected = np.tensordot(amounts, seen, axes=1) + background
            amounts = amounts * np.tensordot(seen, counts / expected, axes=3) / total
        volumes.append(np.tensordot(amounts, parts, axes=1))
    return np.stack(volumes).astype(np.float32)
