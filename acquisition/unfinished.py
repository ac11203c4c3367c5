"""What the journals hold of a program that may still run in its instrument."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bluesky.utils import Msg

from cryoline.acquisition.errors import JournalError
from cryoline.acquisition.journal_format import decode_line
from cryoline.acquisition.journal_recovery import is_closed

__all__ = ["KeptProgram", "find_program", "install"]

_INDEX = "_point_index"


@dataclass(frozen=True)
class KeptProgram:
    """The runs of one program, and how much of it they keep."""

    uid: str
    start: Mapping[str, Any]
    """Start document of the last run, which a further one continues."""
    runs: tuple[str, ...]
    """Their uids, oldest first."""
    next_point: int
    """The first point that no journal holds."""
    is_open: bool
    """Whether a living session is still at it."""


def find_program(directory: Path, uid: str) -> KeptProgram | None:
    """Return what the journals of a directory hold of a program, None if nothing.

    Raises JournalError if points between its runs are missing: the journals of
    another directory may have them.
    """
    found = sorted(
        (
            (start["time"], path, start)
            for path in directory.glob("*.jsonl")
            if (start := _start_of(path, uid)) is not None
        ),
        key=lambda item: item[0],
    )
    if not found:
        return None
    next_point = 0
    for _, path, _ in found:
        for first, count in _pages(path):
            if first != next_point:
                raise JournalError(
                    f"{path}: holds points from {first} of program {uid}, and "
                    f"{next_point} was to come; the run before is missing or damaged"
                )
            next_point += count
    return KeptProgram(
        uid=uid,
        start=found[-1][2],
        runs=tuple(start["uid"] for _, _, start in found),
        next_point=next_point,
        is_open=any(not is_closed(path) for _, path, _ in found),
    )


def install(engine: Any, directory: Path) -> None:
    """Teach a RunEngine Msg("find_program", None, uid): plans touch no file."""
    engine.register_command("find_program", partial(_find, directory))


async def _find(directory: Path, msg: Msg) -> KeptProgram | None:
    return find_program(directory, *msg.args)


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


def _pages(path: Path) -> Iterator[tuple[int, int]]:
    """Yield first index and number of points of each whole page in a journal."""
    with path.open("rb") as journal:
        for line in journal:
            if _INDEX.encode() not in line or not line.endswith(b"\n"):
                continue
            name, doc = decode_line(line)
            if name != "event_page":
                continue
            (index,) = (v for k, v in doc["data"].items() if k.endswith(_INDEX))
            if index != list(range(index[0], index[0] + len(index))):
                raise JournalError(f"{path}: its points are out of order")
            yield index[0], len(index)
