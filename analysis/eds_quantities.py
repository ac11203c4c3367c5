"""How much of each element there is: weight per cent by Cliff and Lorimer, with errors.

Of a thin specimen, in which X-rays are not absorbed, weights go as counts times a
factor for each element, found once on a standard of known composition (G. Cliff, G. W.
Lorimer, J. Microsc. 103, 203 (1975)). The sum is that of the elements measured: what
gives no X-rays here, lithium before all, is not in it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.eds import NetCounts, Window, net_counts
from cryoline.analysis.errors import KernelInputError

__all__ = [
    "SIMULATED_STANDARD",
    "KFactors",
    "RunningComposition",
    "WeightPercent",
    "k_factors",
    "k_factors_of",
    "running_composition",
    "weight_percent",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class KFactors:
    """Weight per net count, relative to that of a reference element; all (element,).

    They hold for one detector and for the windows that they were found with.
    """

    elements: tuple[str, ...]
    factor: Array
    sigma: Array
    """By counting on the standard; 0 for the reference."""
    source: str


# Measured on a film of 20 atoms/nm3 each of Si, O, F and C, 48 nm thick, by the
# simulated laboratory's detector, 1e7 counts; a test measures it again, with fewer.
SIMULATED_STANDARD: Final = KFactors(
    ("Si", "O", "F", "C"),
    np.array([1.0, 1.109, 1.185, 1.947]),
    np.array([0.0, 0.0011, 0.0014, 0.0028]),
    "standard of the simulated laboratory",
)
"""For a run that brings no factors of its detector."""


@dataclass(frozen=True)
class WeightPercent:
    """A composition, in per cent of the weight of the elements measured."""

    elements: tuple[str, ...]
    weight_percent: Array
    """(element,); NaN where nothing was counted, below 0 within the error."""
    sigma: Array
    """By counting on the specimen: more dose makes it smaller."""
    standard_sigma: Array
    """By counting on the standard: no dose makes it smaller."""

    def of(self, element: str) -> tuple[float, float]:
        """Return an element's weight per cent and its error by counting."""
        number = self.elements.index(element)
        return float(self.weight_percent[number]), float(self.sigma[number])


@dataclass(frozen=True)
class RunningComposition:
    """A composition as the counts came in, and whether it has come to rest."""

    elements: tuple[str, ...]
    time_s: Array
    """(step,), live time so far."""
    weight_percent: Array
    """(step, element), of all counts so far."""
    sigma: Array
    """(step, element), by counting."""

    def stable_after_s(self, element: str, within_percent: float = 0.5) -> float:
        """Return from when on an element's weight per cent is known well enough.

        From there each estimate differs from the last one by ``within_percent`` at
        the most, and its error by counting is no larger. NaN if that is still to come.
        """
        column = self.elements.index(element)
        value, sigma = self.weight_percent[:, column], self.sigma[:, column]
        with np.errstate(invalid="ignore"):
            well = (np.abs(value - value[-1]) <= within_percent) & (
                sigma <= within_percent
            )
        if not well[-1]:
            return math.nan
        unknown = np.flatnonzero(~well)
        return float(self.time_s[unknown[-1] + 1 if unknown.size else 0])

    def time_for_s(self, element: str, sigma_percent: float) -> float:
        """Return the live time in all at which an element's error will be so small.

        Errors by counting fall with the root of time, and of dose.
        """
        reached = float(self.sigma[-1, self.elements.index(element)])
        return float(self.time_s[-1]) * (reached / sigma_percent) ** 2

    def sigma_after(self, element: str, times_the_dose: float) -> float:
        """Return what an element's error by counting is at so many times the dose."""
        reached = float(self.sigma[-1, self.elements.index(element)])
        return reached / math.sqrt(times_the_dose)


