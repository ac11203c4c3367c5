"""Starting, ending and looking at background processes, by the publisher's example."""

import os
import re
import signal
import threading
from datetime import UTC, datetime, timedelta

import pytest

from cryoline.acquisition import doctor
from cryoline.acquisition.config import load_config
from cryoline.acquisition.errors import ServiceError
from cryoline.acquisition.journal import Journal
from cryoline.acquisition.process_identity import (
    ProcessIdentity,
    read_state,
    write_state,
)
from cryoline.acquisition.services import Services

PUBLISHER = ("publisher",)
WORKER = ("analysis_worker",)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "instrument.toml"
    path.write_text('[instrument]\nname = "test"\n')
    return load_config(path)


@pytest.fixture
def services(config):
    services = Services(config)
    yield services
    services.down(PUBLISHER)


def test_nothing_runs_at_first_and_ending_nothing_is_no_error(services):
    assert [s.state for s in services.status()] == ["stopped"] * 3
    assert not any(s.is_well for s in services.status())
    assert services.down() == []


def test_an_unknown_service_is_refused_with_the_names_there_are(services):
    with pytest.raises(ServiceError, match="no service 'redis'; there are: tiled, pub"):
        services.up(("redis",))


def test_a_pid_given_to_another_program_is_neither_taken_nor_ended(services, config):
    me = ProcessIdentity.of(os.getpid())
    stale = {**me.as_dict(), "start_ticks": me.start_ticks - 1}
    write_state(config.layout.services / "publisher.pid", stale)
    assert services.identity("publisher") is None
    assert services.status(PUBLISHER)[0].state == "died"
    assert services.down(PUBLISHER) == []


def test_a_service_that_does_not_start_says_why_and_leaves_nothing(services):
    with pytest.raises(
        ServiceError, match=r"(?s)publisher does not start.*cryoline up"
    ):
        services.up(PUBLISHER)
    assert services.identity("publisher") is None
    assert services.status(PUBLISHER)[0].state == "stopped"


@pytest.fixture
def says(config):
    """Write the state of a living worker: this process, which no test ends."""

    def write(**state):
        me = ProcessIdentity.of(os.getpid()).as_dict()
        content = {**me, "updated": ago(0), "renewed_within_s": 20.0, **state}
        write_state(config.layout.services / "analysis_worker.json", content)

    return write


def ago(seconds):
    return (datetime.now(tz=UTC) - timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    ("state", "detail"),
    [
        ({"state": "ready", "runs": {}}, "no runs"),
        ({"state": "ready", "runs": {"a": "done"}}, "1 run"),
        ({"state": "ready", "runs": {"a": "done", "b": "following"}}, "2 runs"),
        ({"state": "running", "lag_rows": 0}, ""),
        ({"state": "running", "lag_rows": 7}, "7 rows behind"),
        ({"state": "running", "last_error": "a: 500"}, "last error: a: 500"),
        ({"state": "waiting for Tiled"}, "waiting for Tiled"),
        ({"state": "warming up"}, "warming up"),
        (
            {"state": "ready", "runs": {}, "dropped_pictures": {"a": 3, "b": 4}},
            "no runs; 7 live pictures left out to keep up",
        ),
        (
            {"state": "running", "waiting_for": {"raw/a": "x.h5: no such file"}},
            "raw/a waits: x.h5: no such file",
        ),
        (
            {"state": "running", "failed": {"a": "torn"}, "last_error": "a: torn"},
            "a FAILED: torn",
        ),
    ],
)
def test_the_detail_says_what_the_state_does_not(services, says, state, detail):
    says(**state)
    (status,) = services.status(WORKER)
    assert (status.state, status.detail) == ("running", detail)


def test_doctor_says_state_and_detail_once(config, says):
    says(state="ready", runs={"a": "done"})
    found = {finding.what: finding.found for finding in doctor.examine(config.path)}
    assert found["service analysis_worker"] == "running, 1 run"
    assert found["service publisher"] == "stopped"


def test_a_process_that_is_late_with_its_state_is_not_well(services, says, config):
    says(state="ready", updated=ago(19))
    assert services.status(WORKER)[0].is_well
    says(state="ready", updated=ago(100))
    (status,) = services.status(WORKER)
    assert (status.state, status.is_well) == ("not answering", False)
    assert status.detail == "no sign of life for 100 s"
    findings = {finding.what: finding for finding in doctor.examine(config.path)}
    assert findings["service analysis_worker"].remedy.startswith("cryoline down")


def test_what_another_process_wrote_before_is_not_held_against_one(
    services, says, config
):
    says(state="ready", updated=ago(100), start_ticks=1)
    me = ProcessIdentity.of(os.getpid())
    write_state(config.layout.services / "analysis_worker.pid", me.as_dict())
    assert services.status(WORKER)[0].is_well


@pytest.fixture
def to_tiled(config, embedded_tiled, monkeypatch):
    """Have the publisher of the configuration send to the tests' server."""
    monkeypatch.setenv("CRYOLINE_TILED_API_KEY", embedded_tiled.api_key())
    state = read_state(embedded_tiled.state_path)
    assert state is not None
    write_state(config.layout.services / "tiled.json", state)


@pytest.mark.tiled
def test_a_frozen_publisher_is_told_from_one_that_has_nothing_to_do(
    services, to_tiled, wait_for
):
    services.up(PUBLISHER)
    identity = services.identity("publisher")
    os.kill(identity.pid, signal.SIGSTOP)
    try:
        wait_for(lambda: not services.status(PUBLISHER)[0].is_well, "no sign of life")
        (status,) = services.status(PUBLISHER)
        assert status.state == "not answering"
        assert re.fullmatch(r"no sign of life for \d+ s", status.detail)
    finally:
        os.kill(identity.pid, signal.SIGCONT)
    wait_for(lambda: services.status(PUBLISHER)[0].is_well, "life again")
    # Idle for longer than it may be silent, and well all the same.
    ended = threading.Event()
    assert not ended.wait(7.0)
    (status,) = services.status(PUBLISHER)
    assert (status.state, status.detail) == ("running", "")


@pytest.mark.tiled
def test_the_publisher_is_started_once_looked_at_killed_and_started_again(
    services, config, to_tiled, run_maker, wait_for
):
    assert services.up(PUBLISHER) == ["publisher"]
    identity = services.identity("publisher")
    assert services.up(PUBLISHER) == []
    assert services.identity("publisher") == identity
    run = run_maker(Journal(config.layout.raw_journal))
    run.page(40)
    run.stop()
    marker = config.layout.published / "raw" / f"{run.key}.json"
    wait_for(marker.exists, "the run is published")
    wait_for(lambda: services.status(PUBLISHER)[0].lag_rows == 0, "it says so")
    (status,) = services.status(PUBLISHER)
    assert status.is_well
    assert status.as_dict()["pid"] == identity.pid
    assert run.key in (config.layout.logs / "publisher.log").read_text()
    os.kill(identity.pid, signal.SIGKILL)
    wait_for(lambda: services.identity("publisher") is None, "its end")
    (status,) = services.status(PUBLISHER)
    assert status.state == "died"
    assert "cryoline up" in status.detail
    assert services.up(PUBLISHER) == ["publisher"]
    assert services.down(PUBLISHER) == ["publisher"]
    assert services.status(PUBLISHER)[0].state == "stopped"
    ended = read_state(config.layout.services / "publisher.json")
    assert ended is not None
    assert ended["state"] == "stopped"
