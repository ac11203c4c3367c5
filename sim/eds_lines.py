"""X-rays that a beam electron makes: lines, yields and the detector's resolution.

Everything is absolute; nothing is fitted to counts. Marks: [S1] Si nanowire paper
(EDS tomography), [T] textbook value, [A] assumption, a free knob.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.sim.phantom_knobs import ELEMENTS

__all__ = [
    "ATOMIC_NUMBER",
    "CHANNELS",
    "CHANNEL_KEV",
    "LINE_KEV",
    "QUADRANTS",
    "WINDOW_KEV",
    "counts_per_electron",
    "line_sigma_kev",
    "part_in_window",
]

BEAM_KEV: Final = 200.0  # [S1]
CHANNELS: Final = 1024
CHANNEL_KEV: Final = 0.010
"""Channel n holds photons of n to n + 1 times this energy."""
QUADRANTS: Final = 4

ATOMIC_NUMBER: Final = {"Si": 14, "O": 8, "F": 9, "C": 6, "P": 15}
# [S1] peaks found by the paper; P only "near 2 keV" there, so K alpha [T].
LINE_KEV: Final = {"Si": 1.7397, "O": 0.5249, "F": 0.6768, "C": 0.2774, "P": 2.0137}
# [S1] integration windows; that of P is [A], one and a half widths of the peak.
WINDOW_KEV: Final = {
    "Si": (1.662, 1.818),
    "O": (0.461, 0.587),
    "F": (0.626, 0.726),
    "C": (0.231, 0.321),
    "P": (1.940, 2.090),
}
_EDGE_KEV: Final = {"Si": 1.839, "O": 0.543, "F": 0.697, "C": 0.284, "P": 2.146}  # [T]
# [T] K fluorescence yields, after Krause's table of 1979.
_FLUORESCENCE: Final = {"Si": 0.050, "O": 0.0083, "F": 0.013, "C": 0.0028, "P": 0.064}
_K_ALPHA_PART: Final = 0.98  # [T] of the K photons of light elements
_SOLID_ANGLE_SR: Final = 0.9  # [T] four silicon drift detectors, as their maker says
# [A] window, dead layer and ice let through.
_TRANSMISSION: Final = {"Si": 0.98, "O": 0.70, "F": 0.75, "C": 0.45, "P": 0.98}

_ELECTRON_REST_KEV: Final = 510.99895
# [T] Bethe's K-shell parameters in Zaluzec's relativistic form.
_BETHE_NM2_KEV2: Final = 6.51e-20 * 1e14
_SHELL_ELECTRONS: Final = 2
_BETHE_B: Final = 0.9
_BETHE_C: Final = 0.75

# [T] electronic noise and Fano statistics that give 136 eV at Mn K alpha.
_NOISE_EV: Final = 69.0
_FANO: Final = 0.115
_PAIR_EV: Final = 3.65
_FWHM_PER_SIGMA: Final = 2.0 * math.sqrt(2.0 * math.log(2.0))


def _ionisation_nm2(element: str) -> float:
    """Return the cross section of the K shell, relativistic Bethe formula."""
    gamma = 1.0 + BEAM_KEV / _ELECTRON_REST_KEV
    beta2 = 1.0 - 1.0 / gamma**2
    effective_kev = 0.5 * _ELECTRON_REST_KEV * beta2
    edge_kev = _EDGE_KEV[element]
    logarithm = math.log(_BETHE_C * effective_kev / edge_kev)
    logarithm += -math.log(1.0 - beta2) - beta2
    scale = _BETHE_NM2_KEV2 * _SHELL_ELECTRONS * _BETHE_B
    return scale * logarithm / (effective_kev * edge_kev)


def counts_per_electron() -> NDArray[np.float64]:
    """Return the photons counted per electron and (atom/nm2), by ELEMENTS.

    Of all four quadrants together, none of them shadowed.
    """
    part_seen = _SOLID_ANGLE_SR / (4.0 * math.pi)
    return np.array(
        [
            _ionisation_nm2(e)
            * _FLUORESCENCE[e]
            * _K_ALPHA_PART
            * part_seen
            * _TRANSMISSION[e]
            for e in ELEMENTS
        ]
    )


def line_sigma_kev(energy_kev: float) -> float:
    """Return the standard deviation of a peak at this energy."""
    fano_ev2 = _FWHM_PER_SIGMA**2 * _PAIR_EV * _FANO * energy_kev * 1e3
    return math.sqrt(_NOISE_EV**2 + fano_ev2) * 1e-3 / _FWHM_PER_SIGMA


def part_in_window(element: str) -> float:
    """Return the part of an element's peak that its window holds."""
    line_kev = LINE_KEV[element]
    spread = line_sigma_kev(line_kev) * math.sqrt(2.0)
    low, high = (math.erf((edge - line_kev) / spread) for edge in WINDOW_KEV[element])
    return 0.5 * (high - low)
