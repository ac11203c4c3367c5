"""The electron beam: blanked, unless it exposes by a ticket.

The instrument times an exposure, counts its charge, ends it at its limits, and logs
it. The device arms and starts, and finds out by the log how it ended.
"""

import json
import logging
import math
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

from ophyd import DeviceStatus, EpicsSignalRO
from ophyd.status import Status

from cryoline.devices.beam_panel import BeamPanel, BeamState
from cryoline.devices.errors import (
    ExposureFailed,
    ExposureRefused,
    InstrumentUnreachable,
)
from cryoline.devices.exchange import in_thread, read, write
from cryoline.devices.exposure import ExposureResult, Outcome, ProbeCurrent, Ticket

__all__ = ["Beam", "ExposureStatus"]

_LOOK_EVERY_S: Final = 0.25
"""Wall time between two looks, should no monitor of the counter arrive."""
_READ_AGAIN: Final = 5
_CLOCK_PLAY_S: Final = 1.0
"""Instrument time by which two readings of a clock may be out of order."""
_NEVER_S: Final = 1e9
"""Age of a current that was never measured."""
_log = logging.getLogger("cryoline.beam")


@dataclass(frozen=True)
class _Armed:
    """An armed exposure, and where the instrument's log stood before it."""

    ticket: Ticket
    boot_id: str
    counter: int
    blankings: int


