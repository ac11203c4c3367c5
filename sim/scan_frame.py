"""The specimen in the frame of a scan that is turned, or whose beam is defocused.

A turned scan sees the specimen turned the other way; a wide beam sees it blurred. Both
are done to the projection, so that detectors render every scan as an upright one.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from scipy.signal import fftconvolve

from cryoline.sim.beam_disc import DISCS
from cryoline.sim.projection import Projection
from cryoline.sim.view import View

__all__ = ["in_scan_frame"]

Array = NDArray[np.float64]


def in_scan_frame(projection: Projection, view: View) -> tuple[Projection, View]:
    """Return projection and view as an upright scan with a fine probe would have them.

    Turning interpolates between bins: atoms are kept to a few 1e-3, and an edge is
    blurred by less than a bin.
    """
    areal, bin_nm = projection.atoms_per_nm2, projection.bin_nm
    if view.beam_diameter_nm > 0.0:
        kernel = _kernel(view.beam_diameter_nm / bin_nm)
        areal = np.maximum(fftconvolve(areal, kernel[None], axes=(1, 2)), 0.0)
    if view.rotation_deg != 0.0:
        areal, view = _turn(areal, view)
    return Projection(areal, bin_nm), view


def _turn(areal: Array, view: View) -> tuple[Array, View]:
    angle = math.radians(view.rotation_deg)
    cosine, sine = math.cos(angle), math.sin(angle)
    to_beam = np.array([(cosine, -sine), (sine, cosine)])
    side = 2 * math.ceil(math.hypot(*areal.shape[1:]) / 2) + 2
    middle = (np.array(areal.shape[1:]) - 1) / 2
    turned = np.stack(
        [
            affine_transform(
                layer,
                to_beam,
                offset=middle - to_beam @ np.full(2, (side - 1) / 2),
                output_shape=(side, side),
                order=1,
            )
            for layer in areal
        ]
    )
    x_nm, y_nm = view.offset_x_nm, view.offset_y_nm
    return turned, replace(
        view,
        offset_x_nm=cosine * x_nm + sine * y_nm,
        offset_y_nm=cosine * y_nm - sine * x_nm,
    )


def _kernel(diameter_bins: float) -> Array:
    """Return the beam's profile on bins; its sum is 1."""
    half = math.ceil(max(wider for _, wider in DISCS) * diameter_bins / 2) + 1
    axis = np.arange(-half, half + 1)
    distance = np.hypot(axis[:, None], axis)
    kernel = np.zeros_like(distance)
    for part, wider in DISCS:
        covered = np.clip(wider * diameter_bins / 2 - distance + 0.5, 0.0, 1.0)
        kernel += part * covered / covered.sum()
    return kernel
