"""One exchange with an instrument: every write is answered, or it is an error.

A frozen server of PVs stays connected for half a minute, and a plain put then comes
back as if it had been done. So nothing here believes a put that nobody has answered.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from ophyd.status import StatusBase

from cryoline.devices.channel_access import NO_ANSWER
from cryoline.devices.errors import DeviceError, InstrumentUnreachable

__all__ = ["in_thread", "read", "write"]

_GRACE_S: Final = 1.0  # the status times out first, and says so
_log = logging.getLogger("cryoline.devices")


def write(signal: Any, value: Any, *, timeout_s: float) -> None:
    """Write, and return when the instrument has done it or refused it.

    Raises InstrumentUnreachable if it has not answered in time: it may do it later.
    """
    try:
        signal.set(value, timeout=timeout_s).wait(timeout_s + _GRACE_S)
    except NO_ANSWER as error:
        raise InstrumentUnreachable(
            f"{signal.name}: writing {_short(value)} was not answered within "
            f"{timeout_s:g} s ({_of(error)}); is its IOC frozen or down? See "
            "cryoline doctor"
        ) from error


def read(signal: Any, *, timeout_s: float) -> Any:
    """Return what the instrument shows now.

    Raises InstrumentUnreachable if it does not answer in time.
    """
    try:
        return signal.get(timeout=timeout_s, connection_timeout=timeout_s)
    except NO_ANSWER as error:
        raise InstrumentUnreachable(
            f"{signal.name}: no answer within {timeout_s:g} s ({_of(error)}); is its "
            "IOC frozen or down? See cryoline doctor"
        ) from error


def in_thread(status: StatusBase, work: Callable[[], None], name: str) -> None:
    """Do a sequence of exchanges beside everything else; settle a status by its end."""

    def run() -> None:
        try:
            work()
        except DeviceError as error:
            status.set_exception(error)
        except Exception as error:
            _log.exception("%s failed by a defect", name)
            status.set_exception(error)
        else:
            status.set_finished()

    threading.Thread(target=run, name=name, daemon=True).start()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _of(error: BaseException) -> str:
    return type(error).__name__
