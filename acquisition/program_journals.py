"""The journals of one program, whose points several runs have collected.

A session that is killed leaves a run, and another one continues it. A cycle, a
retention or a sum of charges is the program's, not the run's: who computes one for a
run that continues takes the points of the runs before it first.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryoline.acquisition.errors import JournalError
from cryoline.acquisition.journal_format import decode_line
from cryoline.acquisition.journal_reader import Document, read_documents

__all__ = ["ProgramRun", "points_before", "runs_before", "runs_of_program"]

_STREAM: Final = "points"
_INDEX: Final = "_point_index"


class ProgramRun(NamedTuple):
    """One run of a program."""

    start: Mapping[str, Any]
    path: Path


def runs_of_program(directory: Path, uid: str) -> list[ProgramRun]:
    """Return the runs of a program that a directory has journals of, oldest first."""
    found = [
        ProgramRun(start, path)
        for path in directory.glob("*.jsonl")
        if (start := _start_of(path, uid)) is not None
    ]
    return sorted(found, key=lambda run: run.start["time"])


def runs_before(directory: Path, start: Mapping[str, Any]) -> list[ProgramRun]:
    """Return the runs that one continues, oldest first; none if it continues none."""
    program = start.get("program")
    if "continues" not in start or not isinstance(program, Mapping):
        return []
    runs = runs_of_program(directory, program["uid"])
    return [run for run in runs if run.start["time"] < start["time"]]


def points_before(directory: Path, start: Mapping[str, Any]) -> Iterator[Document]:
    """Yield the points that the runs before this one hold, as their journals have them.

    Descriptors of the stream of points and its pages, in order; nothing of a run that
    continues none. Raises JournalError if a point before ``first_point`` is missing, or
    occurs twice.
    """
    next_point = 0
    for run in runs_before(directory, start):
        streams: set[str] = set()
        for name, doc in read_documents(run.path):
            if name == "descriptor" and doc["name"] == _STREAM:
                streams.add(doc["uid"])
                yield name, doc
            elif name == "event_page" and doc["descriptor"] in streams:
                (index,) = (v for k, v in doc["data"].items() if k.endswith(_INDEX))
                if index != list(range(next_point, next_point + len(index))):
                    raise _broken(run.path, start, next_point)
                next_point += len(index)
                yield name, doc
    if next_point != start.get("first_point", 0):
        raise _broken(directory, start, next_point)


def _broken(where: Path, start: Mapping[str, Any], next_point: int) -> JournalError:
    return JournalError(
        f"{where}: run {start['uid']} goes on with program {start['program']['uid']} "
        f"from point {start.get('first_point', 0)}; of those before, {next_point} is "
        f"missing or out of order: bring back the journal of run {start['continues']} "
        "and those before it, then restart the analysis worker"
    )


def _start_of(path: Path, uid: str) -> dict[str, Any] | None:
    """Return a journal's start document if it is of this program."""
    with path.open("rb") as journal:
        line = journal.readline()
    if uid.encode() not in line or not line.endswith(b"\n"):
        return None
    name, doc = decode_line(line)
    program = doc.get("program")
    is_of_it = name == "start" and isinstance(program, dict) and program["uid"] == uid
    return doc if is_of_it else None
