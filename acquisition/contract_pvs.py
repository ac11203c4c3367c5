"""An IOC's process variables as a contract asks them: every answer counts."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from cryoline.acquisition.contract import Breach
from cryoline.acquisition.errors import ConnectionFailed
from cryoline.devices.channel_access import NO_ANSWER  # before epics: it sets it up

import epics  # isort: skip

__all__ = ["ContractPVs"]

_LOOK_S: Final = 0.02
_RATE_S: Final = 0.5
_BEAT_SEEN_S: Final = 3.0
_BOOT_ID_BYTES: Final = 39
_EGU_BYTES: Final = 7
"""Channel Access carries no more of a unit."""


class ContractPVs:
    """The process variables below a prefix.

    Raises ConnectionFailed that names each one that does not answer.
    """

    def __init__(
        self, prefix: str, names: Iterable[str], *, timeout_s: float = 5.0
    ) -> None:
        self.prefix = prefix
        self._timeout_s = timeout_s
        self._pvs = {
            name: epics.PV(prefix + name, auto_monitor=False) for name in names
        }
        deadline_s = time.monotonic() + timeout_s
        missing = [
            name
            for name, pv in self._pvs.items()
            if not pv.wait_for_connection(max(0.1, deadline_s - time.monotonic()))
        ]
        if len(missing) == len(self._pvs):
            raise ConnectionFailed(
                f"{prefix}: no IOC answers within {timeout_s:g} s; is it up, and does "
                "EPICS_CA_ADDR_LIST, or [epics] of the configuration, name it?"
            )
        if missing:
            raise ConnectionFailed(
                f"{prefix}: these PVs are missing: {', '.join(missing)}; serve them, "
                "see docs/reference/pvs.md"
            )

    def get(self, name: str) -> Any:
        """Return a value as it is now; texts as text, choices and flags as numbers."""
        pv = self._pvs[name]
        value = pv.get(
            timeout=self._timeout_s, use_monitor=False, as_string="char" in pv.type
        )
        if value is None:
            raise ConnectionFailed(f"{self.prefix}{name}: no answer to a get")
        return value

    def put(self, name: str, value: Any) -> None:
        """Write, and return when the instrument has done it, or refused it."""
        try:
            answer: Any = self._pvs[name].put(value, wait=True, timeout=self._timeout_s)
        except NO_ANSWER as error:
            raise ConnectionFailed(f"{self.prefix}{name}: {error}") from error
        if answer != 1:
            raise Breach(
                f"{name}: a put of {str(value)[:40]!r} did not complete within "
                f"{self._timeout_s:g} s"
            )

    def unit(self, name: str) -> str:
        """Return the unit (EGU) of a number, "" if it has none."""
        shown = self._pvs[name].get_ctrlvars(timeout=self._timeout_s)
        if shown is None:
            raise ConnectionFailed(f"{self.prefix}{name}: no answer to a get")
        unit = shown.get("units", "")
        return unit.decode() if isinstance(unit, bytes) else str(unit)

    def until(self, is_so: Callable[[], bool], *, timeout_s: float) -> float | None:
        """Wait until something is so; returns after how long, None if it never was."""
        tick = threading.Event()
        begun_s = time.monotonic()
        while True:
            if is_so():
                return time.monotonic() - begun_s
            if time.monotonic() - begun_s > timeout_s:
                return None
            tick.wait(_LOOK_S)

    def watch(self, name: str, seen: Callable[[Any], None]) -> Callable[[], None]:
        """Call with each new value, in Channel Access' thread; returns what ends it."""
        pv = self._pvs[name]
        pv.auto_monitor = True
        index = pv.add_callback(lambda value, **_: seen(value))
        return lambda: pv.remove_callback(index)

    # What every instrument promises ------------------------------------------------

    def identity(self) -> str:
        """Return the boot id; raises Breach if it changes, or clock or beat stand."""
        boot_id = str(self.get("BootId_RBV"))
        if not 0 < len(boot_id.encode()) <= _BOOT_ID_BYTES:
            raise Breach(
                f"BootId_RBV is {boot_id!r}; a text of 1..{_BOOT_ID_BYTES} bytes is "
                "needed"
            )
        before = {n: self.get(n) for n in ("Heartbeat_RBV", "InstrumentTime_RBV")}
        for name, value in before.items():
            if not self.goes_on(name, value, timeout_s=_BEAT_SEEN_S):
                raise Breach(f"{name} stays at {value:g} for {_BEAT_SEEN_S:g} s")
        if (now := self.get("BootId_RBV")) != boot_id:
            raise Breach(f"BootId_RBV went from {boot_id} to {now} while the IOC ran")
        return f"boot {boot_id}"

    def check_units(self, units: Mapping[str, tuple[str, ...]]) -> str:
        """Raise Breach unless each number is in a unit that it may be in."""
        wrong = [
            f"{name} is in {unit!r}, not {' or '.join(allowed)}"
            for name, allowed in units.items()
            if (unit := self.unit(name))
            not in {*allowed, *(egu[:_EGU_BYTES] for egu in allowed)}
        ]
        if wrong:
            raise Breach("; ".join(wrong))
        return f"{len(units)} units"

    def goes_on(self, name: str, before: float, *, timeout_s: float) -> bool:
        """Return whether a number has become larger in time."""
        larger = self.until(lambda: bool(self.get(name) > before), timeout_s=timeout_s)
        return larger is not None

    def instrument_rate(self) -> float:
        """Return instrument time over wall time, as it passes now."""
        first_s, begun_s = self.get("InstrumentTime_RBV"), time.monotonic()
        threading.Event().wait(_RATE_S)
        gone_s = self.get("InstrumentTime_RBV") - first_s
        return float(gone_s / (time.monotonic() - begun_s))
