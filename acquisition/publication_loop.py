"""The loop of the publisher: which journal is sent when, and what if it can't be."""

import functools
import logging
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
from tiled.structures.core import Spec

from cryoline.acquisition.backoff import Backoff, delay_s
from cryoline.acquisition.custody_blocks import CustodyBlocks
from cryoline.acquisition.directory_watch import DirectoryWatch
from cryoline.acquisition.errors import (
    FileNotReadyError,
    JournalLineError,
    JournalReplacedError,
    PublishError,
)
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.path_map import PathMap
from cryoline.acquisition.process_identity import ProcessIdentity, write_state
from cryoline.acquisition.publication_markers import PublicationMarkers, RunName
from cryoline.acquisition.run_publication import RunPublication
from cryoline.acquisition.tiled_access import (
    CONTAINERS,
    connect,
    fit_json,
    key_refusal,
)

__all__ = ["Publisher"]

_FLUSH_S: Final = 0.25
"""Rows wait at most this long for others to share their request. Those of a raw run
do before they are sent, so that what is derived from them overtakes them: derived rows
are few and looked for. They are sent at once, and those behind them after this time."""
_SCAN_S: Final = 1.0
_QUICK_SCAN_S: Final = 0.1
"""Shortest time between two looks for new journals, when something changed."""
_STATE_S: Final = 0.5
_IDLE_SILENCE_S: Final = 5.0
"""Longest time between two state files while nothing is sent: ten times as often
as needed, for a machine that is busy [A]."""
_SENDING_SILENCE_S: Final = 60.0
"""And while a run is sent: four requests that Tiled takes 15 s for each [A]."""
_CUSTODY_S: Final = 2.0
"""Between two looks into the custody record [A]."""
_ATTEMPTS: Final = 8
"""Refusals by a server that answers others, or looks for a file of a run that has
ended, before that run is set aside: 21 s [A]."""

_NOT_ALLOWED: Final = (401, 403)

_log = logging.getLogger(__name__)


@dataclass
class _Work:
    """A run that is not settled, and when to try it next."""

    publication: RunPublication
    due: float = 0.0
    refusals: int = 0


