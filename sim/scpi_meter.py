"""A source-meter of the 2450 family with a small cell on its terminals.

Its commands, defaults and errors follow the reference manual of the 2450 (2450-901-01,
SCPI command reference), as far as a potentiostat needs them. Time is the wall's.
"""

import math
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from cryoline.sim.scpi_cell import Clamp, MicroCell
from cryoline.sim.scpi_language import (
    Command,
    ScpiError,
    ScpiInterpreter,
    boolean,
    choice,
    number,
)

__all__ = ["ScpiMeter"]

_IDENTITY: Final = "KEITHLEY INSTRUMENTS,MODEL 2450,00000001,1.7.12b"
_CURRENT_RANGES_A: Final = tuple(10.0**k for k in range(-8, 1))
_VOLTAGE_RANGES_V: Final = (0.02, 0.2, 2.0, 20.0, 200.0)
_PROTECTIONS: Final = (2, 5, 10, 20, 40, 60, 80, 100, 120, 140, 160, 180)
_FULL: Final = 1.05  # of a range
_NOISE: Final = 2e-6  # rms, of the range
_LINE_S: Final = 0.02  # a power line cycle of 50 Hz
_RANGES: Final = {"VOLT": _VOLTAGE_RANGES_V, "CURR": _CURRENT_RANGES_A}
_MOST: Final = {"VOLT": 210.0, "CURR": 1.05}
_LEAST_LIMIT: Final = {"VOLT": 1e-9, "CURR": 0.02}
"""Of the limit that belongs to a source: a current, and a voltage."""
_LETTER: Final = {"VOLT": "I", "CURR": "V"}
_FORMS: Final = {"VOLT": "VOLTage", "CURR": "CURRent"}
_OTHER: Final = {"VOLT": "CURR", "CURR": "VOLT"}


