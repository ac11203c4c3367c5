"""Detectors of a scan that is turned, or whose beam is defocused."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cryoline.sim.eds_events import EdsModel
from cryoline.sim.haadf_image import HaadfModel
from cryoline.sim.phantom import make_bead
from cryoline.sim.projection import project
from cryoline.sim.scan_frame import in_scan_frame
from cryoline.sim.specimen_voxels import SpecimenVoxels, list_voxels
from cryoline.sim.tilt_render import undrifted_view
from cryoline.sim.view import View


@pytest.fixture(scope="module")
def bead() -> SpecimenVoxels:
    return list_voxels(make_bead())


def bead_view(**changes) -> View:
    view = undrifted_view(30.0, width_px=128, height_px=96, pixel_nm=2.0, n_frames=2)
    moved: dict[str, Any] = {
        "offset_x_nm": np.full(2, -8.0),
        "offset_y_nm": np.full(2, 30.0),
    }
    return replace(view, **moved, **changes)


def place_nm(weight: np.ndarray, view: View) -> np.ndarray:
    """Return the centre of mass of an image from the field's centre, (x, y)."""
    y, x = np.indices(weight.shape) + 0.5
    half = np.array((view.width_px, view.height_px)) / 2
    mean = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
    return (mean - half) * view.pixel_nm


def haadf_place(bead: SpecimenVoxels, view: View) -> np.ndarray:
    counts = HaadfModel(bead).render(view).counts
    return place_nm(np.clip(counts - 1100, 0, None), view)


def test_turned_scan_shows_the_specimen_turned_the_other_way(bead) -> None:
    """What lies at +x of the field is on -y of a scan that is turned by +90 deg."""
    x_nm, y_nm = haadf_place(bead, bead_view())
    for rotation_deg in (90.0, 20.0, -35.0):
        view = bead_view(rotation_deg=rotation_deg)
        angle = math.radians(rotation_deg)
        expected = (
            x_nm * math.cos(angle) + y_nm * math.sin(angle),
            y_nm * math.cos(angle) - x_nm * math.sin(angle),
        )
        assert haadf_place(bead, view) == pytest.approx(expected, abs=0.7)


def test_photons_come_from_where_the_image_shows_the_bead(bead) -> None:
    view = bead_view(rotation_deg=-35.0)
    view = replace(view, frame_charge_c=view.frame_charge_c * 100)
    events = EdsModel(bead).render(view)
    silicon = (events.channel > 170) & (events.channel < 178)
    image = np.zeros((view.height_px, view.width_px))
    np.add.at(image, (events.y[silicon], events.x[silicon]), 1.0)

    assert place_nm(image, view) == pytest.approx(haadf_place(bead, view), abs=1.5)


def test_atoms_are_kept(bead) -> None:
    projection = project(bead, 30.0)
    view = bead_view(rotation_deg=25.0, beam_diameter_nm=40.0)
    seen, _ = in_scan_frame(projection, view)

    np.testing.assert_allclose(seen.atoms, projection.atoms, rtol=5e-3)
    # The beam is wider than the bead: its shadow becomes as wide as the beam.
    assert seen.atoms_per_nm2.max() < 0.6 * projection.atoms_per_nm2.max()


def test_upright_scan_with_a_fine_probe_is_left_alone(bead) -> None:
    projection, view = project(bead, 30.0), bead_view()

    assert in_scan_frame(projection, view) == (projection, view)
