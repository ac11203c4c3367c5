"""Where everything lies below the data directory."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["DataLayout"]


@dataclass(frozen=True)
class DataLayout:
    """The folders of one data directory; each is made when first used."""

    root: Path

    @property
    def raw_journal(self) -> Path:
        """Journals of raw runs, one file a run."""
        return self._folder("journal", "raw")

    @property
    def derived_journal(self) -> Path:
        """Journals of derived runs, one file a run and quantity."""
        return self._folder("journal", "derived")

    @property
    def analysed(self) -> Path:
        """The analysis worker's notes of finished runs that gave it nothing to do."""
        return self._folder("journal", "analysed")

    @property
    def published(self) -> Path:
        """The publisher's markers of runs verified in Tiled."""
        return self._folder("journal", "published")

    @property
    def tiled(self) -> Path:
        """Catalog, tables, configuration and key of the embedded Tiled server."""
        return self._folder("tiled")

    @property
    def raw_data(self) -> Path:
        """Files that detectors write, registered in Tiled and read from there."""
        return self._folder("raw")

    @property
    def results(self) -> Path:
        """Files of derived arrays, registered in Tiled and read from there."""
        return self._folder("results")

    @property
    def logs(self) -> Path:
        """Log files of every process."""
        return self._folder("log")

    @property
    def services(self) -> Path:
        """State files, process identities and locks of the background processes."""
        return self._folder("services")

    @property
    def records(self) -> Path:
        """The SQLite file of counters that must never go back."""
        self.root.mkdir(parents=True, exist_ok=True)
        return self.root / "records.sqlite"

    def _folder(self, *parts: str) -> Path:
        folder = self.root.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