class Beam(BeamPanel):
    """A scanned probe that can only expose what a ticket allows.

    Setting it to a `Ticket` arms the instrument; triggering it exposes. It is
    *set*, and not prepared, so that the RunEngine, which stops whatever it has set,
    blanks it at a pause, an abort, a halt and the end of every plan. Plans go
    through ``expose()``, which asks the dose ledger for the ticket.
    """

    answer_timeout_s = 5.0
    blank_timeout_s = 2.0
    reconnect_timeout_s = 30.0
    """How long an exposure's end is asked for while nobody answers."""
    session = ""
    """Who arms, as the lease names it; the instrument refuses any but the holder."""

    def __init__(self, prefix: str, *, name: str, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self._armed: _Armed | None = None
        self._latest_s = -math.inf
        self._blankings = 0
        self._log_lock = threading.Lock()
        self._arming = threading.Lock()
        self._look_again = threading.Event()  # never set: a wait without sleep

    # Exposing ----------------------------------------------------------------------

    def set(self, value: Ticket) -> Status:
        """Arm the instrument with a ticket; done when it is armed.

        The status fails with ExposureRefused and the instrument's own reason.
        """
        # A plan that fails clears up by itself; a late stop would hit the next one.
        status = DeviceStatus(self, call_stop_on_failure=False)
        blankings = self._blankings

        def arm() -> None:
            # Who blanks waits for this: nothing is armed behind his back.
            with self._arming:
                boot_id, counter = self.position()
                self._armed = None
                if self._blankings == blankings:
                    self._arm(value)
                if self._blankings != blankings:
                    # To be started all the same: it then finds out that it can't.
                    write(self.blank, 1, timeout_s=self.blank_timeout_s)
                self._armed = _Armed(value, boot_id, counter, blankings)

        in_thread(status, arm, f"arm {self.name}")
        return status

    def trigger(self) -> "ExposureStatus":
        """Expose what is armed; done when it has ended, however, or never began.

        ``status.result`` says how. Raises ExposureRefused without a ticket.
        """
        armed, self._armed = self._armed, None
        if armed is None:
            raise ExposureRefused(
                f"{self.name}.trigger(): no ticket of the dose ledger is armed; use "
                f"expose() in a plan, or RE(expose_once({self.name}, [...], "
                "Exposure(...)))"
            )
        status = ExposureStatus(self, call_stop_on_failure=False)
        # Sent from here: a blanking that comes later is then later on the wire too.
        started = self.start.set(1, timeout=self.answer_timeout_s)

        def follow() -> None:
            status.result = self._follow(armed, started)
            status.cut_here = self._blankings != armed.blankings

        in_thread(status, follow, f"follow {self.name}")
        return status

    def outcome_of(
        self, ticket_uid: str, boot_id: str, counter: int
    ) -> ExposureResult | None:
        """Return how the exposure of a ticket ended; None while it is under way.

        ``boot_id`` and ``counter`` are those of before. A ticket that is in no record
        since and is not armed has the outcome NONE. Raises ExposureFailed if the
        instrument was restarted, InstrumentUnreachable.
        """
        result = self._look(ticket_uid, boot_id, counter)
        if result is not None and result.outcome is Outcome.NONE:
            # Its PVs change one after the other: a record may be just behind.
            self._look_again.wait(_LOOK_EVERY_S)
            result = self._look(ticket_uid, boot_id, counter)
        return result

    def _look(
        self, ticket_uid: str, boot_id: str, counter: int
    ) -> ExposureResult | None:
        state = self._get(self.state)  # before the counter: it ends in between
        armed_uid = self._get(self.armed_ticket_uid)
        boot_now, counter_now = self.position()
        if boot_now != boot_id or counter_now < counter:
            raise ExposureFailed(
                f"{self.name}: the instrument was restarted while ticket {ticket_uid} "
                "was open, and lost its log; the ticket stays charged in full until a "
                "person settles it: cryoline dose show"
            )
        for number in range(counter + 1, counter_now + 1):
            result = self.logged(number)
            if result is not None and result.ticket_uid == ticket_uid:
                return result
        if armed_uid == ticket_uid and state in (BeamState.ARMED, BeamState.EXPOSING):
            return None
        return ExposureResult(
            ticket_uid=ticket_uid,
            outcome=Outcome.NONE,
            charge_c=0.0,
            beam_on_s=0.0,
            frames=0,
            counter=counter_now,
            boot_id=boot_now,
        )

    def logged(self, counter: int) -> ExposureResult | None:
        """Return the instrument's record of one exposure; None if it has none."""
        with self._log_lock:
            for _ in range(_READ_AGAIN):
                write(self.log_request, counter, timeout_s=self.answer_timeout_s)
                text = self._get(self.log_record)
                if not text:
                    return None
                record = json.loads(text)
                if record["counter"] == counter:
                    break
            else:  # another session asks for others at the same time
                raise InstrumentUnreachable(
                    f"{self.name}: asked {_READ_AGAIN} times for exposure {counter} of "
                    "the log, got others; does another session read it? Try again"
                )
        return ExposureResult(
            ticket_uid=record["ticket"],
            outcome=Outcome(record["outcome"]),
            charge_c=record["charge_c"],
            beam_on_s=record["beam_on_s"],
            frames=record["frames"],
            counter=record["counter"],
            boot_id=record["boot_id"],
        )

    def position(self) -> tuple[str, int]:
        """Return boot id and exposure counter of now: where the log stands."""
        return str(self._get(self.boot_id)), int(self._get(self.exposure_counter))

    def why(self) -> str:
        """Return the instrument's reason for refusing, or why it is interlocked."""
        if self._get(self.interlock):
            return f"interlock: {self._get(self.interlock_reason)}"
        return str(self._get(self.message)) or (
            "it took the request, and was blanked again: by its dead-man (a server "
            "that was frozen has missed the beats), or by somebody; try again"
        )

    # Current -----------------------------------------------------------------------

    def probe_current(self) -> ProbeCurrent:
        """Return the measured current, its age, and what the source can give.

        If the instrument's clock has gone back, the current counts as never measured.
        Raises ExposureRefused for what can be no current.
        """
        current_pa = self._get(self.current_pa)
        current_max_pa = self._get(self.current_max_pa)
        for signal, value, is_possible in (
            (self.current_pa, current_pa, current_pa >= 0),
            (self.current_max_pa, current_max_pa, current_max_pa > 0),
        ):
            if not (is_possible and math.isfinite(value)):
                raise ExposureRefused(
                    f"{signal.name} is {value:g} pA, which is no current; nothing is "
                    "exposed with it. Measure it again, and look at the instrument's "
                    "electrometer and its IOC"
                )
        return ProbeCurrent(
            current_pa=current_pa,
            age_s=self._current_age_s(),
            current_max_pa=current_max_pa,
        )

    def _current_age_s(self) -> float:
        """Return how old the current is, beyond every limit if nobody can know."""
        now_s, age_s = self._get(self.instrument_time_s), self._get(self.current_age_s)
        went_back_s = self._latest_s - now_s
        self._latest_s = max(self._latest_s, now_s)
        if went_back_s > _CLOCK_PLAY_S or not age_s >= 0:
            _log.warning(
                "%s: the instrument's clock is %.3g s behind what it was, and its "
                "current %.3g s old; it counts as never measured",
                *(self.name, went_back_s, age_s),
            )
            return _NEVER_S
        return float(age_s)

    def measure_current(self) -> Status:
        """Measure the current with the specimen blanked; done when it is known.

        The status fails with ExposureRefused and the instrument's own reason.
        """
        status = DeviceStatus(self, call_stop_on_failure=False)

        def measure() -> None:
            asked_s = self._get(self.instrument_time_s)
            write(self.measure, 1, timeout_s=self.answer_timeout_s)
            while self._get(self.state) == BeamState.MEASURING:
                self._look_again.wait(_LOOK_EVERY_S / 5)
            age_s = self._get(self.current_age_s)
            now_s = self._get(self.instrument_time_s)
            if not 0 <= age_s <= now_s - asked_s:
                raise ExposureRefused(
                    f"{self.name} did not measure its current: {self.why()}"
                )
            self._latest_s = now_s

        in_thread(status, measure, f"measure {self.name}")
        return status

    # Blanking ----------------------------------------------------------------------

    def stop(self, *, success: bool = False) -> None:
        """Blank, disarm, and end an exposure; works always, and harms nothing.

        Raises InstrumentUnreachable if nobody answers.
        """
        self._blankings += 1
        write(self.blank, 1, timeout_s=self.blank_timeout_s)
        with self._arming:
            pass  # what was just being armed is blanked as well

    def pause(self) -> None:
        """Blank at once, for the RunEngine: the exposure that runs ends as cut."""
        try:
            self.stop()
        except InstrumentUnreachable:
            # Raised here it would end the run without the plan's own clean-up. The
            # instrument ends the exposure by itself, at its limits.
            _log.exception("%s could not be blanked at a pause", self.name)

    def resume(self) -> None:
        """Leave it blanked: the plan decides whether to expose again."""

    # -------------------------------------------------------------------------------

    def _arm(self, ticket: Ticket) -> None:
        blankings = self._blankings
        order = ticket.arming()
        if self.session:
            order["session"] = self.session
        write(self.arm, json.dumps(order), timeout_s=self.answer_timeout_s)
        is_armed = self._get(self.armed_ticket_uid) == ticket.uid
        if not is_armed and self._blankings == blankings:
            raise ExposureRefused(
                f"{self.name} did not arm ticket {ticket.uid}: {self.why()}"
            )

    def _follow(self, armed: _Armed, started: Status) -> ExposureResult:
        """Return how an exposure ended, once it has; outlive a lost connection."""
        news = threading.Event()
        token = self.exposure_counter.subscribe(lambda **_: news.set(), run=False)
        where = (armed.ticket.uid, armed.boot_id, armed.counter)
        silent_since: float | None = None
        try:
            while True:
                try:
                    result = self.outcome_of(*where)
                    if result is not None:
                        return result
                    if started.done and self._get(self.state) == BeamState.ARMED:
                        write(self.blank, 1, timeout_s=self.blank_timeout_s)
                    silent_since = None
                except InstrumentUnreachable as error:
                    silent_since = silent_since or time.monotonic()
                    if time.monotonic() - silent_since > self.reconnect_timeout_s:
                        raise ExposureFailed(
                            f"{self.name}: nobody has answered for "
                            f"{self.reconnect_timeout_s:g} s; how the exposure of "
                            f"ticket {armed.ticket.uid} ended is not known, and it "
                            "stays charged in full. Restart the IOC; the next plan "
                            "asks the instrument's log"
                        ) from error
                news.wait(_LOOK_EVERY_S)
                news.clear()
        finally:
            self.exposure_counter.unsubscribe(token)

    def _get(self, signal: EpicsSignalRO) -> Any:
        return read(signal, timeout_s=self.answer_timeout_s)


class ExposureStatus(DeviceStatus):
    """Done when the exposure has ended, or can't happen any more."""

    result: ExposureResult | None = None
    cut_here: bool = False
    """Whether this session has blanked since it armed, by a pause or a stop."""
