"""The publisher against a real Tiled server: killed, frozen, refused, poisoned."""

import os
import random
import signal
import threading
import time

import httpx
import numpy as np
import pytest

from cryoline.acquisition.errors import ServiceError
from cryoline.acquisition.journal import Journal
from cryoline.acquisition.journal_format import encode_line
from cryoline.acquisition.process_identity import read_state
from cryoline.acquisition.publisher import publisher_lock

pytestmark = pytest.mark.tiled


@pytest.fixture
def journal(layout):
    return Journal(layout.raw_journal)


@pytest.fixture
def state(layout):
    return lambda: read_state(layout.services / "publisher.json") or {}


def test_a_growing_run_is_published_while_it_grows_and_verified_at_stop(
    journal,
    layout,
    run_maker,
    start_publisher,
    wait_published,
    wait_for,
    tiled_root,
    table_rows,
):
    publisher = start_publisher()
    run = run_maker(journal)
    run.page(150)
    run.event(2.5)
    wait_for(lambda: len(table_rows(run.key)) == 151, "the rows of an open run")
    assert "stop" not in tiled_root["raw", run.key].metadata
    run.page(20_000)
    run.stop()
    marker = wait_published(run.key)
    assert marker["rows"] == {"points": 20_151}
    assert marker["rebuilt"] == []
    metadata = tiled_root["raw", run.key].metadata
    assert metadata["stop"]["exit_status"] == "success"
    assert metadata["cryoline"] == {
        "specimen": "Si_1",
        "ancestors": ["wafer-1"],
        "technique": "cyclic-voltammetry",
        "cycle_number": 202,
    }
    publisher.terminate()
    publisher.join(10)
    assert publisher.exitcode == 0
    ended = read_state(layout.services / "publisher.json")
    assert ended is not None
    assert ended["state"] == "stopped"
    assert ended["failed"] == {}
    assert ended["lag_rows"] == ended["lag_bytes"] == 0


def test_killed_20_times_over_a_growing_run_nothing_is_lost_or_doubled(
    journal, run_maker, start_publisher, wait_published, wait_for, state, table_rows
):
    chance = random.Random(20)
    run = run_maker(journal)
    done = threading.Event()

    def grow():
        while not done.wait(0.02):
            run.page(200)
        run.stop()

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(20):
            publisher = start_publisher()
            # Its state file appears before its first page is sent.
            wait_for(lambda pid=publisher.pid: state().get("pid") == pid, "a publisher")
            wait_time = 0.1 + 0.4 * chance.random()
            publisher.join(wait_time)
            publisher.kill()
            publisher.join()
            assert publisher.exitcode == -signal.SIGKILL
    finally:
        done.set()
        writer.join()
    start_publisher()
    marker = wait_published(run.key)
    assert marker["rows"] == {"points": run.rows}
    assert table_rows(run.key).tolist() == list(range(1, run.rows + 1))


def test_a_page_in_flight_to_a_frozen_server_is_in_the_table_once(
    journal,
    run_maker,
    start_publisher,
    wait_published,
    wait_for,
    state,
    embedded_tiled,
    table_rows,
):
    run = run_maker(journal)
    run.page(1000)
    publisher = start_publisher()
    wait_for(lambda: state().get("pid") == publisher.pid, "the publisher")
    wait_for(
        lambda: state().get("lag_rows") == 0 and not state()["lag_bytes"], "its rows"
    )
    pid = embedded_tiled.identity().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        run.page(3000)
        publisher.join(1.0)  # the append is in the server's socket by now
        publisher.kill()
        publisher.join()
        start_publisher()
        run.page(500)
        run.stop()
        threading.Event().wait(1.0)
    finally:
        os.kill(pid, signal.SIGCONT)
    marker = wait_published(run.key, timeout_s=60)
    assert marker["rows"] == {"points": 4500}
    assert table_rows(run.key).tolist() == list(range(1, 4501))


