"""A person's mistake at the command line: one clear message, exit 1, no traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
[instrument]
name = "bench"
minimum_free_mb = {free}

[epics]
addresses = ["127.0.0.1:1"]
connection_timeout_s = 0.5

[devices.potentiostat]
plugin = "potentiostat"
prefix = "NOWHERE:POT1:"
"""


def cryoline(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cryoline.acquisition.cli", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )


def mistake(result: subprocess.CompletedProcess[str]) -> str:
    """Return the message as one line, having seen that it is only a message."""
    assert result.returncode == 1, result
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ")
    return " ".join(result.stderr.split())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "instrument.toml").write_text(CONFIG.format(free=1))
    return tmp_path


def test_no_configuration(tmp_path: Path) -> None:
    message = mistake(cryoline("status", cwd=tmp_path))

    assert "instrument.toml: no such configuration file" in message
    assert "cryoline sim up --dir DIR" in message


def test_an_ioc_that_does_not_answer_names_device_prefix_and_place(
    folder: Path,
) -> None:
    message = mistake(cryoline("shell", "-c", "pass", cwd=folder))

    assert "potentiostat (NOWHERE:POT1:): no IOC answers" in message
    assert "searched at 127.0.0.1:1 for 0.5 s" in message
    assert "cryoline doctor" in message


def test_a_disk_without_space_refuses_the_session(folder: Path) -> None:
    (folder / "instrument.toml").write_text(CONFIG.format(free=1e12))

    message = mistake(cryoline("shell", "-c", "pass", cwd=folder))

    assert "MB free" in message
    assert str(folder / "data") in message


def test_status_before_up_says_that_nothing_runs(folder: Path) -> None:
    result = cryoline("status", "--json", cwd=folder)

    assert result.returncode == 1
    states = {s["name"]: s["state"] for s in json.loads(result.stdout)}
    assert states == {
        "tiled": "stopped",
        "publisher": "stopped",
        "analysis_worker": "stopped",
    }


def test_replay_without_a_server_says_how_to_start_it(folder: Path) -> None:
    assert "cryoline up" in mistake(cryoline("replay", cwd=folder))


def test_a_script_that_is_not_there(folder: Path) -> None:
    message = mistake(cryoline("shell", "night.py", cwd=folder))

    assert "night.py: can't be read as a script" in message


def test_doctor_says_what_is_ill_and_what_to_do(folder: Path) -> None:
    result = cryoline("doctor", "--json", cwd=folder)

    assert result.returncode == 1
    findings = {f["what"]: f for f in json.loads(result.stdout)}
    assert findings["configuration"]["is_well"]
    assert findings["disk"]["is_well"]
    assert not findings["device potentiostat"]["is_well"]
    assert "no IOC answers" in findings["device potentiostat"]["found"]
    assert findings["service tiled"]["remedy"] == "cryoline up"


def test_plugins_are_listed_and_each_can_be_imported(tmp_path: Path) -> None:
    result = cryoline("plugins", "--check", "--json", cwd=tmp_path)

    assert result.returncode == 0, result.stdout
    names = {p["name"] for p in json.loads(result.stdout)}
    assert {"potentiostat", "glovebox", "operator", "mpt", "sim"} <= names


@pytest.mark.parametrize(
    "command",
    ["up", "down", "status", "serve", "shell", "replay", "plugins", "doctor", "demo"],
)
def test_every_command_has_help_with_an_example(command: str, tmp_path: Path) -> None:
    result = cryoline(command, "--help", cwd=tmp_path)

    assert result.returncode == 0
    assert f"Example: cryoline {command}" in " ".join(result.stdout.split())
