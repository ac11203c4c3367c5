"""What a beam takes for a current, and what it refuses before anything is armed."""

import math
from typing import Any

import ophyd.sim
import pytest
from ophyd import EpicsSignalRO
from ophyd.sim import make_fake_device
from ophyd.status import Status

from cryoline.devices.beam import Beam
from cryoline.devices.current_signal import CurrentSignalRO, current_in_pa
from cryoline.devices.errors import ExposureRefused


@pytest.fixture
def beam() -> Any:
    """A beam of soft signals: 150 pA, measured 10 s ago, at 1000 s."""
    cache = ophyd.sim.fake_device_cache
    cache[CurrentSignalRO] = cache[EpicsSignalRO]
    beam = make_fake_device(Beam)("SOFT:BEAM:", name="beam")
    for signal, value in (
        (beam.current_pa, 150.0),
        (beam.current_max_pa, 500.0),
        (beam.current_age_s, 10.0),
        (beam.instrument_time_s, 1000.0),
        (beam.state, 0),
        (beam.interlock, 0),
        (beam.message, "the cup is stuck"),
    ):
        signal.sim_put(value)
    return beam


@pytest.mark.parametrize(
    ("value", "unit", "pa"),
    [(150.0, "pA", 150.0), (0.15, "nA", 150.0), (2e-10, "A", 200)],
)
def test_current_in_any_of_its_units_is_the_same(value, unit, pa) -> None:
    assert current_in_pa(value, unit, "beam") == pytest.approx(pa, rel=1e-12)


@pytest.mark.parametrize("unit", ["", "uA", "mA", "PA", "C", "%"])
def test_current_in_another_unit_is_refused(unit) -> None:
    with pytest.raises(ExposureRefused, match=r"its unit \(EGU\) is .* not one of pA"):
        current_in_pa(150.0, unit, "SIM:BEAM1:Current_RBV")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -3.0])
@pytest.mark.parametrize("signal", ["current_pa", "current_max_pa"])
def test_what_can_be_no_current_is_refused(beam, signal, value) -> None:
    getattr(beam, signal).sim_put(value)
    with pytest.raises(ExposureRefused, match=f"beam_{signal} is .* no current"):
        beam.probe_current()


def test_source_that_can_give_nothing_is_refused(beam) -> None:
    beam.current_max_pa.sim_put(0.0)
    with pytest.raises(ExposureRefused, match="beam_current_max_pa is 0 pA"):
        beam.probe_current()


def test_current_counts_as_never_measured_once_the_clock_went_back(beam) -> None:
    assert beam.probe_current().age_s == 10.0
    beam.instrument_time_s.sim_put(400.0)
    beam.current_age_s.sim_put(0.0)  # an IOC that hides what is negative
    assert beam.probe_current().age_s > 1e8
    beam.instrument_time_s.sim_put(900.0)
    assert beam.probe_current().age_s > 1e8


@pytest.mark.parametrize("age_s", [-5.0, math.nan])
def test_age_that_can_not_be_counts_as_never_measured(beam, age_s) -> None:
    beam.current_age_s.sim_put(age_s)
    assert beam.probe_current().age_s > 1e8


def measured(beam: Any, monkeypatch: Any, *, now_s: float, age_s: float) -> Any:
    """Measure, with what the instrument then shows."""

    def measure(_value: Any, **_: Any) -> Status:
        beam.instrument_time_s.sim_put(now_s)
        beam.current_age_s.sim_put(age_s)
        status = Status()
        status.set_finished()
        return status

    monkeypatch.setattr(beam.measure, "set", measure)
    status = beam.measure_current()
    return status.exception(timeout=5.0)


def test_new_measurement_is_trusted_again_by_the_new_clock(beam, monkeypatch) -> None:
    beam.probe_current()
    beam.instrument_time_s.sim_put(400.0)
    assert beam.probe_current().age_s > 1e8
    assert measured(beam, monkeypatch, now_s=402.0, age_s=0.1) is None
    assert beam.probe_current().age_s == 0.1


@pytest.mark.parametrize(
    ("now_s", "age_s"), [(1002.0, 10.0), (400.0, 0.0), (1002.0, math.nan)]
)
def test_measurement_that_was_not_made_is_seen(beam, monkeypatch, now_s, age_s) -> None:
    error = measured(beam, monkeypatch, now_s=now_s, age_s=age_s)

    assert isinstance(error, ExposureRefused)
    assert "did not measure its current: the cup is stuck" in str(error)
