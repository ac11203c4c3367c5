"""One analysis of one raw run, from its documents to journal and files on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cryoline.acquisition.alarm_outbox import AlarmOutbox, RunAlarms
from cryoline.acquisition.analyses import Analysis, Outlet
from cryoline.acquisition.data_file import open_data_file
from cryoline.acquisition.derived_journal import DerivedJournal
from cryoline.acquisition.errors import JournalError
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.path_map import PathMap
from cryoline.acquisition.program_journals import points_before
from cryoline.acquisition.result_files import RESULT_FILE, ResultFiles
from cryoline.acquisition.run_key import derived_key

__all__ = ["Derivation"]

_Picture: TypeAlias = NDArray[Any] | Callable[[], NDArray[Any]]


class _LeftOut(NamedTuple):
    """A live picture that was not drawn."""

    array: _Picture
    what: dict[str, Any]
    was_drawn: bool
    """By a worker before this one, as far as its file tells."""


class Derivation:
    """Takes a raw run's documents; ``is_behind`` says whether more of them wait.

    While they do, live pictures are left out. The last one of each is drawn when the
    run ends, so that it shows the end; those in between are counted in ``dropped``.
    Rows and kept arrays are never left out. Alarms go to the outbox, if there is one.
    """

    def __init__(
        self,
        analysis: Analysis,
        raw_key: str,
        layout: DataLayout,
        paths: PathMap,
        is_behind: Callable[[], bool],
        outbox: AlarmOutbox | None = None,
    ) -> None:
        self.analysis = analysis
        self.key = derived_key(raw_key, analysis.quantity)
        self.path = _path(layout, self.key)
        self.dropped = 0
        """Live pictures that were left out for good."""
        self._left_out: dict[str, _LeftOut] = {}
        self._layout = layout
        self._is_behind = is_behind
        self._journal = DerivedJournal(self.path)
        self._files: ResultFiles | None = None
        self._alarms = None if outbox is None else RunAlarms(outbox, raw_key)
        self._untold: list[tuple[str, dict[str, Any]]] = []
        self._take = analysis.begin(
            Outlet(
                emit=self._emit,
                save=self._save,
                original_key=raw_key,
                open_events=lambda uri: open_data_file(paths.local_path(uri)),
            )
        )

    @staticmethod
    def journal_of(analysis: Analysis, raw_key: str, layout: DataLayout) -> Path:
        """Return where the derived run is journaled, if there is one."""
        return _path(layout, derived_key(raw_key, analysis.quantity))

    @property
    def is_concerned(self) -> bool:
        """Whether the raw run has given this analysis anything to do so far."""
        return self._files is not None

    def take(self, name: str, doc: dict[str, Any]) -> None:
        """Analyse one document of the raw run; what it gave is on disk at the end."""
        with self._journal.together():
            self._take(name, doc)
            if name == "start" and self.analysis.is_of_program:
                for earlier in points_before(self._layout.raw_journal, doc):
                    self._take(*earlier)
        self._tell()

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _emit(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            self._files = ResultFiles(self._layout, doc["uid"])
        elif name == "stop":
            self._draw_last_ones()
        self._journal(name, doc)
        if self._alarms is not None:
            self._untold.append((name, doc))

    def _tell(self) -> None:
        """Pass on what is on disk now: nobody hears of an alarm before."""
        for name, doc in self._untold:
            if self._alarms is not None:
                self._alarms.take(name, doc)
        self._untold.clear()

    def _save(
        self, key: str, array: _Picture, *, live: bool = False, **what: Any
    ) -> None:
        if not live:
            self._draw(key, array, what, live=False)
            return
        # A worker that was killed has drawn later ones, while its file is ahead.
        was_drawn = self._journal.is_ahead
        if (before := self._left_out.pop(key, None)) and not before.was_drawn:
            self.dropped += 1
        if was_drawn or self._is_behind():
            self._left_out[key] = _LeftOut(array, what, was_drawn)
        else:
            self._draw(key, array, what, live=True)

    def _draw_last_ones(self) -> None:
        """Draw what was left out last; a line that is there already stays."""
        for key, (array, what, _) in self._left_out.items():
            if not self._journal.is_ahead:
                self._draw(key, array, what, live=True)
        self._left_out.clear()

    def _draw(
        self, key: str, array: _Picture, what: dict[str, Any], *, live: bool
    ) -> None:
        if self._files is None:
            raise JournalError(
                f"{self.key}: array {key!r} comes before the start document"
            )
        drawn = np.asarray(array() if callable(array) else array)
        self._journal(RESULT_FILE, self._files.write(key, drawn, live=live, **what))


def _path(layout: DataLayout, key: str) -> Path:
    return layout.derived_journal / f"{key}.jsonl"
