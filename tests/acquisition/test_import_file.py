"""A measured file as a run: into the journal, through the analysis, and out again."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from event_model import DocumentNames, schema_validators

from cryoline.acquisition import cli_files
from cryoline.acquisition import import_file as module
from cryoline.acquisition.analysis_worker import AnalysisWorker
from cryoline.acquisition.config import load_config
from cryoline.acquisition.errors import CryolineError, ImportRefused, JournalError
from cryoline.acquisition.export_run import export_run, table_of_run
from cryoline.acquisition.import_file import import_file
from cryoline.acquisition.journal import Journal
from cryoline.acquisition.journal_reader import read_documents
from cryoline.acquisition.run_figures import RunFigures
from cryoline.acquisition.specimen import Specimen
from cryoline.analysis.cycling_tables import cycling_tables
from cryoline.plugins.errors import ExporterError, PluginError, ReaderError
from cryoline.plugins.reading import read_cycling

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = (
    Path(os.environ.get("CRYOLINE_SHARED_DATA", REPOSITORY / "../shared/data"))
    / "cycling"
)
ROWS = 600
"""Three pages, here."""
CELL = Specimen(name="cell-07", electrode_mass_mg=0.5)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "instrument.toml"
    path.write_text('[instrument]\nname = "bench"\nminimum_free_mb = 1\n')
    return load_config(path)


def measurement(rows=ROWS):
    """Return LAND text: two cycles of 1 A h out and 0.9 A h in, at four steps."""
    step = np.arange(rows) * 4 // rows
    lines = ["test_time_s,cycle_index,step_index,current_A,voltage_V,"
             "discharge_capacity_Ah,charge_capacity_Ah,step_name"]  # fmt: skip
    for k in range(rows):
        first = int(np.searchsorted(step, step[k]))
        part = (k - first + 1) / (rows // 4)
        out, back = (part, 0) if step[k] % 2 == 0 else (0, 0.9 * part)
        lines.append(
            f"{10 * k},{1 + step[k] // 2},{1 + step[k]},{back - out:.4f},"
            f"{0.5 + 0.3 * (back - out):.5f},{out!r},{back!r},x,"
        )
    return "\n".join([*lines, ""])


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ROWS_PER_PAGE", 250)
    path = tmp_path / "night 3.csv"
    path.write_text(measurement())
    return path


def journals(config):
    return sorted(config.layout.raw_journal.iterdir())


def assert_same_rows(found, expected):
    for name in ("time_s", "potential_v", "current_a", "charge_mah", "cycle_number",
                 "half_cycle", "step_index"):  # fmt: skip
        if getattr(expected, name) is None:
            assert getattr(found, name) is None
            continue
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=5e-16, err_msg=name
        )


def test_the_documents_are_those_of_any_run(config, file) -> None:
    done = import_file(config, file, specimen=CELL)

    (path,) = journals(config)
    assert path.stem == done.key
    assert done.key.endswith("_cell-07_galvanostatic-cycling_000001")
    documents = list(read_documents(path))
    for name, doc in documents:
        schema_validators[DocumentNames[name]].validate(doc)
    assert [name for name, _ in documents] == [
        "start", "descriptor", "event_page", "event_page", "event_page", "stop",
    ]  # fmt: skip
    start, stop = documents[0][1], documents[-1][1]
    assert start["imported_file"] == {
        "name": "night 3.csv",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "bytes": file.stat().st_size,
        "reader": "landt.csv",
        "started": None,
        "charge": "counter",
    }
    assert start["electrode"]["mass_mg"] == 0.5
    assert start["instrument"] == "bench"
    assert documents[1][1]["data_keys"]["cycler_charge_mah"]["units"] == "mAh"
    assert stop["exit_status"] == "success"
    assert stop["num_events"] == {"points": ROWS}


def test_the_analysis_takes_it_as_its_own(config, file) -> None:
    done = import_file(config, file, specimen=CELL)
    worker = AnalysisWorker(config.layout)
    while worker.look():
        pass
    worker.close()

    path = config.layout.derived_journal / f"{done.key}_cycling.jsonl"
    cycles = [
        doc["data"] for _, doc in read_documents(path)
        if "coulombic_efficiency" in doc.get("data", {})
    ]  # fmt: skip
    assert [cycle["cycle_number"] for cycle in cycles] == [1, 2]
    for cycle in cycles:
        assert cycle["lithiation_mah"] == pytest.approx(1000.0)
        assert cycle["coulombic_efficiency"] == pytest.approx(0.9)
        assert cycle["delithiation_mah_per_g"] == pytest.approx(900 / 0.5e-3)
        assert cycle["counter_disagrees"]  # the current of this file is no ampere's


def test_the_same_bytes_are_imported_once_under_whatever_name(config, file) -> None:
    first = import_file(config, file)
    copy = file.with_name("copy.csv")
    copy.write_bytes(file.read_bytes())

    with pytest.raises(ImportRefused, match=rf"copy\.csv: these bytes were imported "
                       rf"already, as {first.key}; nothing was written"):  # fmt: skip
        import_file(config, copy)
    assert len(journals(config)) == 1

    second = import_file(config, copy, again=True)
    assert second.key.endswith("_000002")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[: len(text) // 2], "has no line end: the file was cut"),
        (lambda text: "", "the file is empty"),
        (lambda text: "[Summary]\n", "none of its readers knows it"),
        (lambda text: text.replace("\n10,", "\n", 1), "line 3: 7 columns, the header"),
        (lambda text: text.replace("0.5", "OVL", 1), "is not a number"),
    ],
)
def test_a_bad_file_is_refused_before_anything_is_written(
    config, file, spoil, said
) -> None:
    file.write_text(spoil(file.read_text()))

    with pytest.raises(ReaderError, match=said):
        import_file(config, file)
    assert not config.layout.root.joinpath("records.sqlite").exists()
    assert journals(config) == []


def test_a_file_that_is_still_written_is_refused(config, file, monkeypatch) -> None:
    def read(path, reader):
        found = read_cycling(path, reader)
        with path.open("a") as growing:
            growing.write("more\n")
        return found

    monkeypatch.setattr(module, "read_cycling", read)

    with pytest.raises(ReaderError, match=r"night 3\.csv: changed while it was read"):
        import_file(config, file)
    assert journals(config) == []


def test_an_import_that_fails_midway_does_not_count_as_one(
    config, file, monkeypatch
) -> None:
    class Full(Journal):
        pages = 0

        def __call__(self, name, doc):
            Full.pages += name == "event_page"
            if name == "event_page" and Full.pages == 2:
                raise JournalError("no space left")
            super().__call__(name, doc)

    with monkeypatch.context() as patch:
        patch.setattr(module, "Journal", Full)
        with pytest.raises(JournalError, match="no space left"):
            import_file(config, file)
    (failed,) = journals(config)
    stop = list(read_documents(failed))[-1][1]
    assert (stop["exit_status"], stop["reason"]) == ("fail", "no space left")

    assert import_file(config, file).key.endswith("_000002")


def test_a_killed_import_is_closed_and_does_not_count_as_one(config, file) -> None:
    code = (
        "import os, sys, pathlib\n"
        "from cryoline.acquisition import import_file as m\n"
        "from cryoline.acquisition.config import load_config\n"
        "class Dying(m.Journal):\n"
        "    def __call__(self, name, doc):\n"
        "        super().__call__(name, doc)\n"
        "        if name == 'event_page': os.kill(os.getpid(), 9)\n"
        "m.Journal = Dying\n"
        "config, file = map(pathlib.Path, sys.argv[1:])\n"
        "m.import_file(load_config(config), file)"
    )
    killed = subprocess.run([sys.executable, "-c", code, config.path, file], timeout=60)
    assert killed.returncode == -9

    assert import_file(config, file).key.endswith("_000002")
    stops = [list(read_documents(path))[-1][1] for path in journals(config)]
    assert [stop["exit_status"] for stop in stops] == ["abort", "success"]
    assert stops[0]["reason"].startswith("interrupted:")


@pytest.mark.parametrize("format_name", ["bdf", "bdf-parquet"])
def test_what_is_exported_and_imported_again_is_equal(
    config, file, tmp_path, format_name
) -> None:
    first = import_file(config, file, specimen=CELL)

    data, _ = export_run(config.layout, first.key, format_name, tmp_path / "out")
    second = import_file(config, data, specimen=CELL)

    assert data.name.startswith(f"{first.key}.bdf.")
    assert_same_rows(second.table, first.table)
    assert_same_rows(table_of_run(config.layout, second.key), first.table)
    assert second.table.technique == first.table.technique


def test_a_runs_pictures_are_files_and_are_shown(config, file, tmp_path) -> None:
    done = import_file(config, file, specimen=CELL)

    files = export_run(config.layout, done.key, "figures", tmp_path / "out")

    assert [path.name.removeprefix(f"{done.key}.") for path in files] == [
        f"{name}.{form}"
        for name in ("voltammogram", "capacity", "incremental-capacity")
        for form in ("png", "svg")
    ]
    assert all(path.stat().st_size > 5000 for path in files)
    with pytest.raises(ExporterError, match=r"voltammogram\.png exists; move it away"):
        export_run(config.layout, done.key, "figures", tmp_path / "out")
    figures = RunFigures(config.layout)
    assert [p.name for p in figures()] == [p.name for p in figures(done.key)]
    # A run that goes on has pictures too.
    (path,) = journals(config)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert len(figures()) == 3
    path.unlink()
    with pytest.raises(CryolineError, match="there is no run at all"):
        figures()


def test_a_run_without_a_counter_stays_one(config, tmp_path) -> None:
    path = tmp_path / "cell.bdf.csv"
    path.write_text("test_time_second,voltage_volt,current_ampere\n0,1,0\n9,1,-1e-3\n")
    first = import_file(config, path)

    table = table_of_run(config.layout, first.key)
    assert not table.charge_is_counted
    assert table.step_index is None
    (data, _) = export_run(config.layout, first.key, "bdf", tmp_path / "out")
    assert "net_capacity_ah" not in data.read_text()


def test_what_can_not_be_exported_is_said(config, file, tmp_path) -> None:
    done = import_file(config, file)
    out = tmp_path / "out"

    with pytest.raises(CryolineError, match=rf"no run 'x{done.key}'; did you mean "
                       rf"'{done.key}'"):  # fmt: skip
        export_run(config.layout, f"x{done.key}", "bdf", out)
    with pytest.raises(PluginError, match=r"no plugin 'bfd'; did you mean 'bdf'"):
        export_run(config.layout, done.key, "bfd", out)
    export_run(config.layout, done.key, "bdf", out)
    with pytest.raises(ExporterError, match=r"\.bdf\.csv exists; move it away"):
        export_run(config.layout, done.key, "bdf", out)
    (path,) = journals(config)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(CryolineError, match="has no end yet; wait for it, or"):
        table_of_run(config.layout, done.key)
    path.write_bytes(lines[0] + lines[-1])
    with pytest.raises(CryolineError, match="has no cycling points"):
        table_of_run(config.layout, done.key)


def cryoline(config, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "cryoline.acquisition.cli", *map(str, arguments)],
        env={**os.environ, "CRYOLINE_CONFIG": str(config.path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_commands_say_what_they_did_and_what_is_wrong(
    config, file, tmp_path
) -> None:
    done = cryoline(config, "import", file, "--specimen", "cell-07", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["rows"], said["reader"], len(said["half_cycles"])) == (
        ROWS, "landt.csv", 4,
    )  # fmt: skip
    assert said["half_cycles"][1]["charge_mah"] == pytest.approx(900.0)

    refused = cryoline(config, "import", file)
    assert refused.returncode == 1
    assert "imported already, as" in refused.stderr
    assert "Traceback" not in refused.stderr

    out = cryoline(config, "export", said["key"], "--out", tmp_path / "out")
    assert out.returncode == 0, out.stderr
    assert out.stdout.split() == [
        str(tmp_path / "out" / f"{said['key']}{end}")
        for end in (".bdf.csv", ".bdf.metadata.json")
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mass_mg": 0.5}, r"belong to a specimen; name it: --specimen NAME"),
        ({"specimen": "a b"}, r"specimen: name = 'a b': .*letters, digits, point"),
        (
            {"specimen": "a", "mass_mg": 0.0},
            r"electrode_mass_mg = 0\.0: .*greater than",
        ),
    ],
)
def test_a_wrong_specimen_is_said_before_anything_is_written(
    config, file, options, said
) -> None:
    with pytest.raises(CryolineError, match=said):
        cli_files.import_(file, config=config.path, **options)
    assert journals(config) == []


GCPL_MAH = (
    0.057506, -0.053389, 0.053827, -0.053862, 0.053970,
    -0.053960, 0.054046, -0.054041, 0.054124, -0.054083,
)  # fmt: skip
LANDT = "SINTEF__LiGrR2032__2024-04-30__25degC__Landt"
PEERS: dict[str, tuple[int | None, tuple[float, ...]]] = {
    "Pt_poly_cv_CUT.mpt": (None, ()),
    "cv.issue_217.mpt": (9353, ()),
    "gcpl.issue_211.mpr": (2767, GCPL_MAH),
    "gcpl.issue_211.mpt": (2767, GCPL_MAH),
    "test.ndax": (1464, (0.593039, -0.625451)),
    f"{LANDT}.bdf.csv": (25_162, (-6.3, 3.2, -1.3)),
    f"{LANDT}.csv": (25_162, (-6.3, 3.2, -1.3)),
    "maccor_001.txt": (6704, ()),
    "anode_half_cell_raw.parquet": (None, ()),
}
"""Rows, and charges of half cycles, mAh, that peers' readers find.

