"""Scalars of the truth, which only scoring may read."""

from cryoline.sim.potentiostat import Potentiostat

__all__ = ["truth_values"]


def truth_values(potentiostat: Potentiostat) -> dict[str, float]:
    """Return what really happened in the mounted cell, by PV name.

    Lithiation and delithiation are the integrals of the negative and of the positive
    current of the present cycle; nothing here passed a converter.
    """
    lithiation_mah, delithiation_mah = potentiostat.cycle_charges_mah()
    return {
        "Charge_RBV": potentiostat.source.charge_mah,
        "Lithiation_RBV": lithiation_mah,
        "Delithiation_RBV": delithiation_mah,
        "Capacity_RBV": potentiostat.source.capacity_mah,
    }
