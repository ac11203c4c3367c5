"""Settings and commands whose refusal is an error, with the instrument's own reason.

Channel Access has no way to refuse with a text: the put comes back, the setting keeps
its value, and ``Message_RBV`` says why.
"""

import math
from typing import Any

from ophyd import EpicsSignal
from ophyd.status import Status

from cryoline.devices.errors import SettingRefused
from cryoline.devices.exchange import in_thread, read, write

__all__ = ["CommandSignal", "SettingSignal"]


class _Answered(EpicsSignal):
    """A signal of a device that has a ``message``; every put is checked."""

    answer_timeout_s = 5.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, put_complete=True, **kwargs)

    def set(self, value: Any, **_: Any) -> Status:
        """Write a value; the status fails with SettingRefused if it is not taken."""
        status = Status(self, timeout=3 * self.answer_timeout_s)

        def work() -> None:
            write(_Put(self), value, timeout_s=self.answer_timeout_s)
            self._check(value)

        in_thread(status, work, f"{self.name}-set")
        return status

    def _check(self, value: Any) -> None:
        raise NotImplementedError

    def _refusal(self, value: Any) -> SettingRefused:
        why = read(self.parent.message, timeout_s=self.answer_timeout_s)
        return SettingRefused(f"{self.name}: {value!r} was refused: {why or 'no why'}")


class SettingSignal(_Answered):
    """A value that the instrument keeps; refused if it shows another one after."""

    def _check(self, value: Any) -> None:
        shown = read(self, timeout_s=self.answer_timeout_s)
        if isinstance(value, float) and not isinstance(shown, str):
            taken = math.isclose(shown, value, rel_tol=1e-6, abs_tol=1e-9)
        else:
            taken = shown == value
        if not taken:
            raise self._refusal(value)


class CommandSignal(_Answered):
    """Something to do, by writing 1; refused if the instrument says why."""

    def _check(self, value: Any) -> None:
        if read(self.parent.message, timeout_s=self.answer_timeout_s):
            raise self._refusal(value)


class _Put:
    """A signal's plain put, for `write`."""

    def __init__(self, signal: _Answered) -> None:
        self._signal = signal
        self.name = signal.name

    def set(self, value: Any, **options: Any) -> Status:
        return EpicsSignal.set(self._signal, value, **options)
