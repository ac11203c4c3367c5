"""A recorded measurement played back by the potentiostat."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cryoline.sim.errors import ProgramError, RecordedFileError
from cryoline.sim.potentiostat import Potentiostat, PotentiostatState
from cryoline.sim.recorded import RecordedSource, read_recorded

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CRYOLINE_SHARED_DATA", REPOSITORY / "../shared/data"))
BIOLOGIC = DATA / "cycling" / "gcpl.issue_211.mpt"
ANY_PROGRAM = json.dumps({"uid": "playback", "steps": "ignored"})


def table(**changes):
    columns = {
        "time_s": [5.0, 6.0, 8.0, 11.0],
        "potential_v": [0.1, 0.2, 0.3, 0.2],
        "current_a": [6e-5, 6e-5, 6e-5, -6e-5],
        "charge_mah": [0.0, 0.1, 0.2, 0.15],
        "cycle_number": [1, 1, 1, 1],
        "half_cycle": [0, 0, 0, 1],
    }
    return SimpleNamespace(
        **{key: np.array(value) for key, value in (columns | changes).items()}
    )


def playing(source):
    device = Potentiostat(source, seed=0)
    device.load(ANY_PROGRAM)
    device.start(100.0)
    return device


def test_rows_come_as_points_when_their_time_has_come() -> None:
    device = playing(RecordedSource(table(), name="table"))
    device.advance(102.9)
    assert len(device.points) == 2
    device.advance(103.0)
    assert len(device.points) == 3
    before_the_last_row = device.state
    assert device.remaining_s() == pytest.approx(3.0)
    device.advance(1e6)
    assert before_the_last_row is PotentiostatState.RUNNING
    assert device.state is PotentiostatState.FINISHED
    np.testing.assert_array_equal(
        device.points.rows[-1, :10], [3, 106.0, 0.2, -6e-5, 0.15, 1, 1, 0, 1e-4, 0]
    )


def test_measurement_can_be_played_again_from_its_first_row() -> None:
    source = RecordedSource(table(), name="table")
    first = playing(source)
    first.advance(1e6)
    again = playing(source.fresh())
    again.advance(1e6)
    np.testing.assert_array_equal(first.points.rows, again.points.rows)


def test_playback_without_a_uid_is_refused() -> None:
    with pytest.raises(ProgramError, match="uid None must be a text"):
        RecordedSource(table(), name="table").prepare("{}")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"time_s": [5.0, 4.0, 8.0, 11.0]}, "time runs back"),
        ({"current_a": [np.nan] * 4}, "only finite values"),
    ],
)
def test_table_that_can_not_be_played_is_refused(changes, words) -> None:
    with pytest.raises(RecordedFileError, match=words):
        RecordedSource(table(**changes), name="table")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordedFileError, match="no such file; check the path"):
        read_recorded(tmp_path / "nothing.mpt")


def test_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "measurement.xyz"
    path.touch()
    with pytest.raises(RecordedFileError, match=r"no reader for \.xyz files; known: "):
        read_recorded(path)


@pytest.mark.recorded
@pytest.mark.skipif(not BIOLOGIC.exists(), reason=f"no instrument file {BIOLOGIC}")
def test_real_file_plays_the_charges_of_the_instruments_own_counter() -> None:
    device = playing(read_recorded(BIOLOGIC))
    device.advance(1e9)
    rows = device.points.rows
    assert len(rows) == 2767
    # An independent reader's figures for the ten half cycles, mAh.
    counter_mah = [
        *(0.057506, -0.053389, 0.053827, -0.053862, 0.053970),
        *(-0.053960, 0.054046, -0.054041, 0.054124, -0.054083),
    ]
    ends = [rows[rows[:, 6] == half][-1, 4] for half in range(10)]
    assert np.diff(ends, prepend=rows[0, 4]) == pytest.approx(counter_mah, rel=1e-3)
