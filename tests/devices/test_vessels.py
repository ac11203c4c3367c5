"""The vessels of the cold chain on real PVs of the simulated laboratory."""

from typing import Any

import pytest

from cryoline.devices import (
    Carrier,
    CryoHolder,
    InstrumentClock,
    PfibChamber,
    PlungePot,
    Suitcase,
)
from cryoline.devices.errors import SettingRefused
from cryoline.sim.laboratory import Lab

pytestmark = pytest.mark.lab

DEVICES: dict[str, Any] = {
    "carrier": (Carrier, "SIM:CARRIER1:"),
    "pot": (PlungePot, "SIM:LN2POT1:"),
    "suitcase": (Suitcase, "SIM:CASE1:"),
    "pfib": (PfibChamber, "SIM:FIB1:"),
    "holder": (CryoHolder, "SIM:HOLD1:"),
}
UNITS = {"degc": "degC", "mbar": "mbar", "s": "s", "percent": "%"}


@pytest.fixture
def vessels(lab: Lab) -> dict[str, Any]:
    made = {n: device(prefix, name=n) for n, (device, prefix) in DEVICES.items()}
    for vessel in made.values():
        vessel.wait_for_connection(timeout=10)
    return made


def test_every_number_of_a_vessel_has_the_unit_of_its_name(
    vessels: dict[str, Any],
) -> None:
    for vessel in vessels.values():
        for key, value in vessel.describe().items():
            if value["dtype"] == "number" or key.endswith(tuple(UNITS)):
                assert value["units"] == UNITS[key.rpartition("_")[2]], key


def test_carrier_goes_where_it_may_and_says_why_not(vessels: dict[str, Any]) -> None:
    carrier = vessels["carrier"]
    carrier.specimen.set("nw-01").wait(10)
    with pytest.raises(
        SettingRefused, match=r"no way from cell to pfib; .* it can go to: glovebox"
    ):
        carrier.set("pfib").wait(10)
    for place in ("glovebox", "pot", "pot"):
        carrier.set(place).wait(10)
        assert carrier.place.get() == place
    InstrumentClock("SIM:CLK:", name="clock").set(60).wait(10)
    assert carrier.temperature_degc.get() < -190
    assert carrier.temperature_max_degc.get() == 25
    carrier.reset_max.set(1).wait(10)
    assert carrier.temperature_max_degc.get() < -190


def test_refused_setting_of_a_vessel_is_an_error_with_its_reason(
    vessels: dict[str, Any],
) -> None:
    suitcase, pfib = vessels["suitcase"], vessels["pfib"]
    with pytest.raises(SettingRefused, match=r"gate_valve: 'open' was refused: .*Dock"):
        suitcase.gate_valve.set("open").wait(10)
    assert suitcase.gate_valve.get() == "shut"
    suitcase.dock.set("pfib").wait(10)
    with pytest.raises(SettingRefused, match=r"-200.* is outside -190\.\.30 degC"):
        pfib.stage_setpoint_degc.set(-200.0).wait(10)
    suitcase.port_pump.set("on").wait(10)
    with pytest.raises(SettingRefused, match=r"port_vent: 1 was refused: .* pump off"):
        suitcase.port_vent.set(1).wait(10)
