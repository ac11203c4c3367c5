"""The EDS background: bremsstrahlung, and stray X-rays of the holder's metals.

Its amounts are those of [S1], the Si nanowire paper: in the window of each element
the ratio of peak to background of the whole map is the one the paper lists. Shapes
are [T] or [A].
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from cryoline.sim.eds_lines import (
    ATOMIC_NUMBER,
    BEAM_KEV,
    CHANNEL_KEV,
    CHANNELS,
    LINE_KEV,
    WINDOW_KEV,
    counts_per_electron,
    part_in_window,
)
from cryoline.sim.phantom_knobs import ELEMENTS
from cryoline.sim.specimen_voxels import SpecimenVoxels

__all__ = ["Background", "background_of", "brightness"]

Array = NDArray[np.float64]

_FITTED: Final = ("C", "O", "F", "Si")
# [S1] cycles, and peak to background in the order of _FITTED.
_CYCLES: Final = (1, 36, 100)
_PEAK_TO_BACKGROUND: Final = (
    (11.6, 75.0, 2.9, 62.4),
    (37.7, 51.5, 4.6, 51.3),
    (195.0, 288.0, 25.2, 73.5),
)
_FIELD_PX: Final = 512  # [S1] the map that the ratios are of
_PIXEL_NM: Final = (2.134, 1.48, 1.068)  # [S1]
_SPECIMEN_PART: Final = 0.7
"""[A] of the background comes from where there is matter, the rest from everywhere."""
_BRIGHTNESS_EXPONENT: Final = 1.5  # [A] bremsstrahlung of an atom goes as Z to this
# [A] L lines of the metals around the specimen, Mn to Ni, unresolved.
_STRAY_KEV: Final = (0.620, 0.900)
_STRAY_SIGMA_KEV: Final = (0.034, 0.050)
# [A] what passes window and dead layer, on a line between these.
_TRANSMISSION_KEV: Final = (0.10, 0.277, 0.525, 0.677, 1.74)
_TRANSMISSION: Final = (0.0, 0.45, 0.70, 0.75, 0.98)


@dataclass(frozen=True)
class Background:
    """Counts of all four quadrants, unshadowed.

    per_brightness: (channel,) per electron and unit of `brightness`
    per_electron: (channel,) per electron, wherever it falls
    """

    per_brightness: Array
    per_electron: Array


def brightness(atoms_per_nm2: Array) -> Array:
    """Return how much bremsstrahlung matter gives: (element, ...) -> (...)."""
    weight = [ATOMIC_NUMBER[e] ** _BRIGHTNESS_EXPONENT for e in ELEMENTS]
    bright: Array = np.tensordot(weight, atoms_per_nm2, axes=1)
    return bright


def background_of(voxels: SpecimenVoxels, n_cycles: int) -> Background:
    """Return the background that goes with a specimen in the map of [S1].

    The map holds the specimen's whole width, and of its length what the field holds.
    """
    log_cycles = np.log(max(n_cycles, 1))
    pixel_nm = float(np.interp(log_cycles, np.log(_CYCLES), _PIXEL_NM))
    ratios = np.exp(
        [
            np.interp(log_cycles, np.log(_CYCLES), np.log(column))
            for column in zip(*_PEAK_TO_BACKGROUND, strict=True)
        ]
    )
    field_nm = _FIELD_PX * pixel_nm
    length_nm = voxels.shape[2] * voxels.voxel_nm
    atoms = voxels.atoms * min(1.0, field_nm / length_nm)
    # Counts at a fluence of 1 e/nm2, so that the field gets field_nm**2 electrons.
    lines = dict(zip(ELEMENTS, counts_per_electron() * atoms, strict=True))
    wanted = [
        lines[e] * part_in_window(e) / ratio
        for e, ratio in zip(_FITTED, ratios, strict=True)
    ]
    spectrum = _with_windows(np.array(wanted))
    bright = float(brightness(atoms))
    return Background(
        per_brightness=_SPECIMEN_PART * spectrum / max(bright, 1e-300),
        per_electron=(1.0 - _SPECIMEN_PART) * spectrum / field_nm**2,
    )


def _with_windows(wanted: Array) -> Array:
    """Return the smooth spectrum whose windows, by _FITTED, hold these counts.

    Bremsstrahlung a/E (1 - E/E0), behind the window, times a line between the values
    at C, O and Si; and the stray lines, which F sets.
    """
    energy_kev = (np.arange(CHANNELS) + 0.5) * CHANNEL_KEV
    kramers = (BEAM_KEV - energy_kev) / energy_kev
    kramers *= np.interp(energy_kev, _TRANSMISSION_KEV, _TRANSMISSION)
    nodes_kev = [LINE_KEV[e] for e in ("C", "O", "Si")]
    parts = [
        kramers * np.interp(energy_kev, nodes_kev, np.eye(3)[node]) for node in range(3)
    ]
    rise, fall = (
        0.5 * (1.0 + erf((energy_kev - edge) / (sigma * np.sqrt(2.0))))
        for edge, sigma in zip(_STRAY_KEV, _STRAY_SIGMA_KEV, strict=True)
    )
    parts.insert(2, rise - fall)
    shape = np.array(parts)
    windows = np.array([_share(WINDOW_KEV[e]) for e in _FITTED])
    amounts = np.linalg.solve(windows @ shape.T, wanted)
    spectrum: Array = np.maximum(amounts, 0.0) @ shape
    return spectrum


def _share(window_kev: tuple[float, float]) -> Array:
    """Return the part of each channel that lies in a window."""
    edges_kev = np.clip(np.arange(CHANNELS + 1) * CHANNEL_KEV, *window_kev)
    part: Array = np.diff(edges_kev) / CHANNEL_KEV
    return part
