"""A simulated cell on the potentiostat's terminals."""

import numpy as np

from cryoline.sim.cell import SiliconHalfCell
from cryoline.sim.cell_parameters import CellParameters
from cryoline.sim.execution import CellExecution
from cryoline.sim.point_buffer import PointBuffer
from cryoline.sim.program import parse_program
from cryoline.sim.program_steps import Program
from cryoline.sim.step_walk import forecast

__all__ = ["CellProgram", "CellSource"]


class CellSource:
    """A simulated cell on the potentiostat's terminals."""

    def __init__(self, parameters: CellParameters) -> None:
        self.cell = SiliconHalfCell(parameters)

    @property
    def potential_v(self) -> float:
        """The true potential at the terminals, V."""
        return self.cell.potential_v

    @property
    def charge_mah(self) -> float:
        """The true charge passed since it was mounted, mAh."""
        return self.cell.charge_mah

    @property
    def capacity_mah(self) -> float:
        """Theoretical capacity, mAh."""
        return self.cell.capacity_mah

    @property
    def silicon_lithium_mah(self) -> float:
        """Lithium in the live silicon, mAh."""
        return self.cell.silicon_lithium_mah

    def prepare(self, text: str) -> "CellProgram":
        """Accept a program, or raise ProgramError."""
        program = parse_program(text)
        forecast(program, self.cell.potential_v)  # refuses what would never end
        return CellProgram(self.cell, program)

    def rest(self, duration_s: float) -> None:
        """Leave the cell at open circuit."""
        self.cell.rest(duration_s)


class CellProgram:
    """A program accepted for a cell."""

    def __init__(self, cell: SiliconHalfCell, program: Program) -> None:
        self.uid = program.uid
        self._cell = cell
        self._program = program

    def begin(
        self, start_s: float, points: PointBuffer, rng: np.random.Generator
    ) -> "CellExecution":
        """Start it at this instrument time."""
        return CellExecution(self._program, self._cell, start_s, points, rng)
