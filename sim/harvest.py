"""When a program finishes early: charges by cycle, judged at the end of a step."""

from cryoline.sim.program_steps import Harvest

__all__ = ["HarvestWatch"]


class HarvestWatch:
    """Judges, each time a step has ended, whether the electrode is to be harvested.

    harvest: the program's conditions; None never finishes early
    """

    def __init__(self, harvest: Harvest | None) -> None:
        self._harvest = harvest
        self._reference_mah = 0.0

    def is_due(
        self,
        step_index: int,
        *,
        cycle: int,
        direction: float,
        cycle_charges_mah: tuple[float, float],
        throughput_mah: float,
    ) -> bool:
        """Return whether the program finishes now.

        direction: of the step that has ended
        cycle_charges_mah: lithiation and delithiation of the present cycle
        """
        wanted = self._harvest
        if wanted is None or step_index not in wanted.after_steps:
            return False
        lithiation_mah, delithiation_mah = cycle_charges_mah
        capacity_mah = delithiation_mah if direction > 0 else lithiation_mah
        if cycle == wanted.reference_cycle:
            self._reference_mah = capacity_mah
        return (
            (wanted.cycle_count is not None and cycle >= wanted.cycle_count)
            or _reached(throughput_mah, wanted.throughput_mah)
            or _reached(lithiation_mah, wanted.lithiation_mah)
            or (
                wanted.retention is not None
                and cycle > wanted.reference_cycle
                and capacity_mah <= wanted.retention * self._reference_mah
            )
        )


def _reached(charge_mah: float, wanted_mah: float | None) -> bool:
    # A step that ended at this charge may be short of it by the counter's rounding.
    return wanted_mah is not None and charge_mah >= wanted_mah * (1 - 1e-9)
