"""The commands of the 2450 family, as a potentiostat needs them.

After the SCPI command reference of the 2450 (2450-901-01). Everything but rest is
driven by the voltage source: its level bounds the potential and ``ILIM`` the current,
in the meter, whoever is alive. A current is held by that limit, with the level where
the step must end: so a meter that nobody controls any more comes to rest there.
"""

import math
from dataclasses import dataclass
from typing import Final

from cryoline.plugins.scpi_potentiostat.errors import MeterComplains, MeterGarbled
from cryoline.plugins.scpi_potentiostat.link import ScpiLink

__all__ = ["MODELS", "Drive", "MeterModel", "Reading", "SourceMeter"]

_OVERFLOW: Final = 9.9e37
_PROTECTIONS_V: Final = (2, 5, 10, 20, 40)
_REST_RANGE_A: Final = 1e-6
"""Source range for 0 A: its offset is below a nanoampere."""
_ABOVE: Final = 1.05  # a range or protection is not used to its brim


@dataclass(frozen=True)
class MeterModel:
    """What a model of the family can do."""

    potential_max_v: float
    current_max_a: float
    current_min_a: float
    """The smallest current limit: no smaller current can be held."""
    voltage_ranges_v: tuple[float, ...]


MODELS: Final = {
    "2450": MeterModel(20.0, 1.0, 1e-9, (2.0, 20.0)),
    "2460": MeterModel(10.0, 7.0, 1e-6, (2.0, 10.0)),
    "2461": MeterModel(10.0, 7.0, 1e-6, (2.0, 10.0)),
    "2470": MeterModel(20.0, 1.0, 1e-8, (2.0, 20.0)),
}
"""By the model's number in ``*IDN?``. Ranges above 20 V are not used for cells."""


@dataclass(frozen=True)
class Drive:
    """What the meter is to do.

    With a level it holds that potential, within a current of either sign; without,
    it holds 0 A (open circuit, but measured).
    """

    level_v: float | None
    limit_a: float = 0.0


@dataclass(frozen=True)
class Reading:
    """One measurement of both quantities."""

    potential_v: float
    current_a: float
    range_a: float
    overload: bool = False


