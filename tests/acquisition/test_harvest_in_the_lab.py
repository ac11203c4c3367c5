"""From a cell that cycles to an electrode in the box, by instrument and custody."""

from collections.abc import Iterator
from typing import Any

import pytest

from cryoline.acquisition import (
    HarvestAt,
    Protocol,
    Specimen,
    harvest,
)
from cryoline.acquisition.custody import CustodyRecord
from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.journal_reader import read_documents
from cryoline.acquisition.protocol_amounts import MAH_PER_G_OF_LI
from cryoline.acquisition.session import Session, open_session

pytestmark = pytest.mark.lab

FACTOR = 2000.0
"""A leg's 120 s are 60 ms of wall time, and a cycle of 24 min less than a second."""
MASS_MG = 0.2134  # of the simulated nanowires
CELL = Specimen(name="lab-harvest-1", electrode_mass_mg=MASS_MG)
PROTOCOL = Protocol.model_validate(
    {
        "name": "quick",
        "safety": {
            "potential_min_v": -0.1,
            "potential_max_v": 3.4,
            "current_max_a": 0.05,
        },
        "record": {"dv_v": 5e-3},
        "steps": [
            {"type": "tag", "tag": "again"},
            {
                "type": "constant_current",
                "rate_c": "-C",
                "until_potential_v": 0.02,
                "until_charge_mah": 0.15,
            },
            {"type": "constant_current", "rate_c": "C", "until_potential_v": 1.5},
            {"type": "loop", "goto_step": "again", "cycle_count": 6},
        ],
    }
)


@pytest.fixture(scope="module")
def session(instrument: Any) -> Iterator[Session]:
    session = open_session(instrument.config)
    yield session
    assert session.dose is not None
    session.dose.beat.stop()


@pytest.fixture
def ca(lab: Any, session: Session) -> Any:
    """Channel Access, with fresh nanowires mounted, at the pace of this module."""
    import epics

    epics.caput("SIM:LAB:Cell", 1, wait=True, timeout=10)
    epics.caput("SIM:LAB:Factor", FACTOR, wait=True, timeout=10)
    return epics


class Died(Exception):
    """A session that ends in the middle."""


def harvested(session: Session, specimen: Specimen, at: HarvestAt, **more: Any) -> Any:
    devices = session.devices
    return session.RE(
        harvest(
            devices["potentiostat"],
            PROTOCOL,
            specimen,
            at,
            clock=devices["clock"],
            operator=devices["operator"],
            route="he_2021",
            vessels=devices,
            **more,
        )
    ).plan_result


def documents(session: Session, run: str) -> list[tuple[str, dict[str, Any]]]:
    """Return a run's documents as they are on disk."""
    for path in session.config.layout.raw_journal.glob("*.jsonl"):
        found = list(read_documents(path))
        if found[0][1]["uid"] == run:
            return found
    raise AssertionError(f"no journal of run {run}")


def points(session: Session, run: str) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for name, doc in documents(session, run):
        if name == "event_page":
            for key, values in doc["data"].items():
                columns.setdefault(key.partition("_")[2], []).extend(values)
    return columns


def test_a_cell_is_harvested_delithiated_and_its_first_leg_is_walked(
    ca: Any, session: Session
) -> None:
    devices = session.devices
    at = HarvestAt(cycle_count=2, lithiation_x=4.0)

    runs = harvested(session, CELL, at)

    assert runs.to_do == "Go on with transfer('he_2021', ...), from 'open'"
    # The instrument has ended it in cycle 2 of 6, behind a delithiation.
    last = {key: column[-1] for key, column in points(session, runs.cycling).items()}
    assert (last["cycle_number"], last["half_cycle"]) == (2, 3)
    assert last["current_a"] > 0
    assert last["potential_v"] == pytest.approx(1.5, abs=5e-3)
    # The truth: less than a tenth of a lithium per silicon is left, of Li3.75Si.
    charge_mah = ca.caget("SIM:TRUTH:Charge_RBV")
    extracted_mah = ca.caget("SIM:TRUTH:Delithiation_RBV")
    assert extracted_mah > 0.1
    left = ca.caget("SIM:TRUTH:SiliconLithium_RBV") / ca.caget("SIM:TRUTH:Capacity_RBV")
    assert 3.75 * left < 0.1

    # On disk, by somebody else: the state at harvest, and the first leg walked.
    with CustodyRecord(session.config.custody_record) as record:
        state = record.state(CELL.name)
        rows = record.history(CELL.name)
        record.register("lab-harvest-grid", parent=CELL.name, made_as="grid")
        grid = record.state("lab-harvest-grid")
    assert [row.kind for row in rows] == ["specimen", "place", "enter", "leave"]
    assert state.harvest == runs.state == rows[1].body["harvest"]
    assert state.harvest is not None
    assert rows[1].run == state.harvest["cycling_run"] == runs.cycling
    assert (state.harvest["state"], state.harvest["cycle_number"]) == ("delithiated", 2)
    assert state.harvest["charge_mah"] == pytest.approx(charge_mah, rel=1e-3)
    x = -charge_mah / (MASS_MG * 1e-3 * MAH_PER_G_OF_LI)
    assert state.harvest["lithiation_x"] == pytest.approx(x, rel=1e-3)
    assert (state.place, state.state, state.flags) == ("glovebox", "open", ())
    assert rows[3].body["report"]["outcome"] == "done"
    assert rows[3].run == runs.transfer
    harvested_s, left_s = (rows[k].instrument_time_s or 0.0 for k in (1, 3))
    assert left_s > harvested_s + 120
    assert devices["carrier"].place.get() == "glovebox"
    assert devices["carrier"].specimen.get() == CELL.name
    # What is made of it inherits that, and every later run of it says so.
    assert grid.block()["harvest"] == state.harvest
    start = documents(session, runs.transfer)[0][1]
    assert start["harvest"] == state.harvest
    assert start["plan_args"]["legs"] == ["open-cell"]


def test_a_harvest_whose_session_has_died_is_gone_on_with_by_the_same_call(
    ca: Any, session: Session
) -> None:
    cell = Specimen(name="lab-harvest-2", electrode_mass_mg=MASS_MG)
    at = HarvestAt(charge_mah=0.5)

    def die(name: str, doc: Any) -> None:
        raise Died

    token = session.RE.subscribe(die, "event_page")
    with pytest.raises(Died):
        harvested(session, cell, at)
    session.RE.unsubscribe(token)
    assert not session.custody.knows(cell.name)
    with pytest.raises(PlanRefused, match="begun for lab-harvest-2 by quick"):
        harvested(session, CELL, at, resume=True)

    runs = harvested(session, cell, at, resume=True)

    start = documents(session, runs.cycling)[0][1]
    before = points(session, start["continues"])["point_index"]
    rest = points(session, runs.cycling)
    count = ca.caget("SIM:POT1:PointCount_RBV")
    assert before + rest["point_index"] == list(range(count))
    assert rest["current_a"][-1] > 0
    assert rest["cycle_number"][-1] == 2  # of 0.15 mAh in each of its half cycles
    state = session.custody.state(cell.name)
    assert state.harvest is not None
    assert state.harvest["cycling_run"] == runs.cycling
    assert state.harvest["state"] == "delithiated"
    assert state.harvest["asked"]["charge_mah"] == 0.5
    assert (state.place, state.state) == ("glovebox", "open")
