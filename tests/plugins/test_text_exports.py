"""LAND and Maccor text: small handwritten files; and every real cycler file."""

import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from cryoline.analysis.voltammetry import cycle_charges
from cryoline.plugins.errors import ForeignFile, ReaderError
from cryoline.plugins.landt import read_landt
from cryoline.plugins.maccor import read_maccor
from cryoline.plugins.reading import read_cycling

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = (
    Path(os.environ.get("CRYOLINE_SHARED_DATA", REPOSITORY / "../shared/data"))
    / "cycling"
)
LANDT = "SINTEF__LiGrR2032__2024-04-30__25degC__Landt"

LANDT_NAMES = (
    "channel_index,cycle_index,step_index,date_time_iso_string,test_time_s,current_A,"
    "voltage_V,discharge_capacity_Ah,charge_capacity_Ah,step_name"
)
LANDT_ROWS = (
    "1,3,1,04/30/2024 14:33:29,10.0,0.0000,2.90,0,0,rest,",
    "2,3,2,04/30/2024 14:33:39,20.0,-0.0000,0.50,0.000001,0,discharge CC,",
    "3,3,2,04/30/2024 14:33:49,30.0,-0.0000,0.10,0.000003,0,discharge CC,",
    "4,3,3,04/30/2024 14:33:59,40.0,0.0000,0.30,0,0,charge CC,",
    "5,3,3,04/30/2024 14:34:09,50.0,0.0000,0.90,0,0.000002,charge CC,",
    "6,4,2,04/30/2024 14:34:19,60.0,0.0000,0.60,0.000002,0,discharge CC,",
)
MACCOR_NAMES = "Rec#\tCyc#\tStep\tTestTime\tAmp-hr\tAmps\tVolts\tState\t Units\t Units"
MACCOR_ROWS = (
    "1\t0\t1\t  0d 00:00:0\t0.0\t0.0\t3.4\tR\tC\tC",
    "2\t0\t2\t  0d 00:01:0.5\t0.001\t0.5\t3.0\tD\tC\tC",
    "3\t0\t2\t  0d 23:59:59\t0.003\t0.5\t2.5\tD\tC\tC",
    "4\t0\t3\t  1d 00:00:1\t0.001\t1.0\t4.0\tC\tC\tC",
    "5\t0\t4\t  1d 00:00:2\t0.0005\t1.0\t4.1\tC\tC\tC",
    "6\t0\t5\t  1d 00:00:3\t0.0\t0.0\t4.1\tR\tC\tC",
)


def landt(rows=LANDT_ROWS, names=LANDT_NAMES):
    return "\n".join(["cell model:,,,", "test: ,,,", names, *rows, ""])


def maccor(rows=MACCOR_ROWS, names=MACCOR_NAMES):
    head = [
        "Today's Date:\t14 December 2020\tDate of Test:\t11 December 2020, 01:22:12 PM",
        "Filename:\tx",
        "Procedure:\ty",
    ]
    return "\n".join([*head, names, *rows, ""])


@pytest.fixture
def file(tmp_path):
    def write(content, name="cell.csv"):
        path = tmp_path / name
        path.write_text(content)
        return path

    return write


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_landt_charge_goes_on_over_the_counters_new_beginnings(file, end) -> None:
    table = read_landt(file(landt().replace("\n", end)))

    assert table.time_s.tolist() == [10, 20, 30, 40, 50, 60]
    assert table.charge_mah == pytest.approx([0, -1e-3, -3e-3, -3e-3, -1e-3, -3e-3])
    assert table.cycle_number.tolist() == [3, 3, 3, 3, 3, 4]  # the file's own
    assert table.step_index is not None
    assert table.step_index.tolist() == [1, 2, 2, 3, 3, 2]
    # The current is rounded to nothing, and the counter comes late in step 3.
    assert table.half_cycle.tolist() == [0, 0, 0, 1, 1, 2]
    assert table.started == datetime(2024, 4, 30, 14, 33, 19)
    assert table.charge_is_counted


def test_landt_takes_units_from_the_names_of_columns(file) -> None:
    names = LANDT_NAMES.replace("_Ah", "_mAh").replace("current_A", "current_mA")
    names = names.replace("voltage_V", "voltage_mV")
    rows = [row.replace("-0.0000", "-0.5") for row in LANDT_ROWS]

    table = read_landt(file(landt(rows, names)))

    assert table.potential_v[:2] == pytest.approx([2.9e-3, 0.5e-3])
    steps = np.array([0, -1, -3, -3, -1, -3])
    assert table.charge_mah == pytest.approx(1e-6 * steps)
    assert table.current_a[1] == pytest.approx(-0.5e-3)


def test_landt_refuses_a_counter_that_falls_within_a_step(file) -> None:
    rows = list(LANDT_ROWS)
    rows[2] = rows[2].replace("0.000003", "0.0000009")

    with pytest.raises(ReaderError, match=r"cell\.csv: discharge falls in row 2, from "
                       r"0\.001 to 0\.0009 within a step"):  # fmt: skip
        read_landt(file(landt(rows)))


