"""The background processes of one data directory: start, end, look.

``tiled`` (the server), ``publisher`` and ``analysis_worker``, for ``cryoline up``,
``down`` and ``status``. Each is a process of its own that outlives the terminal; a
record of pid and start time says which, so that a pid the kernel has given to
another program is never taken for a service, let alone ended.
"""

import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from cryoline.acquisition.config import Config
from cryoline.acquisition.errors import ServiceError
from cryoline.acquisition.process_identity import (
    ProcessIdentity,
    read_state,
    write_state,
)
from cryoline.acquisition.tiled_server import TiledServer, is_healthy

__all__ = ["SERVICES", "ServiceStatus", "Services"]

SERVICES: Final = ("tiled", "publisher", "analysis_worker")
"""In the order of starting; they end in the opposite order."""

_SETTLE_S: Final = 60.0
"""Patience until a started process says that it is at work [A]."""
_GRACE_S: Final = 20.0
"""Longer than the publisher's longest wait for Tiled, 15 s."""
_TICK_S: Final = 0.1
_PROBE_S: Final = 2.0
_WELL: Final = ("running", "ready")
"""What a process that has nothing to complain of calls its state."""

_State = Literal["running", "not answering", "stopped", "died"]


@dataclass(frozen=True)
class ServiceStatus:
    """What is known of one service."""

    name: str
    state: _State
    """``died``: it was started, and ended without being asked to."""
    pid: int | None = None
    detail: str = ""
    """What the service says of itself: URL, lag, errors."""
    lag_rows: int | None = None

    @property
    def is_well(self) -> bool:
        """Whether it runs and answers."""
        return self.state == "running"

    def as_dict(self) -> dict[str, Any]:
        """Return what a program may read (``cryoline status --json``)."""
        return asdict(self)


class Services:
    """The services of one configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._layout = config.layout
        self._server = TiledServer.from_config(config)

    def up(self, names: tuple[str, ...] = SERVICES) -> list[str]:
        """Start what does not run; return the names of what was started.

        Raises ServiceError if one can't be started; those started by this call are
        ended again then.
        """
        started: list[str] = []
        try:
            for name in names:
                ran = self.identity(name) is not None
                if name == "tiled" or not ran:
                    self._start(name)  # a running server is waited for
                if not ran:
                    started.append(name)
        except BaseException:
            self.down(tuple(started))
            raise
        return started

    def down(self, names: tuple[str, ...] = SERVICES) -> list[str]:
        """End the services; return the names of those that ran."""
        ended = []
        for name in reversed(names):
            identity = self.identity(name)
            if identity is not None:
                identity.end(_GRACE_S)
                ended.append(name)
            self._record(name).unlink(missing_ok=True)
        return ended

    def status(self, names: tuple[str, ...] = SERVICES) -> list[ServiceStatus]:
        """Return what is known of each service."""
        return [self._status(name) for name in names]

    def identity(self, name: str) -> ProcessIdentity | None:
        """Return the living process of a service, None if there is none."""
        if name not in SERVICES:
            raise ServiceError(f"no service {name!r}; there are: {', '.join(SERVICES)}")
        if name == "tiled":
            return self._server.identity()
        # A publisher started by hand is found by what it says of itself.
        for path in (self._record(name), self._layout.services / f"{name}.json"):
            identity = ProcessIdentity.from_state(read_state(path))
            if identity is not None and identity.is_alive():
                return identity
        return None

    def _start(self, name: str) -> None:
        if name == "tiled":
            self._server.start()
            write_state(self._record(name), {"by": "cryoline up"})
            return
        module = f"cryoline.acquisition.{name}"
        command = [sys.executable, "-m", module, "--config", str(self._config.path)]
        output = self._layout.logs / f"{name}.out"
        with output.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "TILED_RETRY_ATTEMPTS": "1"},
            )
        identity = ProcessIdentity.of(process.pid)
        write_state(self._record(name), identity.as_dict())
        deadline = time.monotonic() + _SETTLE_S
        tick = threading.Event()
        while not self._is_at_work(name, process.pid):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                self._record(name).unlink(missing_ok=True)
                said = output.read_text(encoding="utf-8", errors="replace")
                raise ServiceError(
                    f"{name} does not start; it said:\n{said[-2000:].strip()}"
                )
            tick.wait(_TICK_S)
        # It outlives this process; Popen must not warn about that.
        process.returncode = 0

    def _is_at_work(self, name: str, pid: int) -> bool:
        """Return whether a process has written its state file."""
        state = read_state(self._layout.services / f"{name}.json") or {}
        return state.get("pid") == pid and state.get("state") != "starting"

    def _status(self, name: str) -> ServiceStatus:
        identity = self.identity(name)
        state = read_state(self._layout.services / f"{name}.json") or {}
        if identity is None:
            died = self._record(name).exists()
            log = self._layout.logs / f"{name}.log"
            return ServiceStatus(
                name,
                "died" if died else "stopped",
                detail=f"see {log}; start it again: cryoline up" if died else "",
            )
        if name == "tiled":
            url = str(state.get("url", ""))
            well = is_healthy(url, timeout_s=_PROBE_S)
            return ServiceStatus(
                name, "running" if well else "not answering", identity.pid, url
            )
        # What another process wrote, before this one or for a replay, tells nothing.
        is_own = ProcessIdentity.from_state(state) == identity
        silence_s = _overdue_s(state) if is_own else None
        if silence_s is not None:
            well, detail = False, f"no sign of life for {silence_s:.0f} s"
        else:
            well, detail = True, _describe(state)
        return ServiceStatus(
            name,
            "running" if well else "not answering",
            identity.pid,
            detail,
            state.get("lag_rows"),
        )

    def _record(self, name: str) -> Path:
        return self._layout.services / f"{name}.pid"


def _overdue_s(state: dict[str, Any]) -> float | None:
    """Return for how long a process has been silent, None if no longer than it may.

    It says itself how soon it means to renew its state: later than that it is
    frozen, or stuck.
    """
    if "updated" not in state or "renewed_within_s" not in state:
        return None
    silence = datetime.now(tz=UTC) - datetime.fromisoformat(state["updated"])
    silence_s = silence.total_seconds()
    return silence_s if silence_s > state["renewed_within_s"] else None


def _describe(state: dict[str, Any]) -> str:
    """Return in one line what a process says of itself, beyond that it is well."""
    said = str(state.get("state", "no state"))
    parts = [] if said in _WELL else [said]
    if (runs := state.get("runs")) is not None:
        parts.append("1 run" if len(runs) == 1 else f"{len(runs) or 'no'} runs")
    if lag := state.get("lag_rows"):
        parts.append(f"{lag} rows behind")
    if unread := state.get("lag_bytes"):
        parts.append(f"{unread} bytes unread")
    if run := state.get("current_run"):
        parts.append(f"at {run}")
    if dropped := sum((state.get("dropped_pictures") or {}).values()):
        pictures = "1 live picture" if dropped == 1 else f"{dropped} live pictures"
        parts.append(f"{pictures} left out to keep up")
    waits = state.get("waiting_for") or {}
    parts += [f"{run} waits: {why}" for run, why in waits.items()]
    failed = state.get("failed") or {}
    parts += [f"{run} FAILED: {why}" for run, why in failed.items()]
    if state.get("away_since"):
        parts.append(f"since {state['away_since']}")
    error = state.get("last_error")
    if error and error not in [f"{run}: {why}" for run, why in failed.items()]:
        parts.append(f"last error: {error}")
    return "; ".join(parts)
