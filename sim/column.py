"""The electron column as hardware: blanker, Faraday cup, armed exposure, log.

Nothing depends on who asks how often.
"""

import math
from dataclasses import asdict
from enum import IntEnum
from typing import Final

import numpy as np

from cryoline.sim.errors import RefusedError
from cryoline.sim.exposure_log import ExposureLog, ExposureRecord, Outcome
from cryoline.sim.exposure_timer import ExposureTimer, Frames
from cryoline.sim.probe import ProbeCurrent
from cryoline.sim.scan_order import ScanOrder, read_order

__all__ = [
    "CURRENT_MAX_PA",
    "ENERGY_KEV",
    "MEASURING_S",
    "NEVER_MEASURED_S",
    "Column",
    "ColumnState",
]

ENERGY_KEV: Final = 200.0
CURRENT_MAX_PA: Final = 500.0
"""[A] what the source can give at most."""
MEASURING_S: Final = 2.0
"""[A] time in the Faraday cup."""
NEVER_MEASURED_S: Final = 1e9
"""Age of a reading that does not exist."""
_READING_NOISE: Final = 0.001  # [A] rms of the electrometer, relative
_DEVICE_ID: Final = 4


class ColumnState(IntEnum):
    """What the beam is doing."""

    BLANKED = 0
    ARMED = 1
    EXPOSING = 2
    MEASURING = 3