def test_maccor_takes_the_direction_from_the_state(file) -> None:
    table = read_maccor(file(maccor(), "cell.txt"))

    assert table.time_s.tolist() == [0.0, 60.5, 86399.0, 86401.0, 86402.0, 86403.0]
    assert table.current_a.tolist() == [0, -0.5, -0.5, 1.0, 1.0, 0]
    assert table.charge_mah == pytest.approx([0, -1, -3, -2, -1.5, -1.5])
    assert table.half_cycle.tolist() == [0, 0, 0, 1, 1, 1]
    assert set(table.cycle_number) == {0}  # never renumbered
    assert table.started == datetime(2020, 12, 11, 13, 22, 12)


def test_maccor_refuses_a_current_whose_direction_is_not_known(file) -> None:
    rows = [*MACCOR_ROWS[:1], MACCOR_ROWS[1].replace("D", "S"), *MACCOR_ROWS[2:]]

    with pytest.raises(ReaderError, match=r"cell\.txt, line 6: a current flows in "
                       r"state 'S', which is neither C"):  # fmt: skip
        read_maccor(file(maccor(rows), "cell.txt"))


READERS = [(read_landt, landt, ","), (read_maccor, maccor, "\t")]


@pytest.mark.parametrize(("read", "text", "_separator"), READERS)
@pytest.mark.parametrize("content", ["", "[Summary]\nCell: 3\n", "PK\x03\x04 \x00"])
def test_a_foreign_file_is_told_from_a_broken_one(
    file, read, text, _separator, content
) -> None:
    with pytest.raises(ForeignFile, match=r"not a .* text export: no line names the "
                       r"columns .*; line 1 is "):  # fmt: skip
        read(file(content))


@pytest.mark.parametrize(("read", "text", "_separator"), READERS)
def test_a_file_cut_anywhere_in_its_last_row_is_refused(
    file, read, text, _separator
) -> None:
    whole = text()
    last = whole[:-1].rindex("\n") + 1
    for end in range(last + 1, len(whole)):
        with pytest.raises(ReaderError, match=r"\(the last\): has no line end: the "
                           r"file was cut"):  # fmt: skip
            read(file(whole[:end]))


@pytest.mark.parametrize(("read", "text", "separator"), READERS)
def test_a_row_of_another_length_is_named_by_its_line(
    file, read, text, separator
) -> None:
    lines = text().split("\n")
    lines[-3] = lines[-3].removesuffix(",").rpartition(separator)[0]

    with pytest.raises(ReaderError, match=rf"line {len(lines) - 2}: 9 columns, the "
                       rf"header names 10"):  # fmt: skip
        read(file("\n".join(lines)))


def test_a_row_that_lacks_a_cell_does_not_shift_its_numbers(file) -> None:
    # Nine cells and the comma that ends each row: ten, as many as there are names.
    rows = [*LANDT_ROWS[:2], LANDT_ROWS[2].replace(",30.0,", ","), *LANDT_ROWS[3:]]

    with pytest.raises(ReaderError, match="line 6: 9 columns, the header names 10"):
        read_landt(file(landt(rows)))


@pytest.mark.parametrize(("read", "text", "_separator"), READERS)
def test_a_file_without_rows_is_refused(file, read, text, _separator) -> None:
    with pytest.raises(ReaderError, match="of column names, without a row; export"):
        read(file(text(rows=[])))


@pytest.mark.parametrize(
    ("read", "text", "cell", "said"),
    [
        (read_landt, landt, "0.30", r"line 7, column 'voltage_V': 'OVL' is not"),
        (read_maccor, maccor, "2.5", r"line 7, column 'Volts': 'OVL' is not a number"),
        (read_maccor, maccor, "  0d 23:59:59", r"line 7, column 'TestTime': 'OVL'"),
    ],
)
def test_a_cell_that_is_no_number_is_named(file, read, text, cell, said) -> None:
    with pytest.raises(ReaderError, match=said):
        read(file(text().replace(cell, "OVL", 1)))


def test_a_missing_column_is_named(file) -> None:
    with pytest.raises(ReaderError, match=r"line 3: no column 'voltage_V' or "
                       r"'voltage_mV' \(potential\)"):  # fmt: skip
        read_landt(file(landt(names=LANDT_NAMES.replace("voltage_V", "u"))))


def test_a_file_is_read_by_whoever_knows_it(file) -> None:
    assert read_cycling(file(landt()))[1] == "landt.csv"
    assert read_cycling(file(maccor(), "CELL.TXT"))[1] == "maccor.txt"
    # As somebody named it:
    assert read_cycling(file(landt(), "cell.bdf.csv"))[1] == "landt.csv"
    assert read_cycling(file(maccor(), "cell.001"), "maccor.txt")[1] == "maccor.txt"