def test_a_doubled_page_is_found_at_stop_and_the_table_rebuilt(
    journal,
    run_maker,
    start_publisher,
    wait_published,
    wait_for,
    tiled_root,
    table_rows,
):
    run = run_maker(journal)
    run.page(300)
    start_publisher()

    wait_for(lambda: len(table_rows(run.key)) == 300, "300 rows")
    doubled = tiled_root["raw", run.key, "points", "internal"]
    page = doubled.read_table()
    doubled.append(page.slice(100, 50))
    run.page(700)
    run.stop()
    marker = wait_published(run.key)
    assert marker["rebuilt"] == ["points"]
    assert table_rows(run.key).tolist() == list(range(1, 1001))


def test_a_retaken_event_supersedes_the_first_take(
    journal, run_maker, start_publisher, wait_published, tiled_root
):
    run = run_maker(journal)
    for value in (1.0, 2.0, 3.0):
        run.event(value)
    run.rows = 1  # the RunEngine rewinds: seq_num 2 and 3 come again
    for value in (20.0, 30.0, 40.0):
        run.event(value)
    run.stop()
    start_publisher()
    assert wait_published(run.key)["rows"] == {"points": 4}
    table = tiled_root["raw", run.key, "points", "internal"].read_table()
    assert table["seq_num"].to_pylist() == [1, 2, 3, 4]
    assert table["pot_potential_v"].to_pylist() == [1.0, 20.0, 30.0, 40.0]


def test_while_no_server_answers_the_publisher_waits_and_says_so(
    journal, run_maker, start_publisher, wait_published, wait_for, state
):
    run = run_maker(journal)
    run.page(10)
    run.stop()
    publisher = start_publisher(url="http://127.0.0.1:9")
    wait_for(lambda: state().get("lag_rows") == 10, "its state")
    assert state()["state"] == "waiting for Tiled"
    assert "ConnectError" in state()["last_error"]
    publisher.terminate()
    publisher.join(5)
    assert publisher.exitcode == 0
    start_publisher()
    assert wait_published(run.key)["rows"] == {"points": 10}


def test_the_last_error_is_off_view_once_data_goes_through(
    journal, layout, run_maker, embedded_tiled, state, wait_for, monkeypatch
):
    from cryoline.acquisition import publication_loop  # slow: it loads Tiled

    def away(*arguments, **options):
        raise httpx.ConnectError("no server yet")

    run = run_maker(journal)
    run.page(10)
    run.stop()
    publisher = publication_loop.Publisher(
        layout, embedded_tiled.url(), embedded_tiled.api_key()
    )
    try:
        with monkeypatch.context() as patch:
            patch.setattr(publication_loop, "connect", away)
            wait_for(lambda: publisher.step() or state()["last_error"], "an error")
        assert "ConnectError: no server yet" in state()["last_error"]
        wait_for(publisher.step, "the run is published")
        wait_for(lambda: publisher.step() and not state()["last_error"], "no error")
        assert state()["state"] == "running"
    finally:
        publisher.close()


def test_what_is_derived_overtakes_the_raw_rows_it_comes_of(
    journal, layout, run_maker, wait_for, monkeypatch
):
    # Slow: they load Tiled.
    from cryoline.acquisition import publication_loop
    from cryoline.acquisition.run_publication import RunPublication

    sent = []

    def note(run, container, go_on):
        sent.append(run.path.parent)
        publisher.stop()  # as a signal would: it ends here
        return True

    monkeypatch.setattr(RunPublication, "write", note)
    monkeypatch.setattr(publication_loop.Publisher, "_container", lambda *_: None)
    publisher = publication_loop.Publisher(layout, "nowhere", "no key")
    run_maker(journal).page(10)
    publisher.step()
    run_maker(Journal(layout.derived_journal)).page(1)
    wait_for(lambda: publisher.step(scan=True) or sent, "something is sent")
    publisher.close()
    assert sent[0] == layout.derived_journal


