"""A derived journal is the same to the byte, however often its writer was killed."""

from typing import Any

import pytest

from cryoline.acquisition.derived_journal import DerivedJournal
from cryoline.acquisition.errors import JournalError
from cryoline.acquisition.journal_format import encode_line

DOCUMENTS: list[tuple[str, dict[str, Any]]] = [
    ("start", {"uid": "a", "analysis_version": "1"}),
    ("event", {"uid": "b", "value": float("nan")}),
    ("stop", {"uid": "c"}),
]
CONTENT = b"".join(encode_line(*document) for document in DOCUMENTS)


def written(path, documents=DOCUMENTS):
    journal = DerivedJournal(path)
    for name, doc in documents:
        journal(name, doc)
    journal.close()
    return path.read_bytes()


def test_writes_a_line_a_document(tmp_path) -> None:
    assert written(tmp_path / "d.jsonl") == CONTENT


@pytest.mark.parametrize("length", range(len(CONTENT) + 1))
def test_completes_a_file_cut_at_any_byte_by_appending(tmp_path, length) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(CONTENT[:length])
    before = path.stat().st_ino

    assert written(path) == CONTENT
    assert path.stat().st_ino == before
    assert [p.name for p in tmp_path.iterdir()] == ["d.jsonl"]


def test_a_complete_file_is_not_touched(tmp_path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(CONTENT)
    before = path.stat()

    written(path)

    assert path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    ("old", "where"),
    [
        (
            CONTENT.replace(b'"analysis_version":"1"', b'"analysis_version":"0"'),
            "start",
        ),
        (CONTENT.replace(b"nan", b"inf"), "event"),
        (CONTENT[:60] + b"\0" * 20, "at byte 58, in the event"),
        (CONTENT + b"rest", "behind its stop"),
    ],
)
def test_a_file_that_differs_is_kept_aside_and_written_anew(
    tmp_path, caplog, old, where
) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(old)

    assert written(path) == CONTENT
    assert (tmp_path / "d.jsonl.superseded-1").read_bytes() == old
    assert f"{path} differs from this analysis" in caplog.text
    assert where in caplog.text


def test_every_superseded_file_is_kept(tmp_path) -> None:
    path = tmp_path / "d.jsonl"
    for old in (b"first\n", b"second\n"):
        path.write_bytes(old)
        written(path)

    kept = [(tmp_path / f"d.jsonl.superseded-{n}").read_bytes() for n in (1, 2)]
    assert kept == [b"first\n", b"second\n"]


def test_a_directory_that_is_gone_is_an_error_with_its_remedy(tmp_path) -> None:
    with pytest.raises(JournalError, match=r"can't write the derived journal: No such"):
        written(tmp_path / "gone" / "d.jsonl")


def picture(version, *, live=True):
    return "result_file", {"key": "Si", "version": version, "live": live}


ROWS = [("event", {"uid": str(n)}) for n in range(4)]


def lines(*documents):
    return b"".join(encode_line(*document) for document in documents)


def test_live_pictures_of_a_former_worker_stay_and_are_not_drawn_again(tmp_path):
    path = tmp_path / "d.jsonl"
    old = [DOCUMENTS[0], ROWS[0], picture(1), ROWS[1], picture(2)]
    path.write_bytes(lines(*old))
    # This one is faster, then slower: other pictures, same rows.
    again = [DOCUMENTS[0], picture(0), ROWS[0], picture(1), ROWS[1]]

    assert written(path, [*again, ROWS[2], picture(3)]) == lines(
        *old, ROWS[2], picture(3)
    )
    assert [p.name for p in tmp_path.iterdir()] == ["d.jsonl"]


def test_a_live_picture_is_refused_while_the_file_is_ahead(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_bytes(lines(*ROWS[:2], picture(2)))
    journal = DerivedJournal(path)
    journal(*ROWS[0])
    assert journal.is_ahead
    journal(*ROWS[1])
    # What is left is a picture only: a newer one may take its place.
    assert not journal.is_ahead
    journal(*picture(2))
    journal(*picture(3))
    journal.close()
    assert path.read_bytes() == lines(*ROWS[:2], picture(2), picture(3))


def test_kept_pictures_are_as_certain_as_rows(tmp_path, caplog):
    path = tmp_path / "d.jsonl"
    path.write_bytes(lines(ROWS[0], picture(1, live=False), ROWS[1]))
    assert written(path, [ROWS[0], picture(1, live=False), ROWS[1]]) == lines(
        ROWS[0], picture(1, live=False), ROWS[1]
    )
    assert not caplog.text
    written(path, [ROWS[0], picture(9, live=False), ROWS[1]])
    assert "in the result_file document" in caplog.text


@pytest.mark.parametrize("torn", range(1, len(lines(picture(2)))))
@pytest.mark.parametrize("then", [ROWS[1], picture(2), picture(3), ("stop", {})])
def test_what_a_kill_left_of_a_pictures_line_is_no_difference(tmp_path, torn, then):
    path = tmp_path / "d.jsonl"
    path.write_bytes(lines(ROWS[0], picture(1)) + lines(picture(2))[:torn])

    assert written(path, [ROWS[0], then]) == lines(ROWS[0], picture(1), then)
    assert [p.name for p in tmp_path.iterdir()] == ["d.jsonl"]


@pytest.mark.parametrize("torn", range(1, len(lines(ROWS[1]))))
def test_a_live_picture_takes_the_place_of_a_torn_row_that_comes_again(tmp_path, torn):
    path = tmp_path / "d.jsonl"
    path.write_bytes(lines(ROWS[0]) + lines(ROWS[1])[:torn])

    assert written(path, [ROWS[0], picture(1), ROWS[1]]) == lines(
        ROWS[0], picture(1), ROWS[1]
    )


def test_documents_taken_together_are_written_at_once(tmp_path):
    path = tmp_path / "d.jsonl"
    journal = DerivedJournal(path)
    journal(*DOCUMENTS[0])
    with journal.together():
        journal(*DOCUMENTS[1])
        journal(*DOCUMENTS[2])
        assert path.read_bytes() == lines(DOCUMENTS[0])
    assert path.read_bytes() == CONTENT


def test_what_came_before_an_error_is_written(tmp_path):
    journal = DerivedJournal(tmp_path / "d.jsonl")

    def fails():
        with journal.together():
            journal(*DOCUMENTS[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert (tmp_path / "d.jsonl").read_bytes() == lines(DOCUMENTS[0])
