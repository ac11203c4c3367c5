"""The scorer of the dose score: it alone sees the truth."""

import numpy as np
from dose_score_data import CHOSEN, Specimen
from numpy.typing import NDArray
from scipy import ndimage

SCORED = CHOSEN[:3]
_SILICON_PER_NM3 = 50.0
_SI, _O, _F = range(3)

Volume = NDArray[np.float32]


class Marks:
    """Marks of volumes of one specimen."""

    def __init__(self, specimen: Specimen) -> None:
        self._truth = truth = specimen.truth
        self._region = ndimage.binary_dilation(truth.sum(axis=0) > 5, iterations=2)
        self._sei, self._ghosts = specimen.sei, specimen.ghosts
        self._outward = ndimage.distance_transform_edt(truth[_SI] <= 12)
        traps = specimen.ghosts | specimen.islands
        self._plain = specimen.sei & ~traps & (self._outward >= 1)
        self.has_islands = bool(specimen.islands.sum() > 50)
        self.has_ghosts = bool(specimen.ghosts.sum() > 50)

    def errors(self, volume: Volume) -> list[float]:
        """Return the error of each scored element in and around the wire; 1: empty."""
        there = self._truth[:3, self._region].astype(float)
        off = volume[:3, self._region] - there
        return np.sqrt((off**2).sum(axis=1) / (there**2).sum(axis=1)).tolist()

    def chemistry(self, volume: Volume) -> float:
        """Return the correlation of F/mean - O/mean inside the SEI with the truth's."""
        found, true = self._contrast(volume), self._contrast(self._truth)
        if min(found.std(), true.std()) == 0:
            return 0.0
        return float(np.corrcoef(found, true)[0, 1])

    def gradient(self, volume: Volume) -> float:
        """Return the slope of F away from silicon, as a part of the truth's."""
        outward = self._outward[self._plain]
        found, true = (
            np.polyfit(outward, v[_F][self._plain], 1)[0] for v in (volume, self._truth)
        )
        return float(found / true)

    def ghosts(self, volume: Volume, without: Volume) -> list[float]:
        """Return how much the ghosts' being in HAADF changed each element there.

        without: made of the same counts, and of a guide without the ghosts
        As a part of the element's level: Si in silicon, O and F in the SEI.
        """
        level = [_SILICON_PER_NM3, *self._truth[_O : _F + 1, self._sei].mean(axis=1)]
        change = (volume - without)[:3].astype(float)
        here = change[:, self._ghosts].mean(axis=1)
        around = change[:, self._plain].mean(axis=1)
        return (np.abs(here - around) / level).tolist()

    def _contrast(self, volume: Volume) -> NDArray[np.float64]:
        oxygen, fluorine = volume[_O : _F + 1, self._sei].astype(float)
        return fluorine / max(fluorine.mean(), 1e-12) - oxygen / max(
            oxygen.mean(), 1e-12
        )