def test_a_wrong_key_is_refused_and_said_so(
    journal, run_maker, start_publisher, wait_for, state, embedded_tiled
):
    search = f"{embedded_tiled.url()}/api/v1/search/"
    assert httpx.get(search).status_code == 401
    wrong = {"Authorization": "Apikey 0123"}
    assert httpx.get(search, headers=wrong).status_code == 401
    right = {"Authorization": f"Apikey {embedded_tiled.api_key()}"}
    assert httpx.get(search, headers=right).status_code == 200
    run_maker(journal).stop()
    start_publisher(key="0" * 64)
    wait_for(lambda: state().get("state") == "waiting for Tiled", "its state")
    assert "refuses the API key (401)" in state()["last_error"]


def test_poisoned_journals_are_set_aside_with_a_reason_and_others_go_on(
    journal, layout, run_maker, start_publisher, wait_published, state, wait_for
):
    corrupt, mixed, files, sound = (run_maker(journal) for _ in range(4))
    corrupt.page(5)
    corrupt.stop()
    path = layout.raw_journal / f"{corrupt.key}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"gibberish\n", *lines[2:]]))
    mixed.event("not a number")
    mixed.stop()
    with (layout.raw_journal / f"{files.key}.jsonl").open("ab") as raw:
        raw.write(encode_line("resource", {"uid": "r", "spec": "AD_HDF5"}))
    sound.page(5)
    sound.stop()
    start_publisher()
    assert "line 3: not a document" in wait_published(corrupt.key)
    assert "pot_potential_v is no double" in wait_published(mixed.key)
    assert "resource documents can't be published" in wait_published(files.key)
    assert wait_published(sound.key)["rows"] == {"points": 5}
    wait_for(lambda: len(state().get("failed", {})) == 3, "three failures on view")
    assert str(path) in state()["failed"][f"raw/{corrupt.key}"]


def test_nan_infinity_and_missing_values_come_back(
    journal, run_maker, start_publisher, wait_published, embedded_tiled
):
    run = run_maker(journal)
    for value in (1.5, float("nan"), float("inf"), -0.25):
        run.event(value)
    run.stop()
    start_publisher()
    wait_published(run.key)
    # As anyone reads it: Tiled's own client, pandas.
    from tiled.client import from_uri

    catalog = from_uri(embedded_tiled.url(), api_key=embedded_tiled.api_key())
    table = catalog["raw", run.key, "points"].base["internal"].read()
    assert np.array_equal(
        table["pot_potential_v"], [1.5, np.nan, np.inf, -0.25], equal_nan=True
    )
    assert table["seq_num"].tolist() == [1, 2, 3, 4]
    assert table["pot_overload"].tolist() == [False] * 4
    catalog.context.close()


def test_a_superseded_derived_run_is_published_anew(
    layout, run_maker, start_publisher, wait_published, table_rows, wait_for
):
    def key_of(start):
        return "2026-11-20_Si_cyclic-voltammetry_000001_cycling"

    def write(version, rows):
        journal = Journal(layout.derived_journal, key=key_of)
        run = run_maker(journal, quantity="cycling", analysis_version=version)
        run.page(rows)
        run.stop()

    write("1", 30)
    start_publisher()
    key = key_of(None)
    assert wait_published(key, "derived")["rows"] == {"points": 30}
    path = layout.derived_journal / f"{key}.jsonl"
    path.rename(f"{path}.superseded-1")
    write("2", 20)
    wait_for(
        lambda: wait_published(key, "derived")["rows"] == {"points": 20}, "new rows"
    )
    assert len(table_rows(key, container="derived")) == 20


def test_a_second_publisher_is_refused_with_the_pid_of_the_first(layout):
    with (
        publisher_lock(layout),
        pytest.raises(ServiceError, match=f"process {os.getpid()} publishes"),
        publisher_lock(layout),
    ):
        pass


def test_a_second_publisher_process_ends_at_once(
    layout, start_publisher, wait_for, state
):
    first = start_publisher()
    wait_for(lambda: state().get("pid") == first.pid, "the first publisher")
    began = time.monotonic()
    second = start_publisher()
    second.join(20)
    assert second.exitcode == 1
    assert time.monotonic() - began < 20
    assert first.is_alive()
