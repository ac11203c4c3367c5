"""Spectra of a microscope's file, whatever its format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryoline.analysis.eds import HE_2021, Window
from cryoline.analysis.eds_cube import CubeMaps, cube_maps

__all__ = ["SpectrumImage"]


@dataclass(frozen=True)
class SpectrumImage:
    """A spectrum, or one for each pixel of a map."""

    counts: NDArray[Any]
    """(channel,) or (y, x, channel), as the file has them."""
    energy_ev: NDArray[np.float64]
    """(channel,), of the middles of channels."""
    pixel_nm: float | None
    """None for a single spectrum, or where the file does not say."""
    source: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """As the reader's library gives it."""

    @property
    def energy_per_channel_ev(self) -> float:
        """The width of a channel."""
        return float(
            (self.energy_ev[-1] - self.energy_ev[0]) / (len(self.energy_ev) - 1)
        )

    @property
    def offset_ev(self) -> float:
        """Where the first channel begins."""
        return float(self.energy_ev[0] - 0.5 * self.energy_per_channel_ev)

    def spectrum(self) -> NDArray[Any]:
        """Return the sum of all pixels, (channel,)."""
        rows = self.counts.reshape(-1, self.counts.shape[-1])
        kind = np.int64 if np.issubdtype(rows.dtype, np.integer) else np.float64
        total: NDArray[Any] = rows.sum(axis=0, dtype=kind)
        return total

    def element_maps(self, windows: Sequence[Window] = HE_2021) -> CubeMaps:
        """Return the counts and the continuum in windows of each pixel's spectrum.

        Raises KernelInputError if this is no map of whole counts, or a window lies
        outside its energies.
        """
        return cube_maps(
            self.counts,
            windows,
            energy_per_channel_ev=self.energy_per_channel_ev,
            offset_ev=self.offset_ev,
        )
