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
from cryoline.acquisition.program_journals import runs_of_program

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
    found = runs_of_program(directory, uid)
    if not found:
        return None
    next_point = 0
    for run in found:
        for first, count in _pages(run.path):
            if first != next_point:
                raise JournalError(
                    f"{run.path}: holds points from {first} of program {uid}, and "
                    f"{next_point} was to come; the run before is missing or damaged"
                )
            next_point += count
    return KeptProgram(
        uid=uid,
        start=found[-1].start,
        runs=tuple(run.start["uid"] for run in found),
        next_point=next_point,
        is_open=any(not is_closed(run.path) for run in found),
    )


def install(engine: Any, directory: Path) -> None:
    """Teach a RunEngine Msg("find_program", None, uid): plans touch no file."""
    engine.register_command("find_program", partial(_find, directory))


async def _find(directory: Path, msg: Msg) -> KeptProgram | None:
    return find_program(directory, *msg.args)


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
