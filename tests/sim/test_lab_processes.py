"""Starting and ending laboratories, and what happens when their processes die."""

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from cryoline.sim.errors import (
    AlreadyUpError,
    LabError,
    NoSpaceError,
    NotUpError,
    StartupError,
)
from cryoline.sim.laboratory import Lab, find_lab, start_lab
from cryoline.sim.prefixes import GROUPS
from cryoline.sim.processes import Child, end_processes, start_ticks
from cryoline.sim.rpc import WorldClient

pytestmark = pytest.mark.lab

READ_BOOT_ID = """
import epics
pv = epics.PV("SIM:POT1:BootId_RBV")
assert pv.wait_for_connection(20)
print(pv.get())
"""


def sim(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `cryoline sim` as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "cryoline.sim.lab", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A second laboratory beside the session's, started from the command line.

    The tests below use it up in their order: servers die, then the world.
    """
    directory = tmp_path_factory.mktemp("other")
    started = sim("up", "--dir", str(directory), "--seed", "7", "--factor", "1000")
    assert started.returncode == 0, started.stderr
    lab = find_lab(directory)
    yield lab
    lab.stop()


def test_up_prints_how_to_reach_it_and_writes_its_files(other: Lab) -> None:
    description = orjson.loads((other.directory / "lab.json").read_bytes())
    assert description["seed"] == 7
    assert description["prefixes"]["potentiostat"] == "SIM:POT1:"
    assert len(description["addresses"]) == len(GROUPS)
    assert (other.directory / "instrument.toml").exists()
    assert other.socket.parent.stat().st_mode & 0o777 == 0o700


def test_two_laboratories_run_side_by_side(own_lab: Lab, other: Lab) -> None:
    boot_ids = []
    for lab in (own_lab, other):
        reader = subprocess.run(
            [sys.executable, "-c", READ_BOOT_ID],
            env=os.environ | lab.epics_environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        boot_ids.append(reader.stdout.strip())
        with WorldClient(lab.socket) as world:
            assert boot_ids[-1] == world.call("identity")["BootId_RBV"]
    assert boot_ids[0] != boot_ids[1]


def test_status_tells_what_runs(other: Lab) -> None:
    status = sim("status", "--dir", str(other.directory), "--json")
    assert status.returncode == 0
    assert all(orjson.loads(status.stdout)["alive"].values())


def test_second_up_in_the_same_directory_is_refused(other: Lab) -> None:
    with pytest.raises(AlreadyUpError) as refusal:
        start_lab(other.directory)
    assert str(refusal.value) == (
        f"laboratory: one is already up in {other.directory} (world pid "
        f"{other.pid('world')}); end it with `cryoline sim down --dir "
        f"{other.directory}`"
    )


def test_program_goes_on_when_its_server_is_killed(other: Lab, voltammetry) -> None:
    with WorldClient(other.socket) as world:
        world.call("potentiostat.load", text=voltammetry())
        world.call("potentiostat.start")
        os.kill(other.pid("potentiostat"), signal.SIGKILL)
        assert wait_gone(other.pid("potentiostat"))
        world.call("lab.factor", factor=1e5)

        def values():
            answer = world.call("poll", instrument="potentiostat")
            return answer["values"]["potentiostat"]

        count = values()["PointCount_RBV"]
        while values()["State_RBV"] == 2:
            assert values()["PointCount_RBV"] >= count
        assert values()["PointCount_RBV"] == 5780
    status = sim("status", "--dir", str(other.directory))
    assert status.returncode == 1
    assert "DEAD, see" in status.stdout


def test_servers_end_with_a_message_when_the_world_dies(other: Lab) -> None:
    os.kill(other.pid("world"), signal.SIGKILL)
    for name in GROUPS.keys() - {"potentiostat"}:  # that one died above
        assert wait_gone(other.pid(name)), name
        log = Path(other.description["processes"][name]["log"]).read_text()
        assert f"{name} ends: the world process closed its socket" in log


def test_down_clears_away_what_is_left(other: Lab) -> None:
    ended = sim("down", "--dir", str(other.directory))
    assert ended.returncode == 0
    assert not (other.directory / "lab.json").exists()
    assert not other.socket.parent.exists()
    again = sim("down", "--dir", str(other.directory))
    assert again.returncode == 1
    assert again.stderr.strip() == (
        f"no laboratory is up in {other.directory}; start one with "
        f"`cryoline sim up --dir {other.directory}`"
    )


def wait_gone(pid: int) -> bool:
    """Wait until a process that is not our child has ended."""
    ticks = start_ticks(pid)
    if ticks is None:
        return True
    pidfd = os.pidfd_open(pid)
    try:
        return bool(select.select([pidfd], [], [], 20.0)[0])
    finally:
        os.close(pidfd)


def test_directory_without_space_is_refused(tmp_path, monkeypatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(NoSpaceError) as refusal:
        start_lab(tmp_path)
    assert str(refusal.value) == (
        f"laboratory: {tmp_path} has 1.0 MB of space, the logs need 50 MB; "
        "free some or choose another --dir"
    )


def test_directory_that_can_not_be_made_is_named(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match=r"can't make .*: Not a directory"):
        start_lab(tmp_path / "file" / "lab")


def test_impossible_seed_is_refused_before_anything_starts(tmp_path) -> None:
    with pytest.raises(LabError, match=r"seed -1 is outside 0\.\.2147483647"):
        start_lab(tmp_path, seed=-1)
    assert not list(tmp_path.iterdir())


def test_missing_recorded_file_is_told_without_a_traceback(tmp_path) -> None:
    started = sim("up", "--dir", str(tmp_path), "--recorded", str(tmp_path / "no.mpt"))
    assert started.returncode == 1
    assert started.stderr.strip() == (
        f"recorded measurement {tmp_path / 'no.mpt'}: no such file; check the path"
    )
    with pytest.raises(NotUpError):
        find_lab(tmp_path)


def test_failed_start_leaves_nothing_running(tmp_path) -> None:
    started = []
    add = Child.start

    def spy(*arguments, **options):
        started.append(add(*arguments, **options))
        return started[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Child, "start", spy)
        with pytest.raises(StartupError, match="no such file"):
            start_lab(tmp_path, recorded=tmp_path / "no.mpt")
    assert len(started) == 1 + len(GROUPS)
    assert all(child.process.poll() is not None for child in started)


def test_foreign_process_with_a_reused_pid_is_not_ended() -> None:
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    entry = {"pid": os.getpid(), "start_ticks": ticks - 1}
    assert end_processes([entry]) == []
