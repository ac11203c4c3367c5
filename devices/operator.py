"""A step that only a person can do, asked for and confirmed at a panel."""

from typing import Any, Final

from ophyd import Component as Cpt
from ophyd import Device, DeviceStatus, EpicsSignal, EpicsSignalRO
from ophyd.status import Status

from cryoline.devices.errors import OperatorRefused

__all__ = ["Operator"]

_WAITING, _CONFIRMED, _REFUSED = range(1, 4)
_MAX_PROMPT: Final = 511
"""Characters that the panel's PV takes, less its terminating zero."""


class Operator(Device):
    """A panel with an instruction and an answer, on any EPICS display."""

    prompt = Cpt(
        EpicsSignal,
        "Prompt",
        string=True,
        put_complete=True,
        kind="normal",
        doc="What the person is asked to do.",
    )
    answer = Cpt(
        EpicsSignal,
        "Answer",
        string=True,
        put_complete=True,
        kind="omitted",
        doc="none, confirmed or refused.",
    )
    state = Cpt(
        EpicsSignalRO, "State_RBV", kind="omitted", doc="idle, waiting, ... refused."
    )
    instrument_time_s = Cpt(
        EpicsSignalRO, "InstrumentTime_RBV", kind="normal", doc="Instrument time, s."
    )

    def set(self, value: str) -> Status:
        """Show an instruction; done when confirmed, OperatorRefused when refused.

        Raises ValueError if the panel can't show it whole.
        """
        if not 0 < len(value.encode()) <= _MAX_PROMPT:
            raise ValueError(
                f"{self.name}: the instruction has {len(value.encode())} bytes; "
                f"the panel shows 1 to {_MAX_PROMPT}: shorten it"
            )
        return _Answer(self, value)


class _Answer(DeviceStatus):
    """Done by the person's answer to the instruction of this very status."""

    def __init__(self, device: Operator, instruction: str) -> None:
        super().__init__(device)
        self._instruction = instruction
        asked = device.prompt.set(instruction)
        asked.add_callback(self._on_asked)

    def _on_asked(self, asked: Status) -> None:
        error = asked.exception(timeout=0)
        if error is not None:
            self.set_exception(error)
        else:
            # Only now: an answer to the instruction before this one doesn't count.
            self.device.state.subscribe(self._on_state, run=True)

    def _on_state(self, *, value: Any, **_: Any) -> None:
        if self.done or value not in (_CONFIRMED, _REFUSED):
            return
        self.device.state.clear_sub(self._on_state)
        if value == _CONFIRMED:
            self.set_finished()
        else:
            self.set_exception(
                OperatorRefused(
                    f"{self.device.name}: refused by the operator: "
                    f"{self._instruction!r}"
                )
            )