@dataclass
class Publisher:
    """Publishes the journals of one data directory; hold ``publisher_lock``.

    ``run`` serves until ``stop`` is called; ``step`` does what can be done now.
    """

    layout: DataLayout
    url: str
    key: str = field(repr=False)
    paths: PathMap | None = None
    """Where detector files may lie; None: below the data directory."""
    custody: Path | None = None
    """The custody record, if runs are to say what their specimens have suffered."""
    timeout_s: float = 15.0
    """How long Tiled may take for one request before it counts as away."""

    def __post_init__(self) -> None:
        self._paths = self.paths or PathMap.of(self.layout)
        self._custody = CustodyBlocks(self.custody)
        self._next_custody = 0.0
        self.markers = PublicationMarkers(self.layout)
        self._watch = DirectoryWatch(self.markers.directories)
        self._work: dict[RunName, _Work] = {}
        self._backoff = Backoff()
        self._root: Any = None
        self._containers: dict[str, Any] = {}
        self._stopping = False
        self._current: RunName | None = None
        self._last_scan = -_SCAN_S
        self._scan_asked = False
        self.last_error = ""
        self._next_state = 0.0
        self._started = _now()

    def run(self) -> None:
        """Publish until ``stop`` is called, then end after the current page."""
        self.markers.forget_failures()
        self._prepare()
        self._write_state()
        _log.info("publishing %s to %s", self.layout.root, self.url)
        while not self._stopping:
            changed = self._watch.wait(self._idle_s())
            self.step(scan=changed)
        self._write_state("stopped")
        self.close()
        _log.info("stopped")

    def stop(self) -> None:
        """Ask ``run`` to return; may be called from a signal handler."""
        self._stopping = True
        self._watch.wake()

    def close(self) -> None:
        """Close the connection and give descriptors back."""
        self._disconnect()
        self._watch.close()

    def step(self, *, scan: bool = True) -> bool:
        """Read what is new, send what is due; return whether all is settled."""
        now = time.monotonic()
        self._scan_asked = self._scan_asked or scan
        if now >= self._last_scan + (_QUICK_SCAN_S if self._scan_asked else _SCAN_S):
            self._find_work()
            self._last_scan, self._scan_asked = now, False
        derived_first = sorted(
            self._work.items(), key=lambda item: item[0].container != "derived"
        )
        for name, work in derived_first:
            if self._stopping:
                break
            self._advance(name, work)
        if now >= self._next_custody and not self._stopping:
            self._next_custody = now + _CUSTODY_S
            self._renew_custody()
        self._go_on()
        return not self._work

    def _prepare(self) -> None:
        """Connect before the first run comes: what is loaded for it takes seconds."""
        try:
            for container in CONTAINERS:
                self._container(container)
        except httpx.HTTPError as error:
            self._away(self._reason(error))

    def _idle_s(self) -> float:
        """Return how long nothing is due."""
        now = time.monotonic()
        dues = [w.due for w in self._work.values() if w.publication.pending]
        ahead = [due - now for due in dues if due > now]
        if self._scan_asked:
            ahead.append(max(0.0, self._last_scan + _QUICK_SCAN_S - now))
        return min([_FLUSH_S, *ahead])

    def _renew_custody(self) -> None:
        """Have published runs say what became known of their specimens since."""
        if time.monotonic() < self._backoff.until or not self._custody.has_changed():
            return
        of = functools.cache(self._custody.of)
        try:
            for name, block in self.markers.blocks("raw"):
                custody = fit_json(of(block.get("specimen")))
                if not custody or custody == block.get("custody"):
                    continue
                self._go_on()
                node = self._container("raw").get(name.key)
                if node is None:
                    _log.warning("%s: not in Tiled any more; cryoline replay", name)
                    continue
                change = {"cryoline": {"custody": custody}}
                node.update_metadata(change, drop_revision=True)
                self.markers.renew_block(name, block | {"custody": custody})
        except httpx.HTTPError as error:
            self._custody.ask_again()
            self._away(self._reason(error))

    def _find_work(self) -> None:
        settled = self.markers.settled()
        for name in settled.intersection(self._work):
            del self._work[name]
        for name, path in self.markers.journals():
            if name not in settled and name not in self._work:
                self._work[name] = self._begin(name, path)

    def _begin(self, name: RunName, path: Path, *, anew: bool = False) -> _Work:
        derived = name.container == "derived"
        anew = derived and (anew or self.markers.was_published(name))
        results = self.layout.results
        return _Work(
            RunPublication(
                path,
                self._paths,
                results,
                custody_of=None if derived else self._custody.of,
                replaceable=derived,
                anew=anew,
            )
        )

    def _advance(self, name: RunName, work: _Work) -> None:
        run = work.publication
        try:
            more = True
            while more and name in self._work and self._go_on():
                was_pending = run.pending
                more = run.read()
                now = time.monotonic()
                if run.pending and not was_pending and name.container == "raw":
                    work.due = max(work.due, now + _FLUSH_S)
                if now < max(work.due, self._backoff.until):
                    continue
                if run.pending:
                    more = not self._send(name, run) or more
                    work.due = time.monotonic() + (0.0 if more else _FLUSH_S)
                    work.refusals = 0
                    self._forget_error()
        except JournalReplacedError as error:
            _log.info("%s", error)
            self._work[name] = self._begin(name, run.path, anew=True)
        except FileNotReadyError as error:
            self._retry(name, work, str(error))
        except (PublishError, JournalLineError) as error:
            self._set_aside(name, str(error))
        except FileNotFoundError:
            _log.warning("%s: the journal was removed", name)
            del self._work[name]
        except OSError as error:
            self._away(f"{name}: {error}")  # this disk is full, say
        except httpx.HTTPStatusError as error:
            self._refused(name, work, error)
        except httpx.HTTPError as error:
            self._away(self._reason(error))
        except Exception as error:
            # Whatever this journal holds that nobody thought of: with traceback into
            # the log, its reason into the state file, and the others go on.
            _log.exception("%s: unforeseen", name)
            self._set_aside(name, repr(error))

    def _send(self, name: RunName, run: RunPublication) -> bool:
        """Send what was read; return whether that was all."""
        self._current = name
        self._write_state()  # now it may be silent for longer
        try:
            is_all = run.write(self._container(name.container), self._go_on)
            if is_all and run.stopped and not run.waiting and not self._stopping:
                held = run.finish()
                self.markers.mark_published(name, held)
                del self._work[name]
                _log.info("%s: published and verified: %s", name, held)
        finally:
            self._current = None
        self._backoff.succeeded()
        return is_all

    @property
    def waits_for(self) -> str:
        """Why not all is done: Tiled is away, before any run's own trouble."""
        return self._backoff.reason or self.last_error

    def _forget_error(self) -> None:
        """Take the last error off view, unless another run is still refused."""
        if not any(work.refusals for work in self._work.values()):
            self.last_error = ""

    def _container(self, name: str) -> Any:
        if self._root is None:
            self._root = connect(self.url, self.key, timeout_s=self.timeout_s)
        if name not in self._containers:
            found = self._root.get(name)
            if found is None:
                spec = Spec("CatalogOfBlueskyRuns", version="3.0")
                found = self._root.create_container(key=name, specs=[spec])
            self._containers[name] = found
        return self._containers[name]

    def _disconnect(self) -> None:
        for work in self._work.values():
            work.publication.disconnect()
        self._containers.clear()
        if self._root is not None:
            self._root.context.close()
            self._root = None

    def _away(self, reason: str) -> None:
        self._disconnect()
        self.last_error = reason
        self._backoff.failed(reason)
        self._write_state()

    def _refused(
        self, name: RunName, work: _Work, error: httpx.HTTPStatusError
    ) -> None:
        if error.response.status_code in _NOT_ALLOWED:
            self._away(self._reason(error))
            return
        work.publication.disconnect()
        self._containers.clear()
        self._retry(name, work, f"Tiled refuses it: {error}")

    def _reason(self, error: httpx.HTTPError) -> str:
        """Return what is said of an error that any run would meet."""
        if isinstance(error, httpx.HTTPStatusError):
            status = error.response.status_code
            if status in _NOT_ALLOWED:
                return key_refusal(self.url, status)
        return f"{self.url}: {type(error).__name__}: {error}"

    def _retry(self, name: RunName, work: _Work, reason: str) -> None:
        """Try again later, a few times."""
        work.refusals += 1
        work.due = time.monotonic() + delay_s(work.refusals)
        self.last_error = f"{name}: {reason}"
        _log.warning("%s: attempt %d of %d: %s", name, work.refusals, _ATTEMPTS, reason)
        if work.refusals >= _ATTEMPTS:
            self._set_aside(name, f"tried {_ATTEMPTS} times: {reason}")

    def _go_on(self) -> bool:
        """Return whether to send another page; keep the state file fresh meanwhile."""
        if time.monotonic() >= self._next_state:
            self._write_state()
        return not self._stopping

    def _set_aside(self, name: RunName, reason: str) -> None:
        _log.error("%s: set aside: %s", name, reason)
        self.last_error = f"{name}: {reason}"
        self.markers.mark_failed(name, reason)
        self._work.pop(name, None)

    def _write_state(self, state: str | None = None) -> None:
        self._next_state = time.monotonic() + _STATE_S
        runs = [work.publication for work in self._work.values()]
        away = self._backoff.since is not None
        write_state(
            self.layout.services / "publisher.json",
            {
                **ProcessIdentity.of(os.getpid()).as_dict(),
                "state": state or ("waiting for Tiled" if away else "running"),
                "url": self.url,
                "away_since": self._backoff.since,
                "lag_rows": sum(run.waiting for run in runs),
                "lag_bytes": sum(run.unread_bytes for run in runs),
                "open_runs": [str(name) for name in self._work],
                "waiting_for": {
                    str(name): work.publication.problem
                    for name, work in self._work.items()
                    if work.publication.problem
                },
                "current_run": str(self._current) if self._current else None,
                "last_error": self.last_error,
                "failed": self.markers.failures(),
                "started": self._started,
                "updated": _now(),
                "renewed_within_s": (
                    _SENDING_SILENCE_S if self._current else _IDLE_SILENCE_S
                ),
            },
        )


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="seconds")
