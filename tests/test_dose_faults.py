"""Sessions that are killed and frozen while they expose, against the world's truth."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench" / "dose_faults.py"


@pytest.mark.lab
@pytest.mark.timeout(240)
def test_no_blow_overspends_or_leaves_the_beam_on_or_trips_it_falsely() -> None:
    command = [sys.executable, str(BENCH), "--kills", "5", "--stops", "5"]
    command += ["--calm", "3", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = json.loads(ended.stdout)
    struck = figures["kills_by_phase"] | figures["stops_by_phase"]
    assert set(struck) == {"reserve", "armed", "exposing", "settling", "moving"}
    assert figures["under_counts"] == 0
    assert figures["max_over_count_exposures"] <= 1.0
    assert 0.0 < figures["beam_on_after_s"]["max"] <= 0.5
    assert (
        0.0 < figures["ledger_commit_ms"]["p50"] <= figures["ledger_commit_ms"]["p99"]
    )
    assert figures["overhead_share"] > 0.0
    assert figures["false_trips"] == 0
