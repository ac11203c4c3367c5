"""Sessions and an IOC that are killed while a cell cycles, point by point."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench" / "cycling_faults.py"


@pytest.mark.lab
@pytest.mark.timeout(300)
def test_no_kill_loses_or_doubles_a_point_or_lets_the_cell_pass_its_limits() -> None:
    command = [sys.executable, str(BENCH), "--kills", "3", "--ioc-kills", "1"]
    command += ["--protocol", "s0-10", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = json.loads(ended.stdout)
    assert figures["points"] > 59_900
    assert figures["continuing"] == figures["runs"] - 1 >= 1
    assert figures["lost_points"] == figures["doubled_points"] == 0
    assert figures["wrong_points"] == figures["excursions"] == 0
