"""The analysis worker: killed anywhere, it ends with the same bytes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import event_model
import h5py
import numpy as np
import pytest

from cryoline.acquisition.analyses import ANALYSES, Analysis
from cryoline.acquisition.analysis_worker import AnalysisWorker, main
from cryoline.acquisition.directory_watch import DirectoryWatch
from cryoline.acquisition.errors import ServiceError
from cryoline.acquisition.journal_format import encode_line
from cryoline.acquisition.journal_reader import read_documents
from cryoline.acquisition.journal_recovery import close_interrupted
from cryoline.acquisition.layout import DataLayout
from cryoline.analysis.live import ANALYSIS_VERSION

CYCLING = ANALYSES[0]
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


def derived_path(layout, key, quantity="cycling"):
    return layout.derived_journal / f"{key}_{quantity}.jsonl"


def append(layout, key, lines):
    with raw_path(layout, key).open("ab") as journal:
        journal.write(b"".join(lines))


def state_of(layout):
    return json.loads((layout.services / "analysis_worker.json").read_bytes())


def catch_up(layout, analyses=ANALYSES):
    """Run a worker of its own until there is nothing left to do."""
    worker = AnalysisWorker(layout, analyses=analyses)
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
    assert "electrode mass 0.0 mg" in state["failed"]["bad_cycling"]
    assert state["last_error"].startswith("corrupt: Journal")
    assert "run bad_cycling: analysis failed" in caplog.text
    assert derived_path(layout, "good").exists()


def test_a_failed_run_is_tried_again_by_the_next_worker(layout, monkeypatch) -> None:
    append(layout, "run", lines_of_run())

    def broken(*columns):
        raise ZeroDivisionError("a kernel's mistake")

    with monkeypatch.context() as patched:
        patched.setattr("cryoline.analysis.cycling_results.voltammogram_peaks", broken)
        assert catch_up(layout)["failed"] == {
            "run_cycling": "ZeroDivisionError: a kernel's mistake"
        }

    assert catch_up(layout)["runs"] == {"run": "done"}


def test_runs_of_another_kind_leave_no_derived_file(layout) -> None:
    append(layout, "run", lines_of_run(stream="primary"))

    assert catch_up(layout)["runs"] == {"run": "done"}
    assert list(layout.derived_journal.iterdir()) == []
    # And are not read again, unless another version of the analysis asks for them.
    assert catch_up(layout)["runs"] == {}
    newer = [replace(analysis, version="next") for analysis in ANALYSES]
    assert catch_up(layout, newer)["runs"] == {"run": "done"}


class Painter:
    """An analysis that draws: a row and a picture an event, the sum kept at the end."""

    quantity = "pictures"

    def __init__(self, outlet, *, fail_at=None, begun=lambda number: None, end=True):
        self._outlet, self._fail_at, self._begun = outlet, fail_at, begun
        self._draws_at_end = end
        self._uid, self._events, self._sum = "", 0, 0.0

    def __call__(self, name, doc):
        if name == "start":
            self._uid = f"derived-{doc['uid']}"
            self._outlet.emit(
                "start",
                {"uid": self._uid, "time": doc["time"], "analysis_version": "1"},
            )
        elif name == "event_page":
            self._events += 1
            self._sum += sum(doc["data"]["pot_current_a"])
            if self._events == self._fail_at:
                raise ZeroDivisionError("a kernel's mistake")
            self._outlet.emit("event", {"seq_num": self._events})
            self._begun(self._events)
            self._draw(doc["time"][-1], lambda: np.full((2, 2), self._sum), live=True)
            if self._events % 2 == 0:
                self._draw(doc["time"][-1], np.full((2, 2), self._sum), live=False)
        elif name == "stop":
            if self._draws_at_end:
                for live in (False, True):
                    self._draw(doc["time"], np.full((2, 2), self._sum), live=live)
            stop = {"run_start": self._uid, "exit_status": doc["exit_status"]}
            self._outlet.emit("stop", stop)

    def _draw(self, time, array, *, live):
        self._outlet.save(
            "Si",
            array,
            version=self._events,
            time=time,
            dims=("y", "x"),
            units="A",
            live=live,
        )


def painting(**options):
    return Analysis(
        Painter.quantity, "1", lambda outlet: Painter(outlet, **options), lambda: None
    )


def pictures(layout, key="run"):
    """Return (live, version) of each picture in the derived journal."""
    path = derived_path(layout, key, "pictures")
    return [
        (doc["live"], doc["version"])
        for name, doc in read_documents(path)
        if name == "result_file"
    ]


def test_every_analysis_of_a_run_makes_a_derived_run_of_its_own(layout) -> None:
    append(layout, "run", lines_of_run(cycles=1))

    state = catch_up(layout, [CYCLING, painting()])

    assert state["runs"] == {"run": "done"}
    names = {path.name for path in layout.derived_journal.iterdir()}
    assert names == {"run_cycling.jsonl", "run_pictures.jsonl"}


def test_an_analysis_that_fails_does_not_hold_up_the_others(
    layout, uninterrupted, caplog
) -> None:
    lines = lines_of_run()
    append(layout, "run", lines)

    state = catch_up(layout, [painting(fail_at=2), CYCLING])

    assert derived_path(layout, "run").read_bytes() == uninterrupted(lines)
    assert state["runs"] == {"run": "failed"}
    assert state["failed"] == {"run_pictures": "ZeroDivisionError: a kernel's mistake"}
    assert "run run_pictures: analysis failed" in caplog.text
    # The next worker does again what failed, and only that.
    assert catch_up(layout, [painting(), CYCLING])["runs"] == {"run": "done"}


def test_a_worker_that_keeps_up_draws_every_picture(layout) -> None:
    worker = AnalysisWorker(layout, analyses=[painting()])
    for line in lines_of_run(cycles=1):
        append(layout, "run", [line])
        worker.look()
    worker.close()

    assert pictures(layout) == [
        *((True, 1), (True, 2), (False, 2), (True, 3)),
        *((False, 3), (True, 3)),
    ]
    assert state_of(layout)["dropped_pictures"] == {}


def test_a_worker_that_is_behind_leaves_out_pictures_but_no_data(layout) -> None:
    lines = lines_of_run(cycles=2)
    append(layout, "run", lines)

    state = catch_up(layout, [painting()])

    assert pictures(layout) == [
        *((False, 2), (False, 4), (True, 6), (False, 6)),
        *((False, 6), (True, 6)),
    ]
    rows = [d for n, d in read_documents(derived_path(layout, "run", "pictures"))
            if n == "event"]  # fmt: skip
    assert [row["seq_num"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert state["dropped_pictures"] == {"run_pictures": 5}


def test_a_picture_is_left_out_if_the_run_went_on_while_rows_were_computed(
    layout,
) -> None:
    lines = lines_of_run(cycles=1)

    def late(number):
        if number == 1:
            append(layout, "run", lines[3:4])

    append(layout, "run", lines[:3])
    worker = AnalysisWorker(layout, analyses=[painting(begun=late)])
    while worker.look():
        pass
    worker.close()

    assert pictures(layout) == [(True, 2), (False, 2)]


@pytest.mark.parametrize("seen", [0, 3, 4, 5, 6])
def test_the_last_picture_is_drawn_at_the_end_whatever_came_behind_it(
    layout, seen
) -> None:
    *lines, stop = lines_of_run(cycles=1)
    # An event of the baseline, say, which nobody draws.
    lines.append(encode_line("event", {"descriptor": "baseline", "time": 1.7e9}))
    painter = painting(end=False)
    append(layout, "run", lines[:seen])
    catch_up(layout, [painter])
    append(layout, "run", [*lines[seen:], stop])

    catch_up(layout, [painter])

    live = [version for is_live, version in pictures(layout) if is_live]
    assert live[-1] == 3
    assert live.count(3) == 1
    (folder,) = layout.results.iterdir()
    with h5py.File(folder / "Si.h5") as file:
        # 60 rows down, 60 rows up
        assert file["data"][0, 0] == pytest.approx(60 * (0.9e-5 - 1e-5))


@pytest.mark.parametrize("seen", [3, 4, 5, 6])
def test_whatever_was_drawn_before_a_kill_the_end_is_the_same(layout, seen) -> None:
    lines = lines_of_run(cycles=1)
    worker = AnalysisWorker(layout, analyses=[painting()])
    for line in lines[:seen]:
        append(layout, "run", [line])
        worker.look()
    worker.close()
    path = derived_path(layout, "run", "pictures")
    before = path.read_bytes()
    append(layout, "run", lines[seen:])

    state = catch_up(layout, [painting()])

    if seen == 5:  # everything but the stop document: nothing was left out
        assert state["dropped_pictures"] == {}
    assert path.read_bytes().startswith(before)
    assert pictures(layout)[-2:] == [(False, 3), (True, 3)]
    (folder,) = layout.results.iterdir()
    live, kept = (folder / name for name in ("Si.h5", "Si_v0003.h5"))
    assert live.read_bytes() == kept.read_bytes()
    assert len(list(layout.derived_journal.iterdir())) == 1


def test_computing_a_finished_run_again_gives_the_same_bytes(layout) -> None:
    append(layout, "run", lines_of_run(cycles=1))
    catch_up(layout, [painting()])

    def everything():
        paths = [*layout.results.rglob("*.h5"), *layout.derived_journal.iterdir()]
        return {path: path.read_bytes() for path in paths}

    first = everything()
    for path in first:
        path.unlink()

    catch_up(layout, [painting()])

    assert everything() == first


def test_the_state_says_what_is_computed_and_that_it_may_take_long(layout) -> None:
    states = []
    append(layout, "run", lines_of_run(cycles=1))
    catch_up(layout, [painting(begun=lambda number: states.append(state_of(layout)))])

    assert {state["current_run"] for state in states} == {"run"}
    assert states[0]["renewed_within_s"] > state_of(layout)["renewed_within_s"]
    assert state_of(layout)["current_run"] is None


def test_kernels_are_warm_before_the_first_run(layout, caplog) -> None:
    seen = []

    def broken():
        seen.append(state_of(layout)["state"])
        raise ZeroDivisionError("a kernel's mistake")

    worker = AnalysisWorker(
        layout, analyses=[replace(painting(), warm_up=broken), CYCLING]
    )
    worker.warm_up()
    append(layout, "run", lines_of_run(cycles=1))
    worker.look()
    worker.close()

    assert seen == ["warming up"]
    assert "pictures: can't warm up" in caplog.text
    assert state_of(layout)["runs"] == {"run": "done"}


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
        patched.setattr("cryoline.analysis.cycling_results.ANALYSIS_VERSION", "0")
        catch_up(layout, [replace(CYCLING, version="0")])
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
