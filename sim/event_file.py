"""The EDS detector's file: every photon, in the order of the scan.

    /entry/events/              frame, y, x, channel, quadrant (event,)
    /entry/frame_offsets        (frame + 1,) first event of each frame, and the end
    /entry/live_time_s          (frame, quadrant)
    /entry/dead_time_s          (frame, quadrant)
    /entry/spectrum/data        (slot, channel) counts of all quadrants
    /entry/slots/               ticket, first_frame, n_frames, first_event, last_event,
                                instrument_time_s (slot,): last_event is exclusive
    /entry/discarded/           the same columns and slot, of re-takes

Frames count on through the file. A re-take's events are appended, and its slot points
to them; the events before it stay. /entry has the attributes width_px, height_px,
pixel_nm, quadrants and energy_per_channel_ev: channel n begins at n times that.
"""

from typing import Any, Final

from cryoline.sim.detector_file import TICKET, DetectorFile, append, column
from cryoline.sim.eds_events import EdsEvents
from cryoline.sim.eds_lines import CHANNEL_KEV, CHANNELS, QUADRANTS
from cryoline.sim.view import View

__all__ = ["EVENT_COLUMNS", "EventFile"]

EVENT_COLUMNS: Final = {
    "frame": "u4",
    "y": "u2",
    "x": "u2",
    "channel": "u2",
    "quadrant": "u1",
}
_COLUMNS: Final = {
    "first_frame": "u8",
    "n_frames": "u8",
    "first_event": "u8",
    "last_event": "u8",
    "instrument_time_s": "f8",
}
_EVENT_CHUNK: Final = 65_536
_FRAME_CHUNK: Final = 1024


class EventFile(DetectorFile[EdsEvents]):
    """One open file of events."""

    detector = "eds"

    def rows(self, entry: Any) -> Any:
        """Return /entry/slots."""
        return entry["slots"]

    def lay_out(self, entry: Any, view: View) -> None:
        """Make the data sets."""
        entry.attrs.update(quadrants=QUADRANTS, energy_per_channel_ev=CHANNEL_KEV * 1e3)
        events = entry.create_group("events")
        for name, dtype in EVENT_COLUMNS.items():
            column(events, name, dtype, _EVENT_CHUNK)
        column(entry, "frame_offsets", "u8", _FRAME_CHUNK)
        append(entry["frame_offsets"], [0])
        for name in ("live_time_s", "dead_time_s"):
            column(entry, name, "f8", _FRAME_CHUNK, QUADRANTS)
        column(entry.create_group("spectrum"), "data", "u4", 1, CHANNELS)
        for group in (entry.create_group("slots"), entry.create_group("discarded")):
            column(group, "ticket", TICKET, 64)
            for name, dtype in _COLUMNS.items():
                column(group, name, dtype, 256)
        column(entry["discarded"], "slot", "u4", 256)

    def put(self, entry: Any, slot: int, time_s: float, record: EdsEvents) -> None:
        """Append the events, and point the slot to them."""
        self.trim(entry)
        offsets = entry["frame_offsets"]
        first_frame, first_event = len(offsets) - 1, int(offsets[-1])
        for name in EVENT_COLUMNS:
            values = getattr(record, name)
            append(
                entry["events"][name],
                values + first_frame if name == "frame" else values,
            )
        append(offsets, record.frame_offsets[1:] + first_event)
        append(entry["live_time_s"], record.live_time_s)
        append(entry["dead_time_s"], record.dead_time_s)
        spectrum = entry["spectrum/data"]
        if len(spectrum) <= slot:
            spectrum.resize(slot + 1, axis=0)
        spectrum[slot] = record.spectrum
        row = (
            first_frame,
            record.n_frames,
            first_event,
            first_event + len(record),
            time_s,
        )
        for name, value in zip(_COLUMNS, row, strict=True):
            entry["slots"][name][slot] = value

    def places(self, slot: int) -> dict[str, int]:
        """Return where the events and frames of a slot are."""
        rows = self.rows(self._file["entry"])
        names = ("first_event", "last_event", "first_frame", "n_frames")
        return {name: int(rows[name][slot]) for name in names}

    def discard(self, entry: Any, slot: int) -> None:
        """Keep the pointers to the events of a slot."""
        for name in ("ticket", *_COLUMNS):
            append(entry["discarded"][name], entry["slots"][name][slot : slot + 1])
        append(entry["discarded"]["slot"], [slot])

    def size_bytes(self, record: EdsEvents) -> int:
        """Return the room of the events, with a chunk of each column begun."""
        return 11 * (len(record) + _EVENT_CHUNK)

    def trim(self, entry: Any) -> None:
        """Cut off events and frames behind the last slot with a ticket."""
        frames = events = 0
        for group in (entry["slots"], entry["discarded"]):
            tickets = group["ticket"].asstr()[:]
            for row in (tickets != "").nonzero()[0]:
                last = int(group["first_frame"][row] + group["n_frames"][row])
                frames, events = (
                    max(frames, last),
                    max(events, int(group["last_event"][row])),
                )
        for name in EVENT_COLUMNS:
            _shorten(entry["events"][name], events)
        _shorten(entry["frame_offsets"], frames + 1)
        _shorten(entry["live_time_s"], frames)
        _shorten(entry["dead_time_s"], frames)


def _shorten(data: Any, length: int) -> None:
    if len(data) > length:
        data.resize(length, axis=0)
