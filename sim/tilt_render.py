"""A tilt series rendered in memory, without a laboratory: for tests and benches.

Nothing drifts and nothing fails unless the view is changed; the damage of each
exposure is there in the next, as in the world.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cryoline.analysis.constants import ELEMENTARY_CHARGE_C
from cryoline.sim.eds_events import EdsEvents, EdsModel
from cryoline.sim.haadf_image import HaadfImage, HaadfModel
from cryoline.sim.specimen_voxels import SpecimenVoxels
from cryoline.sim.view import View

__all__ = ["HE_ANGLES_DEG", "RenderedTilt", "render_tilt_series", "undrifted_view"]

HE_ANGLES_DEG: Final = (*range(0, 61, 5), *range(-5, -61, -5))
"""The series of [S1]: bidirectional, 25 tilts."""
_CELL_NM: Final = 8.0


@dataclass(frozen=True)
class RenderedTilt:
    """One tilt of a series."""

    tilt_deg: float
    view: View
    eds: EdsEvents
    haadf: HaadfImage


def undrifted_view(
    tilt_deg: float,
    *,
    width_px: int = 512,
    height_px: int = 512,
    pixel_nm: float = 2.134,
    dwell_s: float = 19.767e-6,
    n_frames: int = 22,
    current_pa: float = 150.0,
    received_e_per_nm2: float = 0.0,
    seed: tuple[int, ...] = (0, 0),
) -> View:
    """Return the view of one complete exposure; by default a tilt of [S1] at 150 pA.

    received_e_per_nm2: by the whole field, before
    """
    charge_c = current_pa * 1e-12 * width_px * height_px * dwell_s
    cells = max(int(np.ceil(n * pixel_nm / _CELL_NM)) for n in (width_px, height_px))
    return View(
        tilt_deg=tilt_deg,
        width_px=width_px,
        height_px=height_px,
        pixel_nm=pixel_nm,
        dwell_s=dwell_s,
        frame_charge_c=np.full(n_frames, charge_c),
        frame_fraction=np.ones(n_frames),
        offset_x_nm=np.zeros(n_frames),
        offset_y_nm=np.zeros(n_frames),
        fluence=np.full((cells, cells), received_e_per_nm2, np.float32),
        cell_nm=_CELL_NM,
        seed=seed,
    )


def render_tilt_series(
    voxels: SpecimenVoxels,
    *,
    angles_deg: Sequence[float] = HE_ANGLES_DEG,
    n_cycles: int = 1,
    seed: int = 0,
    fluence_e_per_nm2: float = 1.97e6,
    width_px: int = 512,
    height_px: int = 512,
    pixel_nm: float = 2.134,
    n_frames: int = 22,
    change: Callable[[View], View] | None = None,
) -> Iterator[RenderedTilt]:
    """Yield each tilt of a series, in the order of its angles.

    fluence_e_per_nm2: of the whole series, shared equally
    change: makes of each undisturbed view the one that is rendered
    """
    per_tilt = fluence_e_per_nm2 / len(angles_deg)
    pixels = width_px * height_px
    frame_c = per_tilt * ELEMENTARY_CHARGE_C * pixels * pixel_nm**2 / n_frames
    eds, haadf = EdsModel(voxels, n_cycles=n_cycles), HaadfModel(voxels)
    for number, tilt_deg in enumerate(angles_deg):
        view = undrifted_view(
            float(tilt_deg),
            width_px=width_px,
            height_px=height_px,
            pixel_nm=pixel_nm,
            n_frames=n_frames,
            received_e_per_nm2=number * per_tilt,
            seed=(seed, number),
        )
        view = replace(view, frame_charge_c=np.full(n_frames, frame_c))
        view = change(view) if change else view
        yield RenderedTilt(float(tilt_deg), view, eds.render(view), haadf.render(view))
