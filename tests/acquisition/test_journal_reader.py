import threading
import time

import pytest

from cryoline.acquisition.directory_watch import POLL_S, DirectoryWatch
from cryoline.acquisition.errors import JournalLineError, JournalReplacedError
from cryoline.acquisition.journal import Journal
from cryoline.acquisition.journal_format import encode_line
from cryoline.acquisition.journal_reader import JournalTail, follow, read_documents

LINES = [encode_line("event", {"seq_num": n, "text": "x" * n}) for n in range(20)]


def test_a_torn_line_waits_until_it_is_whole(tmp_path):
    path = tmp_path / "run.jsonl"
    path.touch()
    tail = JournalTail(path)
    seen = []
    with path.open("ab", buffering=0) as journal:
        for line in LINES:
            half = len(line) // 2
            journal.write(line[:half])
            assert tail.read() == []
            assert tail.unread_bytes() == half
            journal.write(line[half:])
            seen += tail.read()
    assert [doc["seq_num"] for _, doc in seen] == list(range(20))
    assert tail.unread_bytes() == 0


def test_a_half_line_taken_back_by_its_writer_leaves_no_trace(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(LINES[0] + LINES[1][:10])
    tail = JournalTail(path)
    assert len(tail.read()) == 1
    path.write_bytes(LINES[0] + LINES[2])
    assert [doc["seq_num"] for _, doc in tail.read()] == [2]


def test_a_line_longer_than_what_is_read_at_once_is_read_whole(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join(LINES))
    tail = JournalTail(path)
    seen = []
    while documents := tail.read(maximum_bytes=7):
        seen += documents
    assert [doc["seq_num"] for _, doc in seen] == list(range(20))


@pytest.mark.parametrize(
    "bad", [b"\n", b"{}\n", b"nonsense\n", b'{"name":"event","doc":3}\n', b"\x00\xff\n"]
)
def test_an_unreadable_line_is_named_by_file_and_number(tmp_path, bad):
    path = tmp_path / "run.jsonl"
    path.write_bytes(LINES[0] + LINES[1] + bad + LINES[2])
    with pytest.raises(JournalLineError, match=r"run\.jsonl, line 3: not a document"):
        list(read_documents(path))


def test_a_journal_that_becomes_another_file_is_noticed(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(LINES[0])
    tail = JournalTail(path)
    tail.read()
    path.rename(tmp_path / "old")
    path.write_bytes(LINES[0] + LINES[1])
    with pytest.raises(JournalReplacedError, match="read it from the start"):
        tail.read()


def test_follow_gives_documents_as_they_come_and_ends_at_stop(tmp_path, run_maker):
    journal = Journal(tmp_path)
    run = run_maker(journal)
    latencies_s = []
    wrote: dict[str, float] = {}

    def read():
        for name, _ in follow(tmp_path / f"{run.key}.jsonl"):
            if name == "event":
                latencies_s.append(time.monotonic() - wrote["at"])
                read_one.set()

    read_one = threading.Event()
    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(10):
        read_one.clear()
        wrote["at"] = time.monotonic()
        run.event(1.0)
        assert read_one.wait(5)
    run.stop()
    reader.join(5)
    assert not reader.is_alive()
    # By inotify, not by the poll, which would take half its period on average.
    assert sorted(latencies_s)[5] < POLL_S / 4


def test_follow_can_be_ended(tmp_path, run_maker):
    run = run_maker(Journal(tmp_path))
    stop = threading.Event()
    documents = follow(tmp_path / f"{run.key}.jsonl", stop=stop)
    assert next(documents)[0] == "start"
    stop.set()
    assert [name for name, _ in documents] == ["descriptor"]
    run.stop()


def test_a_watch_wakes_on_a_new_file_and_on_demand(tmp_path):
    with DirectoryWatch([tmp_path]) as watch:
        assert not watch.wait(0.01)
        (tmp_path / "new").touch()
        assert watch.wait(1.0)
        assert not watch.wait(0.01)
        watch.wake()
        assert watch.wait(1.0)


def test_without_inotify_a_watch_polls(tmp_path, caplog):
    with DirectoryWatch([tmp_path / "not there"]) as watch:
        began = time.monotonic()
        assert not watch.wait(10.0)
        assert POLL_S * 0.9 < time.monotonic() - began < 10 * POLL_S
    assert "looking every 0.2 s instead" in caplog.text