class SourceMeter:
    """A meter whose output is off, until it drives.

    four_wire: potential is sensed by wires of its own
    power_line_cycles: how long each quantity is integrated
    """

    def __init__(
        self, link: ScpiLink, *, four_wire: bool = True, power_line_cycles: float = 1.0
    ) -> None:
        self.link = link
        self._drive: Drive | None = None
        self.found_on = False
        """Whether the output was on when the bridge came; it is off now."""
        if (language := link.query("*LANG?")) != "SCPI":
            raise MeterComplains(
                f"{link.address}: speaks {language[:20]}; send *LANG SCPI and switch "
                "it off and on"
            )
        self.model = self._identify()
        self.found_on = link.flag(":OUTP?")
        # Opened first: *RST alone would leave the cell on the normal off state, 0 V
        # behind a current limit.
        link.write(":OUTP:CURR:SMOD HIMP", ":OUTP:VOLT:SMOD HIMP", ":OUTP OFF")
        link.write("*RST", "*CLS", ":OUTP:CURR:SMOD HIMP", ":OUTP:VOLT:SMOD HIMP")
        wires = "ON" if four_wire else "OFF"
        for sensed in ("CURR", "VOLT"):
            link.write(
                f":SENS:{sensed}:RSEN {wires}",
                f":SENS:{sensed}:NPLC {power_line_cycles:g}",
                f":SENS:{sensed}:RANG:AUTO ON",
                f":SOUR:{sensed}:READ:BACK ON",
                f":SOUR:{sensed}:DEL:AUTO OFF",
                f":SOUR:{sensed}:DEL 0",
            )
        self.bound(self.model.potential_max_v)
        link.check("its set-up")

    def bound(self, potential_v: float) -> None:
        """Set range, limit and overvoltage protection for potentials up to this.

        The output must be off.
        """
        model = self.model
        range_v = next(
            (r for r in model.voltage_ranges_v if potential_v <= r),
            model.voltage_ranges_v[-1],
        )
        protection_v = next(p for p in _PROTECTIONS_V if p >= _ABOVE * potential_v)
        limit_v = min(_ABOVE * potential_v + 0.02, protection_v)
        self.link.write(
            f":SOUR:VOLT:PROT PROT{protection_v}",
            f":SOUR:CURR:PROT PROT{protection_v}",
            ":SOUR:VOLT 0",
            # Fixed: each change of range would be a glitch in a sweep.
            f":SOUR:VOLT:RANG {range_v:g}",
            f":SOUR:CURR:RANG {_REST_RANGE_A:g}",
            ":SOUR:CURR 0",
            f":SOUR:CURR:VLIM {limit_v:.6g}",
        )

    def drive(self, drive: Drive) -> None:
        """Do this from now on; what is right already is not sent again."""
        before, self._drive = self._drive, drive
        if before == drive:
            return
        if before is None or (before.level_v is None) != (drive.level_v is None):
            self._switch(drive)
            return
        limit = f":SOUR:VOLT:ILIM {drive.limit_a:.7g}"
        level = f":SOUR:VOLT {drive.level_v:.7g}"
        # The stricter first: no moment with the new level and the old, wider limit.
        if drive.limit_a < before.limit_a:
            self.link.write(limit)
        if drive.level_v != before.level_v:
            self.link.write(level)
        if drive.limit_a > before.limit_a:
            self.link.write(limit)

    def _switch(self, drive: Drive) -> None:
        """Change between a potential and 0 A; the cell is off meanwhile."""
        self.link.write(":OUTP OFF")
        if drive.level_v is None:
            self.link.write(":SOUR:FUNC CURR", ':SENS:FUNC "VOLT"', ":SOUR:CURR 0")
        else:
            self.link.write(
                ":SOUR:FUNC VOLT",
                ':SENS:FUNC "CURR"',
                f":SOUR:VOLT:ILIM {drive.limit_a:.7g}",
                f":SOUR:VOLT {drive.level_v:.7g}",
            )
        self.link.check("a step's set-up")
        self.link.write(":OUTP ON")
        self.link.check("switching its output on")

    def read(self) -> Reading:
        """Measure potential and current at once."""
        measured, source = self.link.numbers(':READ? "defbuffer1", READ, SOUR', 2)
        at_rest = self._drive is None or self._drive.level_v is None
        if at_rest:
            potential_v, current_a, range_a = measured, source, _REST_RANGE_A
        else:
            potential_v, current_a = source, measured
            (range_a,) = self.link.numbers(":SENS:CURR:RANG?", 1)
        if not abs(potential_v) < _OVERFLOW:
            raise MeterGarbled(
                f"{self.link.address}: the potential overflows; check the sense wires"
            )
        overload = not abs(current_a) < _OVERFLOW
        if overload:
            current_a = math.copysign(range_a, current_a)
        return Reading(potential_v, current_a, range_a, overload)

    def check(self) -> None:
        """Raise MeterComplains if it did not like what it was told since the last."""
        self.link.check("driving the cell")

    def switch_off(self) -> None:
        """Open the circuit, and see that it is open."""
        self._drive = None
        self.link.write(":OUTP OFF")
        if self.link.flag(":OUTP?"):
            raise MeterComplains(f"{self.link.address}: its output does not go off")

    def close(self) -> None:
        """Let go of the connection."""
        self.link.close()

    def _identify(self) -> MeterModel:
        identity = self.link.query("*IDN?")
        parts = identity.split(",")
        number = parts[1].upper().removeprefix("MODEL").strip() if parts[1:] else ""
        if number not in MODELS:
            raise MeterComplains(
                f"{self.link.address}: says it is {identity[:60]!r}; this bridge knows "
                f"the models {', '.join(MODELS)}"
            )
        return MODELS[number]
