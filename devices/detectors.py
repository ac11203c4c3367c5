"""The detectors of a scanning transmission electron microscope."""

from typing import Any

import h5py
from numpy.typing import NDArray
from ophyd import Component as Cpt
from ophyd import EpicsSignalRO, Signal

from cryoline.devices.errors import ExposureFailed
from cryoline.devices.exposure import Ticket
from cryoline.devices.file_detector import FileDetector

__all__ = ["EdsDetector", "HaadfDetector"]


class HaadfDetector(FileDetector):
    """An annular dark field detector; its image is the mean of the scan's frames.

    Images are (y, x), the tilt axis along y.
    """

    image = "image"
    dataset = "/entry/data/data"

    mean_counts = Cpt(
        EpicsSignalRO, "ArrayMean_RBV", kind="hinted", doc="Mean of the image, counts."
    )

    def frame_shape(self, ticket: Ticket) -> tuple[int, ...]:
        """Return (y, x)."""
        return ticket.exposure.height_px, ticket.exposure.width_px

    def frame_key(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Describe an image."""
        return {"dtype_numpy": "<f4", "dims": ["frame", "y", "x"], "units": "counts"}

    def last_frame(self) -> NDArray[Any]:
        """Return the image that was recorded last, (y, x), as it is on disk.

        Raises ExposureFailed if this host can't read the instrument's file.
        """
        path = self.to_session(self._get(self.full_file_name))
        slot = int(self._get(self.slot_index))
        try:
            with h5py.File(path, "r", libver="latest", swmr=True) as file:
                frame: NDArray[Any] = file[self.dataset][slot]
        except (OSError, KeyError, ValueError) as error:
            raise ExposureFailed(
                f"{self.name}: image {slot} of {path} can't be read ({error}); does "
                "this host see the instrument's disk? See [paths] in instrument.toml"
            ) from error
        return frame


class EdsDetector(FileDetector):
    """An X-ray spectrometer with four quadrants that keeps every single count.

    The file holds the events; the spectrum is the exposure's sum.
    """

    image = "spectrum"
    dataset = "/entry/spectrum/data"

    counts = Cpt(
        EpicsSignalRO, "Counts_RBV", kind="hinted", doc="X-ray events in this exposure."
    )
    first_event = Cpt(
        EpicsSignalRO,
        "FirstEvent_RBV",
        kind="normal",
        doc="Index of the exposure's first event in the file.",
    )
    last_event = Cpt(
        EpicsSignalRO,
        "LastEvent_RBV",
        kind="normal",
        doc="Index behind the exposure's last event in the file.",
    )
    first_frame = Cpt(
        EpicsSignalRO,
        "FirstFrame_RBV",
        kind="normal",
        doc="Index of the exposure's first scan frame in the file.",
    )
    frame_count = Cpt(
        EpicsSignalRO,
        "FrameCount_RBV",
        kind="normal",
        doc="Scan frames of this exposure in the file, a cut one included.",
    )
    dead_time_percent = Cpt(
        EpicsSignalRO, "DeadTime_RBV", kind="normal", doc="Dead time, %."
    )
    energy_per_channel_ev = Cpt(
        Signal, value=10.0, kind="config", doc="Width of a channel, eV."
    )
    channel_count = Cpt(Signal, value=1024, kind="config", doc="Channels, from 0 eV.")

    def frame_shape(self, ticket: Ticket) -> tuple[int, ...]:
        """Return (channel,)."""
        return (int(self.channel_count.get()),)

    def frame_key(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Describe a spectrum."""
        return {"dtype_numpy": "<u4", "dims": ["frame", "channel"], "units": "counts"}
