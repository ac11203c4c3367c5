"""The analysis worker: raw journals in, derived journals out, in its own process.

    python -m cryoline.acquisition.analysis_worker --config instrument.toml

It follows every raw run, and gives its documents to each analysis that has not
finished with it. An analysis that fails does not hold up the others. It may be killed
at any time: the next one computes again and appends what is missing. If it falls
behind, it leaves out live pictures, never data, and says so.
"""

import argparse
import fcntl
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal, TypeAlias

from cryoline.acquisition.alarm_outbox import AlarmOutbox
from cryoline.acquisition.alarms import AlarmSender
from cryoline.acquisition.analyses import ANALYSES, Analysis
from cryoline.acquisition.config import find_config, load_config
from cryoline.acquisition.derivation import Derivation
from cryoline.acquisition.derivation_markers import is_done, note_nothing_found
from cryoline.acquisition.directory_watch import POLL_S, DirectoryWatch
from cryoline.acquisition.errors import CryolineError, ServiceError
from cryoline.acquisition.journal_reader import Document, JournalTail
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.path_map import PathMap
from cryoline.acquisition.process_identity import ProcessIdentity, write_state

__all__ = ["NAME", "AnalysisWorker", "main"]

NAME: Final = "analysis_worker"

RunState: TypeAlias = Literal["following", "done", "failed"]

_WARMING_UP: Final = "warming up"
_EVENTS: Final = ("event", "event_page")
_STATE_S: Final = 1.0
_SILENCE_S: Final = 20.0
"""Longest time between two state files while nothing is computed [A]."""
_COMPUTING_S: Final = 120.0
"""And while something is: a volume of a whole series, on a busy machine [A]."""

_log = logging.getLogger(__name__)


class AnalysisWorker:
    """Follows the raw journals of one data directory.

    Holds a lock for as long as it lives: two workers would write each other's lines.
    Raises ServiceError if another worker holds it.
    """

    def __init__(
        self,
        layout: DataLayout,
        paths: PathMap | None = None,
        analyses: Sequence[Analysis] = ANALYSES,
        alarms: AlarmSender | None = None,
    ) -> None:
        self._alarms = alarms
        self._layout = layout
        self._paths = paths or PathMap.of(layout)
        self._analyses = analyses
        self._lock_fd = _lock(layout.services / f"{NAME}.lock")
        self._runs: dict[str, _Run] = {}
        self._seen: set[str] = set()
        self._states: dict[str, RunState] = {}
        self._failed: dict[str, str] = {}
        self._dropped: dict[str, int] = {}
        self._last_error: str | None = None
        self._current: str | None = None
        self._next_state = 0.0
        self._identity = ProcessIdentity.of(os.getpid())
        self._write_state("starting")

    def warm_up(self) -> None:
        """Have every analysis compile its kernels, before a run needs them."""
        self._write_state(_WARMING_UP)
        for analysis in self._analyses:
            if analysis.warm_up is not None:
                try:
                    analysis.warm_up()
                except Exception:
                    # It will fail again with a run, and be said there.
                    _log.exception("%s: can't warm up", analysis.quantity)

    def run(self, stop: threading.Event, watch: DirectoryWatch) -> None:
        """Follow until ``stop`` is set."""
        self._write_state("ready")
        _log.info("ready; following %s", self._layout.raw_journal)
        while not stop.is_set():
            if not self.look(stop.is_set):
                watch.wait(POLL_S)

    def look(self, is_stopping: Callable[[], bool] = lambda: False) -> bool:
        """Take every run one step further; return whether there was anything new."""
        before = dict(self._states)
        self._find_runs()
        moved = [self._advance(key, is_stopping) for key in list(self._runs)]
        self._renew_state(at_once=self._states != before)
        return any(moved)

    def close(self) -> None:
        """Let go of all files and of the lock."""
        for run in self._runs.values():
            run.close()
        self._runs.clear()
        self._write_state("stopped")
        os.close(self._lock_fd)

    def _find_runs(self) -> None:
        for path in sorted(self._layout.raw_journal.glob("*.jsonl")):
            key = path.stem
            if key in self._seen:
                continue
            self._seen.add(key)
            open_ones = [
                analysis
                for analysis in self._analyses
                if not is_done(analysis, key, self._layout)
            ]
            if open_ones:
                outbox = None if self._alarms is None else self._alarms.outbox
                self._runs[key] = _Run(
                    path, open_ones, self._layout, self._paths, outbox
                )
                self._states[key] = "following"

    def _advance(self, key: str, is_stopping: Callable[[], bool]) -> bool:
        run = self._runs[key]
        try:
            documents = run.read()
        except Exception as error:
            # Whatever is in one journal, the other runs go on.
            _log.exception("run %s: can't be read; restart the worker to retry", key)
            self._note(key, error)
            self._end(key)
            return True
        if documents:
            self._current = key
            self._write_state("ready")  # now it may be silent for longer
        for document in documents:
            if is_stopping():
                return False
            for name, why in run.take(*document):
                self._note(name, why)
            self._dropped |= run.dropped
            self._renew_state()
        self._current = None
        if documents:
            self._renew_state(at_once=True)
        if run.ended:
            self._end(key)
        return bool(documents)

    def _note(self, key: str, error: Exception) -> None:
        self._failed[key] = f"{type(error).__name__}: {error}"
        self._last_error = f"{key}: {self._failed[key]}"

    def _end(self, key: str) -> None:
        run = self._runs.pop(key)
        run.close()
        names = {key, *run.names}
        state: RunState = "failed" if names & self._failed.keys() else "done"
        self._states[key] = state
        if left_out := sum(run.dropped.values()):
            _log.warning(
                "run %s: %d live picture(s) were left out to keep up; every row and "
                "every kept array is there",
                key,
                left_out,
            )
        _log.info("run %s: %s", key, state)

    def _renew_state(self, *, at_once: bool = False) -> None:
        if at_once or time.monotonic() >= self._next_state:
            self._write_state("ready")

    def _write_state(self, state: str) -> None:
        self._next_state = time.monotonic() + _STATE_S
        is_busy = self._current or state == _WARMING_UP
        content = {
            **self._identity.as_dict(),
            "state": state,
            "runs": self._states,
            "failed": self._failed,
            "dropped_pictures": self._dropped,
            "current_run": self._current,
            "last_error": (self._alarms and self._alarms.problem) or self._last_error,
            "updated": datetime.now(tz=UTC).isoformat(timespec="seconds"),
            "renewed_within_s": _COMPUTING_S if is_busy else _SILENCE_S,
        }
        write_state(self._layout.services / f"{NAME}.json", content)


