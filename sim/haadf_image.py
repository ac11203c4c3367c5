"""The HAADF detector: electrons scattered to high angles, by Rutherford's law.

Marks: [S1] Si nanowire paper (EDS tomography), [T] textbook value, [A] assumption, a
free knob.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.analysis.constants import ELEMENTARY_CHARGE_C
from cryoline.sim.eds_lines import ATOMIC_NUMBER, BEAM_KEV
from cryoline.sim.phantom_knobs import ELEMENTS
from cryoline.sim.projection import project
from cryoline.sim.scan_frame import in_scan_frame
from cryoline.sim.specimen_voxels import SpecimenVoxels
from cryoline.sim.view import View

__all__ = ["HaadfImage", "HaadfModel", "scattering_nm2"]

Array = NDArray[np.float64]

_DETECTOR_ID: Final = 11  # of this instrument's random streams
_INNER_RAD: Final = 0.060  # [A] inner angle of the detector
_EXPONENT: Final = 1.7  # [T] of Z, for thin mixtures: screened, so below 2
_REST_KEV: Final = 510.99895
_COULOMB_KEV_NM: Final = 1.43996e-3  # e2 / 4 pi epsilon0
_GAIN: Final = 10.0  # [A] counts an electron
_OFFSET: Final = 1000.0  # [A] counts without a beam
_NOISE: Final = 20.0  # [A] counts rms a frame and pixel
_COUNTS_MAX: Final = 65_535.0  # 16 bit


@dataclass(frozen=True)
class HaadfImage:
    """The mean of the frames of one exposure.

    counts: (y, x) float32; 0 where the beam never came
    """

    counts: NDArray[np.float32]
    n_frames: int
    live_time_s: float


def scattering_nm2() -> Array:
    """Return the cross sections for scattering into the detector, by ELEMENTS.

    Rutherford's for silicon beyond the inner angle; the others by their Z.
    """
    momentum_kev = BEAM_KEV * (BEAM_KEV + 2 * _REST_KEV) / (BEAM_KEV + _REST_KEV)
    silicon = ATOMIC_NUMBER["Si"]
    length_nm = silicon * _COULOMB_KEV_NM / momentum_kev  # p v, in keV
    cross_section_nm2 = math.pi * (length_nm / math.tan(_INNER_RAD / 2)) ** 2
    z = np.array([ATOMIC_NUMBER[e] for e in ELEMENTS])
    return cross_section_nm2 * (z / silicon) ** _EXPONENT


class HaadfModel:
    """The detector looking at one specimen."""

    def __init__(self, voxels: SpecimenVoxels) -> None:
        self._voxels = voxels

    def render(self, view: View) -> HaadfImage:
        """Return what the detector records of an exposure; the same view, the same."""
        rng = np.random.default_rng([*view.seed, _DETECTOR_ID])
        electrons, visits = self._expected(view)
        noise = rng.standard_normal(electrons.shape, dtype=np.float32)
        counts = rng.poisson(electrons) * _GAIN + noise * _NOISE * np.sqrt(visits)
        counts = counts / np.maximum(visits, 1) + _OFFSET
        counts = np.where(visits > 0, np.clip(counts, 0.0, _COUNTS_MAX), 0.0)
        return HaadfImage(
            counts.astype(np.float32),
            int((view.frame_fraction >= 1.0).sum()),
            float(view.frame_time_s.sum()),
        )

    def _expected(self, view: View) -> tuple[Array, Array]:
        """Return the electrons expected in each pixel, and how often it was visited."""
        projection = project(
            self._voxels, view.tilt_deg, fluence=view.fluence, cell_nm=view.cell_nm
        )
        projection, view = in_scan_frame(projection, view)
        areal = projection.atoms_per_nm2
        scattered = np.minimum(np.tensordot(scattering_nm2(), areal, axes=1), 1.0)
        integral = np.zeros((areal.shape[1] + 1, areal.shape[2] + 1))
        integral[1:, 1:] = scattered.cumsum(0).cumsum(1) * projection.bin_nm**2
        shape = (view.height_px, view.width_px)
        pixels = view.width_px * view.height_px
        electrons, visits = np.zeros(shape), np.zeros(shape)
        for charge_c, fraction, x_nm, y_nm in zip(
            view.frame_charge_c,
            view.frame_fraction,
            view.offset_x_nm,
            view.offset_y_nm,
            strict=True,
        ):
            scanned = round(fraction * pixels)
            if scanned == 0:
                continue
            visited = np.ones(shape)
            visited.flat[scanned:] = 0.0
            visits += visited
            across, along = (
                _edges(n_px, view.pixel_nm, offset_nm, n_bins, projection.bin_nm)
                for n_px, offset_nm, n_bins in (
                    (view.width_px, x_nm, areal.shape[1]),
                    (view.height_px, y_nm, areal.shape[2]),
                )
            )
            # Only the pixel columns that have a part of the projection.
            left = int(np.searchsorted(across, 0.0, side="right")) - 1
            right = int(np.searchsorted(across, areal.shape[1], side="left"))
            columns = slice(max(left, 0), max(left, 0, right))
            edges = across[columns.start : columns.stop + 1]
            per_nm2 = charge_c / ELEMENTARY_CHARGE_C / (scanned * view.pixel_nm**2)
            sums = _box_sums(integral, edges, along).T * per_nm2
            electrons[:, columns] += sums * visited[:, columns]
        return np.maximum(electrons, 0.0), visits


def _edges(
    n_px: int, pixel_nm: float, offset_nm: float, n_bins: int, bin_nm: float
) -> Array:
    """Return the pixels' edges in bins from the corner of the projection."""
    edges_nm = (np.arange(n_px + 1) - n_px / 2) * pixel_nm - offset_nm
    edges: Array = np.clip(edges_nm / bin_nm + n_bins / 2, 0.0, n_bins)
    return edges


def _box_sums(integral: Array, across: Array, along: Array) -> Array:
    """Return the sums between edges: exact for a map that is constant in each bin."""
    for axis, edges in enumerate((across, along)):
        below = np.minimum(edges.astype(np.intp), integral.shape[axis] - 2)
        part = (edges - below).reshape((-1, 1) if axis == 0 else (1, -1))
        low, high = (integral.take(below + k, axis=axis) for k in (0, 1))
        integral = np.diff(low + part * (high - low), axis=axis)
    return integral
