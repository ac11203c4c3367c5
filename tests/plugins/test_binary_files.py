"""Binary files, read through libraries that are optional extras."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryoline.analysis.voltammetry import cycle_charges
from cryoline.plugins.errors import ForeignFile, ReaderError
from cryoline.plugins.reading import read_cycling

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = (
    Path(os.environ.get("CRYOLINE_SHARED_DATA", REPOSITORY / "../shared/data"))
    / "cycling"
)
EXTRAS = {"galvani": ("biologic", ".mpr"), "NewareNDA": ("neware", ".ndax")}
GCPL_MAH = [
    0.057506, -0.053389, 0.053827, -0.053862, 0.053970,
    -0.053960, 0.054046, -0.054041, 0.054124, -0.054083,
]  # fmt: skip
"""Charges of the half cycles by the instrument's counter, as a peer reads them."""


def real(name):
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not there: set CRYOLINE_SHARED_DATA to the real files")
    return DATA / name


def half_cycles(table):
    return cycle_charges(
        instrument_time_s=table.time_s,
        current_a=table.current_a,
        charge_mah=table.charge_mah,
        cycle_number=table.cycle_number,
        half_cycle=table.half_cycle,
    ).half_cycles


@pytest.mark.recorded
def test_a_real_mpr_holds_what_ec_labs_own_export_of_it_holds() -> None:
    table, reader = read_cycling(real("gcpl.issue_211.mpr"))
    text, _ = read_cycling(real("gcpl.issue_211.mpt"))

    assert reader == "mpr"
    assert len(table) == 2767
    assert (table.technique, table.started) == (text.technique, text.started)
    for name in ("cycle_number", "half_cycle", "step_index"):
        np.testing.assert_array_equal(getattr(table, name), getattr(text, name), name)
    # The text has the potential in single precision, the current as we compute it.
    for name, atol in (("time_s", 1e-9), ("potential_v", 1e-8), ("current_a", 1e-15)):
        found, expected = getattr(table, name), getattr(text, name)
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=name)
    assert [half.charge_mah for half in half_cycles(table)] == pytest.approx(
        GCPL_MAH, rel=1e-3
    )


@pytest.mark.recorded
def test_a_real_mpr_that_galvani_can_not_read_says_so_and_what_to_do() -> None:
    with pytest.raises(
        ReaderError,
        match=r"cv\.issue_217\.mpr: galvani can't read it: NotImplementedError: Column "
        r"ID 185 .* unknown; export it from EC-Lab as text .* import the \.mpt",
    ):
        read_cycling(real("cv.issue_217.mpr"))
    # ... and what it says to do works.
    table, _ = read_cycling(real("cv.issue_217.mpt"))
    assert len(table) == 9353


@pytest.mark.recorded
def test_a_real_ndax_has_its_charges_and_its_own_clock() -> None:
    table, reader = read_cycling(real("test.ndax"))

    assert reader == "neware.ndax"
    assert len(table) == 1464
    charge, discharge = half_cycles(table)
    assert charge.charge_mah == pytest.approx(0.593039, rel=1e-3)
    assert discharge.charge_mah == pytest.approx(-0.625451, rel=1e-3)
    # Counter and current were recorded apart, and agree to the rows' spacing.
    assert not charge.counter_disagrees
    assert not discharge.counter_disagrees
    assert (table.potential_v.min(), table.potential_v.max()) == pytest.approx(
        (1.4995, 4.3998), abs=1e-4
    )
    assert table.time_s[-1] == pytest.approx(43_800)
    assert table.technique == "galvanostatic-cycling"


def test_ndax_rows_take_the_clock_of_their_step_and_the_cyclers_own_cycles(
    tmp_path, monkeypatch
) -> None:
    import NewareNDA
    import pandas as pd

    rows = pd.DataFrame(
        {
            "Cycle": [1, 1, 1, 2],
            "Step": [1, 1, 2, 3],
            "Step_Index": [1, 1, 2, 1],
            "Time": [0.5, 10.5, 0.5, 0.25],
            "Timestamp": pd.to_datetime(
                ["2024-05-01 10:00:00", "2024-05-01 10:00:11",
                 "2024-05-01 10:00:12", "2024-05-01 10:01:00"]),
            "Voltage": [0.9, 0.5, 0.6, 0.5],
            "Current(mA)": [-2.0, -2.0, 4.0, -2.0],
            "Charge_Capacity(mAh)": [0.0, 0.0, 0.003, 0.0],
            "Discharge_Capacity(mAh)": [0.001, 0.006, 0.0, 0.002],
        }
    )  # fmt: skip

    def read(path, *, software_cycle_number, log_level):
        assert not software_cycle_number  # which would number them anew
        return rows

    monkeypatch.setattr(NewareNDA, "read", read)
    path = tmp_path / "cell.ndax"
    path.write_bytes(b"PK")

    table, _ = read_cycling(path)

    # Within a step by its own clock, from step to step by that of the day.
    assert table.time_s.tolist() == [0.0, 10.0, 12.0, 60.0]
    assert table.current_a.tolist() == pytest.approx([-2e-3, -2e-3, 4e-3, -2e-3])
    assert table.charge_mah == pytest.approx([-0.001, -0.006, -0.003, -0.005])
    assert table.cycle_number.tolist() == [1, 1, 1, 2]
    assert table.half_cycle.tolist() == [0, 0, 1, 2]


@pytest.mark.recorded
@pytest.mark.parametrize("name", ["gcpl.issue_211.mpr", "test.ndax"])
def test_a_file_cut_anywhere_is_refused(tmp_path, name) -> None:
    content = real(name).read_bytes()
    path = tmp_path / f"cut{Path(name).suffix}"
    for length in range(len(content) // 20, len(content), len(content) // 20):
        path.write_bytes(content[:length])
        with pytest.raises(ReaderError, match=r"can't read it: .*; export"):
            read_cycling(path)


@pytest.mark.parametrize("suffix", [".mpr", ".ndax", ".nda"])
def test_another_vendors_file_is_told_at_the_first_look(tmp_path, suffix) -> None:
    path = tmp_path / f"cell{suffix}"
    path.write_bytes(b"[Summary]\nno cell\n")
    with pytest.raises(ForeignFile, match=r"not a .* file.*: begins with b'\[Summ"):
        read_cycling(path)


@pytest.mark.parametrize("library", EXTRAS)
def test_without_the_library_the_error_names_the_extra(tmp_path, library) -> None:
    extra, suffix = EXTRAS[library]
    path = tmp_path / f"cell{suffix}"
    path.write_bytes(b"x")
    code = (
        "import sys\n"
        f"sys.modules[{library!r}] = None\n"
        "from pathlib import Path\n"
        "from cryoline.plugins.errors import PluginError\n"
        "from cryoline.plugins.reading import read_cycling\n"
        f"try: read_cycling(Path({str(path)!r}))\n"
        "except PluginError as error: print(error)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert f"pip install 'cryoline[{extra}]'" in said
    assert library in said


def test_only_their_plugins_know_the_optional_libraries() -> None:
    folders = ("acquisition", "analysis", "devices", "ioc", "plugins", "sim")
    knowing = {
        path.name
        for folder in folders
        for path in (REPOSITORY / folder).rglob("*.py")
        for library in EXTRAS
        if f"import {library}" in (text := path.read_text("utf-8"))
        or f"from {library}" in text
    }
    assert knowing == {"biologic_mpr.py", "neware_ndax.py"}
