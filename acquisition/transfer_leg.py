"""One leg of a transfer: walked step by step, watched all the way, left safe.

1. Whatever ends a leg early, its settings on_abort are made, and the custody record
   says where the specimen is.
2. A halt or a killed session can't do that: the leg stays open in the record.
"""

import logging
import uuid
from functools import partial

from bluesky.utils import FailedStatus, Msg, MsgGenerator, short_uid

from cryoline.acquisition.custody_records import LegReport, LegStart
from cryoline.acquisition.errors import PlanRefused, TransferStopped
from cryoline.acquisition.operator_step import record_answer
from cryoline.acquisition.route_limits import Severity
from cryoline.acquisition.route_model import Leg
from cryoline.acquisition.route_steps import Step
from cryoline.acquisition.transfer_log import judge
from cryoline.acquisition.transfer_steps import Party, insist, make_safe, set_signal
from cryoline.acquisition.transfer_watch import LegWatch
from cryoline.devices.errors import DeviceError

__all__ = ["LegWalk"]

_log = logging.getLogger("cryoline.transfer")


class LegWalk:
    """A specimen on one leg.

    first_step: behind those that were done before the leg was interrupted
    continues: the uid of the leg that this one takes up
    run: the uid of the run
    """

    def __init__(
        self,
        party: Party,
        name: str,
        specimen: str,
        *,
        first_step: int = 0,
        continues: str = "",
        run: str = "",
    ) -> None:
        self._party = party
        self._name = name
        self._leg: Leg = party.route.legs[name]
        self._from = party.route.states[self._leg.from_]
        self._to = party.route.states[self._leg.to]
        self._specimen = specimen
        self._first_step = first_step
        self._continues = continues
        self._run = run
        self._uid = str(uuid.uuid4())
        self._watch = LegWatch(party, name, specimen, self._uid)
        self._air_before_s = 0.0

    def walk(self) -> MsgGenerator[None]:
        """Go it, or raise PlanRefused before it, or TransferStopped on the way."""
        yield from self._check_beginning()
        try:
            yield from self._enter()
            yield from self._watch.sample()
            for index in range(self._first_step, len(self._leg.steps)):
                self._party.log.notes.step = index
                yield from self._do(self._leg.steps[index])
            yield from self._watch.sample()
            self._check_arrival()
        except Exception as error:
            yield from self._leave_early(error)
            explained = self._explained(error)
            if explained is error:
                raise
            raise explained from error
        yield from self._leave("done")

    def _check_beginning(self) -> MsgGenerator[None]:
        watch = self._watch
        yield from watch.look()
        self._party.log.check_readings(
            self._party.route.name, self._leg.sensors, watch.values
        )
        # Behind its move a leg is as it is; what refuses is for its beginning.
        beginning = self._first_step == 0
        if beginning and watch.place != self._from.place:
            raise PlanRefused(
                f"{watch.who}: it begins in the {self._from.place}, and the carrier is "
                f"in the {watch.place}; look, and correct the record or the carrier"
            )
        for finding in judge(
            self._leg.limits,
            watch.values,
            accept=self._party.accept,
            beginning=beginning,
        ):
            if finding.severity is not Severity.STOP:
                continue
            if finding.limit.sensor.startswith("carrier."):
                # Its own reading: it happened before, and is not undone by waiting.
                yield from watch.flag(finding, None)
            raise PlanRefused(
                f"{watch.who} does not begin: {finding.text(beginning=beginning)}. "
                f"{watch.whereabouts()}"
            )

    def _enter(self) -> MsgGenerator[None]:
        watch = self._watch
        watch.entered_s = watch.now_s
        self._air_before_s = watch.air_s
        self._party.log.notes.leg = self._name
        start = LegStart(
            uid=self._uid,
            specimen=self._specimen,
            route=self._party.route.name,
            leg=self._name,
            from_state=self._leg.from_,
            to_state=self._leg.to,
            from_place=self._from.place,
            to_place=self._to.place,
            instrument_time_s=watch.now_s,
            run=self._run,
            continues=self._continues,
        )
        yield Msg("custody_enter", None, start)

    def _do(self, step: Step) -> MsgGenerator[None]:
        watch, party = self._watch, self._party
        if step.set is not None:
            yield from set_signal(party, step)
        elif step.ask is not None:
            text = step.ask.replace("{specimen}", self._specimen)
            asked = yield Msg("set", party.operator, text, group=short_uid("ask"))
            yield from watch.watch(asked, step, f"nobody has confirmed {text!r}")
            yield from record_answer(party.operator)
        elif step.move is not None:
            group = short_uid("move")
            carried = yield Msg("set", party.carrier, step.move, group=group)
            late = f"the carrier did not come to the {step.move}"
            yield from watch.watch(carried, step, late)
            yield from watch.sample()
        elif step.wait_s is not None:
            group = short_uid("wait")
            waited = yield Msg("set", party.clock, step.wait_s, group=group)
            yield from watch.watch(waited, step, "the wait did not end")
        else:
            yield from watch.until(step)

    def _check_arrival(self) -> None:
        watch = self._watch
        if watch.place != self._to.place:
            raise TransferStopped(
                f"{watch.who}: it ends in the {self._to.place}, and the carrier is in "
                f"the {watch.place}; look where it is. {watch.whereabouts()}"
            )

    def _leave(self, outcome: str, why: str = "") -> MsgGenerator[None]:
        watch = self._watch
        state = self._leg.to if outcome == "done" else ""
        if outcome != "done" and watch.place == self._from.place:
            state = self._leg.from_
        report = LegReport(
            uid=self._uid,
            outcome=outcome,
            place=watch.place,
            state=state,
            instrument_time_s=watch.now_s,
            worst=dict(watch.worst.values),
            air_s=max(0.0, watch.air_s - self._air_before_s),
            why=why,
        )
        # An abort may have come before the leg was entered.
        if_entered = outcome != "done"
        yield Msg("custody_leave", None, report, if_entered=if_entered)

    def _leave_early(self, error: Exception) -> MsgGenerator[None]:
        """Make it safe, and say where it is, as far as that goes."""
        watch = self._watch
        yield from make_safe(self._party, self._leg)
        try:
            yield from insist(watch.look)
            watch.worst.add(self._leg.limits, watch.values)
        except Exception as failure:
            # Where it was last seen must be recorded in any case.
            _log.error("%s: the vessels don't answer: %s", watch.who, failure)
        cause = _cause(error)
        why = str(cause) or type(cause).__name__
        _log.error("%s was ended early (%s). %s", watch.who, why, watch.whereabouts())
        yield from insist(partial(self._leave, "stopped", why))

    def _explained(self, error: Exception) -> Exception:
        """Return what to raise: with the way to safety, if nobody asked for the end."""
        cause = _cause(error)
        if isinstance(cause, DeviceError):
            watch = self._watch
            return TransferStopped(f"{watch.who}: {cause}. {watch.whereabouts()}")
        return error


def _cause(error: Exception) -> BaseException:
    """Return what has failed, if it is a status that has failed by it."""
    if isinstance(error, FailedStatus) and error.__cause__ is not None:
        return error.__cause__
    return error
