"""Energy-loss spectra: the plasmon's energy, what it says of lithium, maps, thickness.

Spectra are (..., channel), counts; energies in eV, of the middles of channels that are
equally wide. Each spectrum's zero loss is found, and all energies counted from it.

Marks: [S2] is the paper on silicon anodes in all-solid-state cells by cryo-STEM.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis import eels_fit
from cryoline.analysis.blocks import for_each_block
from cryoline.analysis.eels_input import axis_of, counts_of, interval_of
from cryoline.analysis.eels_lithium import LithiumRatio, li_per_si
from cryoline.analysis.eels_maps import (
    LITHIUM_K_EV,
    SECOND_PLASMON_EV,
    Thickness,
    richardson_lucy,
    sharp_windows,
    thickness,
    window_map,
)
from cryoline.analysis.eels_profiles import DRUDE, LORENTZIAN
from cryoline.analysis.errors import KernelInputError

__all__ = [
    "LITHIUM_K_EV",
    "SECOND_PLASMON_EV",
    "FitStatus",
    "LithiumRatio",
    "PlasmonFit",
    "Thickness",
    "fit_plasmon",
    "li_per_si",
    "richardson_lucy",
    "sharp_windows",
    "thickness",
    "window_map",
]

Array = NDArray[np.float64]

_MODELS: Final = {"drude": DRUDE, "lorentzian": LORENTZIAN}
_BLOCK: Final = 256  # spectra


class FitStatus(IntEnum):
    """How the fit of one spectrum went; all but the first leave NaN."""

    FITTED = eels_fit.FITTED
    NO_ZERO_LOSS = eels_fit.NO_ZERO_LOSS
    """Nothing stands out by five standard deviations near 0 eV."""
    NO_PLASMON = eels_fit.NO_PLASMON
    """Less than five standard deviations of it, or its window is off the axis."""
    NOT_CONVERGED = eels_fit.NOT_CONVERGED
    """No maximum of the likelihood with the plasmon inside its window."""


@dataclass(frozen=True)
class PlasmonFit:
    """One plasmon a spectrum; all of the spectra's shape without the channel.

    NaN where `status` is not `FitStatus.FITTED`; of the zero loss, where there is none
    (deconvolved: it is 0, and sharp).
    Errors are one standard deviation by counting, at the limit of Cramer and Rao.
    """

    energy_ev: Array
    """Of the plasmon, from the zero loss (Drude: Ep, not the maximum)."""
    energy_sigma_ev: Array
    """With the error of the zero loss."""
    width_ev: Array
    """Full width at half maximum, the resolution taken out."""
    width_sigma_ev: Array
    amplitude: Array
    """Counts that lost energy to one plasmon only, under the whole profile."""
    amplitude_sigma: Array
    background: Array
    """Counts a channel, level under the plasmon."""
    reduced_chi2: Array
    """Pearson's, over the plasmon's window: 1 if the model holds."""
    zero_loss_ev: Array
    """Where the zero loss was, on the axis given."""
    zero_loss_sigma_ev: Array
    zero_loss_counts: Array
    resolution_ev: Array
    """Full width at half maximum of the zero loss."""
    status: NDArray[np.int8]
    """A `FitStatus`."""

    @property
    def is_fitted(self) -> NDArray[np.bool_]:
        """Where there is a result."""
        return np.asarray(self.status == FitStatus.FITTED)


def fit_plasmon(
    spectra: ArrayLike,
    energy_ev: ArrayLike,
    *,
    model: str = "drude",
    window_ev: tuple[float, float] = (9.0, 24.0),
    search_ev: float = 5.0,
    readout_sigma: float = 0.0,
    deconvolved: bool = False,
    threads: int = 1,
) -> PlasmonFit:
    """Fit the plasmon of each spectrum by maximum likelihood under Poisson noise.

    1. The zero loss is a Gaussian on a level, within 4 of its standard deviations.
    2. The plasmon is the loss function of Drude's metal (or a Lorentzian), blurred by
       that Gaussian, on a level. What scattered twice and thrice follows from its
       counts and those of the zero loss by Poisson's law (Egerton 2011, 4.1), and is
       part of the model: no further parameter, no deconvolution.

    spectra: (..., channel), counts as measured, the dark level taken off
    energy_ev: (channel,), rising evenly
    model: "drude" or "lorentzian"
    window_ev: that is fitted, from the zero loss; without another plasmon in it (Li2O
        has one at 19, SiO2 at 22 eV), nor a background that falls: that draws the
        energy down (a second plasmon of aluminium, on the tail of the first, by 0.1 eV)
    search_ev: the zero loss is looked for within so much of 0
    readout_sigma: the camera's own noise, counts; values below 0 need one
    deconvolved: the spectra lie at 0, and have neither blur nor plural losses worth
        mention (taken out, or a thin specimen in a sharp beam): step 2 is all that is
        done, of the bare profile on a level. Errors hold for counts, which what comes
        out of `richardson_lucy` are no more.
    A spectrum's bits depend neither on the others nor on the number of threads.
    Raises KernelInputError if lengths differ, the axis does not rise evenly or does not
    reach 0, counts are negative or not finite, or no spectrum has a zero loss.
    """
    noise = float(readout_sigma)
    if not 0 <= noise < np.inf:
        raise KernelInputError(f"readout_sigma {noise:g}: give counts, 0 or more")
    if model not in _MODELS:
        raise KernelInputError(f"model {model!r}: give one of {', '.join(_MODELS)}")
    low_ev, high_ev = interval_of("window_ev", window_ev)
    counts = counts_of("spectra", spectra, least=-8.0 * noise)
    axis = axis_of(energy_ev, counts.shape[-1])
    if deconvolved:
        search_ev = 0.0  # as the loops know it
    if not (low_ev > 0 and 0 <= search_ev < low_ev and (deconvolved or search_ev > 0)):
        raise KernelInputError(
            f"search_ev {search_ev:g} and window_ev from {low_ev:g} eV: the zero loss "
            "has to be looked for below the plasmon, both above 0"
        )
    if not deconvolved and np.count_nonzero(np.abs(axis) < search_ev) < 5:
        raise KernelInputError(
            f"energy_ev: {axis[0]:g} to {axis[-1]:g} eV holds no zero loss within "
            f"{search_ev:g} eV of 0; shift the axis"
        )
    rows = counts.reshape(-1, axis.size)
    out = np.full((len(rows), len(eels_fit.OUTPUTS)), np.nan)
    status = np.empty(len(rows), np.int8)

    def work(first: int) -> None:
        part = slice(first, first + _BLOCK)
        eels_fit.fit(
            rows[part], axis, _MODELS[model], low_ev, high_ev, float(search_ev),
            noise**2, out[part], status[part],
        )  # fmt: skip

    for_each_block(work, range(0, len(rows), _BLOCK), threads)
    if (status == FitStatus.NO_ZERO_LOSS).all():
        raise KernelInputError(
            f"spectra: none of {len(rows)} has a zero loss within {search_ev:g} eV of "
            "0; is it cut off, or the axis shifted?"
        )
    shape = counts.shape[:-1]
    columns = {
        name: np.ascontiguousarray(column).reshape(shape)
        for name, column in zip(eels_fit.OUTPUTS, out.T, strict=True)
    }
    return PlasmonFit(**columns, status=status.reshape(shape))
