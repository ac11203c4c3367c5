"""The dose score's report: its keys, what it refuses, and that its scorer can fail."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "bench"
SMALL: dict[str, Any] = {"across": 48, "along": 12, "voxel_nm": 4.0}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCH / "dose_score.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))


def test_quick_score_reports_curves_ratio_and_guards() -> None:
    done = run("--quick", "--json", "--seeds", "1", "--first-seed", "21")
    report = json.loads(done.stdout)

    assert {"dose_ratio_worst", "curves", "guards"} <= set(report)
    assert {"em20", "em_best", "em_gauss", "smoothed_em", "lookup", "guided"} <= set(
        report["curves"]
    )
    assert set(report["guards"]) == {"chemistry", "lookup", "ghosts", "gradient"}
    for guard in report["guards"].values():
        assert {"value", "limit", "met"} <= set(guard)
    guided, plain = (
        {row["dose"]: row["mean"] for row in report["curves"][name]["1"]}
        for name in ("guided", "em20")
    )
    # an empty volume scores 1: few counts make of plain EM less than nothing
    assert guided[0.1]["Si"] < 0.5 < 1 < plain[0.1]["Si"]


def test_a_seed_of_the_training_is_refused() -> None:
    done = run("--first-seed", "2")

    assert done.returncode != 0
    assert "training" in done.stderr


@pytest.mark.usefixtures("bench")
def test_the_scorer_gives_full_marks_to_the_truth_alone() -> None:
    from dose_score_data import make_specimen
    from dose_score_marks import Marks

    specimen = make_specimen(1, 21, trap=True, **SMALL)
    marks, truth = Marks(specimen), specimen.truth

    assert marks.errors(truth) == [0, 0, 0]
    assert marks.errors(np.zeros_like(truth)) == pytest.approx([1, 1, 1])
    assert marks.chemistry(truth) == pytest.approx(1)
    assert marks.chemistry(truth[[0, 2, 1, 3]]) < 0  # O taken for F
    assert marks.gradient(truth) == pytest.approx(1)
    assert marks.ghosts(truth, truth) == [0, 0, 0]


@pytest.mark.usefixtures("bench")
def test_a_dose_scales_the_counts_and_a_seed_repeats_them() -> None:
    from dose_score_data import make_specimen, measure

    specimen = make_specimen(1, 21, trap=False, **SMALL)
    once, again = measure(specimen, 0.1), measure(specimen, 0.1)

    np.testing.assert_array_equal(once.counts, again.counts)
    full = measure(specimen, 1.0).counts.sum()
    assert full / once.counts.sum() == pytest.approx(10, rel=0.25)
