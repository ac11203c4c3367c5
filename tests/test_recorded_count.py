"""As many tests on real files as CONTRIBUTING.md says: none is skipped unseen."""

import os
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("CRYOLINE_SHARED_DATA", REPOSITORY / "../shared/data"))


def test_no_fewer_tests_of_real_files_run_than_is_documented(request) -> None:
    if not DATA.is_dir():
        pytest.skip(f"no real files: {DATA} is not there; set CRYOLINE_SHARED_DATA")
    items = request.session.items
    modules = {item.path for item in items}
    if not modules.issuperset((REPOSITORY / "tests").rglob("test_*.py")):
        pytest.skip("only some of the tests were asked for")
    said = re.search(
        r"at least (\d+) tests", (REPOSITORY / "CONTRIBUTING.md").read_text()
    )

    assert said
    recorded = [item for item in items if item.get_closest_marker("recorded")]
    assert len(recorded) >= int(said[1])


def test_each_real_file_that_tests_look_for_is_there() -> None:
    if not DATA.is_dir():
        pytest.skip(f"no real files: {DATA} is not there; set CRYOLINE_SHARED_DATA")
    # A test skips where its file is missing: in CI none may be.
    wanted = [
        *(f"eds_tilt/{tilt}.bcf" for tilt in (-20, 0, 20)),
        "eels/AL-DFoffset0.00.dm3",
        *(f"cycling/gcpl.issue_211.{suffix}" for suffix in ("mpr", "mpt")),
        "cycling/cv.issue_217.mpr",
        "cycling/Pt_poly_cv_CUT.mpt",
        "cycling/maccor_001.txt",
        "cycling/test.ndax",
    ]

    assert [name for name in wanted if not (DATA / name).is_file()] == []
