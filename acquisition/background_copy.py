"""A copy that is renewed beside the work, so that no exposure waits for it.

The process does not end before the last copy that was asked for is made.
"""

import logging
import threading
from collections.abc import Callable

__all__ = ["BackgroundCopy"]

_log = logging.getLogger("cryoline.dose")


class BackgroundCopy:
    """Renews a copy in a thread; what is asked for meanwhile is one more renewal.

    renew: brings the copy up to date, returns why it could not, "" if it could
    """

    def __init__(self, renew: Callable[[], str]) -> None:
        self._renew = renew
        self._changed = threading.Condition()
        self._is_wanted = False
        self._runs = False
        self._problem = ""

    def request(self) -> str:
        """Have the copy renewed soon; return the problem of the last renewal, or ""."""
        with self._changed:
            self._is_wanted = True
            if not self._runs:
                self._runs = True
                # No daemon: the end of the process waits for it.
                threading.Thread(target=self._work, name="ledger-copy").start()
            return self._problem

    def finish(self) -> str:
        """Wait until every renewal is made; return the problem of the last, or ""."""
        with self._changed:
            self._changed.wait_for(lambda: not self._runs)
            return self._problem

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._is_wanted:
                    self._runs = False
                    self._changed.notify_all()
                    return
                self._is_wanted = False
            problem = self._renew()
            if problem:
                _log.error(problem)
            with self._changed:
                self._problem = problem