class _Run:
    """One raw run on its way through the analyses."""

    def __init__(
        self,
        path: Path,
        analyses: Sequence[Analysis],
        layout: DataLayout,
        paths: PathMap,
        outbox: AlarmOutbox | None,
    ) -> None:
        self._tail = JournalTail(path)
        self._layout = layout
        self._derivations = [
            Derivation(analysis, path.stem, layout, paths, self._is_behind, outbox)
            for analysis in analyses
        ]
        self._going = list(self._derivations)
        self._events_ahead = 0
        self.ended = False

    @property
    def names(self) -> list[str]:
        """The keys of its derived runs, of those that came to nothing too."""
        return [derivation.key for derivation in self._derivations]

    @property
    def dropped(self) -> dict[str, int]:
        """How many live pictures were left out, by derived run."""
        return {d.key: d.dropped for d in self._derivations if d.dropped}

    def read(self) -> list[Document]:
        """Return what is new in the raw journal."""
        documents = self._tail.read()
        self._events_ahead = sum(name in _EVENTS for name, _ in documents)
        return documents

    def take(self, name: str, doc: dict[str, Any]) -> list[tuple[str, Exception]]:
        """Give a document to each analysis; return those that failed, and of what."""
        self._events_ahead -= name in _EVENTS
        failed: list[tuple[str, Exception]] = []
        for derivation in list(self._going):
            try:
                derivation.take(name, doc)
            except Exception as error:
                # Whatever a run's data does to one kernel, the others go on.
                _log.exception(
                    "run %s: analysis failed; restart the worker to try again",
                    derivation.key,
                )
                self._going.remove(derivation)
                failed.append((derivation.key, error))
        if name == "stop":
            self.ended = True
            idle = [d.analysis for d in self._going if not d.is_concerned]
            note_nothing_found(idle, self._tail.path.stem, self._layout)
        return failed

    def close(self) -> None:
        """Close the journals."""
        for derivation in self._derivations:
            derivation.close()

    def _is_behind(self) -> bool:
        """Return whether the raw run has gone on since the present document."""
        return self._events_ahead > 0 or self._tail.unread_bytes() > 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker until SIGTERM; return the exit status."""
    parser = argparse.ArgumentParser(
        prog=f"python -m cryoline.acquisition.{NAME}",
        description="Follow the raw journals and write the derived ones.",
        epilog=f"example: python -m cryoline.acquisition.{NAME} --config lab.toml",
    )
    parser.add_argument("--config", type=Path, help="instrument.toml")
    options = parser.parse_args(arguments)
    try:
        config = load_config(find_config(options.config))
        layout = config.layout
        alarms = AlarmSender(config)
        worker = AnalysisWorker(layout, config.path_map, alarms=alarms)
    except CryolineError as error:
        sys.stderr.write(f"{NAME}: {error}\n")
        return 1
    _log_to(layout.logs / f"{NAME}.log")
    stop = threading.Event()
    with alarms, DirectoryWatch([layout.raw_journal]) as watch:

        def end(signum: int, frame: FrameType | None) -> None:
            stop.set()
            watch.wake()

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        try:
            worker.warm_up()
            worker.run(stop, watch)
        finally:
            worker.close()
            _log.info("stopped")
    return 0


def _lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise ServiceError(
            f"{path}: an analysis worker (process {holder}) already serves this data "
            "directory; end it first, or leave the work to it"
        ) from None
    os.ftruncate(fd, 0)
    os.write(fd, f"{os.getpid()}\n".encode("ascii"))
    return fd


def _log_to(path: Path) -> None:
    logging.basicConfig(
        filename=path,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


if __name__ == "__main__":
    sys.exit(main())
