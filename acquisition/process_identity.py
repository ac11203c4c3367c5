"""Which process is meant: a pid alone is given away again by the kernel."""

import os
import signal
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import orjson

__all__ = ["ProcessIdentity", "read_state", "write_state"]


@dataclass(frozen=True)
class ProcessIdentity:
    """A pid and the moment its process began: together they are never reused."""

    pid: int
    start_ticks: int
    """Clock ticks after boot, field 22 of /proc/PID/stat (see proc(5))."""

    @classmethod
    def of(cls, pid: int) -> Self:
        """Return the identity of a living process.

        Raises ProcessLookupError if there is none.
        """
        fields = _stat(pid)
        if fields is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(pid, int(fields[19]))

    @classmethod
    def from_state(cls, state: dict[str, Any] | None) -> Self | None:
        """Return the identity in a state file's content, None if it holds none."""
        if not state or "pid" not in state or "start_ticks" not in state:
            return None
        return cls(int(state["pid"]), int(state["start_ticks"]))

    def is_alive(self) -> bool:
        """Return whether that very process still runs (a zombie does not)."""
        fields = _stat(self.pid)
        return (
            fields is not None
            and fields[0] not in ("Z", "X")
            and int(fields[19]) == self.start_ticks
        )

    def as_dict(self) -> dict[str, int]:
        """Return what ``from_state`` reads."""
        return asdict(self)

    def end(self, grace_s: float) -> bool:
        """Ask the process to end, kill it after ``grace_s``; return False if killed.

        A stopped process is continued first, or it could not hear the request.
        """
        for request, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
            if not self._send(request) or self._wait_ended(wait_s):
                return request is signal.SIGTERM
        raise ProcessLookupError(
            f"process {self.pid} does not end, not even by SIGKILL"
        )

    def _send(self, number: signal.Signals) -> bool:
        if not self.is_alive():
            return False
        try:
            os.kill(self.pid, number)
            os.kill(self.pid, signal.SIGCONT)
        except ProcessLookupError:
            return False
        return True

    def _wait_ended(self, timeout_s: float) -> bool:
        tick = threading.Event()
        step_s = 0.05
        for _ in range(max(1, round(timeout_s / step_s))):
            if not self.is_alive():
                return True
            tick.wait(step_s)
        return not self.is_alive()


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the third (state) on."""
    try:
        content = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the name in brackets, may itself hold blanks and brackets.
    return content.rpartition(")")[2].split()


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Replace a state file, so that a reader sees the old or the new one whole."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(orjson.dumps(state, option=orjson.OPT_INDENT_2))
    temporary.replace(path)


def read_state(path: Path) -> dict[str, Any] | None:
    """Return the content of a state file, None if there is none or it is damaged."""
    try:
        content = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    return content if isinstance(content, dict) else None
