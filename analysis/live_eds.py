"""Element maps of each tilt, as the series comes: the derived run `element-maps`.

The counts lie in the detector's file; documents say which of them belong to an event.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, Final, NamedTuple

import numpy as np
from event_model import DocumentRouter
from numpy.typing import NDArray

from cryoline.analysis.derived_run import INTEGER, TIME, Column, DerivedRun, Emit
from cryoline.analysis.eds import (
    HE_2021,
    ElementMaps,
    Events,
    NetCounts,
    Window,
    element_maps,
    net_counts,
    windows_of,
)
from cryoline.analysis.errors import StreamError

__all__ = ["MAPS_VERSION", "EdsMapsRouter", "EdsStream", "EdsTilt", "warm_up"]

MAPS_VERSION: Final = "1"
"""Raised by one whenever the same raw run would give other maps or rows."""

_SOURCE: Final = "cryoline.analysis.eds"
_COUNTS: Final = Column("number", "<f8", "counts", 1)
_RATIO: Final = Column("number", "<f8", "", 2)
_ELEMENTS: Final = tuple(window.element for window in HE_2021)
_STREAMS: Final[dict[str, dict[str, Column]]] = {
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
    }
}

OpenEvents = Callable[[str], Any]
Save = Callable[..., None]


class EdsTilt(NamedTuple):
    """One exposure of a raw run, with its counts sorted."""

    number: int
    """From 1."""
    tilt_deg: float
    pixel_nm: float
    live_time_s: float
    maps: ElementMaps
    net: NetCounts
    quadrant_counts: NDArray[np.int64]
    """(quadrant,), of all energies: what the holder shadows is missing here."""
    data: Mapping[str, Any]
    """The event's, by the keys of its stream."""
    time: float


class EdsStream:
    """Finds the exposures with X-ray counts in a raw run's documents.

    ``take`` returns an `EdsTilt` for each event of a stream that holds some; its
    detector is the one whose keys end with first_event and last_event.
    """

    def __init__(self, open_events: OpenEvents) -> None:
        self.windows: tuple[Window, ...] = HE_2021
        self._open_events = open_events
        self._prefixes: dict[str, str] = {}
        self._uris: dict[str, str] = {}
        self._number = 0

    @property
    def is_found(self) -> bool:
        """Whether such a stream was described."""
        return bool(self._prefixes)

    def start(self, doc: Mapping[str, Any]) -> None:
        """Take the windows that the run's start document gives as ``eds_windows``."""
        self.windows = windows_of(doc.get("eds_windows"))

    def describe(self, doc: Mapping[str, Any]) -> None:
        """Look for an X-ray detector in a stream's descriptor."""
        prefixes = [
            key.removesuffix("first_event")
            for key in doc["data_keys"]
            if key.endswith("_first_event")
            and key.removesuffix("first_event") + "last_event" in doc["data_keys"]
        ]
        if len(prefixes) > 1:
            raise StreamError(
                f"stream {doc['name']!r} holds the counts of {len(prefixes)} X-ray "
                f"detectors ({', '.join(prefixes)}); record each in a run of its own"
            )
        if prefixes:
            self._prefixes[doc["uid"]] = prefixes[0]

    def find_file(self, doc: Mapping[str, Any]) -> None:
        """Remember where a detector's file is."""
        self._uris[doc["data_key"]] = doc["uri"]

    def take(self, doc: Mapping[str, Any]) -> EdsTilt | None:
        """Read and sort an event's counts; None if its stream has none.

        Raises StreamError if the file was not named, or has no such counts.
        """
        prefix = self._prefixes.get(doc["descriptor"])
        if prefix is None:
            return None
        data = doc["data"]
        uri = self._uris.get(f"{prefix}spectrum")
        if uri is None:
            raise StreamError(
                f"event {doc['seq_num']}: no stream resource names the file of "
                f"{prefix}spectrum, which holds the counts"
            )
        first = int(data[f"{prefix}first_event"])
        last = int(data[f"{prefix}last_event"])
        with closing(self._open_events(uri)) as file:
            entry = file["entry"]
            columns = {}
            for name in ("y", "x", "channel", "quadrant"):
                column = entry["events"][name]
                if not 0 <= first <= last <= len(column):
                    raise StreamError(
                        f"{uri}: event {doc['seq_num']} says counts {first} to {last}, "
                        f"the file has {len(column)}; was it cut short?"
                    )
                columns[name] = np.asarray(column[first:last], np.int64)
            shape = int(entry.attrs["height_px"]), int(entry.attrs["width_px"])
            pixel_nm = float(entry.attrs["pixel_nm"])
            per_channel_ev = float(entry.attrs["energy_per_channel_ev"])
            channels = entry["spectrum/data"].shape[-1]
        quadrants = np.bincount(columns.pop("quadrant"))
        maps = element_maps(
            Events(**columns),
            self.windows,
            shape,
            channels=channels,
            energy_per_channel_ev=per_channel_ev,
        )
        net = net_counts(
            maps.spectrum, self.windows, energy_per_channel_ev=per_channel_ev
        )
        self._number += 1
        return EdsTilt(
            self._number,
            _tilt_deg(data),
            pixel_nm,
            float(data.get(f"{prefix}live_time_s", float("nan"))),
            maps,
            net,
            quadrants,
            data,
            float(doc["time"]),
        )


class EdsMapsRouter(DocumentRouter):  # type: ignore[misc,unused-ignore]
    """A map for each element and tilt, and their net counts, as a run of its own.

    A row of the stream `maps` and an array (element, y, x) come with each event of
    the raw run. A run without X-ray counts gives nothing.

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

    def start(self, doc: Mapping[str, Any]) -> None:
        """Remember the run."""
        self._raw_start = doc
        self._stream.start(doc)

    def descriptor(self, doc: Mapping[str, Any]) -> None:
        """Begin when a stream with X-ray counts is described."""
        self._stream.describe(doc)
        if self._run is None and self._stream.is_found:
            self._run = DerivedRun(
                self._emit,
                self.quantity,
                self._raw_start,
                self._original_key,
                version=MAPS_VERSION,
                parameters={
                    "windows_ev": {
                        w.element: [w.low_ev, w.high_ev] for w in self._stream.windows
                    }
                },
                streams=_STREAMS,
                source=_SOURCE,
            )

    def stream_resource(self, doc: Mapping[str, Any]) -> None:
        """Remember where a detector's file is."""
        self._stream.find_file(doc)

    def event(self, doc: Mapping[str, Any]) -> None:
        """Make the maps of one exposure."""
        tilt = self._stream.take(doc)
        if tilt is None or self._run is None:
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
        self._save("maps", counts, live=False, **what)
        self._save("maps", counts, live=True, **what)
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

    def stop(self, doc: Mapping[str, Any]) -> None:
        """End as the raw run ended."""
        if self._run is not None:
            self._run.end(doc)


def warm_up() -> None:
    """Compile the kernel."""
    element_maps(Events([0], [0], [0]), HE_2021, (1, 1))


def _tilt_deg(data: Mapping[str, Any]) -> float:
    """Return the stage's tilt in an event; NaN if no stage was read."""
    for key, value in data.items():
        if key.endswith("_alpha_deg"):
            return float(value)
    return float("nan")
