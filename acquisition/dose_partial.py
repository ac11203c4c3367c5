"""Where the charge of an exposure lies that ended before its last pixel.

Its whole frames cover the field; of the frame that was cut only the lines from the top
were scanned, and they have received as much as in a whole frame. Spread over the field
that would be an under-count: half a frame of 1000 e/nm2 has left 1000 e/nm2, not 500,
where it was.
"""

import json
import math
from typing import Final

from cryoline.acquisition.dose_book import to_milli
from cryoline.acquisition.dose_cells import read_footprint
from cryoline.acquisition.fluence import fluence_of_charge_e_per_nm2
from cryoline.devices.exposure import Exposure, ExposureResult

__all__ = ["parts_of"]

_SAME: Final = 1e-6
"""Of a frame: so near to a whole number of frames nothing was cut."""


def parts_of(
    exposure: Exposure, footprint: str | None, result: ExposureResult
) -> list[tuple[str | None, int]]:
    """Return footprints of an exposure, and what to book to each, 1e-3 e/nm2.

    One, the field, unless a frame was cut. Their sum is what the top of the field got.
    """
    elapsed = exposure.n_frames * result.beam_on_s / exposure.beam_on_s
    whole = math.floor(elapsed + _SAME)
    rest = max(0.0, elapsed - whole)
    is_cut = result.is_partial and rest > _SAME and whole < exposure.n_frames
    # One pixel is all of its field, from its first electron on.
    if footprint is None or not is_cut or exposure.width_px * exposure.height_px == 1:
        charge = fluence_of_charge_e_per_nm2(result.charge_c, exposure.area_nm2)
        return [(footprint, to_milli(charge))]
    field = read_footprint(footprint)
    lines = min(math.ceil(rest * exposure.height_px), exposure.height_px)
    below = math.radians(field.rotation_deg)
    # The strip's middle lies so far above the field's, along the scan's columns.
    up_nm = field.height_nm * (1 - lines / exposure.height_px) / 2
    strip = field._replace(
        x_nm=field.x_nm
        + up_nm * math.sin(below) / math.cos(math.radians(field.tilt_deg)),
        y_nm=field.y_nm - up_nm * math.cos(below),
        height_nm=field.height_nm * lines / exposure.height_px,
    )
    charge_c = result.charge_c * rest / elapsed
    scanned = strip._replace(height_nm=field.height_nm * rest)
    parts = [
        (json.dumps(strip._asdict()), charge_c, scanned.spread_nm2),
        (footprint, result.charge_c - charge_c, field.spread_nm2),
    ]
    return [
        (text, to_milli(fluence_of_charge_e_per_nm2(charge, area_nm2)))
        for text, charge, area_nm2 in parts
        if charge > 0.0
    ]
