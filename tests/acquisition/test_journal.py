import fcntl
import math
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import bluesky.plans as bp
import event_model
import numpy as np
import pytest
from bluesky import RunEngine
from hypothesis import given, settings
from hypothesis import strategies as st
from ophyd.sim import SynAxis, SynGauss, SynSignal

from cryoline.acquisition.errors import JournalError
from cryoline.acquisition.journal import Journal, check_space
from cryoline.acquisition.journal_format import decode_line, encode_line
from cryoline.acquisition.journal_reader import read_documents

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(a, b):
    """Equal, and of the same kind, with NaN equal to NaN and -0.0 unlike 0.0."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


@given(doc=st.dictionaries(st.text(max_size=3), JSON, max_size=4))
@settings(max_examples=100, deadline=None)
def test_every_document_comes_back_as_it_was(doc):
    line = encode_line("event", doc)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    name, read = decode_line(line)
    assert name == "event"
    assert same(doc, read)


def test_numpy_scalars_and_arrays_become_numbers_nan_included():
    doc = {
        "f": np.float64(1.5),
        "i": np.int32(7),
        "b": np.bool_(True),
        "nan": np.float64("nan"),
        "a": np.array([1.0, np.inf, -np.inf, np.nan]),
        "strided": np.arange(6)[::2],
        "text": np.array(["a", "b"]),
    }
    _, read = decode_line(encode_line("event", doc))
    assert read["a"][:3] == [1.0, math.inf, -math.inf]
    assert math.isnan(read["a"][3])
    assert math.isnan(read["nan"])
    assert [read[k] for k in ("f", "i", "b")] == [1.5, 7, True]
    assert read["strided"] == [0, 2, 4]
    assert read["text"] == ["a", "b"]


def test_a_missing_value_is_not_nan():
    _, read = decode_line(encode_line("event", {"a": None, "b": math.nan}))
    assert read["a"] is None
    assert math.isnan(read["b"])


def test_a_real_run_is_journaled_as_emitted_and_valid(tmp_path):
    engine = RunEngine({"specimen": "Si 1", "scan_id": 4})
    emitted = []
    engine.subscribe(Journal(tmp_path))
    engine.subscribe(lambda name, doc: emitted.append((name, doc)))
    motor = SynAxis(name="motor")
    detector = SynGauss("det", motor, "motor", center=0, Imax=1, sigma=1)
    engine(bp.scan([detector, SynSignal(name="sig")], motor, -1, 1, 5))
    (path,) = tmp_path.iterdir()
    assert path.name.endswith("_Si-1_scan_000005.jsonl")
    read = list(read_documents(path))
    assert [name for name, _ in read] == [name for name, _ in emitted]
    for name, doc in read:
        kind = event_model.DocumentNames[name]
        event_model.schema_validators[kind].validate(doc)
    assert [doc["uid"] for _, doc in read] == [doc["uid"] for _, doc in emitted]


def test_a_document_is_in_the_file_before_the_next_subscriber_sees_it(
    tmp_path, run_maker
):
    journal = Journal(tmp_path)
    seen = []

    def send(name, doc):
        journal(name, doc)
        (path,) = tmp_path.glob("*.jsonl")
        seen.append(list(read_documents(path))[-1][1]["uid"] == doc["uid"])

    run = run_maker(send)
    run.page(3)
    run.event(1.0)
    run.stop()
    assert seen == [True] * 5


def test_two_runs_may_be_open_at_once(tmp_path, run_maker):
    journal = Journal(tmp_path)
    a, b = run_maker(journal), run_maker(journal)
    a.page(2)
    b.page(5)
    a.stop()
    b.page(5)
    b.stop()
    for run in (a, b):
        docs = list(read_documents(tmp_path / f"{run.key}.jsonl"))
        assert docs[0][1]["uid"] == docs[-1][1]["run_start"] == run.start["uid"]
        assert docs[-1][1]["num_events"] == {"points": run.rows}


def test_frames_in_files_are_journaled_with_the_run_that_they_belong_to(
    tmp_path, make_camera
):
    engine = RunEngine({"scan_id": 7})
    engine.subscribe(Journal(tmp_path))
    engine(bp.count([make_camera()], 3))
    (path,) = tmp_path.glob("*.jsonl")
    read = list(read_documents(path))
    names = [name for name, _ in read if name.startswith("stream")]
    assert names == ["stream_resource", *["stream_datum"] * 3]
    for name, doc in read:
        kind = event_model.DocumentNames[name]
        event_model.schema_validators[kind].validate(doc)


def test_documents_of_the_old_kind_are_not_lost(tmp_path, run_maker):
    journal = Journal(tmp_path)
    run = run_maker(journal)
    resource = {"uid": "r", "run_start": run.start["uid"], "spec": "AD_HDF5"}
    journal("resource", resource)
    journal("datum", {"datum_id": "r/0", "resource": "r", "datum_kwargs": {}})
    run.stop()
    read = list(read_documents(tmp_path / f"{run.key}.jsonl"))
    assert [name for name, _ in read[2:4]] == ["resource", "datum"]


def test_an_open_run_is_locked_and_a_closed_one_is_not(tmp_path, run_maker):
    run = run_maker(Journal(tmp_path))
    with (tmp_path / f"{run.key}.jsonl").open("rb") as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        run.stop()
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_key_that_is_taken_is_refused_and_the_old_file_untouched(tmp_path, run_maker):
    journal = Journal(tmp_path)
    run = run_maker(journal, scan_id=77)
    run.stop()
    before = (tmp_path / f"{run.key}.jsonl").read_bytes()
    with pytest.raises(JournalError, match=r"exists.*scan_id"):
        run_maker(journal, scan_id=77)
    assert (tmp_path / f"{run.key}.jsonl").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("image", [np.zeros((2, 3)), [[1.0, 2.0], [3.0, 4.0]]])
def test_an_image_in_an_event_is_refused_by_name(tmp_path, run_maker, image):
    run = run_maker(Journal(tmp_path))
    with pytest.raises(JournalError, match=r"pot_potential_v is an array of 2 dim"):
        run.event(image)


def test_images_in_an_event_page_are_refused_but_short_arrays_are_not(
    tmp_path, run_maker
):
    journal = Journal(tmp_path)
    run = run_maker(journal)
    uid = next(iter(journal._runs))  # noqa: SLF001  # of the descriptor
    page = {"descriptor": uid, "seq_num": [1], "time": [0.0], "timestamps": {}}
    journal("event_page", {**page, "data": {"x": [[1.0, 2.0]]}})
    with pytest.raises(JournalError, match="2 dimensions"):
        journal("event_page", {**page, "data": {"x": [[[1.0], [2.0]]]}})
    run.stop()


def test_what_json_cannot_say_is_refused_with_the_reason(tmp_path, run_maker):
    with pytest.raises(JournalError, match=r"start document.*set"):
        run_maker(Journal(tmp_path), operators={"a", "b"})
    assert not list(tmp_path.iterdir())


def test_a_document_of_an_unknown_run_is_refused(tmp_path):
    with pytest.raises(JournalError, match="unknown run"):
        Journal(tmp_path)("event", {"descriptor": "x", "data": {}})


def test_too_little_space_is_refused_with_both_numbers(tmp_path):
    check_space(tmp_path / "not" / "made" / "yet", 1)
    with pytest.raises(JournalError, match=r"\d+ MB free, 1000000000000 MB needed"):
        check_space(tmp_path, 1e12)


def test_an_unwritable_directory_is_an_error_that_names_it(tmp_path, run_maker):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JournalError, match=r"file/.*jsonl: can't write"):
        run_maker(Journal(tmp_path / "file"))


FULL_DISK = """
    import resource, signal, sys
    from pathlib import Path
    import event_model
    from cryoline.acquisition.errors import JournalError
    from cryoline.acquisition.journal import Journal
    run = event_model.compose_run(metadata={"scan_id": 1})
    journal = Journal(Path(sys.argv[1]))
    journal("start", run.start_doc)
    keys = {"x": {"source": "s", "dtype": "string", "shape": []}}
    stream = run.compose_descriptor(name="primary", data_keys=keys)
    journal("descriptor", stream.descriptor_doc)
    # A file may not grow beyond this: a write is cut short, the next one fails.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        while True:
            event = stream.compose_event(
                data={"x": "x" * 1000}, timestamps={"x": 0.0}, validate=False
            )
            journal("event", event)
    except JournalError as error:
        sys.stdout.write(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    journal("stop", run.compose_stop())
"""


def test_a_full_disk_ends_the_run_with_an_error_and_a_valid_file(tmp_path):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "can't write the journal: File too large" in done.stdout
    assert "MB free" in done.stdout
    (path,) = Path(tmp_path).glob("*.jsonl")
    content = path.read_bytes()
    assert content.endswith(b"\n")
    names = [name for name, _ in read_documents(path)]
    # The short stop document had room: nothing but the last event is missing.
    assert names == ["start", "descriptor"] + ["event"] * (len(names) - 3) + ["stop"]
    assert len(names) > 10
