"""Pictures of runs in the journal, for a notebook and the shell; needs no server."""

from cryoline.acquisition.errors import CryolineError
from cryoline.acquisition.export_run import read_run
from cryoline.acquisition.layout import DataLayout
from cryoline.analysis.cycling_pictures import Pictures
from cryoline.plugins.cycling_figures import pictures_of

__all__ = ["RunFigures"]


class RunFigures:
    """Draws cycling runs of one data directory: ``figures()`` the latest one.

    The run may still go on: then its last cycle is drawn as far as it has come.
    """

    def __init__(self, layout: DataLayout) -> None:
        self._layout = layout

    def __call__(self, key: str | None = None) -> Pictures:
        """Return a run's pictures, which a notebook shows.

        Raises CryolineError if there is no such run, or it has no cycling points.
        """
        if key is not None:
            table, ended = read_run(self._layout, key)
            return pictures_of(table, ended=ended)
        refused: CryolineError | None = None
        for latest in self._latest_first():
            try:
                table, ended = read_run(self._layout, latest)
            except CryolineError as error:  # a run of another kind
                refused = error
            else:
                return pictures_of(table, ended=ended)
        raise refused or CryolineError(
            f"{self._layout.raw_journal}: there is no run at all"
        )

    def __repr__(self) -> str:
        """Say how it is used."""
        return "figures(KEY): the pictures of a cycling run; figures(): of the latest"

    def _latest_first(self) -> list[str]:
        """Return the keys of all runs; each ends with its scan_id."""
        keys = [path.stem for path in self._layout.raw_journal.glob("*.jsonl")]
        return sorted(keys, key=lambda key: key.rpartition("_")[2], reverse=True)