def test_what_nobody_knows_is_refused_with_what_each_reader_saw(file, tmp_path) -> None:
    with pytest.raises(ReaderError, match=r"cell\.csv: none of its readers knows it: "
                       r"not a BDF file: .*; not a LAND text export: "):  # fmt: skip
        read_cycling(file("a,b\n1,2\n"))
    readable = r"\.csv \(bdf, landt\), .*\.mpt, .*\.txt \(maccor\)"
    with pytest.raises(
        ReaderError, match=rf"no reader for \.res; readable are {readable}"
    ):
        read_cycling(file("x", "cell.res"))
    with pytest.raises(ReaderError, match=r"cell\.mpt: the file is empty"):
        read_cycling(file("", "cell.mpt"))
    with pytest.raises(ReaderError, match=r"gone\.csv: no such file"):
        read_cycling(tmp_path / "gone.csv")
    with pytest.raises(ReaderError, match="is a folder; give the path"):
        read_cycling(tmp_path)


def charges(table):
    return cycle_charges(
        instrument_time_s=table.time_s,
        current_a=table.current_a,
        charge_mah=table.charge_mah,
        cycle_number=table.cycle_number,
        half_cycle=table.half_cycle,
    )


def real(name):
    return pytest.param(
        DATA / name,
        id=name.rpartition("__")[2],
        marks=pytest.mark.skipif(
            not (DATA / name).exists(),
            reason=f"{name} is not there: set CRYOLINE_SHARED_DATA to the real files",
        ),
    )


# Charges by the instruments' counters, read by other programs, mAh.
ANODE = {
    1: (1.755094, 1.625406), 2: (1.567475, 1.699564), 3: (1.585721, 1.731508),
    4: (1.517318, 1.575978), 10: (1.463216, 1.528125), 17: (1.464808, 1.525362),
}  # fmt: skip
"""Lithiation and delithiation of cycles."""


@pytest.mark.recorded
@pytest.mark.parametrize("path", [real(f"{LANDT}.csv"), real(f"{LANDT}.bdf.csv")])
def test_real_landt_file_has_its_counters_charges_and_is_flagged(path) -> None:
    table, _ = read_cycling(path)
    found = charges(table)

    assert len(table) == 25_162
    assert [half.charge_mah for half in found.half_cycles] == pytest.approx(
        [-6.3, 3.2, -1.3], rel=1e-3
    )
    assert [half.cycle_number for half in found.half_cycles] == [1, 1, 2]
    # The current is rounded to 0.1 mA: integrating it is 11-14 % off.
    off = [abs(half.integral_mah / half.charge_mah) - 1 for half in found.half_cycles]
    assert all(0.11 < part < 0.15 for part in off)
    assert all(half.counter_disagrees for half in found.half_cycles)


@pytest.mark.recorded
@pytest.mark.parametrize("path", [real("maccor_001.txt")])
def test_real_maccor_file_has_each_steps_counter(path) -> None:
    table, _ = read_cycling(path)
    found = charges(table)

    assert len(table) == 6704
    assert table.time_s[-1] == pytest.approx(183_171.57)
    # The last counts of the steps that a half cycle is made of, A h by the file.
    steps = [
        (-0.63781,), (3.36871, 1.15388), (-4.54403,), (3.35664, 1.15991), (-4.354,),
        (3.17303, 1.15305), (-4.28448,), (3.11128, 1.1471), (-3.54279,),
    ]  # fmt: skip
    assert [half.charge_mah for half in found.half_cycles] == pytest.approx(
        [1e3 * sum(parts) for parts in steps], rel=1e-3
    )
    assert not any(half.counter_disagrees for half in found.half_cycles)


@pytest.mark.recorded
@pytest.mark.parametrize("path", [real("anode_half_cell_raw.parquet")])
def test_real_arbin_table_has_its_charges_and_its_excess(path) -> None:
    table, reader = read_cycling(path)
    cycles = {cycle.cycle_number: cycle for cycle in charges(table).cycles}

    assert reader == "arbin.parquet"
    assert list(cycles) == list(range(1, 19))
    for number, expected in ANODE.items():
        found = cycles[number].lithiation_mah, cycles[number].delithiation_mah
        assert found == pytest.approx(expected, rel=1e-3)
    assert cycles[1].coulombic_efficiency == pytest.approx(0.9261, rel=1e-3)
    # More out than ever went in, in every whole cycle but the first.
    assert [c.ce_flag for c in cycles.values()] == [False, *[True] * 16, False]


def test_a_sweep_within_one_step_is_parted_by_the_sign_of_its_current() -> None:
    from cryoline.plugins.directions import half_cycles

    increment = np.array([1.0, 1.0, -1.0, -1.0, 1.0])

    found = half_cycles(increment, increment, np.zeros(5, dtype=bool))

    assert found.tolist() == [0, 0, 1, 1, 2]
