"""The rows of composition that come with each tilt of an X-ray run."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryoline.analysis.derived_run import INTEGER, TIME, Column
from cryoline.analysis.eds import HE_2021, Window, net_counts
from cryoline.analysis.eds_overlap import suspicions
from cryoline.analysis.eds_quadrants import quadrant_counts
from cryoline.analysis.eds_quantities import (
    KFactors,
    running_composition,
    weight_percent,
)
from cryoline.analysis.eds_stream import EdsTilt

__all__ = ["QUANTITIES", "RUNNING", "WITHIN_PERCENT", "QuantityRows"]

WITHIN_PERCENT: Final = 0.5
"""[A] An element's weight per cent is stable when it is known as well as this: with
it, Si in the simulated wires is after some 100 s, as in He et al., SI Fig. 24."""

_PERCENT: Final = Column("number", "<f8", "%", 2)
_RATE: Final = Column("number", "<f8", "1/s", 2)
_TILT: Final = Column("number", "<f8", "deg", 3)
_ELEMENTS: Final = tuple(window.element for window in HE_2021)
_WATCHED: Final = "Si"

QUANTITIES: Final[Mapping[str, Column]] = {
    "tilt_deg": _TILT,
    "live_time_s": TIME,
    "live_quadrants": Column("number", "<f8", "", 2),
    **{
        f"{element}_{name}": column
        for element in _ELEMENTS
        for name, column in (
            ("weight_percent", _PERCENT),
            ("weight_percent_sigma", _PERCENT),
            ("standard_sigma", _PERCENT),
            ("whole_per_s", _RATE),
            ("whole_per_s_sigma", _RATE),
        )
    },
    "Si_stable_after_s": TIME,
    "Si_time_for_half_sigma_s": TIME,
    "series_Si_weight_percent": _PERCENT,
    "series_Si_weight_percent_sigma": _PERCENT,
    "suspicions": Column("string", "<U1024"),
}
"""One row a tilt."""

RUNNING: Final[Mapping[str, Column]] = {
    "tilt_deg": _TILT,
    "frame": INTEGER,
    "live_time_s": TIME,
    "Si_weight_percent": _PERCENT,
    "Si_weight_percent_sigma": _PERCENT,
}
"""One row a frame: of the tilt's counts so far."""


class QuantityRows:
    """Makes the rows of each tilt; holds the spectrum of the series so far."""

    def __init__(self, windows: Sequence[Window], factors: KFactors) -> None:
        self.factors = factors
        self._windows = windows
        self.series_spectrum: NDArray[np.int64] = np.zeros(1, np.int64)
        """(channel,), counts of all tilts so far; one 0 before the first."""

    def take(self, tilt: EdsTilt) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        """Return the row of `QUANTITIES` and the page of `RUNNING` of a tilt."""
        width = {"energy_per_channel_ev": tilt.energy_per_channel_ev}
        spectrum = tilt.maps.spectrum
        self.series_spectrum = self.series_spectrum + spectrum
        series = weight_percent(
            net_counts(self.series_spectrum, self._windows, **width), self.factors
        )
        running = running_composition(
            tilt.frame_spectra, tilt.frame_live_s, self._windows, self.factors, **width
        )
        lapse = np.nan_to_num(tilt.quadrant_live_s)
        whole = quadrant_counts(tilt.quadrant_spectra, lapse, self._windows, **width)
        now = weight_percent(tilt.net, self.factors)
        sigma = now.of(_WATCHED)[1]
        row: dict[str, Any] = {
            "tilt_deg": tilt.tilt_deg,
            "live_time_s": float(running.time_s[-1]),
            "live_quadrants": whole.live_quadrants,
            "Si_stable_after_s": running.stable_after_s(_WATCHED, WITHIN_PERCENT),
            "Si_time_for_half_sigma_s": running.time_for_s(_WATCHED, 0.5 * sigma),
            "suspicions": "; ".join(
                f"{one.element}: {one.reason}"
                for one in suspicions(spectrum, self._windows, net=tilt.net, **width)
            ),
        }
        for number, element in enumerate(_ELEMENTS):
            row[f"{element}_weight_percent"] = float(now.weight_percent[number])
            row[f"{element}_weight_percent_sigma"] = float(now.sigma[number])
            row[f"{element}_standard_sigma"] = float(now.standard_sigma[number])
            row[f"{element}_whole_per_s"] = float(whole.whole_per_s[number])
            row[f"{element}_whole_per_s_sigma"] = float(whole.whole_per_s_sigma[number])
        (
            row["series_Si_weight_percent"],
            row["series_Si_weight_percent_sigma"],
        ) = series.of(_WATCHED)
        steps, column = len(running.time_s), running.elements.index(_WATCHED)
        return row, {
            "tilt_deg": [tilt.tilt_deg] * steps,
            "frame": list(range(steps)),
            "live_time_s": running.time_s.tolist(),
            "Si_weight_percent": running.weight_percent[:, column].tolist(),
            "Si_weight_percent_sigma": running.sigma[:, column].tolist(),
        }
