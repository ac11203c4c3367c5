"""What a detector must know to render an exposure: all that the column did to it.

The world answers `beam.exposure(ticket)` with one object of JSON:

    state       "unknown", "armed", "exposing" or "ended"
    outcome, counter, start_s, end_s    of an ended exposure, else null
    view        an encoded View once the exposure ended, else null
    specimen    {"directory", "kind", "seed", "n_cycles"}: where the laboratory keeps
                its files, and what is in the holder ("wire" or "bead")
    faults      {"disk_full": bool, "stale_frame": bool}

With ticket "" the state is "unknown"; specimen and faults are always there.
"""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["View", "decode_view", "encode_view"]


@dataclass(frozen=True)
class View:
    """One exposure as it happened.

    A point (x, y, z) of the untilted specimen appears at u = x cos t + z sin t + offset
    from the centre of the scan field, and at y + offset along the tilt axis.
    """

    tilt_deg: float
    width_px: int
    height_px: int
    pixel_nm: float
    dwell_s: float
    frame_charge_c: NDArray[np.float64]
    """(frame,) true charge that fell on the pixels of each frame, without flyback."""
    frame_fraction: NDArray[np.float64]
    """(frame,) part of the frame that was scanned; below 1 only in a cut last one."""
    offset_x_nm: NDArray[np.float64]
    """(frame,) where the specimen's origin lies from the centre of the scan field."""
    offset_y_nm: NDArray[np.float64]
    fluence: NDArray[np.float32]
    """(y, x) e/nm2 received before, on the untilted specimen plane. The array's centre
    is the specimen's origin: cell (i, j) covers y from (i - ny/2) cell_nm on."""
    cell_nm: float
    seed: tuple[int, ...]
    """(world seed, exposure counter, ...); a detector appends an id of its own."""
    rotation_deg: float = 0.0
    """Of the scan about its field's centre; positive turns the lines from +x to +y."""
    beam_diameter_nm: float = 0.0
    """Of a defocused beam, on the specimen."""

    @property
    def n_frames(self) -> int:
        """Frames that were begun."""
        return len(self.frame_charge_c)

    @property
    def frame_time_s(self) -> NDArray[np.float64]:
        """(frame,) time that the beam spent on pixels."""
        pixels = self.width_px * self.height_px
        return self.frame_fraction * (pixels * self.dwell_s)


_PER_FRAME = ("frame_charge_c", "frame_fraction", "offset_x_nm", "offset_y_nm")
_SCALARS = (
    *("tilt_deg", "width_px", "height_px", "pixel_nm", "dwell_s", "cell_nm"),
    *("rotation_deg", "beam_diameter_nm"),
)


def encode_view(view: View) -> dict[str, Any]:
    """Return the view as JSON types; `decode_view` gives it back exactly."""
    fluence = np.ascontiguousarray(view.fluence, dtype="<f4")
    return {
        **{name: getattr(view, name) for name in _SCALARS},
        **{name: getattr(view, name).tolist() for name in _PER_FRAME},
        "seed": list(view.seed),
        "fluence_shape": list(fluence.shape),
        "fluence": base64.b64encode(fluence.tobytes()).decode(),
    }


def decode_view(values: dict[str, Any]) -> View:
    """Return the view that was encoded."""
    fluence = np.frombuffer(base64.b64decode(values["fluence"]), dtype="<f4")
    per_frame = [np.array(values[name], dtype=float) for name in _PER_FRAME]
    return View(
        **{name: values[name] for name in _SCALARS},
        frame_charge_c=per_frame[0],
        frame_fraction=per_frame[1],
        offset_x_nm=per_frame[2],
        offset_y_nm=per_frame[3],
        fluence=fluence.reshape(values["fluence_shape"]),
        seed=tuple(values["seed"]),
    )
