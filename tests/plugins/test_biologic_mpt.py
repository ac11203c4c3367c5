"""EC-Lab's text export: small handwritten files, and three real ones."""

import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from cryoline.plugins import registry
from cryoline.plugins.biologic_mpt import read_mpt
from cryoline.plugins.cycling_table import CyclingTable
from cryoline.plugins.errors import ReaderError

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CRYOLINE_SHARED_DATA", REPOSITORY / "../shared/data"))
GALVANOSTATIC = DATA / "cycling" / "gcpl.issue_211.mpt"
VOLTAMMETRY = DATA / "cycling" / "cv.issue_217.mpt"
PLATINUM = DATA / "cycling" / "Pt_poly_cv_CUT.mpt"

COUNTED_MAH = (
    0.057506, -0.053389, 0.053827, -0.053862, 0.053970,
    -0.053960, 0.054046, -0.054041, 0.054124, -0.054083,
)  # fmt: skip
"""Half cycles of GALVANOSTATIC by the instrument's counter, read by another program."""

NAMES = ("ox/red", "time/s", "Ewe/V", "<I>/mA", "dq/mA.h", "half cycle", "cycle number")
ROWS = (
    "1\t1,0E+000\t1,0E-001\t3,6E+000\t1,0E-003\t0\t1,0E+000",
    "1\t2,0E+000\t2,0E-001\t3,6E+000\t2,0E-003\t0\t1,0E+000",
    "0\t3,0E+000\t1,5E-001\t-3,6E+000\t-4,0E-003\t1\t1,0E+000",
    "0\t4,0E+000\t1,0E-001\t-3,6E+000\t-1,0E-003\t1\t2,0E+000",
)


def recorded(path):
    return pytest.mark.skipif(
        not path.exists(),
        reason=f"{path.name} is not there: set CRYOLINE_SHARED_DATA to the real files",
    )


def text(
    names=NAMES,
    rows=ROWS,
    *,
    technique="Galvanostatic Cycling with Potential Limitation",
    count=None,
    first="EC-Lab ASCII FILE",
):
    header = [
        first,
        "",
        "",
        technique,
        "",
        "Electrode surface area : 0,001 cm²",
        "Acquisition started on : 05/28/2025 14:23:16.145",
        "",
        "\t".join(names) + "\t",
    ]
    header[1] = f"Nb header lines : {count or len(header)}                     "
    return "\r\n".join([*header, *rows, ""])


@pytest.fixture
def file(tmp_path):
    def write(content, encoding="cp1252"):
        path = tmp_path / "cell.mpt"
        path.write_bytes(content.encode(encoding))
        return path

    return write


def without(*names):
    """Return names and rows of the handwritten file, some columns left out."""
    keep = [k for k, name in enumerate(NAMES) if name not in names]
    return (
        [NAMES[k] for k in keep],
        ["\t".join(row.split("\t")[k] for k in keep) for row in ROWS],
    )


def test_reads_columns_in_our_units(file) -> None:
    table = read_mpt(file(text()))

    assert table.time_s.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert table.potential_v.tolist() == [0.1, 0.2, 0.15, 0.1]
    assert table.current_a.tolist() == pytest.approx([3.6e-3, 3.6e-3, -3.6e-3, -3.6e-3])
    assert table.charge_mah.tolist() == pytest.approx([1e-3, 3e-3, -1e-3, -2e-3])
    assert table.cycle_number.tolist() == [1, 1, 1, 2]
    assert table.half_cycle.tolist() == [0, 0, 1, 1]
    assert table.technique == "galvanostatic-cycling"
    assert table.started == datetime(2025, 5, 28, 14, 23, 16, 145000)
    assert table.source.endswith("cell.mpt")
    assert len(table) == 4


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("point", [",", "."])
def test_reads_every_dialect_alike(file, encoding, end, point) -> None:
    content = text(rows=[row.replace(",", point) for row in ROWS])

    table = read_mpt(file(content.replace("\r\n", end), encoding))

    assert table.potential_v.tolist() == [0.1, 0.2, 0.15, 0.1]


@pytest.mark.parametrize(
    ("old", "new", "values"),
    [
        ("<I>/mA", "I/A", [3.6, 3.6, -3.6, -3.6]),
        ("<I>/mA", "<I>/A", [3.6, 3.6, -3.6, -3.6]),
        ("<I>/mA", "I/mA", [3.6e-3, 3.6e-3, -3.6e-3, -3.6e-3]),
        ("dq/mA.h", "dQ/mA.h", [1e-3, 3e-3, -1e-3, -2e-3]),
        ("dq/mA.h", "dq/C", [1e-3 / 3.6, 3e-3 / 3.6, -1e-3 / 3.6, -2e-3 / 3.6]),
        ("dq/mA.h", "(Q-Qo)/mA.h", [1e-3, 2e-3, -4e-3, -1e-3]),
        ("dq/mA.h", "(Q-Qo)/C", [1e-3 / 3.6, 2e-3 / 3.6, -4e-3 / 3.6, -1e-3 / 3.6]),
        ("dq/mA.h", "dQ/C", [1e-3 / 3.6, 3e-3 / 3.6, -1e-3 / 3.6, -2e-3 / 3.6]),
    ],
)
def test_takes_the_unit_from_the_name_of_the_column(file, old, new, values) -> None:
    table = read_mpt(file(text([new if n == old else n for n in NAMES])))

    found = table.current_a if old == "<I>/mA" else table.charge_mah
    assert found.tolist() == pytest.approx(values)


