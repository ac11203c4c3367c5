"""What a transfer reads on its way, and how each reading compares with its limits."""

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.route_limits import Limit, Severity, unit_of
from cryoline.acquisition.save_event import save_event

__all__ = ["STREAM", "Finding", "LegNotes", "TransferLog", "Worst", "judge"]

STREAM = "transfer"


@dataclass(frozen=True)
class Finding:
    """A reading that is beyond a limit."""

    limit: Limit
    value: float
    severity: Severity

    def text(self, *, beginning: bool = False) -> str:
        """Return it as part of a sentence, with its limit and what to do."""
        sensor = self.limit.sensor
        bound = self.limit.broken_bound(self.value, beginning=beginning)
        advice = f"; {self.limit.advice}" if self.limit.advice else ""
        return f"{sensor} = {self.value:.4g} {unit_of(sensor)} is {bound}{advice}"


def judge(
    limits: Sequence[Limit],
    values: Mapping[str, Any],
    *,
    accept: Collection[str] = (),
    beginning: bool = False,
) -> list[Finding]:
    """Return every limit that is passed, the worst first.

    accept: marks whose limits only warn
    beginning: judge as before a leg, where what refuses is a reason to stop
    """
    findings = []
    for limit in limits:
        value = float(values[limit.sensor])
        severity = limit.severity(value)
        if beginning and limit.forbids_to_begin(value):
            severity = Severity.STOP
        if severity is Severity.STOP and limit.mark and limit.mark in accept:
            severity = Severity.WARN
        if severity is not Severity.NONE:
            findings.append(Finding(limit, value, severity))
    return sorted(findings, key=lambda finding: -finding.severity)


@dataclass
class Worst:
    """The worst reading of each limited sensor on a leg."""

    values: dict[str, float] = field(default_factory=dict)

    def add(self, limits: Sequence[Limit], values: Mapping[str, Any]) -> None:
        """Take readings into account."""
        for limit in limits:
            value = float(values[limit.sensor])
            if not math.isfinite(value):
                continue
            is_upper = limit.warn_above is not None or limit.stop_above is not None
            worse = max if is_upper or limit.refuse_above is not None else min
            before = self.values.get(limit.sensor, value)
            self.values[limit.sensor] = worse(before, value)


class LegNotes:
    """What the plan knows at each row of the log, as a readable."""

    parent = None
    name = "transfer"

    def __init__(self) -> None:
        self.leg = ""
        self.step = 0
        self.alarm = Severity.NONE
        self.alarm_text = ""

    def read(self) -> dict[str, Any]:
        """Return the leg, the step of it (from 0), and how its limits stand."""
        values = {
            "transfer_leg": self.leg,
            "transfer_step": self.step,
            "transfer_alarm": int(self.alarm),
            "transfer_alarm_text": self.alarm_text,
        }
        now = time.time()
        return {key: {"value": v, "timestamp": now} for key, v in values.items()}

    def describe(self) -> dict[str, Any]:
        """Describe the columns."""
        kinds = {
            "transfer_leg": "string",
            "transfer_step": "integer",
            "transfer_alarm": "integer",
            "transfer_alarm_text": "string",
        }
        return {
            key: {"source": "plan", "dtype": kind, "shape": []}
            for key, kind in kinds.items()
        }

    def read_configuration(self) -> dict[str, Any]:
        """Return nothing: all of it changes."""
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        """Describe nothing."""
        return {}


class TransferLog:
    """The vessels of a route, read together.

    vessels: by the names that the route uses
    """

    def __init__(self, vessels: Mapping[str, Any], clock: Any) -> None:
        self.notes = LegNotes()
        self._vessels = dict(vessels)
        self._clock = clock

    def look(self) -> MsgGenerator[dict[str, Any]]:
        """Read every vessel; returns the readings by VESSEL.SIGNAL."""
        values: dict[str, Any] = {}
        for role, vessel in self._vessels.items():
            # None is the answer to a message that a pause has cut short.
            reading = yield from bps.read(vessel)
            values |= _by_signal(role, vessel, reading or {})
        return values

    def look_again(self) -> MsgGenerator[dict[str, Any]]:
        """Read every vessel, outside of an event, until all have answered."""
        while True:
            values = yield from self.look()
            if self._is_whole(values):
                return values

    def now_s(self) -> MsgGenerator[float]:
        """Return the instrument time."""
        while True:
            value = yield from bps.rd(self._clock.instrument_time_s, default_value=None)
            if value is not None:
                return float(value)

    def record(
        self, limits: Sequence[Limit], accept: Collection[str]
    ) -> MsgGenerator[tuple[dict[str, Any], list[Finding]]]:
        """Save one row of the log; returns its readings and what they break."""
        values: dict[str, Any] = {}
        findings: list[Finding] = []

        def read() -> MsgGenerator[bool]:
            time_reading = yield from bps.read(self._clock)
            values.clear()
            values.update((yield from self.look()))
            if time_reading is None or not self._is_whole(values):
                return False
            findings[:] = judge(limits, values, accept=accept)
            self.notes.alarm = findings[0].severity if findings else Severity.NONE
            self.notes.alarm_text = "; ".join(finding.text() for finding in findings)
            notes_reading = yield from bps.read(self.notes)
            return notes_reading is not None

        yield from save_event(STREAM, read)
        return values, findings

    def _is_whole(self, values: Mapping[str, Any]) -> bool:
        """Return whether every vessel has answered."""
        answered = {sensor.partition(".")[0] for sensor in values}
        return answered == set(self._vessels)

    def check_readings(
        self, route: str, sensors: Collection[str], values: Mapping[str, Any]
    ) -> None:
        """Raise PlanRefused if a sensor of the route is not among the readings."""
        for sensor in sensors:
            if sensor not in values:
                raise PlanRefused(
                    f"route {route}: {sensor} is a signal, but none of the readings of "
                    f"{sensor.partition('.')[0]} ({', '.join(sorted(values))}); "
                    "choose one of these"
                )


def _by_signal(role: str, vessel: Any, reading: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        getattr(vessel, attribute).name: attribute
        for attribute in vessel.component_names
    }
    return {
        f"{role}.{names[key]}": content["value"]
        for key, content in reading.items()
        if key in names
    }
