"""Formulas of dose: current, time and area to electrons per nm2, and back.

Beam-normal fluence, mean over the scanned field (or over the beam, where that is
larger), unless a name says otherwise.
Source of the mean and probe-limited forms: He et al. (EDS tomography study, SI),
whose doses they give to 1 % with that study's stated times and fields.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.analysis.constants import ELEMENTARY_CHARGE_C
from cryoline.devices.exposure import Exposure

__all__ = [
    "E_PER_NM2_PER_E_PER_A2",
    "allocate_over_tilts",
    "charge_limit_c",
    "fluence_of_charge_e_per_nm2",
    "local_fluence_e_per_nm2",
    "mean_fluence_e_per_nm2",
    "probe_fluence_e_per_nm2",
    "worst_fluence_e_per_nm2",
]

E_PER_NM2_PER_E_PER_A2: Final = 100.0
"""1 electron per square angstrom in electrons per nm2."""


def mean_fluence_e_per_nm2(
    current_pa: float, beam_on_s: float, area_nm2: float
) -> float:
    """Return I t / (e A), the mean over a scanned field.

    >>> f"{mean_fluence_e_per_nm2(150.0, 2700.0, (512 * 2.134) ** 2):.3g}"
    '2.12e+06'
    """
    return fluence_of_charge_e_per_nm2(current_pa * 1e-12 * beam_on_s, area_nm2)


def fluence_of_charge_e_per_nm2(charge_c: float, area_nm2: float) -> float:
    """Return the fluence of a charge spread over an area."""
    return charge_c / ELEMENTARY_CHARGE_C / area_nm2


def probe_fluence_e_per_nm2(
    current_pa: float, dwell_s: float, n_frames: int, probe_diameter_nm: float
) -> float:
    """Return the local fluence under a probe that is smaller than a pixel.

    It exceeds the mean then; for a probe wider than a pixel the mean holds.
    """
    spot_nm2 = math.pi * (probe_diameter_nm / 2) ** 2
    return mean_fluence_e_per_nm2(current_pa, dwell_s * n_frames, spot_nm2)


def local_fluence_e_per_nm2(
    mean_e_per_nm2: float, exposure: Exposure, probe_diameter_nm: float
) -> float:
    """Return the fluence under the probe of an exposure with a known mean.

    >>> frame = Exposure(
    ...     specimen="nw-01", width_px=2, height_px=2, pixel_nm=1.0, dwell_s=1.0
    ... )
    >>> f"{local_fluence_e_per_nm2(1.0, frame, 0.2):.1f}"
    '31.8'
    """
    if exposure.beam_diameter_nm > 0 or probe_diameter_nm >= exposure.pixel_nm:
        return mean_e_per_nm2
    spot_nm2 = math.pi * (probe_diameter_nm / 2) ** 2
    return mean_e_per_nm2 * exposure.pixel_nm**2 / spot_nm2


def charge_limit_c(exposure: Exposure, current_limit_pa: float) -> float:
    """Return the charge at which the instrument must blank this exposure."""
    return current_limit_pa * 1e-12 * exposure.beam_on_s


def worst_fluence_e_per_nm2(exposure: Exposure, current_limit_pa: float) -> float:
    """Return what an exposure may cost at most where it costs most."""
    charge_c = charge_limit_c(exposure, current_limit_pa)
    return fluence_of_charge_e_per_nm2(charge_c, exposure.area_nm2)


def allocate_over_tilts(
    total_e_per_nm2: float,
    angles_deg: Sequence[float],
    *,
    factor_at_60deg: float = 1.0,
    start_deg: float = 0.0,
) -> NDArray[np.float64]:
    """Return each tilt's share of a total, (tilt,) e/nm2.

    Weights are (1 / cos t)^P with P = log2 of the factor wanted at 60 deg: 1 is
    uniform, 2 is 1 / cos t. Angles count from ``start_deg``.

    >>> shares = allocate_over_tilts(1e7, range(-60, 61, 5), factor_at_60deg=2.0)
    >>> f"{shares[12]:.4e} {shares[0]:.4e}"
    '3.1024e+05 6.2049e+05'
    """
    if factor_at_60deg < 1.0 or not math.isfinite(factor_at_60deg):
        raise ValueError(
            f"factor_at_60deg = {factor_at_60deg:g}; give 1 (uniform) or more"
        )
    tilts = np.radians(np.asarray(angles_deg, dtype=float) - start_deg)
    weights = (1.0 / np.cos(tilts)) ** math.log2(factor_at_60deg)
    return np.asarray(total_e_per_nm2 * weights / weights.sum())
