"""The Battery Data Format: what is written reads back as the same table."""

import json
import os
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoline.plugins.bdf import (
    read_bdf_csv,
    read_bdf_parquet,
    write_bdf_csv,
    write_bdf_parquet,
)
from cryoline.plugins.cycling_table import CyclingTable
from cryoline.plugins.errors import ExporterError, ForeignFile, ReaderError
from cryoline.plugins.reading import read_cycling

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = (
    Path(os.environ.get("CRYOLINE_SHARED_DATA", REPOSITORY / "../shared/data"))
    / "cycling"
)
REAL = (
    "SINTEF__LiGrR2032__2024-04-30__25degC__Landt.csv",
    "SINTEF__LiGrR2032__2024-04-30__25degC__Landt.bdf.csv",
    "maccor_001.txt",
    "anode_half_cell_raw.parquet",
    "gcpl.issue_211.mpt",
    "cv.issue_217.mpt",
    "Pt_poly_cv_CUT.mpt",
)
WAYS = [(write_bdf_csv, read_bdf_csv), (write_bdf_parquet, read_bdf_parquet)]


def table(n=6, **changes):
    """Return a scan down and up, one row a second at 50 mV/s."""
    half = np.arange(n) * 2 // n
    columns = {
        "time_s": np.arange(float(n)),
        "potential_v": 1.0 - 0.05 * np.minimum(np.arange(n), n - 1 - np.arange(n)),
        "current_a": np.where(half == 0, -1e-5, 1e-5),
        "charge_mah": np.cumsum(np.where(half == 0, -1e-5, 1e-5)) / 3.6,
        "cycle_number": np.full(n, 7),
        "half_cycle": half,
        "source": "/home/me/cell.mpt",
        "technique": "cyclic-voltammetry",
    }
    return CyclingTable(**columns | changes)


def assert_same(found, expected):
    for field in fields(CyclingTable):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "charge_mah":  # mAh -> Ah -> mAh may turn the last bit
            np.testing.assert_allclose(a, b, rtol=5e-16, atol=0)
        elif isinstance(b, np.ndarray):
            np.testing.assert_array_equal(a, b)
        elif field.name != "source":
            assert a == b, field.name


@pytest.mark.parametrize(("write", "read"), WAYS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"step_index": np.array([4, 4, 4, 9, 9, 9])},
        {"started": datetime(2024, 4, 30, 14, 33, 19)},
        {"started": datetime(2024, 4, 30, 14, 33, 19, tzinfo=UTC)},
        {"half_cycle": np.array([5, 5, 8, 8, 8, 9])},
    ],
)
def test_what_is_written_reads_back_the_same(tmp_path, write, read, changes) -> None:
    written = table(**changes)

    path, sidecar = write(written, tmp_path / "2026_cell.01_cycling")

    assert sidecar.name == "2026_cell.01_cycling.bdf.metadata.json"
    assert_same(read(path), written)


numbers = st.floats(-1e6, 1e6).map(lambda x: x if abs(x) > 1e-200 else 0.0)


