"""What a program counts while it runs: charge, cycles, half cycles, the harvest."""

from typing import Final

from cryoline.devices.cycling_protocol import Program

__all__ = ["Tally"]

_C_PER_MAH: Final = 3.6


class Tally:
    """The counters of one program. Charges are in mAh, lithiation is negative."""

    def __init__(self, program: Program) -> None:
        self._starts = _indices(program.cycle_starts_at_step)
        self._harvest = program.harvest
        self._cycle_seen = False
        self._direction = 0.0
        self._reference_mah = 0.0
        self._cycle_mah = [0.0, 0.0]  # lithiation, delithiation, both positive
        self._step_base_mah = 0.0
        self.net_mah = 0.0
        self.throughput_mah = 0.0
        self.cycle_number = 1
        self.half_cycle = 0

    @property
    def step_mah(self) -> float:
        """Charge since the step's start."""
        return self.net_mah - self._step_base_mah

    def enter(self, index: int, direction: float) -> None:
        """Begin a step; direction is the sign of its current or sweep, 0 if none."""
        self._step_base_mah = self.net_mah
        if index in self._starts:
            if self._cycle_seen:
                self.cycle_number += 1
                self._cycle_mah = [0.0, 0.0]
            self._cycle_seen = True
        if direction and self._direction and direction != self._direction:
            self.half_cycle += 1
        self._direction = direction or self._direction

    def add(self, charge_c: float) -> None:
        """Count charge that has passed."""
        charge_mah = charge_c / _C_PER_MAH
        self.net_mah += charge_mah
        self.throughput_mah += abs(charge_mah)
        self._cycle_mah[charge_mah > 0] += abs(charge_mah)

    def is_ripe(self, index: int) -> bool:
        """Whether the harvest is due now that this step has ended."""
        harvest = self._harvest
        if harvest is None or index not in _indices(harvest.after_step):
            return False
        capacity_mah = self._cycle_mah[self._direction > 0]
        if self.cycle_number == harvest.reference_cycle:
            self._reference_mah = capacity_mah
        return (
            _reached(self.cycle_number, harvest.cycle_count)
            or _reached(self.throughput_mah, harvest.throughput_mah)
            or _reached(self._cycle_mah[0], harvest.lithiation_mah)
            or (
                harvest.retention is not None
                and self.cycle_number > harvest.reference_cycle
                and capacity_mah <= harvest.retention * self._reference_mah
            )
        )


def _indices(places: int | tuple[int, ...] | None) -> tuple[int, ...]:
    return (places,) if isinstance(places, int) else places or ()


def _reached(value: float, wanted: float | None) -> bool:
    return wanted is not None and value >= wanted
