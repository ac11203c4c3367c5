import os
import socket
import urllib.request
from dataclasses import replace

import pytest

from cryoline.acquisition.errors import TiledServerError
from cryoline.acquisition.ports import any_free, is_free, owner_of
from cryoline.acquisition.process_identity import ProcessIdentity, write_state
from cryoline.acquisition.tiled_access import API_KEY_VARIABLE, api_key
from cryoline.acquisition.tiled_server import TiledServer, is_healthy


@pytest.fixture(autouse=True)
def _no_key_in_environment(monkeypatch):
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)


def test_the_key_is_random_private_and_kept(layout):
    server = TiledServer(layout)
    key = server.api_key()
    path = layout.root / "tiled" / "api_key"
    assert len(key) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert server.api_key() == key
    assert api_key(path) == key


def test_the_environment_wins_over_the_key_file(layout, monkeypatch):
    TiledServer(layout).api_key()
    monkeypatch.setenv(API_KEY_VARIABLE, "secret1")
    assert TiledServer(layout).api_key() == "secret1"


def test_a_key_that_others_may_read_is_refused(layout):
    server = TiledServer(layout)
    server.api_key()
    (layout.root / "tiled" / "api_key").chmod(0o644)
    with pytest.raises(TiledServerError, match=r"mode 644.*chmod 600"):
        server.api_key()


def test_a_missing_key_says_what_to_do(layout):
    with pytest.raises(TiledServerError, match="cryoline serve"):
        api_key(layout.root / "none")


def test_without_a_server_there_is_no_url_and_nothing_to_stop(layout):
    server = TiledServer(layout)
    with pytest.raises(TiledServerError, match="cryoline up"):
        server.url()
    assert server.identity() is None
    assert server.stop() is False


def test_a_port_in_use_is_an_error_that_names_its_owner(layout):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = TiledServer(layout, port=port)
        with pytest.raises(
            TiledServerError, match=rf"port {port} .*process \d+ \(.*py"
        ):
            server.start()
        assert not is_free("127.0.0.1", port)
        assert f"process {os.getpid()} " in owner_of(port)
    assert is_free("127.0.0.1", port)


def test_a_pid_that_now_belongs_to_another_program_is_not_the_server(layout):
    me = ProcessIdentity.of(os.getpid())
    server = TiledServer(layout)
    port = any_free("127.0.0.1")
    state = {"port": port, "url": f"http://127.0.0.1:{port}", "started": ""}
    write_state(server.state_path, {**me.as_dict(), **state})
    assert server.identity() == me
    reused = replace(me, start_ticks=me.start_ticks - 1)
    write_state(server.state_path, {**reused.as_dict(), **state})
    assert server.identity() is None
    assert server.stop() is False


def test_a_server_that_ends_at_its_start_shows_the_end_of_its_log(layout, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/ls")
    with pytest.raises(TiledServerError, match=r"ended at its start \(exit code 2\)"):
        TiledServer(layout).start(timeout_s=20)
    assert TiledServer(layout).identity() is None


@pytest.mark.tiled
def test_start_finds_the_running_server_and_stands_behind_its_key(embedded_tiled):
    began = embedded_tiled.identity()
    assert embedded_tiled.start() == embedded_tiled.url()
    assert embedded_tiled.identity() == began
    assert is_healthy(embedded_tiled.url(), timeout_s=5)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{embedded_tiled.url()}/api/v1/search/", timeout=5)
    layout = embedded_tiled.layout
    key = embedded_tiled.api_key()
    for path in (layout.logs / "tiled.log", layout.tiled / "server.yml"):
        assert key not in path.read_text()
    command = f"/proc/{began.pid}/cmdline"
    with open(command, encoding="utf-8") as line:
        assert key not in line.read()


@pytest.mark.tiled
def test_a_port_is_free_for_the_same_server_again(embedded_tiled, layout):
    """The state file keeps the port; a second server of the same folder reuses it."""
    port = any_free("127.0.0.1")
    write_state(layout.services / "tiled.json", {"port": port, "pid": 1})
    assert TiledServer(layout)._choose_port() == port  # noqa: SLF001
    taken = int(embedded_tiled.url().rpartition(":")[2])
    write_state(layout.services / "tiled.json", {"port": taken, "pid": 1})
    assert TiledServer(layout)._choose_port() != taken  # noqa: SLF001
