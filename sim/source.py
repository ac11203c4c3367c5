"""What can be connected to the potentiostat, and what running a program on it means."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cryoline.sim.point_buffer import PointBuffer

__all__ = ["Execution", "PreparedProgram", "Reading", "Source"]


@dataclass(frozen=True)
class Reading:
    """The instrument's display."""

    potential_v: float
    current_a: float
    charge_mah: float
    range_a: float
    cycle_number: int = 0
    half_cycle: int = 0
    step_index: int = 0
    overload: bool = False
    compliance: bool = False
    """The instrument can't drive what was set."""


class Execution(Protocol):
    """A running program; its time counts from its start."""

    ended: bool
    failure: str
    """Why it ended badly, "" when fine."""
    elapsed_s: float
    """How far it was computed."""

    def advance(self, available_s: float, points_max: int) -> None:
        """Compute up to `available_s`, or until the buffer holds `points_max`."""

    def lose_contact(self) -> None:
        """End badly, with a last point that says so: the cell is connected no more."""

    def reading(self) -> Reading:
        """Return the display."""

    def progress_percent(self) -> float:
        """Return how much is done, 0..100."""

    def remaining_s(self) -> float:
        """Return the time still needed, where it can be known; else at least that."""

    def cycle_charges_mah(self) -> tuple[float, float]:
        """Return lithiation and delithiation of the present cycle (truth)."""


class PreparedProgram(Protocol):
    """A program that was accepted."""

    uid: str

    def begin(
        self, start_s: float, points: PointBuffer, rng: np.random.Generator
    ) -> Execution:
        """Start it at this instrument time."""


class Source(Protocol):
    """A cell, or something that plays one."""

    @property
    def potential_v(self) -> float:
        """The true potential at the terminals, V."""

    @property
    def charge_mah(self) -> float:
        """The true charge passed since it was mounted, mAh."""

    @property
    def capacity_mah(self) -> float:
        """Theoretical capacity, mAh; 0 if unknown."""

    @property
    def silicon_lithium_mah(self) -> float:
        """Lithium in the live silicon, mAh; 0 if unknown."""

    def prepare(self, text: str) -> PreparedProgram:
        """Accept a program, or raise ProgramError."""

    def rest(self, duration_s: float) -> None:
        """Leave it at open circuit."""
