"""Starting, ending and looking at background processes, by the publisher's example."""

import os
import signal

import pytest

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


@pytest.mark.tiled
def test_the_publisher_is_started_once_looked_at_killed_and_started_again(
    services, config, embedded_tiled, run_maker, wait_for, monkeypatch
):
    monkeypatch.setenv("CRYOLINE_TILED_API_KEY", embedded_tiled.api_key())
    state = read_state(embedded_tiled.state_path)
    write_state(config.layout.services / "tiled.json", state)
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
    assert read_state(config.layout.services / "publisher.json")["state"] == "stopped"
