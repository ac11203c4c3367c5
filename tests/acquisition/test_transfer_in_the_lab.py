"""The cold chain end to end: route, plan, devices, IOC and models."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from bluesky import RunEngine

from cryoline.acquisition import custody_guard
from cryoline.acquisition.custody import CustodyRecord
from cryoline.acquisition.errors import PlanRefused, TransferStopped
from cryoline.acquisition.specimen import Specimen
from cryoline.acquisition.transfer_plan import transfer
from cryoline.devices import (
    Carrier,
    CryoHolder,
    Glovebox,
    InstrumentClock,
    Operator,
    PfibChamber,
    PlungePot,
    Suitcase,
)

pytestmark = pytest.mark.lab

FACTOR = 1000.0
DEVICES: dict[str, Any] = {
    "carrier": (Carrier, "SIM:CARRIER1:"),
    "glovebox": (Glovebox, "SIM:GB1:"),
    "pot": (PlungePot, "SIM:LN2POT1:"),
    "suitcase": (Suitcase, "SIM:CASE1:"),
    "pfib": (PfibChamber, "SIM:FIB1:"),
    "holder": (CryoHolder, "SIM:HOLD1:"),
    "operator": (Operator, "SIM:OP1:"),
    "clock": (InstrumentClock, "SIM:CLK:"),
}

SESSION = """
import sys
from pathlib import Path
from cryoline.acquisition import Specimen, load_config, open_session, transfer
session = open_session(load_config(Path(sys.argv[1])))
devices = session.devices
session.RE(transfer(
    "cryo_apt", Specimen(name=sys.argv[2]), vessels=devices,
    operator=devices["operator"], clock=devices["clock"], to="in-suitcase",
))
"""


@pytest.fixture
def ca(lab: Any) -> Any:
    """A put and a get, with the laboratory at a transfer's pace."""
    import epics

    epics.caput("SIM:LAB:Factor", FACTOR, wait=True, timeout=10)
    return epics


@pytest.fixture
def devices(ca: Any) -> dict[str, Any]:
    made = {n: device(prefix, name=n) for n, (device, prefix) in DEVICES.items()}
    for device in made.values():
        device.wait_for_connection(timeout=10)
    return made


@pytest.fixture
def record(instrument: Any) -> CustodyRecord:
    instrument.config.layout.root.mkdir(parents=True, exist_ok=True)
    return CustodyRecord(instrument.config.custody_record)


@pytest.fixture
def engine(record: CustodyRecord) -> RunEngine:
    engine = RunEngine({}, context_managers=[])
    custody_guard.install(engine, record)
    return engine


@pytest.fixture
def carry(engine: RunEngine, devices: dict[str, Any]) -> Callable[..., Any]:
    """Bring a specimen along a route."""

    def run(route: str, specimen: str, **options: Any) -> Any:
        return engine(
            transfer(
                route,
                Specimen(name=specimen),
                vessels=devices,
                operator=devices["operator"],
                clock=devices["clock"],
                **options,
            )
        )

    return run


def test_specimen_of_he_2021_comes_cold_into_the_microscope(
    ca, carry, record, devices
) -> None:
    carry("he_2021", "lab-nw-01")

    assert devices["carrier"].place.get() == "microscope"
    state = record.state("lab-nw-01")
    assert (state.place, state.state, state.flags) == ("microscope", "inserted", ())
    assert state.air_s == pytest.approx(10.0)
    assert state.t_max_degc == pytest.approx(
        devices["carrier"].temperature_max_degc.get(), abs=0.01
    )
    assert -190 < state.t_max_degc < -165
    assert ca.caget("SIM:TRUTH:Devitrified_RBV") == 0
    assert 0.5 < ca.caget("SIM:TRUTH:Frost_RBV") < 1.5
    stage_degc = ca.caget("SIM:STAGE1:Temp_RBV")
    devices["clock"].set(1200).wait(20)
    assert devices["carrier"].temperature_degc.get() == pytest.approx(
        stage_degc, abs=0.5
    )


def test_slow_hands_are_flagged_and_the_truth_agrees(
    ca, carry, record, devices
) -> None:
    devices["carrier"].specimen.set("lab-nw-02").wait(10)
    for place in ("glovebox", "pot", "holder"):
        devices["carrier"].set(place).wait(10)
    devices["carrier"].reset_max.set(1).wait(10)
    record.correct_place("lab-nw-02", "holder", reason="loaded by hand")
    ca.caput("SIM:LAB:AirTransit", 100, wait=True)

    with pytest.raises(TransferStopped, match=r"leg insert: carrier\.temperature_max"):
        carry("he_2021", "lab-nw-02")

    assert record.state("lab-nw-02").flags == ("air", "temperature")
    assert ca.caget("SIM:TRUTH:Devitrified_RBV") == 1


def test_suitcase_that_leaks_or_is_warm_keeps_the_cell_shut(
    ca, carry, record, devices
) -> None:
    ca.caput("SIM:LAB:SuitcaseLeak", 1e-6, wait=True)
    devices["clock"].set(30).wait(10)
    with pytest.raises(PlanRefused, match=r"pressure_mbar = 5\.1e-08 mbar is above"):
        carry("cryo_apt", "lab-a", to="in-suitcase")
    ca.caput("SIM:LAB:SuitcaseLeak", 0, wait=True)
    ca.caput("SIM:LAB:CaseLN2", 1, wait=True)
    devices["clock"].set(1000).wait(10)
    with pytest.raises(
        PlanRefused, match=r"not ready: suitcase\.temperature_degc = -1"
    ):
        carry("cryo_apt", "lab-a", to="in-suitcase")
    assert devices["carrier"].place.get() == "cell"
    assert not record.knows("lab-a")


def test_killed_session_leaves_its_leg_open_and_the_next_one_takes_it_up(
    ca, carry, record, devices, instrument
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SESSION, instrument.config.path, "lab-apt-1"],
        env=instrument.environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as session:
        assert session.stderr is not None
        while record.state("lab-apt-1").state != "on into-lock":
            assert session.poll() is None, session.stderr.read()
            ca.ca.poll(0.02)
        with pytest.raises(PlanRefused, match=f"Process {session.pid} walks it"):
            carry("cryo_apt", "lab-apt-1", to="in-suitcase", resume=True)
        session.kill()
    state = record.state("lab-apt-1")
    assert state.open_leg is not None
    assert state.open_leg.start.leg == "into-lock"
    assert state.place == "pot"

    with pytest.raises(PlanRefused, match=r"on leg into-lock .* ended without a word"):
        carry("cryo_apt", "lab-apt-1", to="in-suitcase")
    carry("cryo_apt", "lab-apt-1", to="in-suitcase", resume=True)

    assert devices["carrier"].place.get() == "suitcase"
    assert devices["suitcase"].dock.get() == "none"
    state = record.state("lab-apt-1")
    assert (state.state, state.flags, state.open_leg) == ("in-suitcase", (), None)
    rows = record.history("lab-apt-1")
    outcomes = [r.body["report"]["outcome"] for r in rows if r.kind == "leave"]
    assert outcomes == ["done", "done", "done", "interrupted", "done", "done"]
    assert ca.caget("SIM:TRUTH:Devitrified_RBV") == 0
