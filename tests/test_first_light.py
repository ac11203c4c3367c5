"""The whole chain on real processes: laboratory, session, journal, Tiled, analysis."""

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import epics
import pytest
from event_model import DocumentNames, schema_validators

from cryoline.acquisition.journal_reader import read_documents
from cryoline.acquisition.tiled_server import TiledServer

pytestmark = [pytest.mark.lab, pytest.mark.tiled, pytest.mark.timeout(240)]

CYCLE = """
specimen = Specimen(name={name!r}, electrode_mass_mg=0.033)
result = RE(cyclic_voltammetry(
    potentiostat, specimen, n_cycles={n}, vertex_low_v={low}, operator=operator))
print("uid", result.run_start_uids[0])
"""


def until(condition: Callable[[], Any], what: str, timeout_s: float = 60) -> Any:
    deadline = time.monotonic() + timeout_s
    tick = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        tick.wait(0.05)
    return value


def journal_of(instrument: Any, specimen: str) -> Path | None:
    found = list(instrument.config.layout.raw_journal.glob(f"*_{specimen}_*.jsonl"))
    return found[0] if found else None


def points_in(path: Path) -> list[int]:
    """Return the sequence numbers of the points in a journal."""
    documents = list(read_documents(path))
    (uid,) = (
        d["uid"] for n, d in documents if n == "descriptor" and d["name"] == "points"
    )
    return [
        number
        for name, doc in documents
        if name == "event_page" and doc["descriptor"] == uid
        for number in doc["seq_num"]
    ]


def closed_in_tiled(instrument: Any, container: str, key: str) -> Any:
    def node() -> Any:
        try:
            run = instrument.tiled[container, key]
        except KeyError:
            return None
        return run if run.metadata.get("stop") else None

    return until(node, f"{container}/{key} closed in Tiled")


@pytest.fixture(scope="module")
def finished(served: Any) -> dict[str, Any]:
    """Return one run, made from the command line and read back by tiled's client."""
    served.reset()
    code = CYCLE.format(name="wafer-01", n=2, low=0.01)
    shell = served.cryoline("shell", "-c", code)
    assert shell.returncode == 0, shell.stderr
    path = journal_of(served, "wafer-01")
    assert path is not None
    truth = {
        name: epics.caget(f"SIM:TRUTH:{name}_RBV", timeout=5)
        for name in ("Lithiation", "Delithiation")
    }
    return {
        "key": path.stem,
        "journal": path,
        "shell": shell.stdout,
        "truth": truth,
        "raw": closed_in_tiled(served, "raw", path.stem),
        "derived": closed_in_tiled(served, "derived", f"{path.stem}_cycling"),
    }


def test_every_point_of_the_journal_is_in_tiled_once(finished: dict[str, Any]) -> None:
    table = finished["raw"]["points"].base["internal"].read()

    assert list(table["seq_num"]) == points_in(finished["journal"])
    assert len(table) > 11_000


def test_every_document_of_raw_and_derived_run_is_valid(
    served: Any, finished: dict[str, Any]
) -> None:
    derived = served.config.layout.derived_journal / f"{finished['key']}_cycling.jsonl"
    for path in (finished["journal"], derived):
        documents = list(read_documents(path))
        for name, doc in documents:
            schema_validators[DocumentNames[name]].validate(doc)
        assert [documents[0][0], documents[-1][0]] == ["start", "stop"]


def test_start_document_carries_specimen_versions_and_configuration(
    finished: dict[str, Any],
) -> None:
    start = finished["raw"].metadata["start"]

    assert start["specimen"] == "wafer-01"
    assert start["versions"]["bluesky"].startswith("1.15")
    assert len(start["session"]["config_sha256"]) == 64
    assert start["program"]["safety"]["potential_max_v"] == pytest.approx(3.05)
    assert set(finished["raw"]) == {"baseline", "operator", "points"}


