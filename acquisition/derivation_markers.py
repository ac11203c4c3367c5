"""Which analyses of a raw run are done, so that they are not begun again."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from cryoline.acquisition.analyses import Analysis
from cryoline.acquisition.derivation import Derivation
from cryoline.acquisition.journal_format import decode_line
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.process_identity import read_state, write_state

__all__ = ["is_done", "note_nothing_found"]

_STOP_BYTES: Final = 65536
"""A derived stop document is far shorter."""


def is_done(analysis: Analysis, raw_key: str, layout: DataLayout) -> bool:
    """Return whether this version of an analysis has finished with a raw run."""
    marker = read_state(layout.analysed / f"{raw_key}.json") or {}
    if marker.get(analysis.quantity) == analysis.version:
        return True
    return _is_finished(
        Derivation.journal_of(analysis, raw_key, layout), analysis.version
    )


def note_nothing_found(
    analyses: Iterable[Analysis], raw_key: str, layout: DataLayout
) -> None:
    """Note that a raw run, at its end, had nothing for these analyses.

    They leave no file to tell it by. Whoever removes the note has them look again.
    """
    found = {analysis.quantity: analysis.version for analysis in analyses}
    if found:
        path = layout.analysed / f"{raw_key}.json"
        write_state(path, (read_state(path) or {}) | found)


def _is_finished(path: Path, version: str) -> bool:
    """Return whether this version of the analysis has written the run's stop.

    Looks at the first and the last line only: finished runs are not computed again
    at every start.
    """
    if not path.exists():
        return False
    with path.open("rb") as journal:
        first = journal.readline()
        size = journal.seek(0, os.SEEK_END)
        journal.seek(max(0, size - _STOP_BYTES))
        end = journal.read()
    if not end.endswith(b"\n"):
        return False
    start, stop = _decode(first), _decode(end[:-1].rpartition(b"\n")[2])
    return (
        start.get("analysis_version") == version
        and stop.get("run_start") == start.get("uid")
        and "exit_status" in stop
    )


def _decode(line: bytes) -> dict[str, Any]:
    """Return a line's document, or nothing if it is none: then it isn't finished."""
    try:
        return decode_line(line)[1]
    except ValueError:
        return {}
