"""Exposures with X-ray counts in a raw run's documents, their counts sorted.

The counts lie in the detector's file; documents say which of them belong to an event.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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

__all__ = ["EdsStream", "EdsTilt", "OpenEvents"]

OpenEvents = Callable[[str], Any]


class EdsTilt(NamedTuple):
    """One exposure of a raw run, with its counts sorted.

    Frames and live times are those that the detector wrote; without them, all is one
    frame of the event's live time.
    """

    number: int
    """From 1."""
    tilt_deg: float
    pixel_nm: float
    live_time_s: float
    maps: ElementMaps
    net: NetCounts
    frame_spectra: NDArray[np.int64]
    """(frame, channel)."""
    frame_live_s: NDArray[np.float64]
    """(frame,), mean of the quadrants."""
    quadrant_spectra: NDArray[np.int64]
    """(quadrant, channel): what the holder shadows is missing here."""
    quadrant_live_s: NDArray[np.float64]
    """(quadrant,)."""
    energy_per_channel_ev: float
    data: Mapping[str, Any]
    """The event's, by the keys of its stream."""
    time: float

    @property
    def quadrant_counts(self) -> NDArray[np.int64]:
        """(quadrant,), of all energies."""
        return np.asarray(self.quadrant_spectra.sum(axis=1))


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
                columns[name] = column[first:last]  # as it is: 16 bits are fastest
            shape = int(entry.attrs["height_px"]), int(entry.attrs["width_px"])
            pixel_nm = float(entry.attrs["pixel_nm"])
            per_channel_ev = float(entry.attrs["energy_per_channel_ev"])
            channels = entry["spectrum/data"].shape[-1]
            frame, live_s = _frames(entry, prefix, data, first, last)
        quadrant = columns.pop("quadrant").astype(np.int64)
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
        channel = columns["channel"]
        quadrants = live_s.shape[1]
        self._number += 1
        return EdsTilt(
            self._number,
            _tilt_deg(data),
            pixel_nm,
            float(data.get(f"{prefix}live_time_s", float("nan"))),
            maps,
            net,
            _spectra(frame, channel, (len(live_s), channels)),
            live_s.mean(axis=1),
            _spectra(quadrant, channel, (quadrants, channels)),
            live_s.sum(axis=0),
            per_channel_ev,
            data,
            float(doc["time"]),
        )


def _frames(
    entry: Any, prefix: str, data: Mapping[str, Any], first: int, last: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the frame of each count, from 0, and live times (frame, quadrant)."""
    first_frame, count = (
        data.get(f"{prefix}{name}") for name in ("first_frame", "frame_count")
    )
    if first_frame is None or not count:
        quadrants = int(entry.attrs.get("quadrants", 4))
        live_s = float(data.get(f"{prefix}live_time_s", np.nan))
        return np.zeros(last - first, np.int64), np.full((1, quadrants), live_s)
    begin, end = int(first_frame), int(first_frame) + int(count)
    frame = np.asarray(entry["events/frame"][first:last], np.int64) - begin
    live = np.asarray(entry["live_time_s"][begin:end], float)
    if len(live) != count or (
        frame.size and not 0 <= frame.min() <= frame.max() < count
    ):
        raise StreamError(
            f"frames {begin} to {end} of an event: the file has live times of "
            f"{len(live)} of them, or counts of others; was it cut short?"
        )
    return frame, live


def _spectra(
    row: NDArray[np.int64], channel: NDArray[np.int64], shape: tuple[int, int]
) -> NDArray[np.int64]:
    """Return the spectrum of each row, (row, channel)."""
    place = row * shape[1] + channel
    return np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape)


def _tilt_deg(data: Mapping[str, Any]) -> float:
    """Return the stage's tilt in an event; NaN if no stage was read."""
    for key, value in data.items():
        if key.endswith("_alpha_deg"):
            return float(value)
    return float("nan")
