"""The specimen carrier: where the specimen is, and how cold it is and was."""

from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, DeviceStatus, EpicsSignalRO

from cryoline.devices.errors import DeviceError, SettingRefused
from cryoline.devices.exchange import in_thread, read
from cryoline.devices.setting import CommandSignal, SettingSignal

__all__ = ["Carrier"]


class Carrier(Device):
    """A clip or grid box with a thermometer, which is brought from place to place.

    Setting it to a place is done when the specimen is there. Which ways are open is
    the instrument's to say: it refuses with a text.
    """

    specimen = Cpt(
        SettingSignal,
        "Specimen",
        string=True,
        kind="normal",
        doc="Tag; writing another name loads a fresh specimen in its cell.",
    )
    place = Cpt(
        EpicsSignalRO,
        "Place_RBV",
        string=True,
        kind="normal",
        doc="Where it is; on a move, where it comes from.",
    )
    moving = Cpt(EpicsSignalRO, "Moving_RBV", kind="normal", doc="On its way.")
    state = Cpt(
        EpicsSignalRO,
        "State_RBV",
        string=True,
        kind="normal",
        doc="warm, cold, warming (above -150 degC), or was too warm (-140 degC).",
    )
    temperature_degc = Cpt(
        EpicsSignalRO, "Temp_RBV", kind="hinted", doc="Specimen temperature, degC."
    )
    temperature_max_degc = Cpt(
        EpicsSignalRO,
        "TempMax_RBV",
        kind="normal",
        doc="Warmest since the last reset_max, degC.",
    )
    air_s = Cpt(EpicsSignalRO, "Air_RBV", kind="normal", doc="Time in air so far, s.")
    move_to = Cpt(
        SettingSignal,
        "MoveTo",
        string=True,
        kind="omitted",
        doc="The place that it is brought to.",
    )
    reset_max = Cpt(
        CommandSignal, "ResetMax", kind="omitted", doc="1 begins the maximum anew."
    )
    message = Cpt(
        EpicsSignalRO,
        "Message_RBV",
        string=True,
        kind="omitted",
        doc="Why the last request was refused.",
    )
    instrument_time_s = Cpt(
        EpicsSignalRO, "InstrumentTime_RBV", kind="normal", doc="Instrument time, s."
    )

    answer_timeout_s = 5.0

    def set(self, value: str) -> "Arrival":
        """Bring the specimen to a place; done when it is there.

        The status fails with SettingRefused and the instrument's own reason.
        """
        return Arrival(self, value)


class Arrival(DeviceStatus):
    """Done when the carrier is at rest at a place."""

    def __init__(self, device: Carrier, place: str) -> None:
        super().__init__(device)
        self._place = place
        sent = DeviceStatus(device)
        # The carrier shows its place before it shows that it is at rest.
        sent.add_callback(self._on_sent)
        in_thread(sent, self._send, f"{device.name}-set")

    def _send(self) -> None:
        self.device.move_to.set(self._place).wait(3 * self.device.answer_timeout_s)

    def _on_sent(self, sent: DeviceStatus) -> None:
        error = sent.exception(timeout=0)
        if error is not None:
            self.set_exception(error)
        else:
            self.device.moving.subscribe(self._on_moving, run=True)

    def _on_moving(self, *, value: Any, **_: Any) -> None:
        if self.done or value:
            return
        # Asked, not taken from the callback: the one from before the move may still
        # be on its way.
        try:
            if self._read(self.device.place) == self._place:
                self._end(None)
            elif self._read(self.device.move_to) != self._place:
                raise SettingRefused(
                    f"{self.device.name}: it was not brought to {self._place}, but is "
                    f"in the {self._read(self.device.place)} "
                    f"({self._read(self.device.message)})"
                )
        except DeviceError as error:
            self._end(error)

    def _read(self, signal: EpicsSignalRO) -> Any:
        return read(signal, timeout_s=self.device.answer_timeout_s)

    def _end(self, error: Exception | None) -> None:
        self.device.moving.clear_sub(self._on_moving)
        if error is None:
            self.set_finished()
        else:
            self.set_exception(error)
