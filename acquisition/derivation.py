"""One analysis of one raw run, from its documents to journal and files on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryoline.acquisition.analyses import Analysis, Outlet
from cryoline.acquisition.data_file import open_data_file
from cryoline.acquisition.derived_journal import DerivedJournal
from cryoline.acquisition.errors import JournalError
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.path_map import PathMap
from cryoline.acquisition.result_files import RESULT_FILE, ResultFiles
from cryoline.acquisition.run_key import derived_key

__all__ = ["Derivation"]


class Derivation:
    """Takes a raw run's documents; ``is_behind`` says whether more of them wait.

    While they do, live pictures are left out, and counted in ``dropped``. Rows and
    kept arrays never are.
    """

    def __init__(
        self,
        analysis: Analysis,
        raw_key: str,
        layout: DataLayout,
        paths: PathMap,
        is_behind: Callable[[], bool],
    ) -> None:
        self.analysis = analysis
        self.key = derived_key(raw_key, analysis.quantity)
        self.path = _path(layout, self.key)
        self.dropped = 0
        """Live pictures that were left out."""
        self._layout = layout
        self._is_behind = is_behind
        self._journal = DerivedJournal(self.path)
        self._files: ResultFiles | None = None
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
        """Analyse one document of the raw run."""
        self._take(name, doc)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _emit(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            self._files = ResultFiles(self._layout, doc["uid"])
        self._journal(name, doc)

    def _save(
        self,
        key: str,
        array: NDArray[Any] | Callable[[], NDArray[Any]],
        *,
        live: bool = False,
        **what: Any,
    ) -> None:
        if self._files is None:
            raise JournalError(
                f"{self.key}: array {key!r} comes before the start document"
            )
        if live and self._journal.is_ahead:
            return  # a worker that was killed has drawn later ones
        if live and self._is_behind():
            self.dropped += 1
            return
        drawn = np.asarray(array() if callable(array) else array)
        self._journal(RESULT_FILE, self._files.write(key, drawn, live=live, **what))


def _path(layout: DataLayout, key: str) -> Path:
    return layout.derived_journal / f"{key}.jsonl"
