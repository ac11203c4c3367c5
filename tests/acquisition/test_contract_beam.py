"""The beam's contract: kept by the simulator, and each promise seen when broken."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cryoline.sim.ports import free_ports

if TYPE_CHECKING:
    from conftest import Instrument

pytestmark = pytest.mark.lab

BROKEN = Path(__file__).with_name("broken_beam.py")
BREAKS = [
    ("blanked at the start", "armed at start", "State_RBV was 1"),
    ("says who it is", "clock", "InstrumentTime_RBV stays at"),
    ("units", "unit uA", "Current_RBV is in 'uA', not pA or nA or A"),
    ("no arm without lease", "no lease", "it armed ticket"),
    ("no arm without lease", "silent", "Message_RBV gives no reason"),
    ("no arm without beat", "no beat", "it armed ticket"),
    ("refuses, never clamps", "clamps", "dwell_s -0.001: it armed ticket"),
    ("needs limits", "defaults", "without max_time_s: it armed ticket"),
    ("one holder", "any holder", "'contract-other' has the beam"),
    ("only the holder arms", "any session", "it armed ticket"),
    ("arms and disarms", "no disarm", "is armed"),
    ("dead-man disarms", "slow dead-man", "disarmed 1."),
    ("Blank needs no lease", "blank by lease", "is armed after a Blank"),
    ("counts at once", "counter first", "0.3 s later"),
    ("ends after its frames", "another frame", "3 frames were asked, 4 made"),
    ("counts the charge", "charge", "300 pA by the charge counted"),
    ("ends at max_time_s", "no max time", "it must end as max_time"),
    ("ends at max_charge_c", "no max charge", "it must end as max_charge"),
    ("dead-man", "slow dead-man", "the beam was off 1."),
    ("Blank ends it", "slow blank", "the beam is on"),
    ("logs by counter", "log", "not made yet"),
    ("a ticket is good once", "tickets", "it armed ticket"),
]
# One process for all: Channel Access learns its addresses only once.
TRY_ALL = """
import dataclasses, json, sys
from cryoline.acquisition.contract import examine_contract, load_contract
from cryoline.acquisition.contract_pvs import ContractPVs
contract = load_contract("beam")
ioc = ContractPVs("BAD:BEAM1:", ["Break", "Unit", "Blank", "Disarm"])
found = []
for name, wrong in json.load(sys.stdin):
    kind, _, unit = wrong.partition("unit ")
    ioc.put("Unit", unit or "pA")
    ioc.put("Break", kind)
    checks = tuple(c for c in contract.checks if not name or c.name == name)
    one = dataclasses.replace(contract, checks=checks)
    found.append([r.as_dict() for r in examine_contract(one, ioc.prefix, may_act=True)])
    ioc.put("Break", "")
    ioc.put("Blank", 1)
# And what a session makes of units, by the same PVs.
from cryoline.devices import Beam
from cryoline.devices.errors import ExposureRefused
beam = Beam(ioc.prefix, name="beam")
beam.wait_for_connection(timeout=10)
currents = {}
for unit in ("pA", "nA", "uA"):
    ioc.put("Unit", unit)
    try:
        currents[unit] = [
            beam.probe_current().current_pa,
            beam.read()["beam_current_pa"]["value"],
            beam.describe()["beam_current_pa"]["units"],
        ]
    except ExposureRefused as error:
        currents[unit] = str(error)
print(json.dumps([found, currents]))
"""


@pytest.fixture(scope="module")
def told() -> Iterator[Any]:
    """What the contract says of each broken beam, and what a session reads of one."""
    port = str(free_ports(1)[0])
    ioc = subprocess.Popen(
        [sys.executable, str(BROKEN), port],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert ioc.stdout is not None
        assert "ready\n" in iter(ioc.stdout.readline, "")  # behind EPICS' greeting
        ended = subprocess.run(
            [sys.executable, "-c", TRY_ALL],
            input=json.dumps([*[(name, wrong) for name, wrong, _ in BREAKS], ("", "")]),
            env={
                **os.environ,
                "EPICS_CA_ADDR_LIST": f"127.0.0.1:{port}",
                "EPICS_CA_AUTO_ADDR_LIST": "NO",
            },
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert ended.returncode == 0, ended.stderr
        yield json.loads(ended.stdout.splitlines()[-1])
    finally:
        ioc.kill()
        ioc.communicate()


@pytest.fixture(scope="module")
def tried(told: Any) -> list[list[dict[str, str]]]:
    """What the contract says of each broken beam, and last of one that is well."""
    results: list[list[dict[str, str]]] = told[0]
    return results


@pytest.mark.parametrize("number", range(len(BREAKS)), ids=lambda k: BREAKS[k][1])
def test_broken_promise_is_seen(number: int, tried: Any) -> None:
    name, _, seen = BREAKS[number]
    (result,) = tried[number]

    assert (result["name"], result["verdict"]) == (name, "broken")
    assert seen in result["seen"]


def test_beam_that_is_well_keeps_all_of_them(tried: Any) -> None:
    assert {r["name"]: r["seen"] for r in tried[-1] if r["verdict"] != "kept"} == {}
    assert {r["name"] for r in tried[-1]} == {name for name, _, _ in BREAKS}


def test_session_reads_pa_whatever_unit_of_current_the_ioc_has(told: Any) -> None:
    currents = told[1]

    assert currents["pA"] == [150.0, 150.0, "pA"]
    assert currents["nA"] == [150e3, 150e3, "pA"]
    assert "its unit (EGU) is 'uA', not one of pA, nA, A" in currents["uA"]


def test_simulated_beam_keeps_all_of_them(instrument: "Instrument", lab: Any) -> None:
    import epics

    epics.caput("SIM:LAB:Factor", 1.0, wait=True, timeout=10)
    ended = instrument.cryoline(
        *("doctor", "--contract", "beam", "SIM:BEAM1:", "--expose", "--yes", "--json")
    )
    report = json.loads(ended.stdout)
    instrument.reset()

    assert "ON THE SPECIMEN" in ended.stderr
    assert [c for c in report["checks"] if c["verdict"] != "kept"] == []
    assert ended.returncode == 0, ended.stdout
    # What needs no beam is what is tried without leave: nothing is exposed by it.
    before = epics.caget("SIM:BEAM1:ExposureCounter_RBV", timeout=5)
    ended = instrument.cryoline("doctor", "--contract", "beam", "SIM:BEAM1:", "--json")
    assert json.loads(ended.stdout)["not_tried"] == 9
    assert epics.caget("SIM:BEAM1:ExposureCounter_RBV", timeout=5) == before
