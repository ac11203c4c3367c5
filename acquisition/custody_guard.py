"""The custody record as messages of the RunEngine.

Messages, because a plan touches no file. Each has done its work, or has not begun,
when a pause cuts it, and none is harmed by being sent again.
"""

from collections.abc import Callable
from typing import Any

from bluesky.utils import Msg

from cryoline.acquisition.custody import CustodyRecord
from cryoline.acquisition.custody_records import CustodyState

__all__ = ["CustodyGuard", "install"]


class CustodyGuard:
    """Between a RunEngine and its custody record."""

    def __init__(self, record: CustodyRecord) -> None:
        self.record = record

    @property
    def commands(self) -> dict[str, Callable[[Msg], Any]]:
        """The messages that it answers; none with None."""
        return {
            "custody_state": self._state,
            "custody_register": self._register,
            "custody_enter": self._enter,
            "custody_leave": self._leave,
            "custody_warn": self._warn,
            "custody_flag": self._flag,
            "custody_harvest": self._harvest,
        }

    async def _state(self, msg: Msg) -> CustodyState:
        """Msg("custody_state", None, specimen)."""
        return self.record.state(*msg.args)

    async def _register(self, msg: Msg) -> bool:
        """Msg("custody_register", None, specimen, parent=None, made_as="")."""
        self.record.register(*msg.args, **msg.kwargs)
        return True

    async def _enter(self, msg: Msg) -> bool:
        """Msg("custody_enter", None, LegStart)."""
        self.record.enter_leg(*msg.args)
        return True

    async def _leave(self, msg: Msg) -> bool:
        """Msg("custody_leave", None, LegReport, if_entered=False)."""
        self.record.leave_leg(*msg.args, **msg.kwargs)
        return True

    async def _warn(self, msg: Msg) -> bool:
        """Msg("custody_warn", None, specimen, text, leg=, instrument_time_s=)."""
        self.record.warn(*msg.args, **msg.kwargs)
        return True

    async def _flag(self, msg: Msg) -> bool:
        """Msg("custody_flag", None, specimen, flag, text, leg=, ...)."""
        self.record.flag(*msg.args, **msg.kwargs)
        return True

    async def _harvest(self, msg: Msg) -> bool:
        """Msg("custody_harvest", None, specimen, state)."""
        self.record.harvest(*msg.args)
        return True


def install(engine: Any, record: CustodyRecord) -> CustodyGuard:
    """Teach a RunEngine the messages; see `CustodyGuard.commands`."""
    guard = CustodyGuard(record)
    for name, command in guard.commands.items():
        engine.register_command(name, command)
    return guard
