"""One bead, seen through everything: no sign of the geometry can be wrong twice.

Off the tilt axis at (x, z) = (+20, +10) nm, it goes through the simulator, the
detector's file, the maps and the reconstruction. The stage's part is shown in
acquisition/test_tilt_series_in_the_lab.py.
"""

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from cryoline.analysis.eds import HE_2021, Events, element_maps, net_counts
from cryoline.analysis.volume import SeriesVolume, VolumeSettings
from cryoline.sim.event_file import EventFile
from cryoline.sim.phantom import make_bead
from cryoline.sim.specimen_voxels import list_voxels
from cryoline.sim.tilt_render import render_tilt_series

ANGLES_DEG = (0, 15, 30, 45, 60, -15, -30, -45, -60)
PIXELS, PIXEL_NM = 96, 2.134
VOXEL_NM = 2 * PIXEL_NM


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the EDS detector's file of a whole series of the bead."""
    path = tmp_path_factory.mktemp("bead") / "eds.h5"
    file = EventFile(path)
    tilts = render_tilt_series(
        list_voxels(make_bead()),
        angles_deg=ANGLES_DEG,
        width_px=PIXELS,
        height_px=PIXELS,
        pixel_nm=PIXEL_NM,
        n_frames=2,
    )
    for slot, tilt in enumerate(tilts):
        file.write(slot, f"ticket-{slot}", float(slot), tilt.view, tilt.eds)
    file.close()
    return path


def place_nm(series: Path, angles_deg: tuple[float, ...]) -> NDArray[np.float64]:
    """Return where the silicon is in the volume: z, x, y from the middle."""
    volume = SeriesVolume(VolumeSettings(size_voxels=PIXELS // 2, bin_px=2))
    with h5py.File(series, "r") as file:
        entry = file["entry"]
        for slot, angle_deg in enumerate(angles_deg):
            first, last = (
                int(entry["slots"][name][slot])
                for name in ("first_event", "last_event")
            )
            columns = [entry["events"][n][first:last] for n in ("y", "x", "channel")]
            maps = element_maps(Events(*columns), HE_2021, (PIXELS, PIXELS))
            continuum = net_counts(maps.spectrum, HE_2021).continuum
            volume.add(maps, continuum, angle_deg)
    silicon = volume.final()[[w.element for w in HE_2021].index("Si")]
    silicon = np.where(silicon > 0.5 * silicon.max(), silicon, 0.0)
    grid_nm = (np.arange(silicon.shape[0]) - (silicon.shape[0] - 1) / 2) * VOXEL_NM
    axes = ("zxy,z", "zxy,x", "zxy,y")
    return np.array([np.einsum(f"{a}->", silicon, grid_nm) for a in axes]) / (
        silicon.sum()
    )


def test_the_bead_is_found_at_plus_x_and_plus_z(series: Path) -> None:
    assert place_nm(series, ANGLES_DEG) == pytest.approx(
        [10.0, 20.0, 0.0], abs=VOXEL_NM
    )


def test_with_the_angles_negated_it_is_elsewhere(series: Path) -> None:
    negated = tuple(-angle for angle in ANGLES_DEG)

    z_nm, x_nm, _ = place_nm(series, negated)

    assert x_nm == pytest.approx(20.0, abs=VOXEL_NM)
    assert abs(z_nm - 10.0) > 2 * VOXEL_NM
