"""The potentiostat that the records show: a meter, a program, and its points on disk.

Whatever goes wrong, the circuit is opened, or is opened as soon as the meter answers.
Used by one thread; see `channel`.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryoline.devices.cycling_protocol import Program, ProgramState
from cryoline.ioc.potentiostat_panel import PotentiostatLimits
from cryoline.plugins.scpi_potentiostat.admission import admit
from cryoline.plugins.scpi_potentiostat.errors import (
    MeterError,
    RequestRefused,
    StorageFailed,
)
from cryoline.plugins.scpi_potentiostat.execution import Execution
from cryoline.plugins.scpi_potentiostat.meter import Drive, Reading, SourceMeter
from cryoline.plugins.scpi_potentiostat.storage import (
    POINTS_MAX,
    ProgramRecord,
    Storage,
)

__all__ = ["Instrument"]

_SCAN_RATE_MAX_MV_PER_S: Final = 200.0
"""Steps of 10 mV at the default period; no source-meter is made for faster sweeps."""
_FLUSH_S: Final = 0.2
_CHECK_S: Final = 1.0
_SOON_S: Final = 2.0
"""Between looks while no cell is there: somebody may be about to connect one."""
_NO_CELL: Final = 0.98  # of the meter's largest potential: nothing holds it lower
_LOG = logging.getLogger("cryoline.scpi_potentiostat")


class Instrument:
    """One channel.

    open_meter: connects, or raises MeterError; tried again until it succeeds
    look_every_s: how often the potential is measured while nothing runs; each look
    closes a relay
    """

    def __init__(
        self,
        open_meter: Callable[[], SourceMeter],
        storage: Storage,
        *,
        look_every_s: float = 10.0,
        reconnect_s: float = 2.0,
    ) -> None:
        self._open_meter = open_meter
        self._storage = storage
        self._look_every_s = look_every_s
        self._reconnect_s = reconnect_s
        # Steady while this process lives, and comparable with the last process'.
        self._epoch_s = time.time() - time.monotonic()
        self._meter = open_meter()
        self._program: Program | None = None
        self._execution: Execution | None = None
        self._reading = Reading(0.0, 0.0, 0.0)
        self._has_contact = True
        self._next_look_s = self._next_try_s = 0.0
        self._next_flush_s = self._next_check_s = 0.0
        self.is_connected = True
        """Whether the meter answers: else its readings mean nothing."""
        model = self._meter.model
        self.limits = PotentiostatLimits(
            model.potential_max_v,
            model.current_max_a,
            _SCAN_RATE_MAX_MV_PER_S,
            POINTS_MAX,
        )
        self._recover()

    def now_s(self) -> float:
        """Return the instrument time: seconds of Unix time, never back."""
        return self._epoch_s + time.monotonic()

    def load(self, text: str) -> None:
        """Accept a program and clear the points of the last, or refuse it."""
        self._refuse_while_running("a program can't be loaded")
        self._refuse_without_meter()
        program = self._admit(text)
        record = ProgramRecord(text, program.uid, ProgramState.LOADED)
        self._storage.load(record)
        self._program, self._execution = program, None
        self._look()

    def begin(self) -> None:
        """Start the loaded program, if the cell is what it is made for."""
        self._refuse_while_running("it can't be started")
        self._refuse_without_meter()
        record = self._storage.record
        if record is None or record.state is not ProgramState.LOADED:
            state = record.state.name.lower() if record else "idle"
            raise RequestRefused(
                f"potentiostat: no program is loaded (state {state}); write one to "
                "Program before Start"
            )
        program = self._program or self._admit(record.text)
        self._look()
        safety, found_v = program.safety, self._reading.potential_v
        if not self._has_contact:
            raise RequestRefused(
                f"potentiostat: no cell is connected (the open terminals are at "
                f"{found_v:.3g} V); connect it, then start again"
            )
        if not safety.potential_min_v <= found_v <= safety.potential_max_v:
            raise RequestRefused(
                f"potentiostat: the cell is at {found_v:.4g} V, outside the safety "
                f"limits {safety.potential_min_v:g}..{safety.potential_max_v:g} V; is "
                "it the right cell? Else widen them"
            )
        self._meter.bound(max(abs(safety.potential_min_v), abs(safety.potential_max_v)))
        self._set_state(ProgramState.RUNNING)
        self._execution = Execution(program, self.now_s(), found_v)

    def halt(self) -> None:
        """Stop the program and open the circuit; no-op if nothing runs."""
        if not self._is_running:
            return
        self._meter.switch_off()
        self._keep_points()
        self._rest(ProgramState.STOPPED)

    def page(self, first: int) -> NDArray[np.float64]:
        """Return up to a page of points from an index on."""
        points = self._storage.points
        count = len(points) if points is not None else 0
        if points is None or not 0 <= first <= count:
            raise RequestRefused(
                f"potentiostat: point {first} is not recorded; ask for 0..{count}"
            )
        return points.page(first)

    def tick(self) -> None:
        """Do what is due: drive and measure, or look at the cell, or for the meter."""
        now_s = self.now_s()
        try:
            if not self.is_connected:
                self._reconnect(now_s)
            elif self._is_running:
                self._step(now_s)
            elif now_s >= self._next_look_s:
                self._look()
        except MeterError as error:
            self.lose(error)
        except StorageFailed as error:
            self.abandon(str(error))

    def lose(self, error: MeterError) -> None:
        """Give up the connection; the next one begins by opening the circuit."""
        _LOG.error("%s", error)
        was_off = self._try_to_switch_off()
        self._meter.close()
        self.is_connected = False
        self._next_try_s = self.now_s() + self._reconnect_s
        if self._is_running:
            self._keep_points()
            where = (
                "the cell is at open circuit"
                if was_off
                else "until it answers again it holds its last potential, within its "
                "own limits; then the circuit is opened"
            )
            self._rest(ProgramState.FAILED, f"potentiostat: {error}; {where}")

    def abandon(self, why: str) -> None:
        """End the program because the bridge can't go on."""
        if self.is_connected:
            self._try_to_switch_off()
        if self._is_running:
            self._keep_points()
            self._rest(
                ProgramState.FAILED,
                f"potentiostat: {why.removeprefix('potentiostat: ')}; the cell is at "
                "open circuit",
            )

    def close(self) -> None:
        """Let go of the meter, whose circuit must be open."""
        self._meter.close()

    def values(self) -> dict[str, Any]:
        """Return what the records show, but for readings of a meter that is away."""
        record, run, points = (
            self._storage.record,
            self._execution,
            self._storage.points,
        )
        shown: dict[str, Any] = {
            "InstrumentTime_RBV": self.now_s(),
            "ProgramUid_RBV": record.uid if record else "",
            "State_RBV": int(record.state if record else ProgramState.IDLE),
            "Message_RBV": record.message if record else "",
            "PointCount_RBV": len(points) if points is not None else 0,
            "Progress_RBV": run.progress_percent() if run else 0.0,
            "Remaining_RBV": run.remaining_s() if run and self._is_running else 0.0,
            "Charge_RBV": run.tally.net_mah if run else 0.0,
            "Cycle_RBV": run.tally.cycle_number if run else 1,
            "HalfCycle_RBV": run.tally.half_cycle if run else 0,
            "Step_RBV": run.step_index if run else 0,
        }
        if self.is_connected:
            shown |= {
                "Potential_RBV": self._reading.potential_v,
                "Current_RBV": self._reading.current_a,
                "Range_RBV": self._reading.range_a,
                "Overload_RBV": self._reading.overload,
                "Contact_RBV": self._has_contact,
                "Compliance_RBV": run.is_limited if run and self._is_running else False,
            }
        return shown

    @property
    def _is_running(self) -> bool:
        record = self._storage.record
        return record is not None and record.state is ProgramState.RUNNING

    def _recover(self) -> None:
        """Go to a safe state after a bridge that did not end by itself."""
        self._next_look_s = self.now_s()
        if self._is_running:
            self._set_state(
                ProgramState.FAILED,
                "potentiostat: the bridge died while the program ran; until it came "
                "back the meter held its last potential and current limit; the cell "
                "is at open circuit now, its points are kept",
            )
        elif self._meter.found_on:
            _LOG.warning("the meter's output was on; it is off now")

    def _admit(self, text: str) -> Program:
        least_a = self._meter.model.current_min_a
        return admit(text, self.limits, current_min_a=least_a)

    def _step(self, now_s: float) -> None:
        """Drive, measure, count, record."""
        run, points = self._execution, self._storage.points
        if run is None or points is None:
            raise TypeError("a program runs without its execution")
        self._meter.drive(run.drive(now_s))
        self._reading = self._meter.read()
        run.take(self.now_s(), self._reading)
        if run.ended:
            self._meter.switch_off()  # before anything that may take time
        self._has_contact = run.has_contact
        for point in run.take_points():
            points.append(point)
        if run.ended or now_s >= self._next_flush_s:
            self._next_flush_s = now_s + _FLUSH_S
            points.flush()
        if run.ended:
            state = ProgramState.FAILED if run.failure else ProgramState.FINISHED
            self._rest(state, run.failure)
        elif now_s >= self._next_check_s:
            self._next_check_s = now_s + _CHECK_S
            self._meter.check()

    def _look(self) -> None:
        """Measure the cell's potential without a current, then open the circuit."""
        self._next_look_s = self.now_s() + self._look_every_s
        try:
            self._meter.bound(self.limits.potential_max_v)
            self._meter.drive(Drive(None))
            self._reading = self._meter.read()
        finally:
            self._meter.switch_off()
        # Nothing on the terminals: the smallest offset drives them to the limit.
        most_v = _NO_CELL * self.limits.potential_max_v
        self._has_contact = abs(self._reading.potential_v) < most_v
        if not self._has_contact:
            self._next_look_s = min(self._next_look_s, self.now_s() + _SOON_S)

    def _reconnect(self, now_s: float) -> None:
        if now_s < self._next_try_s:
            return
        self._next_try_s = now_s + self._reconnect_s
        try:
            self._meter = self._open_meter()
        except MeterError as error:
            _LOG.warning("%s", error)
            return
        self.is_connected = True
        _LOG.info("the meter answers again; its output is off")
        self._look()

    def _try_to_switch_off(self) -> bool:
        try:
            self._meter.switch_off()
        except MeterError as error:
            _LOG.error("the circuit could not be opened: %s", error)
            return False
        return True

    def _keep_points(self) -> None:
        """Flush what there is; a disk that takes no more must not hide the cause."""
        points = self._storage.points
        if points is None:
            return
        try:
            points.flush()
        except StorageFailed as error:
            _LOG.error("%s", error)

    def _rest(self, state: ProgramState, message: str = "") -> None:
        """Leave the running state; the circuit is open."""
        self._reading = replace(self._reading, current_a=0.0, overload=False)
        self._next_look_s = self.now_s() + self._look_every_s
        self._set_state(state, message)

    def _set_state(self, state: ProgramState, message: str = "") -> None:
        record = self._storage.record
        if record is None:
            raise TypeError(f"no program has the state {state.name}")
        changed = replace(record, state=state, message=message)
        try:
            self._storage.save(changed)
        except StorageFailed as error:
            if state is ProgramState.RUNNING:
                raise
            # The circuit is open already. What clients see must say so.
            _LOG.error("%s", error)
            self._storage.record = changed

    def _refuse_while_running(self, what: str) -> None:
        if self._is_running and self._storage.record is not None:
            raise RequestRefused(
                f"potentiostat: {what} while program {self._storage.record.uid} runs; "
                "wait for its end or write Stop"
            )

    def _refuse_without_meter(self) -> None:
        if not self.is_connected:
            raise RequestRefused(
                "potentiostat: the meter does not answer; check its power and its cable"
            )
