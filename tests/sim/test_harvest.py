"""Each condition of a harvest, against what a cell does that nobody takes out."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cryoline.acquisition import HarvestAt, Protocol, Specimen
from cryoline.acquisition.protocol_amounts import MAH_PER_G_OF_LI
from cryoline.ioc.points import COLUMNS
from cryoline.sim.cell_parameters import nanowire
from cryoline.sim.cell_source import CellSource
from cryoline.sim.potentiostat import Potentiostat, PotentiostatState

COLUMN = {name: k for k, name in enumerate(COLUMNS)}
MASS_MG = 0.2134
CELL = Specimen(name="nw-01", electrode_mass_mg=MASS_MG)
REFERENCE = 3
"""Cycle 2 still gains capacity; from here on it fades."""
PROTOCOL = Protocol.model_validate(
    {
        "name": "fast",
        "safety": {
            "potential_min_v": -0.1,
            "potential_max_v": 3.4,
            "current_max_a": 0.05,
        },
        "steps": [
            {"type": "constant_current", "rate_c": "-C", "until_potential_v": 0.02},
            {"type": "constant_current", "rate_c": "C", "until_potential_v": 1.5},
            {"type": "loop", "goto_step": 0, "cycle_count": 8},
        ],
    }
)


def run(at: HarvestAt | None = None) -> Potentiostat:
    device = Potentiostat(CellSource(nanowire()), seed=1)
    device.load(PROTOCOL.program(CELL, harvest=at).to_json())
    device.start(0.0)
    device.advance(1e9)
    assert device.state is PotentiostatState.FINISHED
    return device


def column(device: Potentiostat, name: str) -> NDArray[np.float64]:
    return device.points.rows[:, COLUMN[name]]


@pytest.fixture(scope="module")
def half_cycles_mah() -> NDArray[np.float64]:
    """Return (cycles, 2): lithiation and delithiation, of a cell left to itself.

    From one end of a step to the next by the counter, rounded by nobody.
    """
    device = run()
    charge, half = column(device, "charge_mah"), column(device, "half_cycle")
    ends = np.flatnonzero(np.diff(half, append=-1.0))
    return np.abs(np.diff(charge[ends], prepend=0.0)).reshape(-1, 2)


def conditions(half_cycles_mah: NDArray[np.float64]) -> dict[str, tuple[Any, int]]:
    """Return for each condition a value, and the cycle that meets it first."""
    lithiated, delithiated = half_cycles_mah.T
    passed = half_cycles_mah.sum(axis=1).cumsum()
    retention = delithiated / delithiated[REFERENCE - 1]
    assert (np.diff(retention[REFERENCE - 1 :]) < 0).all()  # it fades
    most_mah = float(lithiated.max())
    first = int(lithiated.argmax()) + 1
    mass_g = 1e-3 * MASS_MG
    just = 1 - 1e-6
    return {
        "cycle_count": (4, 4),
        "charge_mah": (float(passed[3] + passed[4]) / 2, 5),
        "capacity_mah_per_g": (just * most_mah / mass_g, first),
        "lithiation_x": (just * most_mah / (MAH_PER_G_OF_LI * mass_g), first),
        "retention": (float(retention[4] + retention[5]) / 2, 6),
    }


@pytest.mark.parametrize(
    "condition",
    ["cycle_count", "charge_mah", "capacity_mah_per_g", "lithiation_x", "retention"],
)
def test_the_first_cycle_that_meets_a_condition_is_the_last_and_ends_delithiated(
    condition: str, half_cycles_mah: NDArray[np.float64]
) -> None:
    value, cycle = conditions(half_cycles_mah)[condition]
    at = HarvestAt.model_validate({condition: value, "reference_cycle": REFERENCE})

    device = run(at)

    assert column(device, "cycle_number")[-1] == cycle
    assert column(device, "potential_v")[-1] == pytest.approx(1.5, abs=2e-3)
    assert column(device, "current_a")[-1] > 0
    # What is left is what 1C can't bring out; of what was in, nine tenths came.
    left_mah = device.source.silicon_lithium_mah
    assert left_mah < 0.1 * half_cycles_mah[cycle - 1].max()
    untouched = run(HarvestAt(state="lithiated", cycle_count=cycle))
    assert untouched.source.silicon_lithium_mah > 5 * left_mah
