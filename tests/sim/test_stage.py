"""The cryo stage: motion, cold, and where the specimen is seen."""

import math

import numpy as np
import pytest

from cryoline.sim.errors import RefusedError
from cryoline.sim.stage import Stage
from cryoline.sim.stage_cold import EMPTIES_IN_S, ColdStage

LONG_S = 1e4


def seen_nm(stage: Stage, time_s: float) -> np.ndarray:
    return np.array(stage.offsets_nm(np.array(time_s)))


def moved(axis: str, target: float, *, seed: int = 1) -> Stage:
    stage = Stage(seed=seed)
    stage.move(axis, target, 0.0)
    return stage


def test_tilt_takes_its_time_and_then_settles() -> None:
    stage = moved("Alpha", 10.0)
    assert stage.position("Alpha", 2.5) == pytest.approx(5.0)
    assert stage.position("Alpha", 5.0) == 10.0
    alpha = stage.axes["Alpha"]
    assert not alpha.is_done(7.9)
    assert alpha.is_done(8.0)
    assert stage.next_event_s(1.0) == 8.0


def test_stop_holds_it_where_it_is() -> None:
    stage = moved("Alpha", 60.0)
    stage.stop("Alpha", 5.0)
    assert stage.axes["Alpha"].is_done(5.0)
    assert stage.position("Alpha", LONG_S) == stage.axes["Alpha"].target == 10.0
    stage.stop("Alpha", 6.0)  # harmless at rest


def test_new_target_replaces_the_old_one_on_the_way() -> None:
    stage = moved("Alpha", 60.0)
    stage.move("Alpha", 0.0, 5.0)
    assert stage.position("Alpha", 7.5) == pytest.approx(5.0)
    stage.move("Alpha", 0.0, 7.5)  # the same again: it just goes on
    assert stage.axes["Alpha"].done_at_s == 13.0


def test_position_beyond_the_limits_is_refused() -> None:
    with pytest.raises(RefusedError) as refusal:
        Stage(seed=0).move("Alpha", 70.5, 0.0)
    assert str(refusal.value) == (
        "stage: Alpha 70.5 deg is outside -70..70 deg; choose a value in between"
    )


def test_true_tilt_lags_behind_the_encoder_by_direction() -> None:
    stage = moved("Alpha", 10.0)
    up_deg = stage.tilt_deg(LONG_S)
    stage.move("Alpha", 20.0, LONG_S)
    stage.move("Alpha", 10.0, 2 * LONG_S)
    assert stage.position("Alpha", 3 * LONG_S) == 10.0
    assert stage.tilt_deg(3 * LONG_S) - up_deg == pytest.approx(0.2)


def test_specimen_is_seen_where_the_axis_and_the_height_put_it() -> None:
    """Dx = z0 sin t - n0 (1 - cos t), fitted over many tilts, gives back z0 and n0."""
    angles_deg = np.arange(-60.0, 61.0, 5.0)
    time_s, rows, shifts = 0.0, [], []
    stage = Stage(seed=7)
    for angle_deg in angles_deg:
        stage.move("Alpha", angle_deg, time_s)
        time_s += 60.0
        tilt = math.radians(stage.tilt_deg(time_s))
        rows.append((math.sin(tilt), -(1 - math.cos(tilt))))
        shifts.append(seen_nm(stage, time_s)[0])
    (z0_nm, n0_nm), residue, *_ = np.linalg.lstsq(
        np.array(rows), np.array(shifts), rcond=None
    )
    rms_nm = math.sqrt(residue[0] / len(angles_deg))
    assert 10.0 < rms_nm < 50.0  # the wobble of 30 nm, and some drift
    raised = 500.0
    stage.move("Z", raised, time_s)
    before = seen_nm(stage, time_s)
    gain_nm = seen_nm(stage, time_s + 10.0)[0] - before[0]
    # The last tilt was 60 deg; the backlash of Z is 20 nm, the drift below 1 nm.
    assert gain_nm == pytest.approx(raised * math.sin(math.radians(59.9)), abs=12.0)
    assert abs(z0_nm) < 400.0
    assert abs(n0_nm) < 400.0


def test_stage_x_moves_the_image_by_its_projection() -> None:
    stage = moved("Alpha", 60.0)
    before = seen_nm(stage, 100.0)
    stage.move("X", 300.0, 100.0)
    shift = seen_nm(stage, 200.0) - before
    assert shift[0] == pytest.approx(300.0 * math.cos(math.radians(59.9)), abs=6.0)
    assert abs(shift[1]) < 0.2
    assert abs(stage.position("X", 200.0) - 300.0) < 1e-9


