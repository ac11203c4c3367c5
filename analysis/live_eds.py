"""Element maps and quantities of each tilt: the derived run `element-maps`."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from event_model import DocumentRouter
from numpy.typing import NDArray

from cryoline.analysis.derived_run import INTEGER, TIME, Column, DerivedRun, Emit
from cryoline.analysis.eds import HE_2021, Events, element_maps
from cryoline.analysis.eds_quantities import KFactors, k_factors_of
from cryoline.analysis.eds_rows import QUANTITIES, RUNNING, QuantityRows
from cryoline.analysis.eds_stream import EdsStream, EdsTilt, OpenEvents

__all__ = ["MAPS_VERSION", "EdsMapsRouter", "warm_up"]

MAPS_VERSION: Final = "4"
"""Raised by one whenever the same raw run would give other maps or rows."""

_SOURCE: Final = "cryoline.analysis.eds"
_COUNTS: Final = Column("number", "<f8", "counts", 1)
_RATIO: Final = Column("number", "<f8", "", 2)
_ELEMENTS: Final = tuple(window.element for window in HE_2021)
_STREAMS: Final[Mapping[str, Mapping[str, Column]]] = {
    "maps": {
        "tilt_deg": Column("number", "<f8", "deg", 3),
        "events": INTEGER,
        "live_time_s": TIME,
        **{
            f"{element}_{name}": column
            for element in _ELEMENTS
            for name, column in (
                ("net", _COUNTS),
                ("net_sigma", _COUNTS),
                ("background", _COUNTS),
                ("peak_to_background", _RATIO),
            )
        },
    },
    "quantities": QUANTITIES,
    "running": RUNNING,
    "spectra": {
        "tilt": INTEGER,
        "tilt_deg": Column("number", "<f8", "deg", 3),
        "energy_ev": Column("number", "<f8", "eV", 1),
        "counts": INTEGER,
        "series_counts": INTEGER,
    },
}

Save = Callable[..., None]


class EdsMapsRouter(DocumentRouter):  # type: ignore[misc,unused-ignore]
    """A map for each element and tilt, and their net counts, as a run of its own.

    A row of the streams `maps` and `quantities`, a page of `running` and of `spectra`
    and an array (element, y, x) come with each event of the raw run. A run without
    X-ray counts gives nothing.

    emit: takes (name, document)
    save: takes (key, array, ...), see ``acquisition.analyses.Save``
    open_events: opens the file that a stream resource's uri names
    """

    quantity: Final = "element-maps"

    def __init__(
        self,
        emit: Emit,
        save: Save,
        open_events: OpenEvents,
        *,
        original_key: str | None = None,
    ) -> None:
        super().__init__()
        self._emit = emit
        self._save = save
        self._original_key = original_key
        self._stream = EdsStream(open_events)
        self._raw_start: Mapping[str, Any] = {}
        self._run: DerivedRun | None = None
        self._quantities: QuantityRows | None = None

    def start(self, doc: Mapping[str, Any]) -> None:
        """Remember the run, and take the ``eds_k_factors`` that it brings."""
        self._raw_start = doc
        self._stream.start(doc)
        factors = k_factors_of(doc.get("eds_k_factors"), _ELEMENTS)
        self._quantities = QuantityRows(self._stream.windows, factors)

    def descriptor(self, doc: Mapping[str, Any]) -> None:
        """Begin when a stream with X-ray counts is described."""
        self._stream.describe(doc)
        if self._run is None and self._quantities and self._stream.is_found:
            self._run = DerivedRun(
                self._emit,
                self.quantity,
                self._raw_start,
                self._original_key,
                version=MAPS_VERSION,
                parameters={
                    "windows_ev": {
                        w.element: [w.low_ev, w.high_ev] for w in self._stream.windows
                    },
                    "k_factors": _described(self._quantities.factors),
                },
                streams=_STREAMS,
                source=_SOURCE,
            )
            for stream in _STREAMS:
                self._run.begin(stream, float(doc["time"]))

    def stream_resource(self, doc: Mapping[str, Any]) -> None:
        """Remember where a detector's file is."""
        self._stream.find_file(doc)

    def event(self, doc: Mapping[str, Any]) -> None:
        """Make the maps of one exposure."""
        tilt = self._stream.take(doc)
        if tilt is None or self._run is None or self._quantities is None:
            return
        what = {
            "version": tilt.number,
            "time": tilt.time,
            "dims": ("element", "y", "x"),
            "units": "counts",
            "scale_nm": [1.0, tilt.pixel_nm, tilt.pixel_nm],
            "attributes": {"elements": list(_ELEMENTS), "tilt_deg": tilt.tilt_deg},
        }
        counts = tilt.maps.counts.astype(np.uint16)
        self._save("maps", counts, live=True, **what)
        self._save("maps", counts, live=False, **what)
        row: dict[str, Any] = {
            "tilt_deg": tilt.tilt_deg,
            "events": int(tilt.maps.spectrum.sum()),
            "live_time_s": tilt.live_time_s,
        }
        ratios = tilt.net.peak_to_background
        for number, element in enumerate(_ELEMENTS):
            row[f"{element}_net"] = float(tilt.net.net[number])
            row[f"{element}_net_sigma"] = float(tilt.net.net_sigma[number])
            row[f"{element}_background"] = float(tilt.net.background[number])
            row[f"{element}_peak_to_background"] = float(ratios[number])
        self._run.event("maps", row, tilt.time)
        quantities, running = self._quantities.take(tilt)
        self._run.event("quantities", quantities, tilt.time)
        self._run.page("running", running, tilt.time)
        spectra = _spectra(tilt, self._quantities.series_spectrum)
        self._run.page("spectra", spectra, tilt.time)

    def stop(self, doc: Mapping[str, Any]) -> None:
        """End as the raw run ended."""
        if self._run is not None:
            self._run.end(doc)


def warm_up() -> None:
    """Compile the kernel, for columns as detectors write them."""
    element_maps(Events(*np.zeros((3, 1), np.uint16)), HE_2021, (1, 1))


def _spectra(tilt: EdsTilt, series: NDArray[np.int64]) -> dict[str, list[Any]]:
    """Return a tilt's spectrum, and that of all tilts so far; a row a channel."""
    channels = len(tilt.maps.spectrum)
    middle = (np.arange(channels) + 0.5) * tilt.energy_per_channel_ev
    return {
        "tilt": [tilt.number] * channels,
        "tilt_deg": [tilt.tilt_deg] * channels,
        "energy_ev": middle.tolist(),
        "counts": tilt.maps.spectrum.tolist(),
        "series_counts": series.tolist(),
    }


def _described(factors: KFactors) -> dict[str, Any]:
    """Return factors as the start document says them."""
    pairs = zip(factors.factor.tolist(), factors.sigma.tolist(), strict=True)
    return {
        **dict(zip(factors.elements, map(list, pairs), strict=True)),
        "source": factors.source,
    }
