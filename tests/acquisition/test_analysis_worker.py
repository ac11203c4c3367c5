"""The analysis worker: killed anywhere, it ends with the same bytes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import event_model
import numpy as np
import pytest

from cryoline.acquisition.analysis_worker import AnalysisWorker, main
from cryoline.acquisition.directory_watch import DirectoryWatch
from cryoline.acquisition.errors import ServiceError
from cryoline.acquisition.journal_format import encode_line
from cryoline.acquisition.journal_reader import read_documents
from cryoline.acquisition.journal_recovery import close_interrupted
from cryoline.acquisition.layout import DataLayout
from cryoline.analysis.live import ANALYSIS_VERSION

ROWS = 60
"""Rows of one sweep; three pages of 40 a cycle."""


def lines_of_run(cycles=3, *, stream="points", **md):
    """Return the lines of a raw journal: a triangle scan with a constant current."""
    down = np.linspace(1.0, 0.1, ROWS)
    rows = 2 * ROWS * cycles
    columns = {
        "instrument_time_s": 10.0 * np.arange(1, rows + 1),
        "potential_v": np.tile(np.r_[down, down[::-1]], cycles),
        "current_a": np.tile(np.repeat([-1e-5, 0.9e-5], ROWS), cycles),
        "cycle_number": 1 + np.arange(rows) // (2 * ROWS),
        "half_cycle": np.arange(rows) // ROWS,
    }
    columns["charge_mah"] = np.cumsum(columns["current_a"]) * 10 / 3.6
    run = event_model.compose_run(metadata={"specimen": "Si", **md})
    keys = {
        f"pot_{name}": {"source": "x", "dtype": "number", "shape": []}
        for name in columns
    }
    points = run.compose_descriptor(name=stream, data_keys=keys)
    documents = [("start", run.start_doc), ("descriptor", points.descriptor_doc)]
    for first in range(0, rows, 40):
        data = {f"pot_{n}": c[first : first + 40].tolist() for n, c in columns.items()}
        times = [1.7e9 + first + k for k in range(40)]
        stamps = dict.fromkeys(data, times)
        numbers = list(range(first + 1, first + 41))
        page = points.compose_event_page(
            data=data, timestamps=stamps, seq_num=numbers, time=times
        )
        documents.append(("event_page", page))
    documents.append(("stop", run.compose_stop()))
    return [encode_line(name, doc) for name, doc in documents]


@pytest.fixture
def layout(tmp_path):
    return DataLayout(tmp_path / "data")


def raw_path(layout, key):
    return layout.raw_journal / f"{key}.jsonl"


def derived_path(layout, key):
    return layout.derived_journal / f"{key}_cycling.jsonl"


def append(layout, key, lines):
    with raw_path(layout, key).open("ab") as journal:
        journal.write(b"".join(lines))


def state_of(layout):
    return json.loads((layout.services / "analysis_worker.json").read_bytes())


def catch_up(layout):
    """Run a worker of its own until there is nothing left to do."""
    worker = AnalysisWorker(layout)
    try:
        while worker.look():
            pass
        return state_of(layout)
    finally:
        worker.close()


@pytest.fixture
def uninterrupted(tmp_path):
    """Return what one worker writes that sees the whole run at once."""

    def run(lines, key="run"):
        layout = DataLayout(tmp_path / "uninterrupted")
        append(layout, key, lines)
        catch_up(layout)
        return derived_path(layout, key).read_bytes()

    return run


def test_writes_a_derived_run_beside_the_raw_one(layout) -> None:
    append(layout, "run", lines_of_run(cycles=2))

    state = catch_up(layout)

    documents = list(read_documents(derived_path(layout, "run")))
    start, stop = documents[0][1], documents[-1][1]
    assert start["original_key"] == "run"
    assert stop["num_events"]["cycles"] == 2
    cycles = [d["data"] for _, d in documents if "lithiation_mah" in d.get("data", {})]
    # 60 rows of 10 s at 10 uA
    assert cycles[0]["lithiation_mah"] == pytest.approx(6e-3 / 3.6, rel=1e-9)
    assert cycles[0]["coulombic_efficiency"] == pytest.approx(0.9, rel=1e-9)
    assert state["runs"] == {"run": "done"}
    assert state["last_error"] is None


def test_follows_a_run_as_it_grows(layout, uninterrupted) -> None:
    lines = lines_of_run()
    worker = AnalysisWorker(layout)
    sizes = []
    for line in lines:
        append(layout, "run", [line])
        worker.look()
        path = derived_path(layout, "run")
        sizes.append(path.stat().st_size if path.exists() else 0)
    worker.close()

    assert sizes[0] == 0
    assert sizes[1] > 0
    # Each of the three cycles came while the run went on.
    assert len(set(sizes)) >= 6
    assert derived_path(layout, "run").read_bytes() == uninterrupted(lines)


@pytest.mark.parametrize("seen", [1, 2, 4, 7, 10])
@pytest.mark.parametrize("torn", [0, 1, 57])
def test_a_worker_that_takes_over_appends_only_what_is_missing(
    layout, uninterrupted, seen, torn
) -> None:
    lines = lines_of_run()
    append(layout, "run", lines[:seen])
    catch_up(layout)
    path = derived_path(layout, "run")
    if path.exists():
        os.truncate(path, max(0, path.stat().st_size - torn))
    append(layout, "run", lines[seen:])

    catch_up(layout)

    assert path.read_bytes() == uninterrupted(lines)
    assert [p.name for p in layout.derived_journal.iterdir()] == [path.name]


def test_a_raw_line_in_the_making_is_waited_for(layout, uninterrupted) -> None:
    lines = lines_of_run()
    whole = b"".join(lines)
    worker = AnalysisWorker(layout)
    for first in range(0, len(whole), 1777):
        append(layout, "run", [whole[first : first + 1777]])
        worker.look()
    worker.close()

    assert derived_path(layout, "run").read_bytes() == uninterrupted(lines)


def test_an_interrupted_run_ends_when_the_next_session_closes_it(layout) -> None:
    lines = lines_of_run()
    append(layout, "run", [*lines[:6], lines[6][:100]])
    worker = AnalysisWorker(layout)
    worker.look()
    assert state_of(layout)["runs"] == {"run": "following"}

    close_interrupted(layout.raw_journal)
    worker.look()
    worker.close()

    *_, (name, stop) = read_documents(derived_path(layout, "run"))
    assert name == "stop"
    assert stop["exit_status"] == "abort"
    assert stop["reason"].startswith("interrupted")
    assert state_of(layout)["runs"] == {"run": "done"}


def test_an_error_in_one_run_is_recorded_and_the_others_go_on(layout, caplog) -> None:
    append(layout, "bad", lines_of_run(electrode={"mass_mg": 0.0}))
    append(layout, "corrupt", [lines_of_run()[0], b"{no document}\n"])
    append(layout, "good", lines_of_run())

    state = catch_up(layout)

    assert state["runs"] == {"bad": "failed", "corrupt": "failed", "good": "done"}
    assert "electrode mass 0.0 mg" in state["failed"]["bad"]
    assert state["last_error"].startswith("corrupt: Journal")
    assert "run bad: analysis failed" in caplog.text
    assert derived_path(layout, "good").exists()


def test_a_failed_run_is_tried_again_by_the_next_worker(layout, monkeypatch) -> None:
    append(layout, "run", lines_of_run())

    def broken(*columns):
        raise ZeroDivisionError("a kernel's mistake")

    with monkeypatch.context() as patched:
        patched.setattr("cryoline.analysis.live.voltammogram_peaks", broken)
        assert catch_up(layout)["failed"] == {
            "run": "ZeroDivisionError: a kernel's mistake"
        }

    assert catch_up(layout)["runs"] == {"run": "done"}


def test_runs_of_another_kind_leave_no_derived_file(layout) -> None:
    append(layout, "run", lines_of_run(stream="primary"))

    assert catch_up(layout)["runs"] == {"run": "done"}
    assert list(layout.derived_journal.iterdir()) == []


def test_finished_runs_are_not_computed_again(layout) -> None:
    append(layout, "old", lines_of_run())
    catch_up(layout)
    # Were the raw journal read again, this would be an error.
    raw_path(layout, "old").write_bytes(b"{no document}\n")
    append(layout, "new", lines_of_run())

    assert catch_up(layout)["runs"] == {"new": "done"}


def test_another_version_of_the_analysis_supersedes_its_predecessor(
    layout, monkeypatch
) -> None:
    append(layout, "run", lines_of_run())
    with monkeypatch.context() as patched:
        for module in ("analysis.live", "acquisition.analysis_worker"):
            patched.setattr(f"cryoline.{module}.ANALYSIS_VERSION", "0")
        catch_up(layout)
    old = derived_path(layout, "run").read_bytes()

    catch_up(layout)

    assert (
        layout.derived_journal / "run_cycling.jsonl.superseded-1"
    ).read_bytes() == old
    (_, start), *_ = read_documents(derived_path(layout, "run"))
    assert start["analysis_version"] == ANALYSIS_VERSION


def test_a_second_worker_is_refused(layout) -> None:
    worker = AnalysisWorker(layout)

    with pytest.raises(ServiceError, match=rf"process {os.getpid()}\) already serves"):
        AnalysisWorker(layout)
    worker.close()
    AnalysisWorker(layout).close()


def test_waits_for_news_until_it_is_told_to_stop(layout) -> None:
    worker = AnalysisWorker(layout)
    stop = threading.Event()
    with DirectoryWatch([layout.raw_journal]) as watch:
        thread = threading.Thread(target=worker.run, args=(stop, watch))
        thread.start()
        append(layout, "run", lines_of_run())
        wait_for(lambda: state_of(layout)["runs"] == {"run": "done"})
        stop.set()
        watch.wake()
        thread.join(timeout=10)
    worker.close()

    assert not thread.is_alive()
    assert state_of(layout)["state"] == "stopped"


def test_a_mistake_in_the_configuration_is_one_line(tmp_path, capsys) -> None:
    assert main(["--config", str(tmp_path / "no.toml")]) == 1
    assert capsys.readouterr().err.startswith("analysis_worker: ")


def wait_for(condition, *, timeout_s=60.0):
    tick = threading.Event()
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        tick.wait(0.02)


def test_a_process_killed_in_mid_run_is_replaced_without_a_trace(
    tmp_path, uninterrupted
) -> None:
    lines = lines_of_run(cycles=8)
    config = tmp_path / "instrument.toml"
    config.write_text('[instrument]\nname = "bench"\ndata_directory = "data"\n')
    layout = DataLayout(tmp_path / "data")
    command = [sys.executable, "-m", "cryoline.acquisition.analysis_worker"]
    path = derived_path(layout, "run")

    def start():
        process = subprocess.Popen([*command, "--config", str(config)])
        wait_for(
            lambda: (
                (layout.services / "analysis_worker.json").exists()
                and state_of(layout)["pid"] == process.pid
                and state_of(layout)["state"] == "ready"
            )
        )
        return process

    append(layout, "run", lines[:10])
    process = start()
    wait_for(lambda: path.exists() and b'"cycle_number"' in path.read_bytes())
    process.send_signal(signal.SIGKILL)
    process.wait()
    # A line that the kill tore.
    os.truncate(path, path.stat().st_size - 31)
    append(layout, "run", lines[10:])

    process = start()
    wait_for(lambda: state_of(layout)["runs"] == {"run": "done"})
    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=20) == 0
    assert state_of(layout)["state"] == "stopped"
    assert path.read_bytes() == uninterrupted(lines)
    assert "run run: done" in (layout.logs / "analysis_worker.log").read_text()
