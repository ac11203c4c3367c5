"""A cold tilt stage: four axes and the temperature of the specimen."""

import functools
import itertools
import threading
from collections.abc import Callable
from typing import Any, Final

from ophyd import Component as Cpt
from ophyd import Device, EpicsMotor, EpicsSignal, EpicsSignalRO, PVPositioner
from ophyd.status import MoveStatus
from ophyd.status import wait as wait_for

from cryoline.devices.errors import MoveFailed
from cryoline.devices.exchange import in_thread, read, write

__all__ = ["CryoStage", "CryoStageMotors", "MotorAxis", "StageAxis"]

_LOOK_EVERY_S: Final = 0.1
"""Wall time between two looks at an axis that moves."""
_LOOKS_AT_REST: Final = 3
"""Readback and done are two PVs: so often at rest elsewhere is at rest elsewhere."""


class StageAxis(PVPositioner):
    """One axis; a move ends when the axis is at rest where it was sent.

    A put to the setpoint is answered when the motion has begun. A fast axis may be at
    rest again before anybody sees it move, so what counts is where it stands, not a
    change of ``done``. An axis that is not at rest and has not moved for
    ``patience_s`` of instrument time is stuck.
    """

    setpoint = Cpt(
        EpicsSignal, "", put_complete=True, kind="normal", doc="Where it is sent."
    )
    readback = Cpt(EpicsSignalRO, "_RBV", kind="hinted", doc="Where it is.")
    lowest = Cpt(EpicsSignalRO, ".LOPR", kind="config", doc="Lowest position.")
    highest = Cpt(EpicsSignalRO, ".HOPR", kind="config", doc="Highest position.")
    done = Cpt(EpicsSignalRO, "Done_RBV", kind="omitted", doc="1 at rest.")
    stop_signal = Cpt(
        EpicsSignal, "Stop", put_complete=True, kind="omitted", doc="1 stops it."
    )

    answer_timeout_s = 5.0
    patience_s = 30.0

    def __init__(self, *args: Any, tolerance: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.readback.name = self.name  # stage_alpha_deg, as of a motor record
        self._tolerance = tolerance
        self._stops = 0
        self._is_good_stop = False

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest position, as the instrument says."""
        # Not the control limits: records that refuse, and don't clamp, have none.
        return self._get(self.lowest), self._get(self.highest)

    def check_value(self, pos: float) -> None:
        """Raise ValueError for a position beyond the limits of the axis."""
        _refuse_outside(self, pos, *self.limits)

    def move(
        self,
        position: float,
        wait: bool = True,
        timeout: float | None = None,
        moved_cb: Callable[..., None] | None = None,
    ) -> MoveStatus:
        """Send the axis to a position; the status fails with MoveFailed, and says why.

        ``timeout`` is wall time. Raises ValueError beyond the limits.
        """
        self.check_value(position)
        status = MoveStatus(self, position, timeout=timeout)
        if moved_cb is not None:
            status.add_callback(functools.partial(moved_cb, obj=self))
        stops = self._stops
        in_thread(status, lambda: self._go(position, stops), f"move {self.name}")
        if wait:
            wait_for(status)
        return status

    def stop(self, *, success: bool = False) -> None:
        """Stop the axis where it is; its move fails, unless ``success``."""
        self._is_good_stop = success
        self._stops += 1
        write(self.stop_signal, self.stop_value, timeout_s=self.answer_timeout_s)

    def _go(self, position: float, stops: int) -> None:
        write(self.setpoint, position, timeout_s=self.answer_timeout_s)
        clock = self.parent.instrument_time_s
        last, moved_s, looks_at_rest = float("nan"), self._get(clock), 0
        began_s = moved_s
        pause = threading.Event()  # never set: a wait without sleep
        for look in itertools.count():
            is_done, at = self._get(self.done), self._get(self.readback)
            now_s = self._get(clock)
            if self._stops != stops:
                if self._is_good_stop:
                    return
                raise MoveFailed(
                    f"{_name_of(self)}: stopped at {at:g} {self.egu} on the way to "
                    f"{position:g} {self.egu}; send it again"
                )
            looks_at_rest = looks_at_rest + 1 if is_done else 0
            if is_done and abs(at - position) <= self._tolerance:
                return
            if looks_at_rest >= _LOOKS_AT_REST:
                raise MoveFailed(
                    f"{_name_of(self)}: it is at rest at {at:g} {self.egu}, sent to "
                    f"{position:g} {self.egu}: {self._why()}"
                )
            if look == 0 or abs(at - last) > self._tolerance / 10:
                last, moved_s = at, now_s
            elif now_s - moved_s > self.patience_s:
                raise MoveFailed(
                    f"{_name_of(self)}: stuck at {at:g} {self.egu}, sent to "
                    f"{position:g} {self.egu} {now_s - began_s:.0f} s of instrument "
                    f"time ago, and not moved for {now_s - moved_s:.0f} s; look at the "
                    "stage, then send it again"
                )
            pause.wait(_LOOK_EVERY_S)

    def _why(self) -> str:
        message = self._get(self.parent.message)
        return str(message) if message else "was it stopped at the instrument?"

    def _get(self, signal: EpicsSignalRO) -> Any:
        return read(signal, timeout_s=self.answer_timeout_s)


def _name_of(axis: Device) -> str:
    return f"{axis.parent.name}.{axis.attr_name}"


def _refuse_outside(axis: Device, pos: float, low: float, high: float) -> None:
    if not low <= pos <= high:
        raise ValueError(
            f"{_name_of(axis)}: {pos:g} {axis.egu} is outside {low:g}..{high:g} "
            f"{axis.egu}; choose a position in between"
        )


class _Cold(Device):
    """What every cryo stage shows beside its axes."""

    temperature_degc = Cpt(
        EpicsSignalRO, "Temp_RBV", kind="hinted", doc="Specimen temperature, degC."
    )
    ln2_percent = Cpt(
        EpicsSignalRO, "LN2_RBV", kind="normal", doc="Liquid nitrogen left, %."
    )
    temperature_set_degc = Cpt(
        EpicsSignal,
        "TempSet",
        put_complete=True,
        kind="config",
        doc="Temperature that the controller holds, degC.",
    )
    instrument_time_s = Cpt(
        EpicsSignalRO, "InstrumentTime_RBV", kind="omitted", doc="Instrument time, s."
    )
    message = Cpt(
        EpicsSignalRO,
        "Message_RBV",
        string=True,
        kind="omitted",
        doc="Why the last request was refused.",
    )

    def stop(self, *, success: bool = False) -> None:
        """Stop the axes; the specimen stays as cold as it is."""
        # Nothing but the axes: the RunEngine stops a stage at every pause, and a
        # controller that is told to stop lets the specimen devitrify.
        super().stop(success=success)


class CryoStage(_Cold):
    """A stage whose axes are positioners; z along the beam, the tilt axis is y."""

    alpha_deg = Cpt(
        StageAxis, "Alpha", egu="deg", tolerance=0.02, doc="Tilt about y, deg."
    )
    x_nm = Cpt(StageAxis, "X", egu="nm", tolerance=5.0, doc="Across the tilt axis, nm.")
    y_nm = Cpt(StageAxis, "Y", egu="nm", tolerance=5.0, doc="Along the tilt axis, nm.")
    z_nm = Cpt(StageAxis, "Z", egu="nm", tolerance=5.0, doc="Height, nm.")


class MotorAxis(EpicsMotor):
    """A motor record; its soft limits are asked, whether or not it passes them on."""

    answer_timeout_s = 5.0

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest position; both 0 if there are none."""
        low, high = self.low_limit_travel, self.high_limit_travel
        return (
            read(low, timeout_s=self.answer_timeout_s),
            read(high, timeout_s=self.answer_timeout_s),
        )

    def check_value(self, pos: float) -> None:
        """Raise ValueError for a position beyond the limits of the axis."""
        low, high = self.limits
        if low < high:
            _refuse_outside(self, pos, low, high)


class CryoStageMotors(_Cold):
    """The same stage in a laboratory whose axes are motor records."""

    alpha_deg = Cpt(MotorAxis, "Alpha", doc="Tilt about y, deg.")
    x_nm = Cpt(MotorAxis, "X", doc="Across the tilt axis, nm.")
    y_nm = Cpt(MotorAxis, "Y", doc="Along the tilt axis, nm.")
    z_nm = Cpt(MotorAxis, "Z", doc="Height, nm.")
