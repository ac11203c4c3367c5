"""Process variables of the HAADF detector."""

from pathlib import Path
from typing import Any

from cryoline.sim.detector_file import DetectorFile
from cryoline.sim.frame_file import FrameFile
from cryoline.sim.haadf_image import HaadfImage, HaadfModel
from cryoline.sim.iocs.detector import FileDetectorServer
from cryoline.sim.iocs.server import InstrumentServer
from cryoline.sim.iocs.specimen_model import Model
from cryoline.sim.specimen_voxels import SpecimenVoxels
from cryoline.sim.view import View

__all__ = ["declare"]


def declare(server: InstrumentServer) -> None:
    """Add the records."""
    _HaadfServer(server)
    panel = server.panels["haadf"]
    panel.number("ArrayMean_RBV", "Mean of the image", "counts", 0, 65_535)
    panel.count("Width_RBV", "Pixels across", "px")
    panel.count("Height_RBV", "Pixels along the tilt axis", "px")


class _HaadfServer(FileDetectorServer[HaadfImage]):
    group = "haadf"
    _before: HaadfImage | None = None

    def make_model(self, voxels: SpecimenVoxels, n_cycles: int) -> Model[HaadfImage]:
        return HaadfModel(voxels)

    def open_file(self, path: Path) -> DetectorFile[HaadfImage]:
        return FrameFile(path)

    def spoil(self, record: HaadfImage, faults: dict[str, Any]) -> HaadfImage:
        """Deliver the image of the exposure before, if that is what is wrong."""
        before, self._before = self._before, record
        if (
            faults["stale_frame"]
            and before is not None
            and before.counts.shape == record.counts.shape
        ):
            return before
        return record

    def readings(self, view: View, record: HaadfImage, slot: int) -> dict[str, Any]:
        return {
            "Frames_RBV": record.n_frames,
            "LiveTime_RBV": record.live_time_s,
            "ArrayMean_RBV": float(record.counts.mean()),
            "Width_RBV": view.width_px,
            "Height_RBV": view.height_px,
        }
