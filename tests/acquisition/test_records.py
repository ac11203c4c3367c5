import subprocess
import sys
from pathlib import Path

import pytest

from cryoline.acquisition.errors import RecordsError
from cryoline.acquisition.records import Records

DRAW = """
import sys
from pathlib import Path
from cryoline.acquisition.records import Records
records = Records(Path(sys.argv[1]))
print(*[records.next_scan_id() for _ in range(25)])
"""


def test_four_processes_never_get_the_same_scan_id(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"

    processes = [
        subprocess.Popen(
            [sys.executable, "-c", DRAW, str(path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    drawn = [int(n) for p in processes for n in p.communicate()[0].split()]

    assert sorted(drawn) == list(range(1, 101))


def test_the_counter_goes_on_in_the_next_session(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    for _ in range(3):
        Records(path).next_scan_id()

    assert Records(path).next_scan_id() == 4


def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    path.write_text("this is a diary, not a database" * 10)

    with pytest.raises(RecordsError, match=r"records\.sqlite: the counters can't"):
        Records(path)
