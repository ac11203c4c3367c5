"""Starting, recognising and ending the laboratory's processes, without waiting blindly.

A process is known by its pid *and* its start time, so that a pid that was given to
another program since is never signalled.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import orjson

from cryoline.sim.errors import StartupError

__all__ = ["Child", "end_processes", "is_alive", "start_ticks"]

_TERM_GRACE_S: Final = 3.0
_KILL_GRACE_S: Final = 5.0


def start_ticks(pid: int) -> int | None:
    """Return when a living process started, in kernel ticks; None if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def is_alive(process: dict[str, Any]) -> bool:
    """Whether the process of a lab.json entry still runs."""
    ticks = start_ticks(process["pid"])
    return ticks is not None and ticks == process.get("start_ticks", ticks)


def end_processes(processes: Sequence[dict[str, Any]]) -> list[int]:
    """End processes by SIGTERM, then SIGKILL; returns the pids that needed the latter.

    They are ended in the order given, each group waiting only as long as needed.
    """
    living: dict[int, int] = {}  # pidfd -> pid
    try:
        for process in processes:
            if is_alive(process):
                with contextlib.suppress(ProcessLookupError):
                    living[os.pidfd_open(process["pid"])] = process["pid"]
        _signal_all(living, signal.SIGTERM)
        stubborn = _still_running(living, _TERM_GRACE_S)
        _signal_all(stubborn, signal.SIGKILL)
        _still_running(stubborn, _KILL_GRACE_S)
        return sorted(stubborn.values())
    finally:
        for pidfd in living:
            os.close(pidfd)


def _signal_all(pidfds: dict[int, int], number: signal.Signals) -> None:
    for pidfd in pidfds:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)


def _still_running(pidfds: dict[int, int], within_s: float) -> dict[int, int]:
    """Wait for processes to end; returns those that did not."""
    running = dict(pidfds)
    deadline_s = time.monotonic() + within_s
    while running and (left_s := deadline_s - time.monotonic()) > 0:
        ended, _, _ = select.select(list(running), [], [], left_s)
        for pidfd in ended:
            del running[pidfd]
    return running


@dataclass
class Child:
    """A process just started, and the pipe on which it will say that it is up."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    port: int | None
    _ready: IO[bytes]

    @classmethod
    def start(
        cls,
        name: str,
        arguments: Sequence[str],
        log: Path,
        *,
        port: int | None = None,
        lifeline_fd: int | None = None,
    ) -> "Child":
        """Start `python -m ARGUMENTS` detached, with its output in `log`."""
        ready_read, ready_write = os.pipe()
        command = [sys.executable, "-m", *arguments, "--ready-fd", str(ready_write)]
        inherited = [ready_write]
        if lifeline_fd is not None:
            command += ["--lifeline-fd", str(lifeline_fd)]
            inherited.append(lifeline_fd)
        try:
            with log.open("ab") as output:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    pass_fds=inherited,
                )
        except OSError:
            os.close(ready_read)
            raise
        finally:
            os.close(ready_write)
        return cls(name, process, log, port, os.fdopen(ready_read, "rb"))

    def wait_ready(self, deadline_s: float) -> None:
        """Wait until it serves, or raise StartupError with its own reason."""
        left_s = max(0.0, deadline_s - time.monotonic())
        if not select.select([self._ready], [], [], left_s)[0]:
            raise StartupError(
                f"{self.name}: not up in time; see {self.log} for what it is doing"
            )
        report = self._ready.read()
        self.close()
        if not report:
            raise StartupError(
                f"{self.name}: ended while starting; its last words in {self.log}: "
                f"{_last_line(self.log)}"
            )
        answer = orjson.loads(report)
        if "failure" in answer:
            raise StartupError(answer["failure"])

    def entry(self) -> dict[str, Any]:
        """Return what lab.json holds about it."""
        entry: dict[str, Any] = {
            "pid": self.process.pid,
            "start_ticks": start_ticks(self.process.pid),
            "log": str(self.log),
        }
        if self.port is not None:
            entry["port"] = self.port
        return entry

    def close(self) -> None:
        """Close the pipe; the process goes on."""
        self._ready.close()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "(none)"
