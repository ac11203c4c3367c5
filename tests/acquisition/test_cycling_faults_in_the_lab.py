"""A session cycling a cell that fails on its own host: clear, safe, nothing lost."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cryoline.acquisition import Protocol, Specimen, cycle, resume_program
from cryoline.acquisition.config import Config, load_config
from cryoline.acquisition.errors import JournalError, PlanRefused
from cryoline.acquisition.journal_reader import read_documents
from cryoline.acquisition.session import Session, open_session
from cryoline.devices import ProgramState

pytestmark = pytest.mark.lab

CELL = Specimen(name="lab-full-1")
PROTOCOL = Protocol.model_validate(
    {
        "name": "long",
        "safety": {
            "potential_min_v": -0.05,
            "potential_max_v": 3.1,
            "current_max_a": 0.01,
        },
        "record": {"dv_v": 1e-3},
        "steps": [
            {
                "type": "cyclic_voltammetry",
                "vertex1_v": 1.0,
                "vertex2_v": 2.0,
                "rate_mv_per_s": 1.0,
                "n_cycles": 4,
            }
        ],
    }
)
"""8,800 s, which is 2 s of wall time and as many points as millivolts."""
BALLAST = 6_000_000


@pytest.fixture
def small_disk(instrument: Any, tmp_path: Path) -> Iterator[Config]:
    """Return a configuration whose data lie on a disk of 8 MB, and unmount it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted by root")
    text = instrument.config.path.read_text()
    for old, new in (
        ('data_directory = "data"', f'data_directory = "{disk}"'),
        ("minimum_free_mb = 500", "minimum_free_mb = 0.2"),
    ):
        assert old in text
        text = text.replace(old, new)
    path = instrument.config.path.with_name("small-disk.toml")  # beside lab.json
    path.write_text(text)
    yield load_config(path)
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def begin(lab: Any) -> Iterator[Callable[[Config], Session]]:
    """Open sessions, whose threads are ended after the test."""
    sessions = []

    def open_one(config: Config) -> Session:
        sessions.append(open_session(config))
        return sessions[-1]

    yield open_one
    for session in sessions:
        assert session.dose is not None
        session.dose.beat.stop()


def indices(config: Config) -> list[list[int]]:
    """Return the indices of the points in each run's journal, oldest first."""
    return [
        [
            index
            for name, doc in read_documents(path)
            if name == "event_page"
            for index in doc["data"]["potentiostat_point_index"]
        ]
        for path in sorted(config.layout.raw_journal.glob("*.jsonl"))
    ]


def test_a_full_disk_ends_the_run_and_the_points_come_when_there_is_room(
    small_disk: Config, begin: Callable[[Config], Session]
) -> None:
    session = begin(small_disk)
    potentiostat = session.devices["potentiostat"]
    ballast = small_disk.layout.root / "ballast"
    ballast.write_bytes(b"x" * BALLAST)

    with pytest.raises(JournalError) as full:
        session.RE(cycle(potentiostat, PROTOCOL, CELL))

    assert "can't write the journal: No space left on device (0 MB" in str(full.value)
    assert "free space" in str(full.value)
    # The cell is where it was: in the instrument's program, within its limits.
    assert potentiostat.state.get() == ProgramState.RUNNING
    with pytest.raises(PlanRefused, match=r"a program is running \(.*\); wait"):
        session.RE(cycle(potentiostat, PROTOCOL, CELL))
    ballast.unlink()

    later = begin(small_disk)
    later.RE(resume_program(later.devices["potentiostat"]))

    before, rest = indices(small_disk)
    count = potentiostat.point_count.get()
    assert 0 < len(before) < count
    assert before + rest == list(range(count))
    assert potentiostat.state.get() == ProgramState.FINISHED