def test_half_cycles_follow_ox_red_and_make_cycles_where_none_are_named(file) -> None:
    table = read_mpt(file(text(*without("half cycle", "cycle number"))))

    assert table.half_cycle.tolist() == [0, 0, 1, 1]
    assert table.cycle_number.tolist() == [1, 1, 1, 1]


def test_cycles_of_named_half_cycles_are_counted_from_0_as_ec_lab_does(file) -> None:
    names, rows = without("cycle number")
    half_cycles = [
        *rows[:2],
        *(r[:-1] + n for r, n in zip(rows[2:], "12", strict=True)),
    ]

    table = read_mpt(file(text(names, half_cycles)))

    assert table.half_cycle.tolist() == [0, 0, 1, 2]
    assert table.cycle_number.tolist() == [0, 0, 0, 1]


def test_half_cycles_of_a_voltammogram_are_its_sweeps_not_its_currents_signs(
    file,
) -> None:
    # Down, up, down; the current changes sign in the middle of each sweep, and the
    # potential trembles by a millivolt at the vertices.
    scan = [0.5, 0.3, 0.1, 0.101, 0.1, 0.3, 0.5, 0.499, 0.3, 0.1]
    rows = [f"{k % 2}\t{k}.0\t{v}\t{v}\t0.0\t1" for k, v in enumerate(scan)]
    names = ["ox/red", "time/s", "control/V", "Ewe/V", "(Q-Qo)/C", "<I>/mA"]

    table = read_mpt(file(text(names, rows, technique="Cyclic Voltammetry")))

    assert table.technique == "cyclic-voltammetry"
    assert table.half_cycle.tolist() == [0, 0, 0, 0, 0, 1, 1, 2, 2, 2]


def test_is_found_by_the_suffix_of_the_file() -> None:
    assert registry.load("cryoline.readers", "mpt") is read_mpt


def test_a_foreign_file_is_refused_with_its_first_line(file) -> None:
    with pytest.raises(ReaderError, match=r"cell\.mpt: not an EC-Lab text export: "
                       r"line 1 is '\[Summary\]'.*Export as text"):  # fmt: skip
        read_mpt(file("[Summary]\nCell: 3\n"))


def test_a_binary_or_empty_file_is_refused(file) -> None:
    with pytest.raises(ReaderError, match="not an EC-Lab text export: line 1 is ''"):
        read_mpt(file(""))
    with pytest.raises(ReaderError, match="not an EC-Lab text export"):
        read_mpt(file("BIO-LOGIC MODULAR FILE\x1a\x00\x81\xff", "latin-1"))


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(ReaderError, match=r"no\.mpt: can't be read: No such file"):
        read_mpt(tmp_path / "no.mpt")


def test_a_header_without_its_count_is_refused(file) -> None:
    content = text().replace("Nb header lines", "Number of lines")

    with pytest.raises(ReaderError, match=r"line 2: no 'Nb header lines : N'"):
        read_mpt(file(content))


@pytest.mark.parametrize("count", [1, 8, 10, 500])
def test_a_header_count_that_misses_the_names_is_refused(file, count) -> None:
    with pytest.raises(ReaderError, match=rf"line 2: says {count} header lines, but "
                       rf"line {count} of 14 holds no column names"):  # fmt: skip
        read_mpt(file(text(count=count)))


def test_a_file_that_ends_after_its_header_is_refused(file) -> None:
    with pytest.raises(ReaderError, match="ends after its header of 9 lines, without"):
        read_mpt(file(text(rows=[])))


def test_a_truncated_last_row_is_refused_with_its_line(file) -> None:
    whole = text()

    with pytest.raises(ReaderError, match=r"cell\.mpt, line 13 \(the last: the file "
                       r"was cut\): 6 columns, the header names 7"):  # fmt: skip
        read_mpt(file(whole[: whole.rindex("\t")]))


def test_a_last_number_without_its_end_is_refused(file) -> None:
    whole = text().removesuffix("\r\n")

    with pytest.raises(
        ReaderError, match="line 13, column 'cycle number': '2,0E' is not"
    ):
        read_mpt(file(whole[:-4]))
    with pytest.raises(ReaderError, match=r"line 13 .*was cut\): ends with '2,', the "
                       r"line before with '1,0E\+000'"):  # fmt: skip
        read_mpt(file(whole[:-6]))


