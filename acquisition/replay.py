"""Publishes or verifies again everything that was journaled (``cryoline replay``)."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryoline.acquisition.errors import JournalError, PublishError, ServiceError
from cryoline.acquisition.journal_reader import count_rows
from cryoline.acquisition.journal_recovery import is_closed
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.path_map import PathMap
from cryoline.acquisition.publication_markers import PublicationMarkers, RunName
from cryoline.acquisition.publisher import publisher_lock

if TYPE_CHECKING:
    from cryoline.acquisition.publication_loop import Publisher

__all__ = ["ReplayedRun", "replay"]

_TICK_S: Final = 0.1


@dataclass(frozen=True)
class ReplayedRun:
    """One run after a replay: what the journal holds, and what Tiled holds."""

    container: str
    """``raw`` or ``derived``."""
    key: str
    journal_rows: dict[str, int]
    """Rows of each stream in the journal; empty if it can't be read."""
    tiled_rows: dict[str, int]
    """Rows of each stream in Tiled, each once; empty if not verified."""
    state: str
    """``verified``, ``rebuilt``, ``open`` (no stop yet) or ``failed: <reason>``."""
    frames: dict[str, int] = field(default_factory=dict)
    """Frames of detectors' files, by ``stream/data key``; empty if not verified."""
    arrays: int = 0
    """Result files of the analysis; 0 if not verified."""

    @property
    def is_exact(self) -> bool:
        """Whether Tiled was seen to hold the journal's rows, each once."""
        return self.state in ("verified", "rebuilt")


def replay(
    layout: DataLayout,
    url: str,
    key: str,
    *,
    keys: Iterable[str] | None = None,
    paths: PathMap | None = None,
    custody: Path | None = None,
    timeout_s: float = 600.0,
) -> list[ReplayedRun]:
    """Make Tiled hold every journaled run exactly, and return how each stands.

    ``keys`` limits it to some runs. Works itself if no publisher runs, else asks
    the running one by taking its markers away. Doing it twice changes nothing.
    Raises PublishError if it is not done after ``timeout_s`` (Tiled is away, say),
    or if a key names no journal.
    """
    markers = PublicationMarkers(layout)
    runs = dict(markers.journals())
    if keys is not None:
        wanted = set(keys)
        if unknown := wanted - {run.key for run in runs}:
            raise PublishError(f"no journal of {', '.join(sorted(unknown))}")
        runs = {run: path for run, path in runs.items() if run.key in wanted}
    unfinished = {run for run, path in runs.items() if not is_closed(path)}
    finished = runs.keys() - unfinished
    for run in finished:
        markers.forget(run)

    def publisher() -> "Publisher":
        from cryoline.acquisition.publication_loop import Publisher

        return Publisher(layout, url, key, paths, custody)

    _work_or_wait(layout, publisher, markers, set(finished), timeout_s)
    return [
        _result(markers, run, path, run in unfinished) for run, path in runs.items()
    ]


def _work_or_wait(
    layout: DataLayout,
    make_publisher: Callable[[], "Publisher"],
    markers: PublicationMarkers,
    runs: set[RunName],
    timeout_s: float,
) -> None:
    deadline = time.monotonic() + timeout_s
    tick = threading.Event()
    os.environ.setdefault("TILED_RETRY_ATTEMPTS", "1")
    while not runs <= markers.settled():
        try:
            with publisher_lock(layout):
                publisher = make_publisher()
                try:
                    while not runs <= markers.settled():
                        publisher.step()
                        _check(deadline, timeout_s, publisher.waits_for)
                        tick.wait(_TICK_S)
                finally:
                    publisher.close()
        except ServiceError:
            # A publisher runs: it sees the missing markers by itself.
            _check(deadline, timeout_s, f"see {layout.services / 'publisher.json'}")
            tick.wait(_TICK_S)


def _check(deadline: float, timeout_s: float, why: str) -> None:
    if time.monotonic() > deadline:
        raise PublishError(f"replay: not done after {timeout_s:.0f} s: {why}")


def _result(
    markers: PublicationMarkers, run: RunName, path: Path, unfinished: bool
) -> ReplayedRun:
    try:
        rows = count_rows(path)
    except JournalError:
        rows = {}  # unreadable; the reason stands in the state
    if reason := markers.failure(run):
        return ReplayedRun(run.container, run.key, rows, {}, f"failed: {reason}")
    if unfinished:
        return ReplayedRun(run.container, run.key, rows, {}, "open")
    marker = markers.published(run) or {}
    return ReplayedRun(
        run.container,
        run.key,
        rows,
        marker.get("rows", {}),
        "rebuilt" if marker.get("rebuilt") else "verified",
        marker.get("frames", {}),
        marker.get("arrays", 0),
    )
