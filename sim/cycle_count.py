"""Cycles and half cycles of a program on a cell, and what passed in each of them."""

from cryoline.sim.cell import SiliconHalfCell
from cryoline.sim.harvest import HarvestWatch
from cryoline.sim.program_steps import Program

__all__ = ["CycleCount"]


class CycleCount:
    """Counts from the program's start; charges are the cell's, which nobody rounds."""

    def __init__(self, program: Program, cell: SiliconHalfCell) -> None:
        self.cycle = 1
        self.half_cycle = 0
        self._cell = cell
        self._starts = program.cycle_starts
        self._harvest = HarvestWatch(program.harvest)
        self._direction = 0.0
        self._has_begun = False
        self._base_mah = self._cycle_base_mah = self._passed_mah()

    def enter(self, index: int, direction: float) -> None:
        """Begin a step; direction is the sign of its current or sweep, 0 if none."""
        if index in self._starts:
            if self._has_begun:
                self.cycle += 1
                self._cycle_base_mah = self._passed_mah()
            self._has_begun = True
        if direction and self._direction and direction != self._direction:
            self.half_cycle += 1
        self._direction = direction or self._direction

    def charges_mah(self) -> tuple[float, float]:
        """Return lithiation and delithiation of the present cycle."""
        return self._since(self._cycle_base_mah)

    def is_ripe(self, index: int, direction: float) -> bool:
        """Return whether the harvest is due now that this step has ended."""
        return self._harvest.is_due(
            index,
            cycle=self.cycle,
            direction=direction,
            cycle_charges_mah=self.charges_mah(),
            throughput_mah=sum(self._since(self._base_mah)),
        )

    def _passed_mah(self) -> tuple[float, float]:
        return self._cell.lithiation_mah, self._cell.delithiation_mah

    def _since(self, base_mah: tuple[float, float]) -> tuple[float, float]:
        lithiation_mah, delithiation_mah = self._passed_mah()
        return lithiation_mah - base_mah[0], delithiation_mah - base_mah[1]