class ScpiMeter:
    """The instrument: `handle` takes a line, the cell lives between the lines."""

    def __init__(
        self,
        cell: MicroCell,
        *,
        seed: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cell = cell
        self._clock = clock
        self._rng = np.random.default_rng(seed)
        self._now_s = clock()
        self.highest_v = -math.inf
        self.lowest_v = math.inf
        """Extremes of the cell's potential while the output was on: the truth."""
        self.highest_a = 0.0
        self._reset()
        self._interpreter = ScpiInterpreter(
            [c for name in _FORMS for c in self._commands_of(name)] + self._common()
        )

    def handle(self, line: str) -> str | None:
        """Do what a line says; returns the answers of its queries, None if none."""
        self.advance()
        return self._interpreter.handle(line)

    def advance(self) -> None:
        """Let the cell live until now."""
        now_s = self._clock()
        duration_s, self._now_s = now_s - self._now_s, now_s
        if not self.output_is_on:
            self.cell.rest(duration_s)
            return
        potential_v, current_a = self.cell.drive(duration_s, self._clamp())
        self.highest_v = max(self.highest_v, potential_v)
        self.lowest_v = min(self.lowest_v, potential_v)
        self.highest_a = max(self.highest_a, abs(current_a))

    @property
    def reading_s(self) -> float:
        """How long one measurement of both quantities takes."""
        return 2 * self._cycles[_OTHER[self._function]] * _LINE_S

    def _reset(self) -> None:
        self.output_is_on = False
        self._function = "VOLT"
        self._sense = "CURR"
        self._level = {"VOLT": 0.0, "CURR": 0.0}
        self._limit = {"VOLT": 1.05e-4, "CURR": 21.0}
        self._source_range: dict[str, float | None] = {"VOLT": None, "CURR": None}
        self._sense_range: dict[str, float | None] = {"VOLT": None, "CURR": None}
        self._protection_v: float = math.inf
        self.off_state = {"VOLT": "NORM", "CURR": "NORM"}
        self._cycles = {"VOLT": 1.0, "CURR": 1.0}
        self._four_wire = {"VOLT": False, "CURR": False}
        self._reads_back = {"VOLT": True, "CURR": True}
        self._buffer: list[tuple[float, float, float]] = []

    def _clamp(self) -> Clamp:
        function = self._function
        level, limit = self._level[function], self._limit[function]
        if function == "VOLT":
            most_v = self._protection_v
            return Clamp(min(max(level, -most_v), most_v), limit, is_voltage=True)
        return Clamp(level, min(limit, self._protection_v), is_voltage=False)

    def _present(self) -> dict[str, float]:
        """Return the true potential and current at the terminals."""
        if not self.output_is_on:
            return {"VOLT": 0.0, "CURR": 0.0}  # the relay is open
        potential_v, current_a = self.cell.drive(0.0, self._clamp())
        return {"VOLT": potential_v, "CURR": current_a}

    def _measured(self, quantity: str, value: float) -> float:
        range_ = self._range_of(quantity, value)
        return value + float(self._rng.standard_normal()) * _NOISE * range_

    def _range_of(self, quantity: str, value: float) -> float:
        fixed = self._sense_range[quantity]
        return fixed if fixed is not None else _fitting(quantity, value)

    def _common(self) -> list[Command]:
        return [
            Command("*IDN", ask=lambda _: _IDENTITY),
            Command("*LANG", ask=lambda _: "SCPI"),
            Command("*OPC", set=lambda _: None, ask=lambda _: "1"),
            Command("*WAI", set=lambda _: None),
            Command("*CLS", set=lambda _: self._interpreter.clear_errors()),
            Command("*RST", set=lambda _: self._reset()),
            Command(
                "SYSTem:ERRor[:NEXT]", ask=lambda _: self._interpreter.next_error()
            ),
            Command("SYSTem:CLEar", set=lambda _: self._interpreter.clear_errors()),
            Command(
                "OUTPut[1][:STATe]",
                set=self._set_output,
                ask=lambda _: _bit(self.output_is_on),
            ),
            Command(
                "SOURce[1]:FUNCtion[:MODE]",
                set=self._set_function,
                ask=lambda _: self._function,
            ),
            Command(
                "SENSe[1]:FUNCtion[:ON]",
                set=self._set_sense,
                ask=lambda _: f'"{self._sense}:DC"',
            ),
            Command("READ", ask=self._read),
            Command("FETCh", ask=lambda p: self._elements(p, self._last())),
            Command("TRACe:ACTual", ask=lambda _: str(len(self._buffer))),
            Command("TRACe:CLEar", set=lambda _: self._buffer.clear()),
            Command("TRACe:DATA", ask=self._trace),
        ]

    def _commands_of(self, name: str) -> list[Command]:
        """Return the commands that there are for voltage and for current."""
        form = _FORMS[name]
        source, sense = f"SOURce[1]:{form}", f"SENSe[1]:{form}[:DC]"
        limit = f"{source}:{_LETTER[name]}LIMit[:LEVel]"
        return [
            Command(
                f"{source}[:LEVel][:IMMediate][:AMPLitude]",
                set=lambda p: self._set_level(name, p),
                ask=lambda _: f"{self._level[name]:.6E}",
            ),
            Command(
                limit,
                set=lambda p: self._set_limit(name, p),
                ask=lambda _: f"{self._limit[name]:.6E}",
            ),
            Command(f"{limit}:TRIPped", ask=lambda _: self._tripped(name)),
            Command(
                f"{source}:PROTection[:LEVel]",
                set=self._set_protection,
                ask=lambda _: self._protection(),
            ),
            Command(
                f"{source}:RANGe",
                set=lambda p: self._set_range(self._source_range, name, p),
                ask=lambda _: self._ask_source_range(name),
            ),
            Command(
                f"{source}:RANGe:AUTO",
                set=lambda p: self._set_auto(self._source_range, name, p),
                ask=lambda _: _bit(self._source_range[name] is None),
            ),
            Command(
                f"{source}:READ:BACK",
                set=lambda p: self._reads_back.update({name: boolean(p)}),
                ask=lambda _: _bit(self._reads_back[name]),
            ),
            Command(f"{source}:DELay", set=lambda p: _unused(number(p, 0.0, 1e4))),
            Command(f"{source}:DELay:AUTO", set=lambda p: _unused(boolean(p))),
            Command(
                f"OUTPut[1]:{form}:SMODe",
                set=lambda p: self._set_off_state(name, p),
                ask=lambda _: self.off_state[name],
            ),
            Command(
                f"{sense}:RANGe[:UPPer]",
                set=lambda p: self._set_range(self._sense_range, name, p),
                ask=lambda _: self._ask_sense_range(name),
            ),
            Command(
                f"{sense}:RANGe:AUTO",
                set=lambda p: self._set_auto(self._sense_range, name, p),
                ask=lambda _: _bit(self._sense_range[name] is None),
            ),
            Command(
                f"{sense}:NPLCycles",
                set=lambda p: self._cycles.update({name: number(p, 0.01, 10.0)}),
                ask=lambda _: f"{self._cycles[name]:.6E}",
            ),
            Command(
                f"{sense}:RSENse",
                set=lambda p: self._set_four_wire(name, p),
                ask=lambda _: _bit(self._four_wire[name]),
            ),
        ]

    def _set_output(self, parameters: list[str]) -> None:
        self.output_is_on = boolean(parameters)

    def _set_function(self, parameters: list[str]) -> None:
        function = choice(parameters, ("VOLTage", "CURRent"))
        if function != self._function:
            self.output_is_on = False
        self._function = function

    def _set_sense(self, parameters: list[str]) -> None:
        self._sense = choice(parameters, ("VOLTage[:DC]", "CURRent[:DC]"))

    def _set_level(self, name: str, parameters: list[str]) -> None:
        range_ = self._source_range[name]
        most = _MOST[name] if range_ is None else _FULL * range_
        self._level[name] = number(parameters, -most, most)

    def _set_limit(self, name: str, parameters: list[str]) -> None:
        limit = abs(number(parameters, -_MOST[_OTHER[name]], _MOST[_OTHER[name]]))
        if limit < _LEAST_LIMIT[name]:
            raise ScpiError(-222, "Parameter data out of range")
        fixed = self._sense_range[_OTHER[name]]
        if fixed is not None and not 1e-3 * fixed < limit:
            raise ScpiError(-221, "Settings conflict")
        if name == "CURR":
            limit = min(limit, self._protection_v)
        self._limit[name] = limit

    def _tripped(self, name: str) -> str:
        present = self._present()[_OTHER[name]]
        is_on = self.output_is_on and self._function == name
        return _bit(is_on and abs(present) >= 0.9999 * self._limit[name])

    def _set_protection(self, parameters: list[str]) -> None:
        names = tuple(f"PROT{level}" for level in _PROTECTIONS)
        chosen = choice(parameters, (*names, "NONE"))
        self._protection_v = math.inf if chosen == "NONE" else float(chosen[4:])
        self._limit["CURR"] = min(self._limit["CURR"], self._protection_v)

    def _protection(self) -> str:
        level_v = self._protection_v
        return "NONE" if math.isinf(level_v) else f"PROT{level_v:.0f}"

    def _set_range(
        self, ranges: dict[str, float | None], name: str, parameters: list[str]
    ) -> None:
        most = _MOST[name]
        ranges[name] = _fitting(name, number(parameters, -most, most))

    def _set_auto(
        self, ranges: dict[str, float | None], name: str, parameters: list[str]
    ) -> None:
        present = _fitting(name, self._present()[name])
        ranges[name] = None if boolean(parameters) else present

    def _ask_source_range(self, name: str) -> str:
        fixed = self._source_range[name]
        return f"{_fitting(name, self._level[name]) if fixed is None else fixed:.6E}"

    def _ask_sense_range(self, name: str) -> str:
        return f"{self._range_of(name, self._present()[name]):.6E}"

    def _set_off_state(self, name: str, parameters: list[str]) -> None:
        names = ("NORMal", "HIMPedance", "ZERO", "GUARd")
        self.off_state[name] = choice(parameters, names)

    def _set_four_wire(self, name: str, parameters: list[str]) -> None:
        wanted = boolean(parameters)
        if wanted != self._four_wire[name]:
            self.output_is_on = False
        self._four_wire[name] = wanted

    def _read(self, parameters: list[str]) -> str:
        present = self._present()
        sense, function = self._sense, self._function
        reading = self._measured(sense, present[sense])
        source = self._level[function]
        if self._reads_back[function] and self.output_is_on:
            source = self._measured(function, present[function])
        self._buffer.append((reading, source, self._now_s))
        del self._buffer[:-100_000]
        return self._elements(parameters, self._last())

    def _last(self) -> tuple[float, float, float]:
        if not self._buffer:
            raise ScpiError(-230, "Data corrupt or stale")
        return self._buffer[-1]

    def _elements(self, parameters: list[str], row: tuple[float, float, float]) -> str:
        """Return the parts of a reading that were asked for, the reading by default."""
        names = [p.upper() for p in parameters]
        if names and names[0].startswith("DEFBUFFER"):
            names.pop(0)
        known = {"READ": 0, "READING": 0, "SOUR": 1, "SOURCE": 1, "REL": 2}
        if any(name not in known for name in names):
            raise ScpiError(-224, "Illegal parameter value")
        first_s = self._buffer[0][2]
        values = (row[0], row[1], row[2] - first_s)
        return ",".join(f"{values[known[name]]:.6E}" for name in names or ["READ"])

    def _trace(self, parameters: list[str]) -> str:
        if len(parameters) < 2:
            raise ScpiError(-109, "Missing parameter")
        count = len(self._buffer)
        first = round(number(parameters[:1], 1, max(count, 1)))
        last = round(number(parameters[1:2], first, max(count, first)))
        rows = self._buffer[first - 1 : last]
        return ",".join(self._elements(parameters[2:], row) for row in rows)


def _fitting(quantity: str, value: float) -> float:
    """Return the smallest range that holds a value."""
    ranges = _RANGES[quantity]
    return next((r for r in ranges if abs(value) <= _FULL * r), ranges[-1])


def _unused(_: object) -> None:
    """Accept a setting that changes nothing here: the source is as fast as can be."""


def _bit(value: bool) -> str:
    return "1" if value else "0"
