"""Energy-loss spectra: a zero loss, plasmons, edges, all scattered any number of times.

Marks: [S2] silicon anode paper (cryo-STEM), [T] textbook value, [A] assumption, a
free knob. The single losses are Im(-1 / epsilon) of a free electron gas, scattering
is Poisson: in Fourier space exp(t / lambda (S - 1)), times the zero loss.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["LossSpecimen", "expected_counts", "plasmon_ev", "record"]

Array = NDArray[np.float64]

_FINER: Final = 4  # points a channel
_BEYOND: Final = 1024  # channels beyond the axis, for what is scattered off it
_READOUT: Final = 2.0  # [A] counts rms a channel
_SILICON_EV, _LI22SI5_EV = 16.83, 12.74  # [S2] ends of the range
_FREE_EV: Final = 1.17424  # [T] of one electron per nm^3
_LITHIUM = np.array([0.0, 3.75, 4.4])  # per silicon atom: Si, Li15Si4, Li22Si5
# [T] nm^3 per silicon atom: lattice constants 0.5431, 1.0632, 1.875 nm
_VOLUME_NM3 = np.array([0.5431**3 / 8, 1.0632**3 / 16, 1.875**3 / 80])


@dataclass(frozen=True)
class LossSpecimen:
    """What a probe position does to the beam."""

    plasmon_ev: float
    width_ev: float = 4.0  # [A]
    t_over_lambda: float = 0.8
    oxide: float = 0.0
    """Part of the single losses at 22 eV, where SiO2 has its plasmon [S2]."""
    lithium_edge: float = 0.0
    silicon_edge: float = 0.0
    """Part of the single losses at the Li-K (60 eV) and the Si-L edge (99 eV)."""


def plasmon_ev(li_per_si: ArrayLike, relative_density: ArrayLike = 1.0) -> Array:
    """Return where a free electron gas of LixSi has its plasmon.

    Four electrons of each silicon and one of each lithium atom, in the volumes of the
    crystals, scaled to the ends of the range that [S2] gives.
    """
    x = np.asarray(li_per_si, float)
    slope, start = np.polyfit(_LITHIUM, _VOLUME_NM3, 1)

    def free(lithium: Array) -> Array:
        return np.asarray(_FREE_EV * np.sqrt((4 + lithium) / (start + slope * lithium)))

    ends = np.array([_SILICON_EV, _LI22SI5_EV]) / free(_LITHIUM[[0, 2]])
    scale = np.interp(x, _LITHIUM[[0, 2]], ends)
    return np.asarray(free(x) * scale * np.sqrt(np.asarray(relative_density, float)))


def expected_counts(
    specimen: LossSpecimen,
    energy_ev: ArrayLike,
    electrons: float,
    *,
    zero_ev: ArrayLike = 0.0,
    resolution_fwhm_ev: float = 1.5,
) -> Array:
    """Return the mean counts of each channel, (..., channel), for each zero_ev (...).

    energy_ev: (channel,), middles of channels of one width, 0 near the zero loss
    """
    axis_ev = np.asarray(energy_ev, float)
    step_ev = (axis_ev[-1] - axis_ev[0]) / (axis_ev.size - 1)
    n = _FINER * (axis_ev.size + _BEYOND)
    fine_ev = step_ev / _FINER
    loss_ev = fine_ev * np.arange(1, n // 2)
    single = np.zeros(n)
    single[1 : n // 2] = _single(specimen, loss_ev)
    single /= single.sum()
    frequency = np.fft.rfftfreq(n, fine_ev)
    sigma_ev = resolution_fwhm_ev / np.sqrt(8 * np.log(2))
    first_ev = axis_ev[0] - 0.5 * (step_ev - fine_ev)
    moved = np.asarray(zero_ev, float)[..., None] - first_ev
    zero = np.exp(
        -2 * (np.pi * sigma_ev * frequency) ** 2 - 2j * np.pi * frequency * moved
    )
    scattered = np.exp(specimen.t_over_lambda * (np.fft.rfft(single) - 1))
    points = electrons * np.fft.irfft(zero * scattered, n)
    inside = points[..., : _FINER * axis_ev.size]
    counts = inside.reshape(*inside.shape[:-1], axis_ev.size, _FINER).sum(-1)
    return np.asarray(np.maximum(counts, 0.0))


def record(
    expected: Array, rng: np.random.Generator, *, readout: float = _READOUT
) -> Array:
    """Return one recording: Poisson counts, and the camera's own noise."""
    counts = rng.poisson(expected).astype(float)
    if readout > 0:
        counts += rng.normal(0.0, readout, counts.shape)
    return counts


def _single(specimen: LossSpecimen, loss_ev: Array) -> Array:
    """Return the single losses, each part weighted as asked for."""
    parts = (
        (specimen.oxide, _free_gas(loss_ev, 22.0, 8.0)),
        (specimen.lithium_edge, _edge(loss_ev, 60.0, 3.0, 2.0)),
        (specimen.silicon_edge, _edge(loss_ev, 99.0, 2.6, 6.0)),
    )
    total = _free_gas(loss_ev, specimen.plasmon_ev, specimen.width_ev)
    total = total / total.sum() * (1 - sum(weight for weight, _ in parts))
    for weight, part in parts:
        if weight > 0:
            total = total + weight * part / part.sum()
    return np.asarray(total)


def _free_gas(loss_ev: Array, energy_ev: float, width_ev: float) -> Array:
    """Return Im(-1 / epsilon) of electrons that are free but for friction."""
    epsilon = 1 - energy_ev**2 / (loss_ev * (loss_ev + 1j * width_ev))
    return np.asarray((-1 / epsilon).imag)


def _edge(loss_ev: Array, onset_ev: float, power: float, rise_ev: float) -> Array:
    """Return an ionisation edge: a step that falls by a power of the loss."""
    above = np.maximum(loss_ev - onset_ev, 0.0)
    return np.asarray((onset_ev / loss_ev) ** power * (1 - np.exp(-above / rise_ev)))
