"""What protects the specimen at the instrument: dead-man, interlocks and lease.

The guard is a thread with a socket of its own. It neither renders nor writes, and it
needs no event loop: whatever the rest of the server does, it looks and blanks.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cryoline.sim.column import ColumnState
from cryoline.sim.errors import SimulationError
from cryoline.sim.rpc import WorldClient

__all__ = ["BEAT_LIMIT_S", "NEVER_S", "BeamGuard"]

BEAT_LIMIT_S: Final = 0.4
"""Wall time without a beat of the session at which the beam is blanked."""
_LEASE_S: Final = 2.0
"""Wall time without a beat after which another session may claim the beam."""
_LOOK_S: Final = 0.02  # between two looks while the beam may come on
_IDLE_LOOK_S: Final = 0.1
_BLIND_S: Final = 1.0  # a guard that looked longer ago protects nothing
_FAREWELL_S: Final = 5.0
_STAGE_POLL_S: Final = 1.0
_TEMPERATURE_DEGC: Final = -140.0
_LN2_PERCENT: Final = 1.0
NEVER_S: Final = 1e9
"""Age of a beat that never came."""
_LOG = logging.getLogger("cryoline.sim.ioc")


class BeamGuard:
    """Watches beats and interlocks, and blanks.

    on_defect: called if the guard itself fails, after a last attempt to blank
    """

    def __init__(self, on_defect: Callable[[], None]) -> None:
        self._on_defect = on_defect
        self._wake = threading.Event()
        self._beat_s: float | None = None
        self._looked_s: float | None = None
        self._blank_wanted = True  # blanked at the start-up, before anything else
        self.holder = ""
        self.interlock = "the guard has not looked yet"
        """Why the beam must be off; empty if it may be on."""

    def start(self, socket: Path) -> None:
        """Begin to watch."""
        threading.Thread(
            target=self._watch, args=(socket,), name="beam guard", daemon=True
        ).start()

    def beat(self) -> None:
        """Take a beat of the session; called in a thread of EPICS."""
        self._beat_s = time.monotonic()

    def want_blank(self, value: int) -> None:
        """Blank as soon as possible, whatever the event loop does."""
        if value:
            self._blank_wanted = True
            self._wake.set()

    def armed(self) -> None:
        """Look often from now on."""
        self._wake.set()

    @property
    def beat_age_s(self) -> float:
        """Wall time since the last beat."""
        beat_s = self._beat_s
        return NEVER_S if beat_s is None else time.monotonic() - beat_s

    def claim(self, session: str) -> str:
        """Give the beam to a session, or give it back (""); returns why not."""
        if session not in ("", self.holder) and self.holder:
            age_s = self.beat_age_s
            if age_s < _LEASE_S:
                return (
                    f"beam: Lease: {session} can't have the beam: {self.holder} holds "
                    f"it, and its last beat is {age_s:.1f} s old; end that session, or "
                    f"wait until it has been silent for {_LEASE_S:g} s"
                )
        if self.holder not in ("", session):
            self._beat_s = None  # the beats so far were another's
        self.holder = session
        return ""

    def refusal(self, what: str, session: str = "") -> str:
        """Return why nothing may be armed or started, "" if it may.

        session: that asks, if it says so; must be the holder
        """
        looked_s = self._looked_s
        if looked_s is None or time.monotonic() - looked_s > _BLIND_S:
            return f"beam: {what}: the dead-man does not run; restart the beam's server"
        if self.interlock:
            return f"beam: {what}: interlock: {self.interlock}"
        if not self.holder:
            return (
                f"beam: {what}: no session holds the beam; write its id to Lease, and "
                "beats to SessionBeat"
            )
        if session not in ("", self.holder):
            return (
                f"beam: {what}: session {session} has lost the beam to {self.holder}; "
                "end that one, or wait until it has been silent for "
                f"{_LEASE_S:g} s"
            )
        age_s = self.beat_age_s
        if age_s > BEAT_LIMIT_S:
            silent = "never" if age_s >= NEVER_S else f"{age_s:.2f} s ago"
            return (
                f"beam: {what}: the last beat of {self.holder} came {silent} (limit "
                f"{BEAT_LIMIT_S:g} s); write SessionBeat every 0.1 s"
            )
        return ""

    def _watch(self, socket: Path) -> None:
        try:
            with WorldClient(socket) as world:
                while True:
                    looking_often = self._look(world)
                    self._wake.wait(_LOOK_S if looking_often else _IDLE_LOOK_S)
                    self._wake.clear()
        except SimulationError as error:
            _LOG.error("the beam's guard ends: %s", error)
            # The server has lost the same world, and ends with a farewell to its
            # clients; it is ended from here only if it does not.
            threading.Event().wait(_FAREWELL_S)
        except Exception:
            # A beam without its guard must not stay: blank by another connection,
            # and let the server end.
            _LOG.exception("the beam's guard ends by a defect")
            with WorldClient(socket) as world:
                world.call("beam.blank", cause="dead_man")
        self._on_defect()

    def _look(self, world: WorldClient) -> bool:
        """Look once, blank if need be; returns whether the beam may come on."""
        seen = world.call("beam.guard")
        self.interlock = _tripped(seen)
        self._looked_s = time.monotonic()
        state = seen["state"]
        may_come_on = state in (ColumnState.ARMED, ColumnState.EXPOSING)
        cause = ""
        if self._blank_wanted:
            self._blank_wanted = False
            cause = "blank"
        elif may_come_on and self.interlock:
            cause = "interlock"
        elif may_come_on and self.beat_age_s > BEAT_LIMIT_S:
            cause = "dead_man"
        if not cause:
            return may_come_on
        world.call("beam.blank", cause=cause)
        _LOG.info(
            "blanked by %s: %s", cause, self.interlock or f"{self.beat_age_s:.2f} s"
        )
        return False


def _tripped(seen: dict[str, Any]) -> str:
    """Return which interlock input is beyond its limit, "" if none is."""
    if seen["stage_poll_age_s"] > _STAGE_POLL_S:
        return f"the stage's server is silent for more than {_STAGE_POLL_S:g} s"
    if seen["stage_temperature_degc"] > _TEMPERATURE_DEGC:
        return (
            f"stage at {seen['stage_temperature_degc']:.1f} degC is warmer than "
            f"{_TEMPERATURE_DEGC:g} degC"
        )
    if seen["ln2_percent"] < _LN2_PERCENT:
        return (
            f"dewar at {seen['ln2_percent']:.1f} % holds less than {_LN2_PERCENT:g} %"
        )
    return ""
