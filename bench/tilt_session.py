"""A simulated tilt series with X-ray counts, recorded as a session records one.

The detector's file grows by an exposure, fsynced; only then does the journal get its
event. Nothing of it is a device: it is for benches of what comes behind the journal.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import event_model

from cryoline.acquisition.journal import Journal
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.run_key import run_key
from cryoline.sim.eds_lines import CHANNELS
from cryoline.sim.event_file import EventFile
from cryoline.sim.phantom import make_wire
from cryoline.sim.specimen_voxels import list_voxels
from cryoline.sim.tilt_render import HE_ANGLES_DEG, RenderedTilt, render_tilt_series

__all__ = ["TiltSession", "render"]

_COLUMNS = {
    "stage_alpha_deg": "number",
    "beam_charge_c": "number",
    "eds_first_event": "integer",
    "eds_last_event": "integer",
    "eds_live_time_s": "number",
    "eds_first_frame": "integer",
    "eds_frame_count": "integer",
}


def render(
    count: int = len(HE_ANGLES_DEG), *, width_px: int = 512, pixel_nm: float = 2.134
) -> list[RenderedTilt]:
    """Return the first tilts of He et al.'s series of a wire, at their dose."""
    fluence = 1.97e6 * count / len(HE_ANGLES_DEG)
    return list(
        render_tilt_series(
            list_voxels(make_wire(seed=3)),
            angles_deg=HE_ANGLES_DEG[:count],
            fluence_e_per_nm2=fluence,
            width_px=width_px,
            height_px=width_px,
            pixel_nm=pixel_nm,
        )
    )


class TiltSession:
    """One run in the making; each call returns when its documents are on disk.

    md: goes into the start document
    """

    def __init__(
        self,
        layout: DataLayout,
        tilts: Sequence[RenderedTilt],
        *,
        scan_id: int = 1,
        **md: Any,
    ) -> None:
        self._run = event_model.compose_run(
            metadata={
                "scan_id": scan_id,
                "specimen": "nw-01",
                "technique": "tilt-eds",
                "plan_name": "bench",
                **md,
            }
        )
        self.key = run_key(self._run.start_doc)
        self._tilts = tilts
        self._next = 0
        self._journal = Journal(layout.raw_journal)
        self._path = Path(layout.raw_data) / f"{self.key}.h5"
        self._journal("start", self._run.start_doc)
        keys: dict[str, Any] = {
            name: {"source": "bench", "dtype": dtype, "shape": []}
            for name, dtype in _COLUMNS.items()
        }
        keys["eds_spectrum"] = {
            "source": "bench",
            "dtype": "array",
            "dtype_numpy": "<u4",
            "shape": [1, CHANNELS],
            "dims": ["frame", "channel"],
            "external": "STREAM:",
        }
        self._stream = self._run.compose_descriptor(name="primary", data_keys=keys)
        self._journal("descriptor", self._stream.descriptor_doc)
        self._resource: Any = None

    def expose(self) -> float:
        """Record the next tilt; return when its event was on disk (`monotonic`)."""
        number, self._next = self._next, self._next + 1
        tilt = self._tilts[number]
        # Not held open: HDF5 lets no reader of this process in beside a writer.
        with closing(EventFile(self._path)) as file:
            file.write(number, f"{self.key}/{number}", 0.0, tilt.view, tilt.eds)
            places = file.places(number)
        if self._resource is None:
            self._resource = self._run.compose_stream_resource(
                mimetype="application/x-hdf5",
                uri=f"file://localhost{self._path}",
                data_key="eds_spectrum",
                parameters={
                    "dataset": "/entry/spectrum/data",
                    "chunk_shape": [1, CHANNELS],
                    "swmr": True,
                },
            )
            self._journal("stream_resource", self._resource.stream_resource_doc)
        datum = self._resource.compose_stream_datum(
            indices=event_model.StreamRange(start=number, stop=number + 1),
            seq_nums=event_model.StreamRange(start=number + 1, stop=number + 2),
            descriptor=self._stream.descriptor_doc,
        )
        self._journal("stream_datum", datum)
        data = {
            "stage_alpha_deg": tilt.tilt_deg,
            "beam_charge_c": float(tilt.view.frame_charge_c.sum()),
            "eds_first_event": places["first_event"],
            "eds_last_event": places["last_event"],
            "eds_live_time_s": float(tilt.eds.live_time_s.mean(axis=1).sum()),
            "eds_first_frame": places["first_frame"],
            "eds_frame_count": places["n_frames"],
        }
        stamps = dict.fromkeys(data, time.time())
        event = self._stream.compose_event(data=data, timestamps=stamps)
        self._journal("event", event)
        return time.monotonic()

    def end(self) -> float:
        """Close the run; return when its stop document was on disk."""
        self._journal("stop", self._run.compose_stop())
        self._journal.close()
        return time.monotonic()
