"""How much lithium a plasmon's energy may stand for, and when it does not."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.errors import KernelInputError

__all__ = ["LithiumRatio", "li_per_si"]

Array = NDArray[np.float64]

SILICON_EV: Final = 16.83
"""Plasmon of silicon [S2]: the upper limit."""

LI44SI_EV: Final = 12.74
"""Plasmon of Li4.4Si [S2]: the lower limit."""

DENSITY_ALONE_EV: Final = 15.80
"""Lowest plasmon that [S2] saw in delithiated silicon in which it found no lithium."""

# E(x) = base + span / (1 + x / half): through the two ends above, its one further
# number from free electrons in the crystals' volumes, within 0.05 eV of which it lies.
_BASE_EV: Final = 11.475
_SPAN_EV: Final = 5.355
_HALF: Final = 1.361


@dataclass(frozen=True)
class LithiumRatio:
    """Li/Si by plasmon energy, and where density alone may explain it; of one shape.

    Everywhere `ratio` rests on the density of LixSi crystals. The energy goes with the
    root of the electron density: a porous or amorphous place with less lithium looks
    the same.
    """

    ratio: Array
    """Li atoms per Si atom, 0..4.4; NaN outside the limits or if there is no energy."""
    ratio_sigma: Array
    """From the error of the energy alone; NaN if that is not known."""
    is_within_limits: NDArray[np.bool_]
    """The energy is one of LixSi, 12.74..16.83 eV."""
    may_be_density: NDArray[np.bool_]
    """Silicon without lithium has been seen here (15.80..16.83 eV, [S2]): no proof."""
    density_without_lithium: Array
    """Density, of dense silicon's, that would explain the energy with no lithium."""


def li_per_si(
    energy_ev: ArrayLike, energy_sigma_ev: ArrayLike | None = None
) -> LithiumRatio:
    """Return what Li/Si the plasmon energies of LixSi stand for.

    E(x) = 11.475 + 5.355 / (1 + x / 1.361) eV, solved for x. Its ends, 16.83 eV for Si
    and 12.74 eV for Li4.4Si, are those of [S2] (the energies of Danet et al.); between
    them it is a model, within 0.05 eV of free electrons: 0.01 in x near Si, 0.2 near
    Li4.4Si, where it is flat.

    energy_ev: any shape, eV; NaN where nothing was fitted
    energy_sigma_ev: its error, of the same shape
    Raises KernelInputError if the shapes differ.
    """
    energy = np.asarray(energy_ev, float)
    sigma = np.full(energy.shape, np.nan)
    if energy_sigma_ev is not None:
        sigma = np.asarray(energy_sigma_ev, float)
    if sigma.shape != energy.shape:
        raise KernelInputError(
            f"energy_sigma_ev {sigma.shape} doesn't fit energy_ev {energy.shape}; give "
            "one error an energy"
        )
    is_within = (energy >= LI44SI_EV) & (energy <= SILICON_EV)
    above = np.where(is_within, energy - _BASE_EV, np.nan)
    ratio = np.clip(_HALF * (_SPAN_EV / above - 1.0), 0.0, 4.4)
    return LithiumRatio(
        ratio,
        sigma * _HALF * _SPAN_EV / above**2,
        is_within,
        is_within & (energy >= DENSITY_ALONE_EV),
        (energy / SILICON_EV) ** 2,
    )
