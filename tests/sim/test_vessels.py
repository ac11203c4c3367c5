import numpy as np
import pytest

from cryoline.sim.vessels import Glovebox


def test_values_do_not_depend_on_how_often_they_are_read() -> None:
    often, once = Glovebox(seed=3), Glovebox(seed=3)
    for time_s in np.arange(0.0, 5000.0, 3.7):
        often.advance(float(time_s))
    once.advance(4999.0)
    assert often.values() == once.values()


def test_other_seed_gives_another_atmosphere() -> None:
    first, second = Glovebox(seed=1), Glovebox(seed=2)
    first.advance(1000.0)
    second.advance(1000.0)
    assert first.values() != second.values()


def test_undisturbed_box_stays_below_its_alarm_for_a_week() -> None:
    box = Glovebox(seed=0)
    h2o_ppm = []
    for time_s in range(0, 7 * 86_400, 600):
        box.advance(float(time_s))
        h2o_ppm.append(box.values()["h2o_ppm"])
    assert 0.0 < min(h2o_ppm)
    assert max(h2o_ppm) < 5.0
    assert np.mean(h2o_ppm) == pytest.approx(0.5, abs=0.05)


def test_opening_the_door_lets_moisture_in_and_the_purifier_takes_it_out() -> None:
    box = Glovebox(seed=0)
    box.advance(100.0)
    box.set_door(True)
    box.set_door(True)  # it is open already
    assert 5.0 < box.values()["h2o_ppm"] < 8.0
    box.set_door(False)
    box.advance(100.0 + 5 * 900.0)
    assert box.values()["h2o_ppm"] < 1.0
