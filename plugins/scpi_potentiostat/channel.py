"""The thread that owns the meter: it works, and serves clients in between.

A request comes between two readings, so a stop waits for one reading at most.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryoline.plugins.scpi_potentiostat.errors import (
    BridgeError,
    MeterError,
    RequestRefused,
)
from cryoline.plugins.scpi_potentiostat.instrument import Instrument

__all__ = ["Channel"]

_LOG = logging.getLogger("cryoline.scpi_potentiostat")


class Channel:
    """Runs an instrument.

    period_s: from one reading to the next, if the meter is not slower
    on_defect: called when the thread ends and nobody asked it to; the circuit is open
    """

    def __init__(
        self,
        instrument: Instrument,
        *,
        period_s: float = 0.05,
        on_defect: Callable[[], None] = lambda: None,
    ) -> None:
        self.instrument = instrument
        self._period_s = period_s
        self._on_defect = on_defect
        self._requests: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = (
            queue.SimpleQueue()
        )
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="channel", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def end(self) -> None:
        """End the program, open the circuit, and let go of the meter."""
        self._ending.set()
        self._thread.join(timeout=10.0)

    def load(self, text: str) -> "Future[None]":
        """Accept a program, or fail with RequestRefused."""
        return self._request(lambda: self.instrument.load(text))

    def begin(self) -> "Future[None]":
        """Start the loaded program."""
        return self._request(self.instrument.begin)

    def halt(self) -> "Future[None]":
        """Stop the program and open the circuit."""
        return self._request(self.instrument.halt)

    def page(self, first: int) -> "Future[NDArray[np.float64]]":
        """Return up to a page of points from an index on."""
        return self._request(lambda: self.instrument.page(first))

    def _run(self) -> None:
        next_s = time.monotonic()
        try:
            while not self._ending.is_set():
                self._serve(until_s=next_s)
                # A late reading does not make the next ones hurry.
                next_s = max(next_s + self._period_s, time.monotonic())
                self.instrument.tick()
        except Exception:
            # Nobody joins this thread: without this its error would vanish.
            _LOG.exception("the channel ends by a defect")
        try:
            self.instrument.abandon("the bridge was ended")
            self.instrument.close()
        finally:
            if not self._ending.is_set():
                self._on_defect()

    def _serve(self, until_s: float) -> None:
        """Answer requests until the next reading is due, one at least if any waits."""
        while True:
            left_s = until_s - time.monotonic()
            try:
                future, work = self._requests.get(timeout=max(left_s, 1e-3))
            except queue.Empty:
                return
            try:
                future.set_result(work())
            except MeterError as error:
                self.instrument.lose(error)
                future.set_exception(RequestRefused(f"potentiostat: {error}"))
            except BridgeError as error:
                future.set_exception(error)
            except BaseException as error:
                future.set_exception(error)
                raise
            if left_s <= 0:
                return

    def _request(self, work: Callable[[], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        if self._thread.is_alive():
            self._requests.put((future, work))
        else:
            future.set_exception(RequestRefused("potentiostat: the bridge has ended"))
        return future
