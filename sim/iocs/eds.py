"""Process variables of the EDS detector."""

from pathlib import Path
from typing import Any

from cryoline.sim.detector_file import DetectorFile
from cryoline.sim.eds_events import EdsEvents, EdsModel
from cryoline.sim.event_file import EventFile
from cryoline.sim.iocs.detector import FileDetectorServer
from cryoline.sim.iocs.server import InstrumentServer
from cryoline.sim.iocs.specimen_model import Model
from cryoline.sim.specimen_voxels import SpecimenVoxels
from cryoline.sim.view import View

__all__ = ["declare"]


def declare(server: InstrumentServer) -> None:
    """Add the records."""
    _EdsServer(server)
    panel = server.panels["eds"]
    panel.count("Counts_RBV", "Photons of the exposure", "counts")
    panel.count("FirstEvent_RBV", "... the first of them in the file", "events")
    panel.count("LastEvent_RBV", "... behind the last of them", "events")
    panel.count("FirstFrame_RBV", "... its first frame in the file", "frames")
    panel.count("FrameCount_RBV", "... its frames, begun ones too", "frames")
    panel.number("DeadTime_RBV", "... part of the time lost", "%", 0, 100)


class _EdsServer(FileDetectorServer[EdsEvents]):
    group = "eds"

    def make_model(self, voxels: SpecimenVoxels, n_cycles: int) -> Model[EdsEvents]:
        return EdsModel(voxels, n_cycles=n_cycles)

    def open_file(self, path: Path) -> DetectorFile[EdsEvents]:
        return EventFile(path)

    def readings(self, view: View, record: EdsEvents, slot: int) -> dict[str, Any]:
        if not isinstance(self.file, EventFile):
            raise TypeError(f"{type(self.file).__name__} holds no events")
        places = self.file.places(slot)
        live_s, dead_s = record.live_time_s.sum(), record.dead_time_s.sum()
        return {
            "Frames_RBV": int((view.frame_fraction >= 1.0).sum()),
            # Of a detector as a whole: the mean of its quadrants.
            "LiveTime_RBV": float(record.live_time_s.mean(axis=1).sum()),
            "DeadTime_RBV": float(100 * dead_s / max(live_s + dead_s, 1e-12)),
            "Counts_RBV": len(record),
            "FirstEvent_RBV": places["first_event"],
            "LastEvent_RBV": places["last_event"],
            "FirstFrame_RBV": places["first_frame"],
            "FrameCount_RBV": places["n_frames"],
        }