def test_a_row_with_too_many_columns_is_refused_with_its_line(file) -> None:
    rows = [ROWS[0], ROWS[1] + "\t0\t0", *ROWS[2:]]

    with pytest.raises(ReaderError, match=r"line 11: 9 columns, the header names 7"):
        read_mpt(file(text(rows=rows)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Ewe/V", "'Ewe/V' or '<Ewe>/V' or 'Ecell/V'"),
        ("<I>/mA", "'<I>/mA' or 'I/mA'"),
        ("dq/mA.h", r"'dq/mA.h' .* or '\(Q-Qo\)/C'"),
    ],
)
def test_a_missing_column_is_named_with_its_line(file, name, said) -> None:
    with pytest.raises(ReaderError, match=f"line 9: no column {said}"):
        read_mpt(file(text(*without(name))))


def test_a_technique_without_half_cycles_needs_ox_red(file) -> None:
    with pytest.raises(ReaderError, match="no column 'ox/red'"):
        read_mpt(file(text(*without("half cycle", "ox/red"))))


def test_a_cell_that_is_no_number_is_named_by_line_and_column(file) -> None:
    rows = [*ROWS[:2], ROWS[2].replace("-4,0E-003", "overload"), ROWS[3]]

    with pytest.raises(
        ReaderError, match=r"line 12, column 'dq/mA\.h': 'overload' is not a number"
    ):
        read_mpt(file(text(rows=rows)))


def table(**changes):
    columns = {
        "time_s": np.array([0.0, 1.0, 2.0]),
        "potential_v": np.zeros(3),
        "current_a": np.zeros(3),
        "charge_mah": np.zeros(3),
        "cycle_number": np.ones(3, dtype=int),
        "half_cycle": np.zeros(3, dtype=int),
    }
    return CyclingTable(**columns | changes, source="cell.txt", technique="x")


def test_a_table_holds_equal_finite_columns_in_order_of_time() -> None:
    assert len(table()) == 3
    with pytest.raises(ReaderError, match=r"cell.txt: current_a has shape \(2,\)"):
        table(current_a=np.zeros(2))
    with pytest.raises(ReaderError, match="potential_v is nan in row 1"):
        table(potential_v=np.array([0.0, np.nan, 0.0]))
    with pytest.raises(ReaderError, match=r"time_s runs back in row 2, from 5.0 s"):
        table(time_s=np.array([0.0, 5.0, 4.0]))
    with pytest.raises(ReaderError, match=r"cell.txt: no rows"):
        table(**{k: np.empty(0) for k in vars(table()) if k.endswith(
            ("_s", "_v", "_a", "_mah", "number", "half_cycle"))})  # fmt: skip


@pytest.mark.recorded
@recorded(GALVANOSTATIC)
def test_real_galvanostatic_file_has_the_counter_of_the_instrument() -> None:
    table = read_mpt(GALVANOSTATIC)

    assert len(table) == 2767
    assert table.started == datetime(2025, 5, 28, 14, 23, 16, 145000)
    assert table.technique == "galvanostatic-cycling"
    ends = np.append(np.flatnonzero(np.diff(table.half_cycle)), len(table) - 1)
    charges = np.diff(table.charge_mah[ends], prepend=0.0)
    assert np.unique(table.half_cycle).tolist() == list(range(10))
    assert charges == pytest.approx(COUNTED_MAH, rel=1e-3)
    assert table.potential_v[[0, -1]] == pytest.approx([-0.32233, -0.59992], abs=1e-5)


@pytest.mark.recorded
@recorded(VOLTAMMETRY)
def test_real_voltammogram_has_its_sweeps_and_scan_rate() -> None:
    table = read_mpt(VOLTAMMETRY)

    assert len(table) == 9353
    assert table.potential_v.min() == pytest.approx(0.2848, abs=5e-5)
    assert table.potential_v.max() == pytest.approx(0.7149, abs=5e-5)
    assert table.current_a.min() == pytest.approx(-0.0523e-3, abs=5e-8)
    assert table.current_a.max() == pytest.approx(7.2726e-3, abs=5e-8)
    # 0.0633331 C by the file's own last row
    assert table.charge_mah[-1] == pytest.approx(0.063333079 / 3.6, rel=1e-6)
    # 10 full cycles, a last sweep up and one down to the final potential
    assert table.half_cycle[-1] == 21
    for number in range(22):
        rows = table.half_cycle == number
        rate = np.polyfit(table.time_s[rows], table.potential_v[rows], 1)[0]
        assert abs(rate) == pytest.approx(0.0499994, rel=1e-3)
        assert (rate > 0) == (number % 2 == 0)


@pytest.mark.recorded
@recorded(PLATINUM)
def test_real_platinum_voltammogram_reads_with_decimal_commas() -> None:
    table = read_mpt(PLATINUM)

    assert len(table) == 223
    assert table.technique == "cyclic-voltammetry"
    rate = np.abs(np.diff(table.potential_v) / np.diff(table.time_s))
    assert np.median(rate) == pytest.approx(0.09997, rel=2e-3)
    assert table.half_cycle[-1] == 9
    assert table.cycle_number[[0, -1]].tolist() == [1, 5]