@pytest.mark.parametrize(("write", "read"), WAYS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_table_reads_back_the_same(tmp_path_factory, write, read, data) -> None:
    n = data.draw(st.integers(1, 12))

    def column(of):
        return np.array(data.draw(st.lists(of, min_size=n, max_size=n)))

    written = table(
        n,
        time_s=np.sort(column(st.floats(0, 1e7))),
        potential_v=column(numbers),
        current_a=column(numbers),
        charge_mah=column(numbers),
        cycle_number=column(st.integers(0, 10_000)),
        half_cycle=np.cumsum(column(st.integers(0, 2))),
        step_index=data.draw(st.sampled_from([None, column(st.integers(0, 50))])),
        technique=data.draw(st.text(max_size=8)),
    )
    path, _ = write(written, tmp_path_factory.mktemp("bdf") / "cell")

    assert_same(read(path), written)


def test_csv_has_the_formats_columns_and_their_units(tmp_path) -> None:
    started = datetime(2026, 1, 1, tzinfo=UTC)
    written = table(started=started, step_index=np.full(6, 4))
    path, sidecar = write_bdf_csv(written, tmp_path / "cell")

    lines = path.read_text().splitlines()
    assert lines[0] == (
        "test_time_second,voltage_volt,current_ampere,unix_time_second,cycle_count,"
        "step_id,net_capacity_ah"
    )
    assert lines[1].split(",")[:6] == [
        "0.0", "1.0", "-1e-05", str(started.timestamp()), "7", "4",
    ]  # fmt: skip
    assert float(lines[1].split(",")[6]) == pytest.approx(-1e-5 / 3600)
    assert "/home" not in sidecar.read_text()


def test_sidecar_has_scan_rate_and_vertices(tmp_path) -> None:
    _, sidecar = write_bdf_csv(table(40), tmp_path / "cell")

    ours = json.loads(sidecar.read_bytes())["cryoline"]
    rates = [half["scan_rate_mv_per_s"] for half in ours["half_cycles"]]
    assert rates == pytest.approx([-50.0, 50.0])
    assert ours["vertices_v"] == pytest.approx([0.05, 1.0])
    assert ours["format"] == "BDF 1.3.0"


@pytest.fixture
def file(tmp_path):
    def write(content, name="cell.bdf.csv"):
        path = tmp_path / name
        path.write_text(content)
        return path

    return write


def bdf(*names, rows):
    return "\n".join([",".join(names), *rows, ""])


PLAIN = ("test_time_second", "voltage_volt", "current_ampere")


def test_reads_names_for_people_and_passes_over_what_it_does_not_know(file) -> None:
    names = ("Voltage / V", "Current / A", "Test Time / s", "Net Capacity / Ah", "Lid")
    found = read_bdf_csv(file(bdf(*names, rows=["0.5,-1e-3,7,0.002,shut"])))

    assert found.time_s.tolist() == [7.0]
    assert found.charge_mah.tolist() == [2.0]


def test_without_a_counter_the_current_is_integrated_and_said_to_be(file) -> None:
    rows = ["0,0.5,-1e-3", "3600,0.4,-1e-3", "7200,0.5,2e-3"]
    found = read_bdf_csv(file(bdf(*PLAIN, rows=rows)))

    assert not found.charge_is_counted
    assert found.charge_mah == pytest.approx([0.0, -1.0, 1.0])
    assert found.half_cycle.tolist() == [0, 0, 1]
    assert found.cycle_number.tolist() == [1, 1, 1]


def test_capacities_that_begin_anew_with_each_step_are_added_up(file) -> None:
    names = (*PLAIN, "step_index", "charging_capacity_ah", "discharging_capacity_ah")
    rows = ["0,1,-0.0,2,0,0.001", "1,1,-0.0,2,0,0.003", "2,1,0.0,3,0.0015,0"]
    found = read_bdf_csv(file(bdf(*names, rows=rows)))

    assert found.charge_mah == pytest.approx([-1.0, -3.0, -1.5])
    assert found.half_cycle.tolist() == [0, 0, 1]


def test_an_optional_column_may_be_empty_to_the_end(file) -> None:
    names = (*PLAIN, "unix_time_second")
    found = read_bdf_csv(file(bdf(*names, rows=["0,1,0,", "1,1,0,"])))

    assert len(found) == 2
    assert found.started is None


def test_a_foreign_sidecar_is_left_alone(file) -> None:
    file('{"description": "theirs"}', "cell.bdf.metadata.json")

    assert read_bdf_csv(file(bdf(*PLAIN, rows=["0,1,0"]))).technique == "cycling"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", r"cell\.bdf\.metadata\.json: can't be read: .*restore it, or remove it"),
        ('{"cryoline": {}}', "cryoline lacks or garbles 'rows'; restore it"),
        (
            '{"cryoline": {"rows": 9, "half_cycles": [{"half_cycle": 0, '
            '"first_row": 0}]}}',
            r"describes 9 rows, cell\.bdf\.csv has 1; one of the two was cut",
        ),
        ('{"cryoline": {"rows": 1, "half_cycles": []}}', "lacks or garbles"),
    ],
)
def test_a_broken_or_foreign_sidecar_is_named(file, content, said) -> None:
    file(content, "cell.bdf.metadata.json")

    with pytest.raises(ReaderError, match=said):
        read_bdf_csv(file(bdf(*PLAIN, rows=["0,1,0"])))


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        ("a,b\n1,2\n", ForeignFile, "not a BDF file: it names none of the columns"),
        (bdf(*PLAIN[:2], rows=["0,1"]), ReaderError, "missing: current_ampere"),
        (bdf(*PLAIN, rows=[]), ReaderError, "without a row"),
        (bdf(*PLAIN, rows=["0,1,0", "1,1"]), ReaderError, "line 3: 2 columns, the"),
        (bdf(*PLAIN, rows=["0,1,0"])[:-1], ReaderError, r"line 2 \(the last\): has no"),
        (
            bdf(*PLAIN, rows=["0,x,0"]),
            ReaderError,
            "line 2, column 'voltage_volt': 'x'",
        ),
        (
            bdf(*PLAIN, rows=["1,1,0", "0,1,0"]),
            ReaderError,
            "time_s runs back in row 1",
        ),
        (
            bdf(*PLAIN, "cycle_count", rows=["0,1,0,1.5"]),
            ReaderError,
            "column 'cycle_count': 1.5 in row 0 is not a whole number",
        ),
    ],
)
def test_a_bad_csv_is_refused_with_what_is_wrong(file, content, error, said) -> None:
    with pytest.raises(error, match=said):
        read_bdf_csv(file(content))


def test_a_bad_parquet_is_refused_with_what_is_wrong(tmp_path) -> None:
    path, _ = write_bdf_parquet(table(), tmp_path / "cell")
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(ReaderError, match=r"can't be read as parquet: .*cut"):
        read_bdf_parquet(path)


def test_nothing_is_overwritten(tmp_path) -> None:
    write_bdf_csv(table(), tmp_path / "cell")
    write_bdf_parquet(table(), tmp_path / "cell")  # with the same sidecar

    with pytest.raises(ExporterError, match=r"cell\.bdf\.csv exists; move it away"):
        write_bdf_csv(table(), tmp_path / "cell")
    (tmp_path / "cell.bdf.csv").unlink()
    with pytest.raises(ExporterError, match=r"cell\.bdf\.metadata\.json exists"):
        write_bdf_csv(replace(table(), technique="other"), tmp_path / "cell")


def test_a_folder_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(ExporterError, match=r"cell\.bdf\.csv: can't be written: No s"):
        write_bdf_csv(table(), tmp_path / "gone" / "cell")


@pytest.mark.recorded
@pytest.mark.parametrize("name", REAL)
def test_every_real_file_survives_export_and_import(tmp_path, name) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not there: set CRYOLINE_SHARED_DATA to the real files")
    original, _ = read_cycling(DATA / name)

    for write, read in WAYS:
        assert_same(read(write(original, tmp_path / "cell")[0]), original)
