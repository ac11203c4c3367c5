"""The standard process variables of a potentiostat, declared once for every server."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryoline.ioc.panel import Panel
from cryoline.ioc.points import COLUMNS, PAGE_ROWS

__all__ = ["PotentiostatCommands", "PotentiostatLimits", "declare_potentiostat"]

_HEADER: Final = 4  # first index, number of points, number of columns, boot id
_ROW_MAX: Final = 16
_PROGRAM_LENGTH: Final = 65_536


@dataclass(frozen=True)
class PotentiostatLimits:
    """What an instrument can do."""

    potential_max_v: float
    """Of either sign."""
    current_max_a: float
    scan_rate_max_mv_per_s: float
    points_max: int
    """How many points of a program it can keep."""


@dataclass(frozen=True)
class PotentiostatCommands:
    """What an instrument does with each put; each shows its own refusal."""

    load: Callable[[str], Awaitable[Any]]
    start: Callable[[], Awaitable[Any]]
    stop: Callable[[], Awaitable[Any]]
    points: Callable[[int], Awaitable[NDArray[np.float64] | None]]
    """Rows of COLUMNS, at most a page, from an index on; None if refused."""
    boot_serial: Callable[[], float]
    """The instrument's boot id as a number."""


def declare_potentiostat(
    panel: Panel, limits: PotentiostatLimits, commands: PotentiostatCommands
) -> None:
    """Add the records of a potentiostat to its panel."""
    _declare_program(panel, commands)
    _declare_readings(panel, limits)
    _declare_points(panel, limits, commands)
    low_v, high_v = -limits.potential_max_v, limits.potential_max_v
    for name, description, unit, value in (
        ("PotentialMin_RBV", "Lowest potential", "V", low_v),
        ("PotentialMax_RBV", "Highest potential", "V", high_v),
        ("CurrentMax_RBV", "Largest current", "A", limits.current_max_a),
        ("ScanRateMax_RBV", "Fastest scan", "mV/s", limits.scan_rate_max_mv_per_s),
    ):
        panel.constant(name, description, unit, value)


def _declare_program(panel: Panel, commands: PotentiostatCommands) -> None:
    async def start(value: int) -> None:
        if value:
            await commands.start()

    async def stop(value: int) -> None:
        if value:
            await commands.stop()

    panel.set_text("Program", "Program as JSON", _PROGRAM_LENGTH, commands.load)
    panel.text("ProgramUid_RBV", "Uid of the accepted program")
    panel.set_flag("Start", "Start the loaded program", "idle", "start", start)
    panel.set_flag("Stop", "Stop; the cell goes to open circuit", "idle", "stop", stop)
    panel.choice(
        "State_RBV",
        "What the instrument is doing",
        *("idle", "loaded", "running", "finished", "stopped", ("failed", "MAJOR")),
    )
    panel.number("Progress_RBV", "Part of the program done", "%", 0, 100, precision=2)
    panel.number("Remaining_RBV", "Instrument time needed", "s", 0, 1e9, precision=0)


def _declare_readings(panel: Panel, limits: PotentiostatLimits) -> None:
    potential_v, current_a = limits.potential_max_v, limits.current_max_a
    panel.number("Potential_RBV", "Cell potential", "V", -potential_v, potential_v)
    panel.number(
        "Current_RBV",
        "Current, delithiation positive",
        "A",
        -current_a,
        current_a,
        precision=10,
    )
    panel.number("Charge_RBV", "Coulomb counter of the program", "mAh", -1e3, 1e3)
    panel.number("Range_RBV", "Current range", "A", 0, current_a)
    panel.count("Cycle_RBV", "Cycle, from 1", "cycles")
    panel.count("HalfCycle_RBV", "Half cycle, from 0", "half cycles")
    panel.count("Step_RBV", "Index of the step that runs", "steps")
    panel.flag(
        "Overload_RBV", "Current beyond its range", "ok", "overload", OSV="MAJOR"
    )
    panel.flag(
        "Compliance_RBV", "Can't drive what is set", "ok", "compliance", OSV="MAJOR"
    )
    panel.flag("Contact_RBV", "Cell connected", "no contact", "contact", ZSV="MAJOR")


def _declare_points(
    panel: Panel, limits: PotentiostatLimits, commands: PotentiostatCommands
) -> None:
    async def send(first: int) -> None:
        rows = await commands.points(first)
        if rows is None:
            return
        header = [first, len(rows), len(COLUMNS), commands.boot_serial()]
        panel.show_array("Points_RBV", np.concatenate((header, rows.ravel())))

    panel.count("PointCount_RBV", "Points recorded", "points", limits.points_max)
    panel.set_number(
        "PointRequest",
        "Index of the first point wanted",
        "points",
        *(0, limits.points_max),
        send,
        whole=True,
    )
    panel.array("Points_RBV", "Header of 4, then rows", _HEADER + PAGE_ROWS * _ROW_MAX)
    panel.long_text("PointColumns_RBV", "Columns of a point", 256, ",".join(COLUMNS))
