"""The HAADF detector's file: an image a slot.

    /entry/data/data            (slot, y, x) float32 counts, a chunk an image
    /entry/ticket               (slot,) of the exposure; "" if there is none
    /entry/instrument_time_s    (slot,) end of the exposure
    /entry/discarded/           data, ticket, instrument_time_s and slot of re-takes

/entry has the attributes width_px, height_px and pixel_nm.
"""

from typing import Any

from cryoline.sim.detector_file import TICKET, DetectorFile, append, column
from cryoline.sim.haadf_image import HaadfImage
from cryoline.sim.view import View

__all__ = ["FrameFile"]


class FrameFile(DetectorFile[HaadfImage]):
    """One open file of images."""

    detector = "haadf"

    def rows(self, entry: Any) -> Any:
        """Return /entry itself."""
        return entry

    def lay_out(self, entry: Any, view: View) -> None:
        """Make the data sets for images of this size."""
        image = view.height_px, view.width_px
        data = entry.create_group("data")
        data.attrs.update(signal="data", axes="slot y x")
        discarded = entry.create_group("discarded")
        for group in (data, discarded):
            column(group, "data", "f4", 1, *image)
            group["data"].attrs["units"] = "counts"
        for group in (entry, discarded):
            column(group, "ticket", TICKET, 64)
            column(group, "instrument_time_s", "f8", 256)
        column(discarded, "slot", "u4", 256)

    def put(self, entry: Any, slot: int, time_s: float, record: HaadfImage) -> None:
        """Write image and time."""
        data = entry["data/data"]
        if len(data) <= slot:
            data.resize(slot + 1, axis=0)
        data[slot] = record.counts
        entry["instrument_time_s"][slot] = time_s

    def discard(self, entry: Any, slot: int) -> None:
        """Copy the image to the discarded ones."""
        discarded = entry["discarded"]
        append(discarded["data"], entry["data/data"][slot : slot + 1])
        append(discarded["slot"], [slot])
        for name in ("instrument_time_s", "ticket"):
            append(discarded[name], entry[name][slot : slot + 1])

    def size_bytes(self, record: HaadfImage) -> int:
        """Return the room of an image, and of one more if a re-take is discarded."""
        return 2 * record.counts.nbytes