No peer gives charges of the two voltammograms (their rates and ranges are in
test_biologic_mpt) and of the Maccor file (its own steps' counters are in
test_text_exports). Those of the Arbin cell's cycles stand in a file of their own.
"""
NOT_READ = {"cv.issue_217.mpr", "anode_half_cell_summary.parquet"}


def analysed(table):
    """Return what the analysis makes of a table."""
    return cycling_tables(
        {
            "instrument_time_s": table.time_s,
            "potential_v": table.potential_v,
            "current_a": table.current_a,
            "charge_mah": table.charge_mah,
            "cycle_number": table.cycle_number,
            "half_cycle": table.half_cycle,
        }
    )


@pytest.mark.recorded
@pytest.mark.parametrize("name", PEERS)
def test_real_files_go_in_as_peers_read_them_and_come_out_equal(
    config, tmp_path, name
) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not there: set CRYOLINE_SHARED_DATA to the real files")
    rows, charges_mah = PEERS[name]
    done = import_file(config, DATA / name)

    found = analysed(done.table)
    assert rows in (None, len(done.table))
    if charges_mah:
        assert found["half_cycles"]["charge_mah"] == pytest.approx(
            list(charges_mah), rel=1e-3
        )

    data, _ = export_run(config.layout, done.key, "bdf", tmp_path / "out")

    again, _ = read_cycling(data)
    assert_same_rows(again, read_cycling(DATA / name)[0])
    for stream in ("cycles", "half_cycles"):
        for column, values in analysed(again)[stream].items():
            np.testing.assert_allclose(
                values, found[stream][column], rtol=1e-9, atol=1e-12, err_msg=column
            )


@pytest.mark.recorded
def test_every_cycle_of_a_real_cell_is_what_its_peer_says() -> None:
    path = DATA / "anode_half_cell_summary.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not there: set CRYOLINE_SHARED_DATA to the real files")
    peer = pq.read_table(path).to_pydict()

    table, _ = read_cycling(DATA / "anode_half_cell_raw.parquet")
    cycles = analysed(table)["cycles"]

    assert cycles["cycle_number"] == peer["cycle_num"]
    for column, of_peer, factor in (
        ("lithiation_mah", "discharge_capacity_absolute", 1.0),
        ("delithiation_mah", "charge_capacity_absolute", 1.0),
        ("coulombic_efficiency", "coulombic_efficiency", 100.0),
        ("ce_sum", "cumulated_coulombic_efficiency", 100.0),
        ("lost_mah", "test_cumulated_coulombic_difference_absolute", 1.0),
    ):
        found = factor * np.array(cycles[column])
        np.testing.assert_allclose(found, peer[of_peer], rtol=1e-3, err_msg=column)


@pytest.mark.recorded
def test_no_real_file_is_left_out() -> None:
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is not there: set CRYOLINE_SHARED_DATA to the real files")
    assert {path.name for path in DATA.iterdir()} == PEERS.keys() | NOT_READ


@pytest.mark.lab
@pytest.mark.tiled
def test_an_imported_file_and_its_analysis_come_into_tiled(served, file) -> None:
    done = served.cryoline("import", str(file), "--specimen", "imported-01", "--json")
    assert done.returncode == 0, done.stderr
    key = json.loads(done.stdout)["key"]

    deadline = time.monotonic() + 60
    # What is derived overtakes the rows that it was derived from.
    for container, name in (("derived", f"{key}_cycling"), ("raw", key)):
        while not closed(served.tiled, container, name):
            assert time.monotonic() < deadline, f"{name} did not come into Tiled"
            threading.Event().wait(0.1)
    cycles = served.tiled["derived", f"{key}_cycling", "cycles"].base["internal"].read()
    points = served.tiled["raw", key, "points"].base["internal"].read()

    assert len(points) == ROWS
    assert list(cycles["coulombic_efficiency"]) == pytest.approx([0.9, 0.9])
    start = served.tiled["raw", key].metadata["start"]
    assert start["imported_file"]["name"] == "night 3.csv"


def closed(tiled, container, key):
    try:
        return tiled[container, key].metadata.get("stop")
    except KeyError:
        return None
