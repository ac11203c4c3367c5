"""Scalars of the truth, which only scoring may read."""

from pathlib import Path

import numpy as np

from cryoline.sim.microscope import Microscope
from cryoline.sim.potentiostat import Potentiostat

__all__ = ["save_fluence", "truth_values"]


def truth_values(
    potentiostat: Potentiostat, microscope: Microscope, time_s: float
) -> dict[str, float]:
    """Return what really happened in the mounted cell and to the specimen, by PV name.

    Lithiation and delithiation are the integrals of the negative and of the positive
    current of the present cycle; nothing here passed a converter.
    """
    x_nm, y_nm = microscope.stage.offsets_nm(np.array(time_s))
    lithiation_mah, delithiation_mah = potentiostat.cycle_charges_mah()
    return {
        "Charge_RBV": potentiostat.source.charge_mah,
        "Lithiation_RBV": lithiation_mah,
        "Delithiation_RBV": delithiation_mah,
        "Capacity_RBV": potentiostat.source.capacity_mah,
        "SiliconLithium_RBV": potentiostat.source.silicon_lithium_mah,
        "BeamCharge_RBV": microscope.column.charge_c(time_s),
        "FluenceMax_RBV": microscope.fluence.max_e_per_nm2,
        "ShiftX_RBV": float(x_nm),
        "ShiftY_RBV": float(y_nm),
    }


def save_fluence(microscope: Microscope, directory: Path) -> Path:
    """Write the fluence map, (y, x) e/nm2, to DIRECTORY/truth/fluence.npy."""
    target = directory / "truth" / "fluence.npy"
    target.parent.mkdir(exist_ok=True)
    partial = target.with_suffix(".npy.new")
    with partial.open("wb") as file:
        np.save(file, microscope.fluence.cells)
    partial.replace(target)
    return target
