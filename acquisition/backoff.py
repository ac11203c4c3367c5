"""How often to ask a server that does not take data."""

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

__all__ = ["Backoff", "delay_s"]

_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
"""A server that is back is found within this [A]."""

_log = logging.getLogger(__name__)


@dataclass
class Backoff:
    """How long Tiled has been away, and when to ask it again."""

    since: str | None = None
    """When it began, in UTC; None while all is well."""
    reason: str = ""
    """Why Tiled did not take data the last time; empty while all is well."""
    failures: int = 0
    until: float = 0.0
    """The moment of ``time.monotonic`` before which not to ask."""

    def failed(self, reason: str) -> None:
        """Note another failure; only the first is logged."""
        if self.since is None:
            _log.warning("Tiled does not take data: %s", reason)
            self.since = datetime.now(tz=UTC).isoformat(timespec="seconds")
        self.reason = reason
        self.failures += 1
        self.until = time.monotonic() + delay_s(self.failures)

    def succeeded(self) -> None:
        """Note that data went through."""
        if self.since is not None:
            _log.info("Tiled takes data again (it did not since %s)", self.since)
        self.since, self.reason, self.failures, self.until = None, "", 0, 0.0


def delay_s(failures: int) -> float:
    """Return how long to wait after so many failures in a row.

    >>> [delay_s(n) for n in (1, 2, 3, 9)]
    [0.2, 0.4, 0.8, 5.0]
    """
    return min(_FIRST_WAIT_S * 2.0 ** (failures - 1), _LONGEST_WAIT_S)
