"""The analysis worker: raw journals in, derived journals out, in its own process.

    python -m cryoline.acquisition.analysis_worker --config instrument.toml

It follows every raw run that has no finished derived run yet, one router each. It
may be killed at any time: the next one computes again and appends what is missing.
"""

import argparse
import fcntl
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal, TypeAlias

from cryoline.acquisition.config import find_config, load_config
from cryoline.acquisition.derived_journal import DerivedJournal
from cryoline.acquisition.directory_watch import POLL_S, DirectoryWatch
from cryoline.acquisition.errors import CryolineError, ServiceError
from cryoline.acquisition.journal_format import decode_line
from cryoline.acquisition.journal_reader import JournalTail
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.process_identity import ProcessIdentity, write_state
from cryoline.acquisition.run_key import derived_key
from cryoline.analysis.live import ANALYSIS_VERSION, CyclingRouter

__all__ = ["NAME", "AnalysisWorker", "main"]

NAME: Final = "analysis_worker"

RunState: TypeAlias = Literal["following", "done", "failed"]

_STOP_BYTES: Final = 65536
"""A derived stop document is far shorter."""
_STATE_S: Final = 1.0
_SILENCE_S: Final = 20.0
"""Longest time between two state files: 4 MB of a journal through the kernels, and
their compiling at the first use [A]."""

_log = logging.getLogger(__name__)


class AnalysisWorker:
    """Follows the raw journals of one data directory.

    Holds a lock for as long as it lives: two workers would write each other's lines.
    Raises ServiceError if another worker holds it.
    """

    def __init__(self, layout: DataLayout) -> None:
        self._layout = layout
        self._lock_fd = _lock(layout.services / f"{NAME}.lock")
        self._runs: dict[str, _Run] = {}
        self._seen: set[str] = set()
        self._states: dict[str, RunState] = {}
        self._failed: dict[str, str] = {}
        self._last_error: str | None = None
        self._next_state = 0.0
        self._identity = ProcessIdentity.of(os.getpid())
        self._write_state("starting")

    def run(self, stop: threading.Event, watch: DirectoryWatch) -> None:
        """Follow until ``stop`` is set."""
        self._write_state("ready")
        _log.info("ready; following %s", self._layout.raw_journal)
        while not stop.is_set():
            if not self.look():
                watch.wait(POLL_S)

    def look(self) -> bool:
        """Take every run one step further; return whether there was anything new."""
        before = dict(self._states)
        self._find_runs()
        moved = [self._advance(key) for key in list(self._runs)]
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
            name = derived_key(key, CyclingRouter.quantity)
            derived = self._layout.derived_journal / f"{name}.jsonl"
            if _is_finished(derived):
                continue
            self._runs[key] = _Run(path, derived)
            self._states[key] = "following"

    def _advance(self, key: str) -> bool:
        self._renew_state()
        run = self._runs[key]
        try:
            moved = run.advance()
        except Exception as error:
            # Whatever one run's data does to a kernel, the other runs go on.
            _log.exception(
                "run %s: analysis failed; restart the worker to try again", key
            )
            self._failed[key] = f"{type(error).__name__}: {error}"
            self._last_error = f"{key}: {self._failed[key]}"
            self._end(key, "failed")
            return True
        if run.ended:
            self._end(key, "done")
        return moved

    def _end(self, key: str, state: RunState) -> None:
        self._runs.pop(key).close()
        self._states[key] = state
        _log.info("run %s: %s", key, state)

    def _renew_state(self, *, at_once: bool = False) -> None:
        if at_once or time.monotonic() >= self._next_state:
            self._write_state("ready")

    def _write_state(self, state: str) -> None:
        self._next_state = time.monotonic() + _STATE_S
        content = {
            **self._identity.as_dict(),
            "state": state,
            "runs": self._states,
            "failed": self._failed,
            "last_error": self._last_error,
            "updated": datetime.now(tz=UTC).isoformat(timespec="seconds"),
            "renewed_within_s": _SILENCE_S,
        }
        write_state(self._layout.services / f"{NAME}.json", content)


class _Run:
    """One raw run on its way through the router into the derived journal."""

    def __init__(self, raw: Path, derived: Path) -> None:
        self._tail = JournalTail(raw)
        self._journal = DerivedJournal(derived)
        self._router = CyclingRouter(self._journal, original_key=raw.stem)
        self.ended = False

    def advance(self) -> bool:
        """Route what is new in the raw journal; return whether there was anything."""
        documents = self._tail.read()
        for name, doc in documents:
            self._router(name, doc)
            self.ended = self.ended or name == "stop"
        return bool(documents)

    def close(self) -> None:
        self._journal.close()


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
        layout = load_config(find_config(options.config)).layout
        worker = AnalysisWorker(layout)
    except CryolineError as error:
        sys.stderr.write(f"{NAME}: {error}\n")
        return 1
    _log_to(layout.logs / f"{NAME}.log")
    stop = threading.Event()
    with DirectoryWatch([layout.raw_journal]) as watch:

        def end(signum: int, frame: FrameType | None) -> None:
            stop.set()
            watch.wake()

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        try:
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


def _is_finished(path: Path) -> bool:
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
        start.get("analysis_version") == ANALYSIS_VERSION
        and stop.get("run_start") == start.get("uid")
        and "exit_status" in stop
    )


def _decode(line: bytes) -> dict[str, Any]:
    """Return a line's document, or nothing if it is none: then it isn't finished."""
    try:
        return decode_line(line)[1]
    except ValueError:
        return {}


def _log_to(path: Path) -> None:
    logging.basicConfig(
        filename=path,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


if __name__ == "__main__":
    sys.exit(main())