def k_factors(
    net: NetCounts,
    weights: Mapping[str, float],
    *,
    reference: str = "Si",
    source: str = "standard",
) -> KFactors:
    """Return the factors by a measurement of a standard.

    net: its counts, of elements that all stand out
    weights: its composition by weight, in any unit
    Raises KernelInputError if an element is missing or was not seen.
    """
    missing = {*net.elements, reference} - (weights.keys() & {*net.elements})
    if missing or not all(weights[e] > 0 for e in net.elements):
        raise KernelInputError(
            f"standard of {dict(weights)}: give a weight above 0 of each of "
            f"{', '.join(net.elements)}, the reference {reference} among them"
        )
    weak = [
        element
        for element, counts, sigma in zip(
            net.elements, net.net, net.net_sigma, strict=True
        )
        if not counts > 5 * sigma
    ]
    if weak:
        raise KernelInputError(
            f"standard: {', '.join(weak)} does not stand out by five standard "
            "deviations; count longer"
        )
    first = net.elements.index(reference)
    amounts = np.array([float(weights[e]) for e in net.elements])
    factor = amounts / amounts[first] * net.net[first] / net.net
    # of log(I_ref / I_i)
    relative = net.net_covariance / np.outer(net.net, net.net)
    variance = np.diag(relative) + relative[first, first] - 2 * relative[first]
    return KFactors(net.elements, factor, factor * np.sqrt(np.abs(variance)), source)


def k_factors_of(values: Mapping[str, Any] | None, elements: Sequence[str]) -> KFactors:
    """Return the factors that a run gives; those of `SIMULATED_STANDARD` if it doesn't.

    values: ``{"Si": [1.0, 0.0], "O": [factor, sigma], ..., "source": "..."}``
    Raises KernelInputError if an element has none.
    """
    if values is None:
        return SIMULATED_STANDARD
    try:
        pairs = np.array([values[element] for element in elements], float)
        factor, sigma = pairs.T
    except (KeyError, TypeError, ValueError) as error:
        raise KernelInputError(
            f"k-factors {dict(values)!r}: {error!r}; give [factor, sigma] of each of "
            f"{', '.join(elements)}"
        ) from error
    if not ((factor > 0).all() and (sigma >= 0).all()):
        raise KernelInputError(
            f"k-factors {dict(values)!r}: factors have to be above 0, errors 0 or more"
        )
    return KFactors(tuple(elements), factor, sigma, str(values.get("source", "run")))


def weight_percent(net: NetCounts, factors: KFactors) -> WeightPercent:
    """Return the composition by Cliff and Lorimer, in weight per cent.

    ``C_i = 100 k_i I_i / sum k I``; errors to first order, with the covariance of nets.
    Net counts below 0 are taken as they are: cut at 0, many means would be too high.

    Raises KernelInputError if counts and factors are of other elements.
    """
    if net.elements != factors.elements:
        raise KernelInputError(
            f"counts of {', '.join(net.elements)}, factors of "
            f"{', '.join(factors.elements)}; give both of the same elements in order"
        )
    k, counts = factors.factor, net.net
    total = float(k @ counts)
    if not total > 0:
        nothing = np.full(len(k), math.nan)
        return WeightPercent(net.elements, nothing, nothing, nothing)
    part = k * counts / total
    slope = (np.eye(len(k)) - part[:, None]) / total  # d part_i / d (k_j I_j)
    by_counts, by_factor = slope * k, slope * counts
    variance = np.einsum("ij,jk,ik->i", by_counts, net.net_covariance, by_counts)
    return WeightPercent(
        net.elements,
        100.0 * part,
        100.0 * np.sqrt(variance),
        100.0 * np.sqrt(by_factor**2 @ factors.sigma**2),
    )


def running_composition(
    spectra: ArrayLike,
    live_time_s: ArrayLike,
    windows: Sequence[Window],
    factors: KFactors,
    *,
    energy_per_channel_ev: float = 10.0,
) -> RunningComposition:
    """Return the composition after each of some spectra, of all counts so far.

    spectra: (step, channel), of each frame, say
    live_time_s: (step,) of each
    Raises KernelInputError if their numbers differ or there is none.
    """
    counts, lapses = np.asarray(spectra, float), np.asarray(live_time_s, float)
    if counts.ndim != 2 or lapses.shape != counts.shape[:1] or not lapses.size:
        raise KernelInputError(
            f"spectra {counts.shape} and live_time_s {lapses.shape}: give one live "
            "time a spectrum, (step, channel) and (step,)"
        )
    so_far = [
        weight_percent(
            net_counts(spectrum, windows, energy_per_channel_ev=energy_per_channel_ev),
            factors,
        )
        for spectrum in np.cumsum(counts, axis=0)
    ]
    return RunningComposition(
        factors.elements,
        np.cumsum(lapses),
        np.array([one.weight_percent for one in so_far]),
        np.array([one.sigma for one in so_far]),
    )