def test_tilting_there_and_back_does_not_bring_the_image_back() -> None:
    stage = Stage(seed=3)
    at_first = seen_nm(stage, 0.0)
    stage.move("Alpha", 5.0, 0.0)
    stage.move("Alpha", 0.0, 50.0)
    wobble = seen_nm(stage, 100.0) - at_first
    assert 2.0 < np.linalg.norm(wobble) < 120.0
    other = Stage(seed=3)
    for target, time_s in ((5.0, 0.0), (0.0, 50.0)):
        other.move("Alpha", target, time_s)
        seen_nm(other, time_s + 1.0)
    np.testing.assert_array_equal(seen_nm(other, 100.0), seen_nm(stage, 100.0))


def test_drift_after_insertion_fades_within_hours() -> None:
    stage = Stage(seed=0)
    stage.insert(0.0)
    way_nm = [
        np.linalg.norm(seen_nm(stage, t)) for t in (0.0, 60.0, 10_800.0, 10_860.0)
    ]
    assert way_nm[0] == 0.0
    assert way_nm[1] == pytest.approx(8.0, rel=0.03)
    assert way_nm[3] - way_nm[2] == pytest.approx(0.04, abs=0.01)


def test_burst_of_drift_lasts_as_long_as_it_is_set() -> None:
    stage = Stage(seed=0)
    stage.set_burst(60.0, 100.0)
    assert np.linalg.norm(seen_nm(stage, 130.0)) == pytest.approx(30.0, abs=0.3)
    stage.set_burst(0.0, 160.0)
    assert np.linalg.norm(seen_nm(stage, 300.0)) == pytest.approx(60.0, abs=0.5)


def test_stuck_axis_stays_and_is_never_done() -> None:
    stage = moved("Alpha", 60.0)
    stage.set_stuck(True, 5.0)
    alpha = stage.axes["Alpha"]
    assert stage.position("Alpha", LONG_S) == 10.0
    assert not alpha.is_done(LONG_S)
    assert stage.axes["X"].is_done(LONG_S)
    assert stage.next_event_s(LONG_S) is None
    stage.move("X", 100.0, LONG_S)
    assert stage.position("X", 2 * LONG_S) == 0.0
    stage.set_stuck(False, 2 * LONG_S)
    assert alpha.is_done(2 * LONG_S + 28.0)
    assert stage.position("Alpha", 3 * LONG_S) == 60.0
    assert stage.position("X", 3 * LONG_S) == 100.0


def test_stuck_axis_can_be_stopped() -> None:
    stage = moved("Alpha", 60.0)
    stage.set_stuck(True, 5.0)
    stage.stop("Alpha", 6.0)
    assert stage.axes["Alpha"].is_done(6.0)
    assert stage.axes["Alpha"].target == 10.0


def test_cold_tip_warms_when_the_dewar_is_empty() -> None:
    cold = ColdStage()
    assert cold.temperature_degc(8 * 3600.0) == -178.0
    assert cold.level_percent(EMPTIES_IN_S / 2) == pytest.approx(50.0)
    assert cold.level_percent(2 * EMPTIES_IN_S) == 0.0
    dry_s = EMPTIES_IN_S + 1000.0
    expected = 25.0 - 203.0 * math.exp(-1000.0 / 4000.0)
    assert cold.temperature_degc(dry_s) == pytest.approx(expected)
    assert -140.0 < expected < -130.0  # 15 min to the interlock's limit
    cold.fill(100.0, dry_s)
    assert cold.temperature_degc(dry_s) == pytest.approx(expected)
    assert cold.temperature_degc(dry_s + 4000.0) == pytest.approx(-178.0, abs=0.01)


def test_tip_follows_its_set_point_within_minutes() -> None:
    cold = ColdStage()
    cold.set_target(-160.0, 100.0)
    assert cold.temperature_degc(500.0) == pytest.approx(-160.0 - 18.0 / math.e)
    with pytest.raises(RefusedError, match=r"TempSet -191 degC is outside -190\.\.30"):
        cold.set_target(-191.0, 600.0)
    cold.hold(-120.0)
    assert cold.temperature_degc(700.0) == -120.0
    cold.set_target(-170.0, 5000.0)
    cold.hold(None)
    assert cold.temperature_degc(5000.0) == pytest.approx(-160.0, abs=0.01)


def test_who_asks_how_often_does_not_change_the_cold() -> None:
    asked, alone = ColdStage(), ColdStage()
    for time_s in np.linspace(0.0, 2 * EMPTIES_IN_S, 977):
        asked.temperature_degc(float(time_s))
        asked.level_percent(float(time_s))
    end_s = 2 * EMPTIES_IN_S
    assert asked.temperature_degc(end_s) == alone.temperature_degc(end_s)
