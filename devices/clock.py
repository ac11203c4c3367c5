"""The instrument's own clock: models, limits, durations and waits go by it."""

from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, DeviceStatus, EpicsSignal, EpicsSignalRO
from ophyd.status import Status

__all__ = ["InstrumentClock"]


class InstrumentClock(Device):
    """Instrument time; setting it to a duration waits that long, by this clock."""

    instrument_time_s = Cpt(
        EpicsSignalRO, "InstrumentTime_RBV", kind="hinted", doc="Instrument time, s."
    )
    epoch = Cpt(
        EpicsSignalRO,
        "Epoch_RBV",
        string=True,
        kind="config",
        doc="UTC date of instrument time 0, ISO 8601.",
    )
    wake_at_s = Cpt(
        EpicsSignal,
        "WakeAt",
        put_complete=True,
        kind="omitted",
        doc="The next instrument time that somebody waits for, s.",
    )

    def set(self, value: float) -> Status:
        """Return a status that is done ``value`` seconds of instrument time later.

        Raises ValueError for a negative or infinite duration.
        """
        if not 0 <= value < float("inf"):
            raise ValueError(f"{self.name}: can't wait for {value} s; give 0 s or more")
        return _Wait(self, self.instrument_time_s.get() + value)


class _Wait(DeviceStatus):
    """Done when the instrument's clock has passed a time."""

    def __init__(self, device: InstrumentClock, until_s: float) -> None:
        super().__init__(device)
        self._until_s = until_s
        # The clock is told, so that a stepped laboratory knows where to step to.
        device.wake_at_s.set(until_s).add_callback(self._on_told)

    def _on_told(self, told: Status) -> None:
        error = told.exception(timeout=0)
        if error is not None:
            self.set_exception(error)
        else:
            self.device.instrument_time_s.subscribe(self._on_time, run=True)

    def _on_time(self, *, value: Any, **_: Any) -> None:
        if not self.done and value >= self._until_s:
            self.device.instrument_time_s.clear_sub(self._on_time)
            self.set_finished()
