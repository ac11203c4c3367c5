import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import event_model
import pytest

from cryoline.acquisition.journal import Journal
from cryoline.acquisition.journal_reader import count_rows, read_documents
from cryoline.acquisition.journal_recovery import close_interrupted


@pytest.fixture
def killed_run(tmp_path, run_maker):
    """A journal without stop whose writer is gone, and its last line."""
    journal = Journal(tmp_path)
    run = run_maker(journal)
    run.page(5)
    run.event(0.5)
    journal.close()
    path = tmp_path / f"{run.key}.jsonl"
    content = path.read_bytes()
    last = content[:-1].rindex(b"\n") + 1
    return path, content[:last], content[last:]


def test_a_killed_run_gets_a_valid_stop_document(killed_run):
    path, whole, last = killed_run
    assert close_interrupted(path.parent) == [path]
    docs = list(read_documents(path))
    assert path.read_bytes().startswith(whole + last)
    for name, doc in docs:
        kind = event_model.DocumentNames[name]
        event_model.schema_validators[kind].validate(doc)
    name, stop = docs[-1]
    assert name == "stop"
    assert stop["run_start"] == docs[0][1]["uid"]
    assert stop["exit_status"] == "abort"
    assert stop["reason"].startswith("interrupted: ")
    assert stop["num_events"] == {"points": 6}
    assert stop["time"] == docs[-2][1]["time"]


def test_closing_twice_changes_nothing(killed_run):
    path, _, _ = killed_run
    close_interrupted(path.parent)
    content = path.read_bytes()
    assert close_interrupted(path.parent) == []
    assert path.read_bytes() == content


def test_a_line_torn_at_any_byte_is_cut_and_kept_aside(killed_run, monkeypatch):
    # Hundreds of files: whether they would outlast a power cut is not the question.
    monkeypatch.setattr("os.fsync", lambda fd: None)
    path, whole, last = killed_run
    torn = path.with_suffix(".torn")
    for length in range(1, len(last)):
        path.write_bytes(whole + last[:length])
        assert close_interrupted(path.parent) == [path]
        docs = list(read_documents(path))
        assert [name for name, _ in docs][-2:] == ["event_page", "stop"]
        assert docs[-1][1]["num_events"] == {"points": 5}
        assert torn.read_bytes() == last[:length]
        torn.unlink()


def test_a_torn_stop_document_is_written_anew(tmp_path, run_maker):
    run = run_maker(Journal(tmp_path))
    run.page(3)
    run.stop()
    path = tmp_path / f"{run.key}.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    assert close_interrupted(tmp_path) == [path]
    assert [name for name, _ in read_documents(path)][-2:] == ["event_page", "stop"]


def test_a_retaken_event_counts_once(tmp_path, run_maker):
    journal = Journal(tmp_path)
    run = run_maker(journal)
    run.page(5)
    run.page(3, first=4)
    journal.close()
    (path,) = close_interrupted(tmp_path)
    assert list(read_documents(path))[-1][1]["num_events"] == {"points": 6}
    assert count_rows(path) == {"points": 6}


def test_a_living_run_and_a_stopped_one_are_left_alone(tmp_path, run_maker):
    journal = Journal(tmp_path)
    living, stopped = run_maker(journal), run_maker(journal)
    stopped.stop()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert close_interrupted(tmp_path) == []
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    living.page(1)
    living.stop()


def test_a_journal_with_an_unreadable_line_is_left_as_it_is(killed_run, caplog):
    path, whole, last = killed_run
    path.write_bytes(whole + b"no document\n" + last)
    assert close_interrupted(path.parent) == []
    assert path.read_bytes() == whole + b"no document\n" + last
    assert f"{path}, line 4" in caplog.text


WRITER = """
    import sys
    from pathlib import Path
    import event_model
    from cryoline.acquisition.journal import Journal
    run = event_model.compose_run(metadata={"scan_id": 1})
    journal = Journal(Path(sys.argv[1]))
    journal("start", run.start_doc)
    keys = {"x": {"source": "s", "dtype": "string", "shape": []}}
    stream = run.compose_descriptor(name="primary", data_keys=keys)
    journal("descriptor", stream.descriptor_doc)
    while True:
        event = stream.compose_event(
            data={"x": "x" * 100_000}, timestamps={"x": 0.0}, validate=False
        )
        journal("event", event)
        # Told only when the journal has returned: this event is promised.
        sys.stdout.write(f"{event['seq_num']}\\n")
        sys.stdout.flush()
"""


def test_sigkill_loses_nothing_that_was_promised(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if line == "20\n":
                os.kill(writer.pid, signal.SIGKILL)
                break
        promised = [20, *map(int, writer.stdout.read().split())][-1]
    (path,) = Path(tmp_path).glob("*.jsonl")
    assert close_interrupted(tmp_path) == [path]
    docs = list(read_documents(path))
    numbers = [doc["seq_num"] for name, doc in docs if name == "event"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= promised
    assert docs[-1][1]["num_events"] == {"primary": len(numbers)}


def test_a_run_killed_before_its_first_line_leaves_no_trace(tmp_path, run_maker):
    (tmp_path / ".key.jsonl.0123").write_bytes(b'{"name":"sta')
    assert close_interrupted(tmp_path) == []
    assert not list(tmp_path.iterdir())