def test_the_derived_run_lies_beside_the_raw_one_and_agrees_with_the_truth(
    finished: dict[str, Any],
) -> None:
    cycles = finished["derived"]["cycles"].base["internal"].read()

    start = finished["derived"].metadata["start"]
    assert start["original_run_uid"] == finished["raw"].metadata["start"]["uid"]
    assert list(cycles["cycle_number"]) == [1, 2]
    last = cycles.iloc[-1]
    truth = finished["truth"]
    assert last["lithiation_mah"] == pytest.approx(truth["Lithiation"], rel=0.005)
    assert last["delithiation_mah"] == pytest.approx(truth["Delithiation"], rel=0.005)
    assert cycles["coulombic_efficiency"].between(0.2, 1.005).all()


def test_the_cryoline_block_is_found_by_a_search(
    served: Any, finished: dict[str, Any]
) -> None:
    from tiled.queries import Key

    from cryoline.acquisition.tiled_access import search

    found = search(served.tiled["raw"], Key("cryoline.specimen") == "wafer-01")

    assert finished["raw"].metadata["cryoline"] == {
        "specimen": "wafer-01",
        "ancestors": [],
        "technique": "cyclic-voltammetry",
        "cycle_number": 2,
    }
    assert len(found) == 1


def test_without_the_key_the_server_answers_401(served: Any) -> None:
    url = TiledServer.from_config(served.config).url()
    for header in ({}, {"Authorization": "Apikey 0000"}):
        request = urllib.request.Request(f"{url}/api/v1/search/", headers=header)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        assert caught.value.code == 401
        caught.value.close()


def test_a_wrong_key_is_said_at_once(served: Any) -> None:
    result = served.cryoline("replay", key="0" * 64)

    assert result.returncode == 1
    assert "Tiled refuses the API key (401)" in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_only_loopback_ports_are_open(served: Any) -> None:
    pids = {p["pid"] for p in served.lab.description["processes"].values()}
    services = served.config.layout.services
    pids |= {
        json.loads((services / f"{name}.json").read_text())["pid"]
        for name in ("tiled", "publisher", "analysis_worker")
    }

    open_at = {address for pid in pids for address in listening(pid)}

    assert len(open_at) >= 5  # four IOCs and the Tiled server
    assert {address.rpartition(":")[0] for address in open_at} == {"127.0.0.1"}


