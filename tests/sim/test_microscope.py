"""Column, stage and specimen together."""

import json
import math
from typing import Any

import numpy as np
import pytest

from cryoline.sim.errors import RefusedError
from cryoline.sim.exposure_log import ExposureLog, Outcome
from cryoline.sim.fluence_map import CELL_NM
from cryoline.sim.microscope import Microscope
from cryoline.sim.view import decode_view

E_C = 1.602176634e-19


def order(ticket: str, **changes) -> str:
    scan = {
        "ticket": ticket,
        "width_px": 256,
        "height_px": 256,
        "pixel_nm": 2.0,
        "dwell_s": 20e-6,
        "n_frames": 4,
        "flyback_s": 0.0,
        "flyback_blanked": True,
        "center_x_nm": 0.0,
        "center_y_nm": 0.0,
        "max_time_s": 1e3,
        "max_charge_c": 1.0,
    }
    return json.dumps(scan | changes)


def microscope(**options) -> Any:
    return Microscope(seed=2, log=ExposureLog(boot_id="7"), **options)


def expose(here: Any, ticket: str, time_s: float, **changes) -> None:
    here.column.arm(order(ticket, **changes))
    here.start(time_s)
    here.advance(time_s + 100.0)


def test_view_of_an_exposure_is_what_the_beam_did() -> None:
    here = microscope()
    here.stage.move("Alpha", 30.0, 0.0)
    here.advance(50.0)
    expose(here, "first", 50.0)
    expose(here, "second", 200.0, center_x_nm=100.0, flyback_s=5.12e-3)
    record = here.log.get(2)
    answer = here.exposure("second")
    assert (answer["state"], answer["outcome"], answer["counter"]) == ("ended", 1, 2)
    view = decode_view(json.loads(json.dumps(answer["view"])))
    assert view.tilt_deg == record.tilt_deg == pytest.approx(29.9)
    assert view.n_frames == 4
    assert view.frame_fraction.tolist() == [1.0] * 4
    assert math.fsum(view.frame_charge_c) == pytest.approx(record.charge_c, rel=1e-12)
    first = decode_view(here.exposure("first")["view"])
    shift_nm = view.offset_x_nm - first.offset_x_nm.mean()
    # The beam moved 100 nm to +x, so the specimen is seen that far to -x; it drifts.
    np.testing.assert_allclose(shift_nm, -100.0, atol=1.0)
    assert not first.fluence.any()
    assert view.fluence.max() == pytest.approx(
        here.log.get(1).charge_c / E_C / 512.0**2, rel=1e-6
    )
    assert view.seed == (2, 2)


def test_beam_that_is_on_in_flyback_gives_no_charge_to_pixels_then() -> None:
    here = microscope()
    # A line of 256 pixels takes 5.12 ms, as the flyback here.
    expose(here, "t", 0.0, flyback_s=5.12e-3, flyback_blanked=False)
    view = decode_view(here.exposure("t")["view"])
    charge_c = here.log.get(1).charge_c
    assert math.fsum(view.frame_charge_c) == pytest.approx(charge_c / 2, rel=1e-12)
    total_c = here.fluence.cells.sum() * CELL_NM**2 * E_C
    assert total_c == pytest.approx(charge_c, rel=1e-12)


def test_map_holds_the_charge_of_many_exposures_at_any_rhythm() -> None:
    here, watched = microscope(), microscope()
    rng = np.random.default_rng(0)
    for k, tilt_deg in enumerate((0.0, 35.0, -50.0)):
        start_s = 100.0 * (k + 1)
        for one in (here, watched):
            one.stage.move("Alpha", tilt_deg, start_s - 80.0)
        expose(here, f"t{k}", start_s)
        watched.column.arm(order(f"t{k}"))
        watched.start(start_s)
        for time_s in np.sort(rng.uniform(0.0, 6.0, 50)):
            watched.advance(start_s + time_s)
        watched.advance(start_s + 100.0)
    np.testing.assert_allclose(watched.fluence.cells, here.fluence.cells, rtol=1e-12)
    records = [here.log.get(k + 1) for k in range(3)]
    # What fell on the plane counts normal to the beam: 1 / cos t as much of it.
    on_plane_c = [r.charge_c / math.cos(math.radians(r.tilt_deg)) for r in records]
    total_c = math.fsum(here.fluence.cells.ravel()) * CELL_NM**2 * E_C
    assert total_c == pytest.approx(math.fsum(on_plane_c), rel=1e-12)
    assert here.column.charge_c(1e4) == pytest.approx(
        math.fsum(r.charge_c for r in records), rel=1e-12
    )


def test_cut_exposure_is_seen_and_counted_down_to_its_last_line() -> None:
    here = microscope()
    here.column.arm(order("t"))
    here.start(0.0)
    frame_s = 256 * 256 * 20e-6
    here.blank(1.25 * frame_s, Outcome.DEAD_MAN)
    view = decode_view(here.exposure("t")["view"])
    np.testing.assert_allclose(view.frame_fraction, [1.0, 0.25])
    assert here.log.get(1).outcome is Outcome.DEAD_MAN
    rows = here.fluence.cells.sum(axis=1)
    middle = len(rows) // 2
    upper = rows[middle - 30 : middle - 20]  # y from -240 to -160 nm
    lower = rows[middle + 10 : middle + 20]
    np.testing.assert_allclose(upper, 2 * lower, rtol=1e-3)


def test_ticket_is_armed_then_exposing_then_ended() -> None:
    here = microscope()
    assert here.exposure("")["state"] == here.exposure("t")["state"] == "unknown"
    here.column.arm(order("t"))
    assert here.exposure("t")["state"] == "armed"
    here.start(0.0)
    assert here.exposure("t")["state"] == "exposing"
    assert here.exposure("t")["view"] is None
    here.advance(100.0)
    assert here.exposure("t")["state"] == "ended"


