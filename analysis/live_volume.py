"""Element volumes that grow with the tilts: the derived run `element-volumes`.

A coarse volume is on view while the series runs. At its end the kept one is made anew
of all tilts, and a full one of each element, in voxels as small as the maps' pixels.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from event_model import DocumentRouter
from numpy.typing import NDArray

from cryoline.analysis.derived_run import INTEGER, Column, DerivedRun, Emit
from cryoline.analysis.eds import HE_2021, Events, element_maps
from cryoline.analysis.eds_stream import EdsStream, EdsTilt
from cryoline.analysis.errors import StreamError
from cryoline.analysis.volume import (
    SeriesVolume,
    VolumeSettings,
    detector_share,
    settings_of,
)

__all__ = ["VOLUME_VERSION", "VolumeRouter", "warm_up"]

VOLUME_VERSION: Final = "2"
"""Raised by one whenever the same raw run would give other volumes or rows."""

_ELEMENTS: Final = tuple(window.element for window in HE_2021)
_STREAMS: Final[dict[str, dict[str, Column]]] = {
    "volume": {
        "tilt_deg": Column("number", "<f8", "deg", 3),
        "tilts": INTEGER,
        "exposure": Column("number", "<f8", "", 4),
        "relative_change": Column("number", "<f8", "", 4),
        "log_likelihood": Column("number", "<f8", "", 1),
    }
}


class VolumeRouter(DocumentRouter):  # type: ignore[misc,unused-ignore]
    """The volumes of Si, O, F and C, as a run of its own.

    A row of the stream `volume` and a live array (element, z, x, y) come with each
    tilt; with the end of the run one that is kept, and for each element a full one
    (z, x, y). A run without X-ray counts gives nothing, an exposure without charge adds
    nothing. Arguments as those of `EdsMapsRouter`.
    """

    quantity: Final = "element-volumes"

    def __init__(
        self,
        emit: Emit,
        save: Callable[..., None],
        open_events: Callable[[str], Any],
        *,
        original_key: str | None = None,
        settings: VolumeSettings | None = None,
    ) -> None:
        super().__init__()
        self._emit = emit
        self._save = save
        self._original_key = original_key
        self._settings = settings or VolumeSettings()
        self._stream = EdsStream(open_events)
        self._raw_start: Mapping[str, Any] = {}
        self._run: DerivedRun | None = None
        self._volume: SeriesVolume | None = None
        self._first_charge_c = math.nan
        self._last: EdsTilt | None = None

    def start(self, doc: Mapping[str, Any]) -> None:
        """Remember the run, and take the ``volume_settings`` that it asks for."""
        self._raw_start = doc
        self._stream.start(doc)
        self._settings = settings_of(doc.get("volume_settings"), self._settings)

    def descriptor(self, doc: Mapping[str, Any]) -> None:
        """Begin when a stream with X-ray counts is described."""
        self._stream.describe(doc)
        if self._run is None and self._stream.is_found:
            self._run = DerivedRun(
                self._emit,
                self.quantity,
                self._raw_start,
                self._original_key,
                version=VOLUME_VERSION,
                parameters={"elements": list(_ELEMENTS), **asdict(self._settings)},
                streams=_STREAMS,
                source="cryoline.analysis.volume",
            )
            self._run.begin("volume", float(doc["time"]))

    def stream_resource(self, doc: Mapping[str, Any]) -> None:
        """Remember where a detector's file is."""
        self._stream.find_file(doc)

    def event(self, doc: Mapping[str, Any]) -> None:
        """Let the volume grow by one exposure."""
        tilt = self._stream.take(doc)
        if tilt is None or self._run is None:
            return
        if math.isnan(tilt.tilt_deg):
            raise StreamError(
                f"event {doc['seq_num']}: no stage was read with the X-ray counts, so "
                "their tilt is not known; give the stage to expose(also=...)"
            )
        if self._volume is None:
            self._volume = SeriesVolume(fitting(self._settings, tilt))
        exposure = self._exposure(tilt)
        if exposure == 0.0:
            return  # blanked before its first pixel: it says nothing
        self._volume.add(
            tilt.maps, tilt.net.continuum, tilt.tilt_deg, exposure=exposure
        )
        self._last = tilt
        self._save("volume", self._volume.live, live=True, **self._what(tilt))
        step = self._volume.convergence
        row = {
            "tilt_deg": tilt.tilt_deg,
            "tilts": tilt.number,
            "exposure": exposure,
            "relative_change": float(step.relative_change),
            "log_likelihood": float(step.log_likelihood),
        }
        self._run.event("volume", row, tilt.time)

    def stop(self, doc: Mapping[str, Any]) -> None:
        """Keep the volume of all tilts, and end as the raw run ended."""
        if self._run is None:
            return
        if self._volume is not None and self._last is not None:
            final: NDArray[np.float32] = self._volume.final()
            what = self._what(self._last)
            strays = np.round(self._volume.strays_px * self._last.pixel_nm, 2)
            what["attributes"]["strays_nm"] = strays.tolist()
            self._save("volume", final, live=False, **what)
            what["version"] += 1  # of the live one, which had that number already
            self._save("volume", final, live=True, **what)
            self._keep_full(self._volume, self._last)
        self._run.end(doc)

    def _keep_full(self, volume: SeriesVolume, last: EdsTilt) -> None:
        """Keep each element's volume at full resolution, one after the other."""
        if not volume.settings.has_full:
            return
        what = self._what(last)
        what["dims"] = ("z", "x", "y")
        what["scale_nm"] = last.pixel_nm * volume.settings.full_bin_px
        for number, element in enumerate(_ELEMENTS):
            what["attributes"] = {"element": element, "tilts": last.number}
            self._save(f"full-{element}", volume.full(number), live=False, **what)

    def _exposure(self, tilt: EdsTilt) -> float:
        """Return charge times free detector, relative to the first tilt's charge."""
        charges = [v for key, v in tilt.data.items() if key.endswith("_charge_c")]
        charge_c = float(charges[0]) if len(charges) == 1 else math.nan
        if math.isnan(self._first_charge_c):
            self._first_charge_c = charge_c
        share = detector_share(tilt.quadrant_counts)
        relative = charge_c / self._first_charge_c if self._first_charge_c else 1.0
        return share * (relative if math.isfinite(relative) else 1.0)

    def _what(self, tilt: EdsTilt) -> dict[str, Any]:
        voxel_nm = tilt.pixel_nm * self._settings.bin_px
        return {
            "version": tilt.number,
            "time": tilt.time,
            "dims": ("element", "z", "x", "y"),
            "units": "counts",
            "scale_nm": [1.0, voxel_nm, voxel_nm, voxel_nm],
            "attributes": {"elements": list(_ELEMENTS), "tilts": tilt.number},
        }


def fitting(settings: VolumeSettings, tilt: EdsTilt) -> VolumeSettings:
    """Return the settings, with a volume that is no larger than the map."""
    smallest = min(tilt.maps.side_counts.shape)
    size = min(settings.size_voxels, smallest // settings.bin_px)
    return VolumeSettings(**{**asdict(settings), "size_voxels": max(size, 1)})


def warm_up() -> None:
    """Compile the kernels."""
    size = 32
    centre = np.full(8, size // 2, np.uint16)
    maps = element_maps(Events(centre, centre, centre), HE_2021, (size, size))
    volume = SeriesVolume(VolumeSettings(size_voxels=size, bin_px=1))
    volume.add(maps, np.ones(len(HE_2021)), 0.0)
    volume.final()
