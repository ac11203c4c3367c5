"""Starts the bridge, and again if it dies: the new one opens the circuit.

The meter's command set has no dead-man: a meter whose bridge is gone holds what it was
told last. So this small process, which does nothing that can fail, stands by.
"""

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Final

__all__ = ["REFUSED", "supervise"]

REFUSED: Final = 3
"""Exit code of a bridge that can't work as it was asked; it is not started again."""
_DEATHS_MAX: Final = 5
_WITHIN_S: Final = 60.0
_PAUSE_S: Final = 0.5
_LOG = logging.getLogger("cryoline.scpi_potentiostat")


def supervise(command: Sequence[str]) -> int:
    """Run a command until it ends by itself or by a signal to this process.

    Returns its exit code.
    """
    ending = threading.Event()
    children: list[subprocess.Popen[bytes]] = []

    def hand_on(number: int, _frame: object) -> None:
        ending.set()
        for child in children:
            child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hand_on)
    deaths: list[float] = []
    while True:
        # A session of its own, so that Ctrl-C reaches it once, through this process.
        child = subprocess.Popen(command, start_new_session=True)
        children[:] = [child]
        if ending.is_set():  # by a signal that came before there was a child
            child.terminate()
        code = child.wait()
        if code in (0, REFUSED) or ending.is_set():
            return max(code, 0)
        now_s = time.monotonic()
        deaths = [s for s in deaths if now_s - s < _WITHIN_S] + [now_s]
        if len(deaths) > _DEATHS_MAX:
            _LOG.error("the bridge died %d times in a minute; see above", len(deaths))
            return 1
        _LOG.error("the bridge died (exit code %d); it is started again", code)
        ending.wait(_PAUSE_S)