def test_dewar_is_topped_up_only_while_nobody_uses_the_microscope() -> None:
    here = microscope()
    here.advance(10 * 86_400.0)
    assert 29.0 < here.stage.cold.level_percent(10 * 86_400.0) <= 100.0
    assert here.stage.cold.temperature_degc(10 * 86_400.0) == -178.0
    shift_nm = np.hypot(*here.stage.offsets_nm(np.array(10 * 86_400.0)))
    assert shift_nm < 30.0  # somebody centred the specimen, too
    used = microscope()
    used.column.arm(order("t"))
    used.advance(9 * 3600.0)
    assert used.stage.cold.level_percent(9 * 3600.0) == 0.0


def test_dewar_that_is_made_empty_stays_so_until_that_ends() -> None:
    here = microscope()
    here.set_fault("ln2_level", 0.5, 100.0)
    here.advance(50_000.0)
    assert here.stage.cold.level_percent(50_000.0) == 0.0
    assert here.stage.cold.temperature_degc(50_000.0) > 20.0
    here.set_fault("ln2_level", 0.0, 50_000.0)
    assert here.stage.cold.level_percent(50_000.0) == 100.0


def test_rise_of_the_current_ends_with_its_exposure() -> None:
    here = microscope()
    here.set_fault("current_rise", 1.3, 0.0)
    expose(here, "t", 0.0)
    expose(here, "u", 200.0)
    assert here.faults.current_rise == 0.0
    first, second = here.log.get(1), here.log.get(2)
    # The source drifts by less than 1.5 % in these minutes.
    assert first.charge_c / second.charge_c == pytest.approx(1.15, rel=0.015)


def test_scaled_current_stays_until_it_is_set_back() -> None:
    here = microscope()
    here.column.arm(order("t"))
    here.start(0.0)
    here.set_fault("current_scale", 2.0, 2 * 256 * 256 * 20e-6)
    here.advance(100.0)
    expose(here, "u", 200.0)
    here.set_fault("current_scale", 0.0, 300.0)
    expose(here, "v", 400.0)
    charges = [here.log.get(k).charge_c for k in (1, 2, 3)]
    np.testing.assert_allclose(
        np.array(charges) / charges[2], [1.5, 2.0, 1.0], rtol=0.015
    )


def test_warm_specimen_suffers_more_from_the_same_fluence() -> None:
    here = microscope()
    here.set_fault("stage_temp", 20.0, 0.0)
    expose(here, "warm", 0.0)
    expose(here, "next", 200.0)
    counted = here.log.get(1).charge_c / E_C / 512.0**2
    view = decode_view(here.exposure("next")["view"])
    assert view.fluence.max() == pytest.approx(5 * counted, rel=1e-6)
    here.set_fault("stage_temp", 0.0, 300.0)
    assert here.fluence.max_e_per_nm2 == pytest.approx(2 * counted, rel=0.02)


def test_same_seed_gives_the_same_after_a_reset() -> None:
    """The clock and the log's counter go on; what the detectors see starts anew."""
    log = ExposureLog(boot_id="7")
    views = []
    for time_s in (0.0, 4096.0):
        here = Microscope(seed=2, log=log, time_s=time_s)
        here.stage.move("Alpha", 20.0, time_s)
        here.advance(time_s + 50.0)
        expose(here, f"at {time_s}", time_s + 50.0)
        views.append(decode_view(here.exposure(f"at {time_s}")["view"]))
    first, second = views
    assert log.counter == 2
    assert first.seed == second.seed
    np.testing.assert_allclose(second.frame_charge_c, first.frame_charge_c, rtol=1e-12)
    np.testing.assert_allclose(second.offset_x_nm, first.offset_x_nm, atol=1e-9)


def test_parked_disc_charges_its_own_spot() -> None:
    here = microscope()
    expose(here, "t", 0.0, width_px=1, height_px=1, dwell_s=0.2, beam_diameter_nm=160.0)
    charge_c = here.log.get(1).charge_c
    hit = here.fluence.cells > 0

    assert here.fluence.cells.sum() * CELL_NM**2 * E_C == pytest.approx(charge_c)
    disc_nm2 = math.pi * 80.0**2
    expected = charge_c / E_C / disc_nm2 * (0.95 + 0.05 / 4)
    assert here.fluence.max_e_per_nm2 == pytest.approx(expected, rel=1e-3)
    assert hit.sum() * CELL_NM**2 == pytest.approx(4 * disc_nm2, rel=0.1)
    assert decode_view(here.exposure("t")["view"]).beam_diameter_nm == 160.0


def test_turned_field_is_charged_and_logged_as_turned() -> None:
    here = microscope()
    expose(here, "t", 0.0, width_px=400, height_px=50, rotation_deg=90.0)
    y, x = np.nonzero(here.fluence.cells)

    assert np.ptp(y) > 4 * np.ptp(x)
    assert here.log.get(1).rotation_deg == 90.0
    assert decode_view(here.exposure("t")["view"]).rotation_deg == 90.0


@pytest.mark.parametrize(
    ("key", "value", "limits"),
    [
        ("rotation_deg", 361.0, "-360..360 deg"),
        ("rotation_deg", math.nan, "-360..360 deg"),
        ("beam_diameter_nm", -1.0, "0..1000 nm"),
    ],
)
def test_rotation_and_diameter_beyond_their_limits_are_refused(
    key, value, limits
) -> None:
    with pytest.raises(RefusedError, match=rf"{key} .* is outside {limits}"):
        microscope().column.arm(order("t", **{key: value}))
