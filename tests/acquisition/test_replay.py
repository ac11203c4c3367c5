import shutil

import pytest

from cryoline.acquisition.errors import PublishError
from cryoline.acquisition.journal import Journal
from cryoline.acquisition.process_identity import read_state
from cryoline.acquisition.replay import replay

pytestmark = pytest.mark.tiled


@pytest.fixture
def replay_all(layout, embedded_tiled):
    def run(**options):
        results = replay(
            layout, embedded_tiled.url(), embedded_tiled.api_key(), **options
        )
        return {result.key: result for result in results}

    return run


@pytest.fixture
def three_runs(layout, run_maker):
    """A finished run, one that is open, and one with an unreadable line."""
    journal = Journal(layout.raw_journal)
    finished, unfinished, broken = (run_maker(journal) for _ in range(3))
    for run in (finished, unfinished, broken):
        run.page(6000)
    finished.stop()
    broken.stop()
    path = layout.raw_journal / f"{broken.key}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"gibberish\n", *lines[2:]]))
    yield finished, unfinished, broken
    journal.close()


def test_replay_publishes_what_is_finished_and_says_why_not(three_runs, replay_all):
    finished, unfinished, broken = three_runs
    results = replay_all()
    assert results[finished.key].state == "verified"
    assert results[finished.key].is_exact
    assert results[finished.key].tiled_rows == {"points": 6000}
    assert results[unfinished.key].state == "open"
    assert results[unfinished.key].journal_rows == {"points": 6000}
    assert "line 3" in results[broken.key].state
    assert not results[broken.key].is_exact


def test_replay_twice_changes_nothing_and_mends_what_was_doubled_or_lost(
    three_runs, replay_all, tiled_root, table_rows, layout
):
    finished, _, _ = three_runs
    replay_all(keys=[finished.key])
    assert replay_all(keys=[finished.key])[finished.key].state == "verified"
    table = tiled_root["raw", finished.key, "points", "internal"]
    table.append(table.read_table().slice(10, 5))
    assert len(table_rows(finished.key)) == 6005
    assert replay_all(keys=[finished.key])[finished.key].state == "rebuilt"
    assert table_rows(finished.key).tolist() == list(range(1, 6001))
    tiled_root["raw"].delete_contents(finished.key, recursive=True, external_only=False)
    shutil.rmtree(layout.published)  # as if the data directory had been copied
    assert replay_all(keys=[finished.key])[finished.key].state == "verified"
    assert table_rows(finished.key).tolist() == list(range(1, 6001))


def test_replay_asks_a_running_publisher(
    three_runs, replay_all, start_publisher, wait_published, layout
):
    finished, _, broken = three_runs
    publisher = start_publisher()
    first = wait_published(finished.key)["verified"]
    results = replay_all(timeout_s=30)
    state = read_state(layout.services / "publisher.json")
    assert state is not None
    assert state["pid"] == publisher.pid
    assert results[finished.key].state == "verified"
    assert wait_published(finished.key)["verified"] >= first
    assert results[broken.key].state.startswith("failed: ")


def test_replay_gives_up_after_its_time_when_tiled_is_away(layout, three_runs):
    with pytest.raises(PublishError, match=r"not done after 1 s: .*ConnectError"):
        replay(layout, "http://127.0.0.1:9", "0", timeout_s=1)


def test_an_unknown_key_is_refused(layout, embedded_tiled):
    with pytest.raises(PublishError, match="no journal of nonsense"):
        replay(layout, "http://127.0.0.1:9", "0", keys=["nonsense"])