class Column:
    """A 200 kV column whose beam is blanked unless an exposure runs.

    seed: of the current's drift and the electrometer's noise
    log: keeps the records and the counter, which outlives a reset
    """

    def __init__(self, *, seed: int, log: ExposureLog, time_s: float = 0.0) -> None:
        self.probe = ProbeCurrent(seed=seed, time_s=time_s)
        self._rng_seed = [seed, _DEVICE_ID]
        self._log = log
        self._time_s = time_s
        self._armed: ScanOrder | None = None
        self._running: ExposureTimer | None = None
        self._measured_at_s: float | None = None
        self._measuring_until_s: float | None = None
        self._measurements = 0
        self._ended: list[Frames] = []
        self._idle_since_s = time_s
        self._next_rise = 0.0
        self._rises = False
        self._past_charge_c = 0.0
        self.current_pa = 0.0
        self.last: ExposureRecord | None = None

    @property
    def state(self) -> ColumnState:
        """What the beam is doing."""
        if self._running is not None:
            return ColumnState.EXPOSING
        if self._measuring_until_s is not None:
            return ColumnState.MEASURING
        return ColumnState.BLANKED if self._armed is None else ColumnState.ARMED

    @property
    def armed_ticket(self) -> str:
        """Ticket of what is armed or exposing, "" if nothing is."""
        if self._running is not None:
            return self._running.order.ticket
        return self._armed.ticket if self._armed is not None else ""

    @property
    def order(self) -> ScanOrder | None:
        """What is exposing."""
        return self._running.order if self._running else None

    @property
    def idle_since_s(self) -> float:
        """When the beam was last used; inf while it is."""
        return self._idle_since_s if self.state is ColumnState.BLANKED else math.inf

    @property
    def is_exposing(self) -> bool:
        """Whether the beam is on the specimen."""
        return self._running is not None

    @property
    def rise_is_over(self) -> bool:
        """Whether no rise of the current is ahead or under way."""
        return not self._next_rise and not self._rises

    def current_age_s(self, time_s: float) -> float:
        """Return the instrument time since the current was measured."""
        if self._measured_at_s is None:
            return NEVER_MEASURED_S
        return time_s - self._measured_at_s

    def charge_c(self, time_s: float) -> float:
        """Return the charge onto the specimen since it was put in (truth)."""
        run = self._running
        if run is None:
            return self._past_charge_c
        return self._past_charge_c + run.charge_c(min(time_s, run.end_s))

    def next_event_s(self) -> tuple[float, str] | None:
        """Return when the hardware will end something by itself, and what."""
        if self._running is not None:
            return self._running.end_s, "exposure"
        if self._measuring_until_s is not None:
            return self._measuring_until_s, "measurement"
        return None

    def arm(self, text: str) -> None:
        """Take an exposure to be started, or refuse it."""
        order = read_order(text)
        if self.state is not ColumnState.BLANKED:
            raise RefusedError(
                f"beam: Arm: ticket {order.ticket}: the beam is {self._doing()}; wait "
                "for its end, or write Disarm or Blank"
            )
        if self._log.knows(order.ticket):
            raise RefusedError(
                f"beam: Arm: ticket {order.ticket} was exposed already; a ticket is "
                "good for one exposure: reserve another"
            )
        self._armed = order

    def disarm(self) -> None:
        """Forget what is armed; an exposure that runs is ended by blank only."""
        if self._running is not None:
            raise RefusedError(
                f"beam: Disarm: the beam is {self._doing()}; write Blank to end it"
            )
        self._armed = None

    def start(self, time_s: float, *, tilt_deg: float = 0.0) -> None:
        """Expose what is armed."""
        if self.state is not ColumnState.ARMED or self._armed is None:
            raise RefusedError(
                f"beam: Start: nothing is armed (the beam is {self._doing()}); "
                "write Arm before Start"
            )
        order, self._armed = self._armed, None
        self._rises = bool(self._next_rise)
        if self._rises:
            self.probe.set_rise(self._next_rise, time_s + order.duration_s / 2)
            self._next_rise = 0.0
        self._running = ExposureTimer(order, self.probe, time_s, tilt_deg)

    def blank(self, time_s: float, outcome: Outcome = Outcome.CUT) -> None:
        """Blank and disarm; an exposure or a measurement that runs ends here."""
        self._armed = None
        self._measuring_until_s = None
        run = self._running
        if run is not None:
            run.cut(time_s, outcome)
            self._finish(run)

    def measure(self, time_s: float) -> None:
        """Put the beam into the Faraday cup for a while; the specimen is blanked."""
        if self.state is not ColumnState.BLANKED:
            raise RefusedError(
                f"beam: MeasureCurrent: the beam is {self._doing()}; wait for its end, "
                "or write Disarm or Blank"
            )
        self._measuring_until_s = time_s + MEASURING_S

    def set_scale(self, factor: float, time_s: float) -> None:
        """Let the source give so many times its current from now on (a fault)."""
        self.probe.set_scale(factor, time_s)
        if self._running is not None:
            self._running.foresee()

    def set_next_rise(self, factor: float) -> None:
        """Let the current change half way through the next exposure (a fault)."""
        self._next_rise = factor

    def advance(self, time_s: float) -> None:
        """End what ends up to this instant."""
        self._time_s = time_s
        until_s = self._measuring_until_s
        if until_s is not None and time_s >= until_s:
            self._read_cup(until_s)
        run = self._running
        if run is not None and time_s >= run.end_s:
            self._finish(run)

    def take_frames(self) -> Frames:
        """Hand out the frames scanned since this was last asked."""
        run = self._running
        if run is not None:
            self._ended.append(run.take_frames(min(self._time_s, run.end_s)))
        parts, self._ended = self._ended, []
        if not parts:
            return Frames(*(np.empty(0) for _ in range(4)))
        return Frames(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("start_s", "end_s", "fraction", "charge_c")
            )
        )

    def _doing(self) -> str:
        ticket = f" for ticket {self.armed_ticket}" if self.armed_ticket else ""
        return f"{self.state.name.lower()}{ticket}"

    def _read_cup(self, until_s: float) -> None:
        rng = np.random.default_rng([*self._rng_seed, 1, self._measurements])
        charge_c = float(
            self.probe.charge_c(np.array(until_s - MEASURING_S), np.array(until_s))
        )
        noise = 1.0 + _READING_NOISE * rng.standard_normal()
        self.current_pa = charge_c / MEASURING_S * 1e12 * noise
        self._measurements += 1
        self._measured_at_s = until_s
        self._idle_since_s = until_s
        self._measuring_until_s = None

    def _finish(self, run: ExposureTimer) -> None:
        self._ended += [run.take_frames(run.end_s), run.last_part()]
        record = ExposureRecord(
            boot_id=self._log.boot_id,
            counter=self._log.counter + 1,
            outcome=run.outcome,
            charge_c=run.charge_c(run.end_s),
            beam_on_s=run.beam_on_s,
            frames=run.whole_frames(run.end_s),
            start_s=run.start_s,
            end_s=run.end_s,
            tilt_deg=run.tilt_deg,
            **asdict(run.order),
        )
        self._past_charge_c += record.charge_c
        self._running = None
        self._idle_since_s = run.end_s
        if self._rises:
            self.probe.end_rise(run.end_s)
            self._rises = False
        self._log.append(record)
        self.last = record
