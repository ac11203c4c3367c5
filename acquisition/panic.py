"""Blank the beam, whatever else has died: one put, and a look whether it was done."""

import contextlib
import threading
import time
from typing import Any, Final

from cryoline.acquisition.errors import ConnectionFailed

__all__ = ["blank_beam"]

_LOOK_S: Final = 0.02


def blank_beam(prefix: str, *, timeout_s: float = 2.0) -> float:
    """Blank, and return how long it took until the beam showed it, wall time in s.

    Needs no session, no lease and no ledger; the EPICS environment must be set.
    Raises ConnectionFailed if nobody answers, or the beam doesn't show that it is
    blanked: it may be on then.
    """
    # Only here, and without ophyd, which takes longer to import than all the rest. The
    # library is ophyd's: pyepics' own complains loudly that it finds no caRepeater.
    with contextlib.suppress(ImportError):
        import epicscorelibs.path.pyepics  # noqa: F401
    import epics

    begun_s = time.monotonic()
    blank = epics.PV(f"{prefix}Blank", auto_monitor=False)
    blanked = epics.PV(f"{prefix}Blanked_RBV", auto_monitor=False)
    if not blank.wait_for_connection(timeout=timeout_s):
        raise ConnectionFailed(_may_be_on(f"{prefix}Blank: no IOC answers", timeout_s))
    # pyepics returns where others raise: 1 is done, -1 timed out, None is no channel.
    answer: Any = blank.put(1, wait=True, timeout=timeout_s)
    tick = threading.Event()
    while time.monotonic() - begun_s < 2 * timeout_s:
        if blanked.get(timeout=timeout_s, use_monitor=False) == 1:
            return time.monotonic() - begun_s
        tick.wait(_LOOK_S)
    what = (
        f"{prefix}Blank: the put was not answered"
        if answer != 1
        else f"{prefix}Blanked_RBV does not show it"
    )
    raise ConnectionFailed(_may_be_on(what, timeout_s))


def _may_be_on(what: str, timeout_s: float) -> str:
    return (
        f"{what} within {timeout_s:g} s. THE BEAM MAY BE ON: close the column valve at "
        "the instrument itself, then see cryoline doctor"
    )
