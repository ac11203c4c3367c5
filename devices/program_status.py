"""The status of a program: done when the instrument has ended it."""

from typing import Any, Final

from ophyd import DeviceStatus

from cryoline.devices.cycling_protocol import ProgramState
from cryoline.devices.errors import ProgramFailed

__all__ = ["ProgramStatus"]

_ENDED: Final = (ProgramState.FINISHED, ProgramState.STOPPED, ProgramState.FAILED)


class ProgramStatus(DeviceStatus):
    """Done when the program has finished or was stopped; reports its progress.

    It fails with ProgramFailed when the instrument ended the program itself.
    """

    def __init__(self, device: Any) -> None:
        super().__init__(device)
        device.state.subscribe(self._on_state, run=True)
        device.progress_percent.subscribe(self._on_progress, run=True)

    def _on_state(self, *, value: Any, **_: Any) -> None:
        if self.done or value not in _ENDED:
            return
        device = self.device
        device.state.clear_sub(self._on_state)
        device.progress_percent.clear_sub(self._on_progress)
        if value == ProgramState.FAILED:
            reason = device.message.get(timeout=device.answer_timeout_s)
            self.set_exception(
                ProgramFailed(f"{device.name} ended the program: {reason}")
            )
        else:
            self.set_finished()

    def _on_progress(self, *, value: Any, **_: Any) -> None:
        for watcher in self._watchers:
            watcher(
                name=self.device.name,
                current=value,
                initial=0.0,
                target=100.0,
                unit="%",
                precision=1,
                fraction=1 - value / 100.0,
            )
