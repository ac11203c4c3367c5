"""The log of one leg: a row every so often, and what its limits say of it."""

import logging
from functools import partial
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.protocols import Status
from bluesky.utils import Msg, MsgGenerator, short_uid

from cryoline.acquisition.errors import TransferStopped
from cryoline.acquisition.first_done import first_done
from cryoline.acquisition.route_limits import Severity
from cryoline.acquisition.route_model import Leg
from cryoline.acquisition.route_steps import Step
from cryoline.acquisition.transfer_log import Finding, Worst
from cryoline.acquisition.transfer_steps import Party, raise_failure

__all__ = ["LegWatch"]

_log = logging.getLogger("cryoline.transfer")


class LegWatch:
    """What is known of a leg while it is walked.

    uid: of the leg in the custody record
    """

    def __init__(self, party: Party, name: str, specimen: str, uid: str) -> None:
        self._party = party
        self._leg: Leg = party.route.legs[name]
        self._specimen = specimen
        self._uid = uid
        self._warned: set[str] = set()
        self._flagged: set[str] = set()
        self._due_s = 0.0
        self.who = f"transfer {party.route.name}: {specimen}: leg {name}"
        self.worst = Worst()
        self.values: dict[str, Any] = {}
        """The last readings, by VESSEL.SIGNAL."""
        self.now_s = 0.0
        """Instrument time of the last look."""
        self.entered_s = 0.0

    @property
    def place(self) -> str:
        """Where the carrier said last that it is."""
        return str(self.values.get("carrier.place", ""))

    @property
    def air_s(self) -> float:
        """Time in air so far, on all legs."""
        return float(self.values.get("carrier.air_s", 0.0))

    def whereabouts(self) -> str:
        """Return a sentence: where the specimen is, and how it is safe there."""
        if self.values.get("carrier.moving"):
            return f"{self._specimen} is on its way from the {self.place}: look"
        states = self._party.route.states
        for name in (self._leg.from_, self._leg.to):
            if states[name].place == self.place:
                return f"{self._specimen} is in the {self.place}: {states[name].safe}"
        return f"{self._specimen} is in the {self.place or 'place nobody knows'}: look"

    def look(self) -> MsgGenerator[None]:
        """Read everything, without a row."""
        self.values = yield from self._party.log.look_again()
        self.now_s = yield from self._party.log.now_s()

    def sample(self) -> MsgGenerator[None]:
        """Keep a row, and act on what it says: warn, or stop the leg."""
        finding = yield from self._row()
        if finding is not None:
            raise TransferStopped(f"{self.who}: {finding.text()}. {self.whereabouts()}")
        yield from self._check_duration()

    def _row(self) -> MsgGenerator[Finding | None]:
        """Keep a row, flag and warn by it; returns what is a reason to stop."""
        self.now_s = yield from self._party.log.now_s()
        self._due_s = self.now_s + self._party.route.log_every_s
        self.values, findings = yield from self._party.log.record(
            self._leg.limits, self._party.accept
        )
        self.worst.add(self._leg.limits, self.values)
        reason: Finding | None = None
        for finding in findings:
            if finding.severity is Severity.STOP:
                yield from self.flag(finding, self._uid)
                reason = reason or finding
            else:
                yield from self._warn(finding.limit.sensor, finding.text())
        return reason

    def watch(self, status: Status, step: Step, late: str) -> MsgGenerator[None]:
        """Keep the log until a status is done; ``late`` says what is missing else.

        On a move no limit stops it: halfway is the worst place to be. The row after
        the move does.
        """
        began_s = self.now_s
        while not status.done:
            yield from self._tick([status])
            if status.done or self.now_s < self._due_s:
                continue
            if step.move is not None:
                yield from self._row()
            else:
                yield from self.sample()
            if not status.done:
                self._check_time(step, began_s, late)
        raise_failure(status)

    def until(self, step: Step) -> MsgGenerator[None]:
        """Keep the log until a reading is where the step wants it."""
        began_s = self.now_s
        sensor = str(step.until)
        wanted = (
            f"above {step.above:g}" if step.below is None else f"below {step.below:g}"
        )
        while True:
            yield from self.sample()
            if step.is_reached(float(self.values[sensor])):
                return
            reading = f"{sensor} = {self.values[sensor]:.4g}"
            self._check_time(step, began_s, f"{reading} did not come {wanted}")
            yield from self._tick([])

    def flag(self, finding: Finding, leg: str | None) -> MsgGenerator[None]:
        """Mark the specimen for life, if the limit has a mark."""
        if not finding.limit.mark or finding.limit.sensor in self._flagged:
            return
        self._flagged.add(finding.limit.sensor)
        yield Msg(
            "custody_flag",
            None,
            self._specimen,
            finding.limit.mark,
            f"{self.who}: {finding.text()}",
            leg=leg,
            instrument_time_s=self.now_s,
        )

    def _tick(self, statuses: list[Status]) -> MsgGenerator[None]:
        """Wait until the next row of the log is due, or a status is done."""
        self.now_s = yield from self._party.log.now_s()
        left_s = max(0.0, self._due_s - self.now_s)
        due = yield Msg("set", self._party.clock, left_s, group=short_uid("log"))
        waiting = [*statuses, due]
        while not any(status.done for status in waiting):
            yield from bps.wait_for([partial(first_done, waiting)])
        self.now_s = yield from self._party.log.now_s()

    def _check_time(self, step: Step, began_s: float, late: str) -> None:
        if step.within_s is not None and self.now_s - began_s > step.within_s:
            raise TransferStopped(
                f"{self.who}: {late} within {step.within_s:g} s. {self.whereabouts()}"
            )

    def _check_duration(self) -> MsgGenerator[None]:
        took_s = self.now_s - self.entered_s
        longest_s, warn_s = self._leg.duration_max_s, self._leg.duration_warn_s
        if longest_s is not None and took_s > longest_s:
            raise TransferStopped(
                f"{self.who}: it has taken {took_s:.0f} s, {longest_s:g} s are "
                f"allowed. {self.whereabouts()}"
            )
        if warn_s is not None and took_s > warn_s:
            text = f"it has taken {took_s:.0f} s, more than {warn_s:g} s"
            yield from self._warn("duration", text)

    def _warn(self, what: str, text: str) -> MsgGenerator[None]:
        """Say it once a leg."""
        if what in self._warned:
            return
        self._warned.add(what)
        _log.warning("%s: %s", self.who, text)
        yield Msg(
            "custody_warn",
            None,
            self._specimen,
            text,
            leg=self._uid,
            instrument_time_s=self.now_s,
        )
