"""Rows on drift: the shift of an image of 512 x 512, to a hundredth of a pixel."""

from functools import partial
from typing import Any

import numpy as np
from interleaved import Row, compare

from cryoline.analysis.quick_shift import QuickReference
from cryoline.analysis.registration import shift

__all__ = ["exactness", "rows"]

_PAIRS = 1000


def rows(size: int = 512) -> list[Row]:
    """Compare with skimage's phase_cross_correlation, its spectra whitened and not.

    It whitens unless told otherwise; for images with noise it is told so, and gives the
    answer that ours is held against.
    """
    from skimage.registration import phase_cross_correlation

    one = _texture(1, size)
    two = _moved(one, (3.37, -5.62))
    reference = QuickReference(one)
    peers = {
        f"skimage, normalization={how!r}": (
            partial(
                phase_cross_correlation,
                one,
                two,
                upsample_factor=100,
                normalization=how,
            ),
            1.0,
            12.0,
        )
        for how in (None, "phase")
    }
    what = f"drift, {size} x {size}, 1/100 px"
    return compare(
        f"{what}, many counts, reference kept", lambda: reference.shift_px(two), peers
    ) + compare(f"{what}, few counts and frames", lambda: shift(one, two, 100), peers)


def exactness(size: int = 64) -> dict[str, float]:
    """Return the worst of many pairs: from skimage, and from the truth, px.

    Pairs of a specimen on an empty field, moved by a known amount. What skimage does
    with the edges of others is its own matter: it takes images as periodic.
    """
    from skimage.registration import phase_cross_correlation

    between, quick, from_truth, theirs_off = [], [], [], []
    for seed in range(_PAIRS):
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:size, :size] - (size - 1) / 2
        one = _texture(seed, size) * np.exp(-(((x**2 + y**2) / (size / 5) ** 2) ** 2))
        by = rng.uniform(-4, 4, 2)
        two = _moved(one, by)
        ours = np.array(shift(one, two, 100).shift_px)
        theirs, _, _ = phase_cross_correlation(
            one, two, upsample_factor=100, normalization=None
        )
        fast = np.array(QuickReference(one).shift_px(two))
        quick.append(np.abs(fast + theirs).max())
        between.append(np.abs(ours + theirs).max())
        from_truth.append(np.abs(ours - by).max())
        theirs_off.append(np.abs(theirs + by).max())
    return {
        f"drift_worst_of_{_PAIRS}_pairs_from_skimage_px": float(max(between)),
        f"drift_quick_worst_of_{_PAIRS}_pairs_from_skimage_px": float(max(quick)),
        f"drift_worst_of_{_PAIRS}_pairs_from_truth_px": float(max(from_truth)),
        f"drift_skimage_worst_of_{_PAIRS}_from_truth_px": float(max(theirs_off)),
    }


def _texture(seed: int, size: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((size, size))
    q = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    return np.fft.irfft2(np.fft.rfft2(noise) * np.exp(-((q * 14) ** 2)), noise.shape)


def _moved(image: np.ndarray, by: Any) -> np.ndarray:
    q = np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])
    turn = np.exp(-2j * np.pi * (by[0] * q[0] + by[1] * q[1]))
    return np.fft.irfft2(np.fft.rfft2(image) * turn, image.shape)
