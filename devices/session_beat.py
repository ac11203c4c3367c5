"""The session's heartbeat at the beam: the beam may be on only while it comes.

The beat comes from a thread with a Channel Access context of its own, so that it
waits for nothing that the session waits for. It ends with the process, and it pauses
while something is armed and the RunEngine's loop hangs: nobody could act then.
"""

import atexit
import logging
import os
import socket
import threading
import time
import uuid
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any, Final

from cryoline.devices.errors import ExposureRefused, InstrumentUnreachable

__all__ = ["SessionBeat", "session_id"]

_NOT_AT_REST: Final = (1, 2)
"""Armed and exposing, as a `BeamState` counts."""
_CLAIM_EVERY_S: Final = 0.5
_FROZEN_S: Final = 1.0
"""A thread that was away for so long knows nothing of now."""
_log = logging.getLogger("cryoline.beat")


def session_id() -> str:
    """Return a name for this session of at most 39 bytes, as the lease shows it."""
    host = socket.gethostname().encode("ascii", "ignore").decode()[:18]
    return f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


class SessionBeat:
    """Holds the lease of a beam while plans run, and beats as long as it does.

    prefix: of the beam's PVs
    loop: the RunEngine's
    is_idle: whether no plan runs; the beam is then given back after ``idle_s``
    """

    period_s = 0.1
    loop_stall_s = 5.0
    idle_s = 5.0
    answer_timeout_s = 5.0

    def __init__(
        self,
        prefix: str,
        *,
        loop: AbstractEventLoop,
        is_idle: Callable[[], bool],
        session: str | None = None,
    ) -> None:
        self.session = session or session_id()
        self.beats = 0
        """Beats that were sent."""
        self._prefix = prefix
        self._loop = loop
        self._is_idle = is_idle
        self._ticked_s = self._busy_s = self._looked_s = time.monotonic()
        self._lock = threading.Lock()
        self._wants_beam = False
        self._claimed_s = 0.0
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._ca: Any = None
        self._channels: dict[str, Any] = {}
        # Kept by monitors, so that no look at it waits for the network.
        self._shown: dict[str, Any] = {}
        self._was_stalled = False

    def start(self) -> None:
        """Begin; nothing is sent before the beam is claimed."""
        self._thread = threading.Thread(
            target=self._run, name=f"beat of {self._prefix}", daemon=True
        )
        self._thread.start()
        # Before pyepics ends: a thread that still talks then crashes the process.
        atexit.register(self.stop)

    def stop(self) -> None:
        """Give the beam back and end; a second time does nothing."""
        self._end.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
            self._thread = None
            atexit.unregister(self.stop)

    def claim(self) -> None:
        """Take the beam for this session; returns once it has it and beats.

        Raises ExposureRefused if another session has it, InstrumentUnreachable.
        """
        with self._lock:
            self._busy_s = time.monotonic()
            if self._wants_beam and self._holder() == self.session:
                return
            self._wants_beam, self._claimed_s = True, 0.0
        beats = self.beats
        deadline_s = time.monotonic() + self.answer_timeout_s
        while self._holder() != self.session or self.beats < beats + 2:
            if self._end.wait(self.period_s / 2) or time.monotonic() > deadline_s:
                self._wants_beam = False
                raise self._refusal()

    def _refusal(self) -> Exception:
        holder = self._holder()
        if holder is None:
            return InstrumentUnreachable(
                f"{self._prefix}Lease: its IOC does not answer; see cryoline doctor"
            )
        if holder not in ("", self.session):
            return ExposureRefused(
                f"{self._prefix}Lease: session {holder} has the beam; end it, or wait "
                "until it has been silent for 2 s"
            )
        return InstrumentUnreachable(
            f"{self._prefix}Lease: it did not give this session the beam within "
            f"{self.answer_timeout_s:g} s; try again, see cryoline doctor"
        )

    # In the thread -----------------------------------------------------------------

    def _run(self) -> None:
        # Imported here: it opens Channel Access, whose addresses are in the
        # configuration. ophyd first, which tells it what library to load.
        import ophyd  # noqa: F401
        from epics import ca

        # Channels, not PVs: a PV that is collected later, in whatever thread, would
        # clear itself up in a context that is gone, and crash the process.
        self._ca = ca
        try:
            ca.create_context()
            for name in ("SessionBeat", "Lease", "LeaseHolder_RBV", "State_RBV"):
                self._channels[name] = ca.create_channel(
                    self._prefix + name, callback=self._on_connection
                )
            subscriptions = [
                ca.create_subscription(
                    self._channels[name], ftype=kind, callback=self._on_value
                )
                for name, kind in (
                    ("LeaseHolder_RBV", ca.dbr.STRING),
                    ("State_RBV", ca.dbr.LONG),
                )
            ]
            next_s = time.monotonic()
            while not self._end.wait(max(0.0, next_s - time.monotonic())):
                next_s = max(next_s, time.monotonic() - self.period_s) + self.period_s
                self._beat()
            if self._holder() == self.session:
                self._put("Lease", "")
            for *_, event in subscriptions:
                ca.clear_subscription(event)
            for channel in self._channels.values():
                ca.clear_channel(channel)
            ca.context_destroy()
        except Exception:
            # Without a beat the instrument blanks: safe, and the reason is kept.
            _log.exception("the heartbeat of %s ended by a defect", self._prefix)

    def _beat(self) -> None:
        now_s = time.monotonic()
        away_s, self._looked_s = now_s - self._looked_s, now_s
        self._ask_loop()
        if away_s > _FROZEN_S:
            # What the monitors show is of before: another may have the beam by now.
            # One period later they have come.
            return
        if not self._is_idle() or self._is_armed():
            self._busy_s = now_s
        with self._lock:
            if self._wants_beam and now_s - self._busy_s > self.idle_s:
                self._wants_beam = False
                self._put("Lease", "")
        if not self._wants_beam:
            return
        if self._holder() != self.session:
            if now_s - self._claimed_s > _CLAIM_EVERY_S:
                self._claimed_s = now_s
                self._put("Lease", self.session)
            return
        is_stalled = self._is_armed() and now_s - self._ticked_s > self.loop_stall_s
        if is_stalled != self._was_stalled:
            self._was_stalled = is_stalled
            _log.error("the RunEngine's loop %s", "hangs" if is_stalled else "is back")
        if not is_stalled:
            self.beats += 1
            self._put("SessionBeat", self.beats % 2**31)

    def _ask_loop(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._tick)
        except RuntimeError:  # closed: it will never tick again
            _log.debug("the RunEngine's loop is closed")

    def _tick(self) -> None:
        self._ticked_s = time.monotonic()

    def _on_value(self, *, pvname: str, value: Any, **_: Any) -> None:
        self._shown[pvname.removeprefix(self._prefix)] = value

    def _on_connection(self, *, pvname: str, conn: bool, **_: Any) -> None:
        if not conn:
            self._shown.pop(pvname.removeprefix(self._prefix), None)

    def _is_armed(self) -> bool:
        return self._shown.get("State_RBV") in _NOT_AT_REST

    def _holder(self) -> str | None:
        """Return who has the beam, "" if nobody; None if its IOC is away."""
        return self._shown.get("LeaseHolder_RBV")

    def _put(self, name: str, value: Any) -> None:
        channel = self._channels[name]
        if self._ca.isConnected(channel):
            self._ca.put(channel, value)
