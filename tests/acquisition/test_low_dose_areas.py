"""A displaced area lies clear of what is recorded, or says by how much it does not."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.low_dose_areas import DisplacedArea, separation
from cryoline.devices.exposure import Exposure, Purpose

RECORD = Exposure(
    specimen="nw-01", width_px=256, height_px=256, pixel_nm=1.0, dwell_s=1e-5
)


def beside(area: DisplacedArea, record: Exposure = RECORD) -> Exposure:
    return area.beside(record, Purpose.TRACKING, dwell_s=4e-6)


def test_an_area_is_one_frame_beside_the_region_at_the_same_tilt() -> None:
    record = RECORD.model_copy(update={"tilt_deg": 35.0, "n_frames": 22})
    area = DisplacedArea(offset_nm=-400.0, width_px=128, height_px=64, pixel_nm=2.0)

    made = area.beside(record, Purpose.FOCUS, dwell_s=4e-6)

    assert (made.offset_x_nm, made.offset_y_nm) == (0.0, -400.0)
    assert (made.width_px, made.height_px, made.pixel_nm) == (128, 64, 2.0)
    assert (made.n_frames, made.dwell_s, made.tilt_deg) == (1, 4e-6, 35.0)
    assert (made.purpose, made.region) == (Purpose.FOCUS, record.region)


def test_the_separation_is_from_the_edge_of_the_beam_to_that_of_the_record() -> None:
    """256 nm of record, 128 nm of area with a beam of 20 nm, 400 nm apart."""
    other = beside(DisplacedArea(offset_nm=400.0, width_px=128, height_px=128))
    other = other.model_copy(update={"beam_diameter_nm": 20.0})

    found = separation(RECORD, other, limit_nm=50.0)

    assert found.offset_nm == 400.0
    assert found.beam_radius_nm == pytest.approx(64 * math.sqrt(2) + 10)
    assert found.half_diagonal_nm == pytest.approx(128 * math.sqrt(2))
    assert found.needed_nm == pytest.approx(192 * math.sqrt(2) + 60)
    assert found.gap_nm == pytest.approx(400 - 128 - 64 * math.sqrt(2) - 10)


def test_too_near_is_refused_with_what_is_needed_unless_it_is_accepted() -> None:
    near: dict[str, Any] = {"offset_nm": 250.0, "width_px": 128, "height_px": 128}

    with pytest.raises(PlanRefused) as caught:
        beside(DisplacedArea(**near))

    assert str(caught.value) == (
        "low-dose areas: offset_nm = 250 nm along the tilt axis is too near to "
        "the region: 322 nm are needed (beam 91 nm + half diagonal of the "
        "record 181 nm + tracking limit 50 nm), the edges are 31 nm apart; give a "
        "larger offset, a smaller area, or accept_overlap=True to have the region "
        "charged with it"
    )
    assert beside(DisplacedArea(**near, accept_overlap=True)).offset_y_nm == 250.0


@pytest.mark.parametrize("purpose", ["record", "preview", "view", "search"])
def test_what_is_kept_is_centred_on_the_region(purpose: str) -> None:
    area = DisplacedArea(offset_nm=900.0)

    with pytest.raises(PlanRefused, match=f"{purpose} is centred on the region"):
        area.beside(RECORD, Purpose(purpose), dwell_s=4e-6)


@given(
    offset_nm=st.floats(-800, 800),
    width_px=st.integers(16, 256),
    height_px=st.integers(16, 256),
    turned=st.floats(0, 360),
    off=st.floats(0, 50),
    angle=st.floats(0, 2 * math.pi),
)
def test_no_accepted_area_touches_the_record_however_the_scan_is_turned(
    offset_nm: float,
    width_px: int,
    height_px: int,
    turned: float,
    off: float,
    angle: float,
) -> None:
    """By the corners of both fields; the area is off its place by up to 50 nm."""
    record = RECORD.model_copy(update={"rotation_deg": turned})
    try:
        other = beside(
            DisplacedArea(offset_nm=offset_nm, width_px=width_px, height_px=height_px),
            record,
        )
    except PlanRefused:
        return
    x, y = off * math.cos(angle), other.offset_y_nm + off * math.sin(angle)
    assert not _touch(record, other, x, y)


def _touch(a: Exposure, b: Exposure, x: float, y: float) -> bool:
    """Whether two fields that are turned alike overlap: compare in their own frame."""
    t = math.radians(a.rotation_deg)
    u, v = x * math.cos(t) + y * math.sin(t), -x * math.sin(t) + y * math.cos(t)
    return (
        abs(u) < (a.width_nm + b.width_nm) / 2
        and abs(v) < (a.height_nm + b.height_nm) / 2
    )


def test_an_offset_that_is_no_number_is_refused() -> None:
    with pytest.raises(PlanRefused, match="DisplacedArea: offset_nm = nan"):
        DisplacedArea(offset_nm=float("nan"))
