"""What is derived from raw runs: every analysis that the worker runs, in one tuple."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from cryoline.analysis import live, live_eds, live_eels, live_volume
from cryoline.analysis.live import ANALYSIS_VERSION, CyclingRouter
from cryoline.analysis.live_eds import MAPS_VERSION, EdsMapsRouter
from cryoline.analysis.live_eels import LOSS_VERSION, LossMapsRouter
from cryoline.analysis.live_volume import VOLUME_VERSION, VolumeRouter

__all__ = ["ANALYSES", "Analysis", "Outlet", "Save"]


class Save(Protocol):
    """Puts an array of a derived run on disk, and says so in its journal.

    ``live`` arrays are pictures that a later one replaces. One may be left out when
    the worker is behind; the last one is drawn when the run ends, if not before. What
    is costly is given as a function: it is called when it is drawn, or never.
    """

    def __call__(
        self,
        key: str,
        array: NDArray[Any] | Callable[[], NDArray[Any]],
        *,
        version: int,
        time: float,
        dims: Sequence[str],
        units: str,
        scale_nm: float | Sequence[float] | None = None,
        live: bool = False,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """See ``ResultFiles.write``."""


@dataclass(frozen=True)
class Outlet:
    """What an analysis of one raw run is given."""

    emit: Callable[[str, dict[str, Any]], None]
    """Takes the documents of the derived run; the first one begins it."""
    save: Save
    original_key: str
    open_events: Callable[[str], Any]
    """Opens the file that a stream resource's uri names, as ``h5py.File``, to read."""


@dataclass(frozen=True)
class Analysis:
    """One derived quantity, made of the documents of any raw run.

    It gives nothing for a run that does not concern it.
    """

    quantity: str
    version: str
    """Another one has finished runs computed again."""
    begin: Callable[[Outlet], Callable[[str, dict[str, Any]], Any]]
    """Returns what takes the raw run's documents."""
    warm_up: Callable[[], object] | None = None
    """Compiles what would else be compiled within the first run."""
    is_of_program: bool = False
    """Whether a run that continues another's program is analysed from the program's
    beginning: its documents are preceded by the points of the runs before."""


ANALYSES: Final = (
    Analysis(
        CyclingRouter.quantity,
        ANALYSIS_VERSION,
        lambda outlet: CyclingRouter(outlet.emit, original_key=outlet.original_key),
        live.warm_up,
        is_of_program=True,
    ),
    Analysis(
        EdsMapsRouter.quantity,
        MAPS_VERSION,
        lambda outlet: EdsMapsRouter(
            outlet.emit,
            outlet.save,
            outlet.open_events,
            original_key=outlet.original_key,
        ),
        live_eds.warm_up,
    ),
    Analysis(
        VolumeRouter.quantity,
        VOLUME_VERSION,
        lambda outlet: VolumeRouter(
            outlet.emit,
            outlet.save,
            outlet.open_events,
            original_key=outlet.original_key,
        ),
        live_volume.warm_up,
    ),
    Analysis(
        LossMapsRouter.quantity,
        LOSS_VERSION,
        lambda outlet: LossMapsRouter(
            outlet.emit,
            outlet.save,
            outlet.open_events,
            original_key=outlet.original_key,
        ),
        live_eels.warm_up,
    ),
)
