"""Process variables of the potentiostat."""

from typing import Final

import numpy as np

from cryoline.sim.iocs.server import InstrumentServer
from cryoline.sim.point_buffer import COLUMNS, PAGE_ROWS, POINTS_MAX
from cryoline.sim.program import COMPLIANCE_V, CURRENT_MAX_A, SCAN_RATE_MAX_MV_PER_S

__all__ = ["declare"]

_HEADER: Final = 4  # first index, number of points, number of columns, boot id
_ROW_MAX: Final = 11
_PROGRAM_LENGTH: Final = 65_536


def declare(server: InstrumentServer) -> None:
    """Add the records."""
    panel = server.panels["potentiostat"]

    async def load(text: str) -> None:
        await server.request("potentiostat", "potentiostat.load", text=text)

    async def start(value: int) -> None:
        if value:
            await server.request("potentiostat", "potentiostat.start")

    async def stop(value: int) -> None:
        if value:
            await server.request("potentiostat", "potentiostat.stop")

    async def send_points(first: int) -> None:
        page = await server.request("potentiostat", "potentiostat.points", first=first)
        if page is None:
            return
        rows = np.array(page["rows"]).reshape(-1, len(COLUMNS))
        header = [page["first"], len(rows), len(COLUMNS), server.boot_serial]
        panel.show_array("Points_RBV", np.concatenate((header, rows.ravel())))

    panel.set_text("Program", "Program as JSON", _PROGRAM_LENGTH, load)
    panel.text("ProgramUid_RBV", "Uid of the accepted program")
    panel.set_flag("Start", "Start the loaded program", "idle", "start", start)
    panel.set_flag("Stop", "Stop; the cell goes to open circuit", "idle", "stop", stop)
    panel.choice(
        "State_RBV",
        "What the instrument is doing",
        *("idle", "loaded", "running", "finished", "stopped", ("failed", "MAJOR")),
    )
    panel.number("Potential_RBV", "Cell potential", "V", -COMPLIANCE_V, COMPLIANCE_V)
    panel.number(
        "Current_RBV",
        "Current, delithiation positive",
        "A",
        -CURRENT_MAX_A,
        CURRENT_MAX_A,
        precision=10,
    )
    panel.number("Charge_RBV", "Coulomb counter of the program", "mAh", -1e3, 1e3)
    panel.number("Range_RBV", "Current range", "A", 0, CURRENT_MAX_A)
    panel.count("Cycle_RBV", "Cycle, from 1", "cycles")
    panel.count("HalfCycle_RBV", "Half cycle, from 0", "half cycles")
    panel.count("Step_RBV", "Index of the step that runs", "steps")
    panel.flag(
        "Overload_RBV", "Current beyond its range", "ok", "overload", OSV="MAJOR"
    )
    panel.flag("Contact_RBV", "Cell connected", "no contact", "contact", ZSV="MAJOR")
    panel.number("Progress_RBV", "Part of the program done", "%", 0, 100, precision=2)
    panel.number("Remaining_RBV", "Instrument time needed", "s", 0, 1e9, precision=0)
    panel.count("PointCount_RBV", "Points recorded", "points", POINTS_MAX)
    panel.set_number(
        "PointRequest",
        "Index of the first point wanted",
        "points",
        *(0, POINTS_MAX),
        send_points,
        whole=True,
    )
    panel.array("Points_RBV", "Header of 4, then rows", _HEADER + PAGE_ROWS * _ROW_MAX)
    panel.long_text("PointColumns_RBV", "Columns of a point", 256, ",".join(COLUMNS))
    for name, description, unit, value in (
        ("PotentialMin_RBV", "Lowest potential", "V", -COMPLIANCE_V),
        ("PotentialMax_RBV", "Highest potential", "V", COMPLIANCE_V),
        ("CurrentMax_RBV", "Largest current", "A", CURRENT_MAX_A),
        ("ScanRateMax_RBV", "Fastest scan", "mV/s", SCAN_RATE_MAX_MV_PER_S),
    ):
        panel.constant(name, description, unit, value)