def listening(pid: int) -> set[str]:
    """Return address:port of the sockets that a process has bound."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(os.readlink(fd).removeprefix("socket:[").removesuffix("]"))
        except FileNotFoundError:  # closed meanwhile
            continue
    found = set()
    for table in ("tcp", "udp", "tcp6", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, remote, state, inode = (line.split()[k] for k in (1, 2, 3, 9))
            is_bound = state == "0A" or (
                table[:3] == "udp" and remote.endswith(":0000")
            )
            if inode in inodes and is_bound:
                address, _, port = local.partition(":")
                octets = [str(b) for b in bytes.fromhex(address)[::-1]]
                found.add(f"{'.'.join(octets)}:{int(port, 16)}")
    return found


def test_a_generic_client_reads_values_with_units_and_limits(served: Any) -> None:
    expected = {
        "SIM:POT1:Potential_RBV": ("V", -10, 10),
        "SIM:POT1:Current_RBV": ("A", -0.1, 0.1),
        "SIM:GB1:H2O_RBV": ("ppm", 0, None),
        "SIM:GB1:Pressure_RBV": ("mbar", None, None),
        "SIM:GB1:Temperature_RBV": ("degC", None, None),
    }
    for name, (unit, low, high) in expected.items():
        pv = epics.PV(name, form="ctrl")
        assert pv.wait_for_connection(5), name
        control = pv.get_ctrlvars()
        assert control["units"] == unit
        assert control["lower_disp_limit"] < control["upper_disp_limit"]
        if low is not None:
            assert control["lower_disp_limit"] == pytest.approx(low)
        if high is not None:
            assert control["upper_disp_limit"] == pytest.approx(high)


def running_session(
    served: Any,
    name: str,
    *,
    factor: float,
    at_least: int,
    n: int = 1,
    low: float = 0.01,
) -> tuple[Any, Path]:
    """Start a session on a fresh cell; return it with its journal of so many bytes."""
    served.reset()
    epics.caput("SIM:LAB:Factor", factor, wait=True)
    session = served.start("shell", "-c", CYCLE.format(name=name, n=n, low=low))
    path = until(lambda: journal_of(served, name), "journal of the run")
    until(lambda: path.stat().st_size > at_least, "points in the journal", 90)
    return session, path


def test_a_killed_session_loses_nothing_that_was_journaled(served: Any) -> None:
    session, path = running_session(
        served, "killed-1", factor=1000, at_least=200_000, n=2
    )

    os.killpg(session.pid, signal.SIGKILL)
    session.communicate(timeout=20)
    before = epics.caget("SIM:POT1:PointCount_RBV")
    until(
        lambda: epics.caget("SIM:POT1:PointCount_RBV") > before,
        "more points in the instrument",
    )
    assert epics.caget("SIM:POT1:State_RBV") == 2  # the program goes on

    replayed = served.cryoline("replay", path.stem)

    assert replayed.returncode == 0, replayed.stderr
    assert f"closed as interrupted: {path.stem}" in replayed.stdout
    stop = list(read_documents(path))[-1][1]
    assert stop["exit_status"] == "abort"
    assert stop["reason"].startswith("interrupted")
    run = closed_in_tiled(served, "raw", path.stem)
    table = run["points"].base["internal"].read()
    journaled = points_in(path)
    assert list(table["seq_num"]) == journaled
    assert stop["num_events"]["points"] == len(journaled) > 100


def test_a_second_session_does_not_disturb_the_running_program(served: Any) -> None:
    served.reset()
    epics.caput("SIM:LAB:Factor", 100, wait=True)
    session = served.start("shell", "-c", CYCLE.format(name="first", n=1, low=0.01))
    until(lambda: epics.caget("SIM:POT1:State_RBV") == 2, "the program runs", 90)
    uid = epics.caget("SIM:POT1:ProgramUid_RBV")

    second = served.cryoline("shell", "-c", CYCLE.format(name="second", n=1, low=0.01))

    assert second.returncode == 1
    assert "wait for its end, or choose another channel" in second.stderr
    assert "Traceback" not in second.stderr
    assert epics.caget("SIM:POT1:ProgramUid_RBV") == uid
    assert journal_of(served, "second") is None
    os.killpg(session.pid, signal.SIGINT)
    _, errors = session.communicate(timeout=60)
    assert session.returncode == 130, errors


def test_an_interrupt_stops_the_program_and_closes_the_run(served: Any) -> None:
    session, path = running_session(served, "stopped", factor=500, at_least=50_000)

    os.killpg(session.pid, signal.SIGINT)
    # The first interrupt asks for a pause at the next checkpoint, as bluesky has it.
    _, errors = session.communicate(timeout=60)

    assert session.returncode == 130, errors
    assert epics.caget("SIM:POT1:State_RBV") == 4  # stopped
    stop = list(read_documents(path))[-1][1]
    assert stop["exit_status"] == "abort"
    assert stop["num_events"]["points"] == len(points_in(path))
    assert points_in(path)[-1] == epics.caget("SIM:POT1:PointCount_RBV")


def test_an_ioc_that_dies_and_comes_back_costs_no_point(served: Any) -> None:
    session, path = running_session(
        served, "ioc-1", factor=1000, at_least=100_000, low=1.0
    )

    os.kill(served.lab.pid("potentiostat"), signal.SIGKILL)
    threading.Event().wait(3)
    assert session.poll() is None, session.communicate()[1]
    served.lab.restart("potentiostat")
    _, errors = session.communicate(timeout=150)

    assert session.returncode == 0, errors
    stop = list(read_documents(path))[-1][1]
    assert stop["exit_status"] == "success"
    points = points_in(path)
    assert points == list(range(1, len(points) + 1))
    assert len(points) == pytest.approx((2.8 - 1.0 + 2.0) * 1000, rel=0.01)
