"""The demo as a person runs it, and what happens when that person errs."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cryoline.acquisition.process_identity import ProcessIdentity

pytestmark = [pytest.mark.demo, pytest.mark.timeout(300)]

SHARED = Path(
    os.environ.get(
        "CRYOLINE_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"
    )
)
GCPL = SHARED / "cycling" / "gcpl.issue_211.mpt"
COUNTED_MAH = (
    +0.057506, -0.053389, +0.053827, -0.053862, +0.053970,
    -0.053960, +0.054046, -0.054041, +0.054124, -0.054083,
)  # fmt: skip
"""By the instrument's own counter, as an independent reader of its binary twin says."""


def demo(*arguments: object) -> subprocess.CompletedProcess[str]:
    # A machine may set addresses of its own; a person's shell has none.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EPICS_CA")}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "cryoline.acquisition.cli",
            "demo",
            *map(str, arguments),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


def lines_of(out: Path) -> dict[str, dict[str, float]]:
    return {line["name"]: line for line in json.loads((out / "demo.json").read_text())}


def nothing_runs(out: Path) -> bool:
    services = list((out / "lab" / "data" / "services").glob("*.json"))
    states = [json.loads(path.read_text()) for path in services]
    identities = [ProcessIdentity.from_state(state) for state in states]
    return not (out / "lab" / "lab.json").exists() and not any(
        identity and identity.is_alive() for identity in identities
    )


def test_the_story_holds_every_threshold_and_leaves_nothing_running(
    tmp_path: Path,
) -> None:
    result = demo("--out", tmp_path, "--seed", 7)

    assert result.returncode == 0, result.stdout + result.stderr
    lines = lines_of(tmp_path)
    assert len(lines) >= 40
    assert all(line["holds"] for line in lines.values())
    for name in ("voltammogram", "transfer", "tilts", "slices", "dose"):
        assert (tmp_path / f"{name}.png").stat().st_size > 20_000
    assert nothing_runs(tmp_path)


@pytest.mark.skipif(
    "CRYOLINE_SABOTAGE" not in os.environ,
    reason="two minutes each; `make sabotage` runs them",
)
@pytest.mark.parametrize(
    ("sabotage", "line"),
    [
        ("angles", "handedness"),
        ("windows", "Si counts a tilt"),
        ("background", "F peak/background"),
        ("dose", "charge by the ledger"),
    ],
)
def test_what_is_spoiled_is_noticed(tmp_path: Path, sabotage: str, line: str) -> None:
    result = demo("--out", tmp_path, "--seed", 7, "--sabotage", sabotage)

    assert result.returncode == 1, result.stdout + result.stderr
    assert not lines_of(tmp_path)[line]["holds"]
    assert nothing_runs(tmp_path)


def test_a_sabotage_that_there_is_not_is_a_mistake(tmp_path: Path) -> None:
    result = demo("--out", tmp_path, "--sabotage", "everything")

    assert result.returncode == 2
    assert "choose one of angles" in result.stderr
    assert not (tmp_path / "lab").exists()


@pytest.mark.recorded
@pytest.mark.skipif(not GCPL.exists(), reason=f"no real instrument file at {GCPL}")
def test_a_real_file_arrives_with_the_charges_of_its_own_counter(
    tmp_path: Path,
) -> None:
    result = demo("--out", tmp_path, "--recorded", GCPL)

    assert result.returncode == 0, result.stdout + result.stderr
    lines = lines_of(tmp_path)
    for number, charge in enumerate(COUNTED_MAH):
        found = lines[f"half cycle {number}"]["value"]
        assert found == pytest.approx(charge, rel=1e-3)
    assert lines["rows recorded points"]["value"] == 2767
    assert (tmp_path / "charge-curves.png").stat().st_size > 20_000
    assert nothing_runs(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("time,voltage\n0,1\n", "not"),
        ("EC-Lab ASCII FILE\nNb header lines : 80\n\n", "header"),
        (None, "night.mpt"),
    ],
    ids=["foreign", "truncated", "missing"],
)
def test_a_file_that_cant_be_played_is_a_clear_error_and_leaves_nothing(
    tmp_path: Path, content: str | None, message: str
) -> None:
    recorded = tmp_path / "night.mpt"
    if content is not None:
        recorded.write_text(content)

    result = demo("--out", tmp_path / "out", "--recorded", recorded)

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "night.mpt" in result.stderr.replace("\n", "")
    assert message in result.stderr
    assert nothing_runs(tmp_path / "out")


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "instrument.toml").write_text(
            f'[instrument]\nname = "x"\n[tiled]\nport = {port}\n'
        )

        result = subprocess.run(
            [sys.executable, "-m", "cryoline.acquisition.cli", "up"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert str(port) in result.stderr
    assert "in use" in result.stderr
