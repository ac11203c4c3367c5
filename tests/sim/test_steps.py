"""Every step does what it says, and what ends it: on simulated cells, by physics."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cryoline.sim.cell import SiliconHalfCell
from cryoline.sim.cell_parameters import nanowire
from cryoline.sim.cell_source import CellSource
from cryoline.sim.commands import perform
from cryoline.sim.errors import ProgramError, RefusedError
from cryoline.sim.impedance import impedance_ohm
from cryoline.sim.mounted_cells import CellKind
from cryoline.sim.point_buffer import COLUMNS
from cryoline.sim.potentiostat import Potentiostat, PotentiostatState
from cryoline.sim.world import World

COLUMN = SimpleNamespace(**{name: k for k, name in enumerate(COLUMNS)})
LITHIATE = {"type": "constant_current", "current_a": -1e-3, "until_potential_v": 0.02}
DELITHIATE = {"type": "constant_current", "current_a": 1e-3, "until_potential_v": 1.5}
HOLD = {"type": "constant_voltage", "potential_v": 0.02, "until_current_a": 1e-4}


def text(steps: list[dict[str, Any]], **changes: Any) -> str:
    safety = {"potential_min_v": -0.1, "potential_max_v": 3.4, "current_max_a": 0.01}
    program = {
        "uid": "p",
        "safety": safety | changes.pop("safety", {}),
        "record": {"dv_v": 0.001, "dt_s": 60.0} | changes.pop("record", {}),
        "steps": steps,
        "cycle_starts_at_step": 0,
    }
    return json.dumps(program | changes)


def run(steps: list[dict[str, Any]], **changes: Any) -> Potentiostat:
    device = Potentiostat(CellSource(nanowire()), seed=1)
    device.load(text(steps, **changes))
    device.start(0.0)
    device.advance(1e7)
    return device


def test_a_held_potential_ends_when_the_current_has_died_away() -> None:
    rows = run([LITHIATE, HOLD]).points.rows
    held = rows[rows[:, COLUMN.step_index] == 1]
    magnitudes = np.abs(held[:, COLUMN.current_a])
    assert magnitudes[0] > 5e-4  # of the 1 mA that flowed before
    # A point is a mean of up to 60 s.
    assert magnitudes[-1] == pytest.approx(1e-4, rel=0.1)
    np.testing.assert_allclose(held[:, COLUMN.potential_v], 0.02, atol=3e-4)


def test_a_step_ends_at_its_charge_and_at_a_reading_of_the_counter() -> None:
    by_charge = LITHIATE | {"until_charge_mah": 0.1}
    to_counter = LITHIATE | {"until_net_charge_mah": -0.25}
    rows = run([by_charge, to_counter]).points.rows
    first = rows[rows[:, COLUMN.step_index] == 0]
    # A sub-step of 1 s passes 0.28 uAh.
    assert first[-1, COLUMN.charge_mah] == pytest.approx(-0.1, abs=3e-4)
    assert rows[-1, COLUMN.charge_mah] == pytest.approx(-0.25, abs=3e-4)


def test_a_sweep_ends_early_at_its_charge() -> None:
    sweep = {"type": "voltage_scan", "end_v": 0.02, "rate_mv_per_s": 0.2}
    rows = run([sweep | {"until_charge_mah": 0.01}]).points.rows
    assert rows[-1, COLUMN.charge_mah] == pytest.approx(-0.01, rel=0.05)
    assert rows[-1, COLUMN.potential_v] > 0.05


def test_a_charge_beyond_the_safety_limit_ends_the_run_at_open_circuit() -> None:
    device = run([LITHIATE], safety={"charge_max_mah": 0.1})
    assert device.state is PotentiostatState.FAILED
    assert "-0.1" in device.message
    assert "mAh passed the safety limit 0.1 mAh" in device.message
    assert device.reading().current_a == 0.0


def test_a_set_current_never_passes_the_safety_window_by_more_than_a_millivolt() -> (
    None
):
    device = run([LITHIATE | {"until_potential_v": None, "until_duration_s": 1e6}])
    assert device.state is PotentiostatState.FAILED
    assert device.points.rows[:, COLUMN.potential_v].min() > -0.1 - 1.2e-3


def test_points_come_more_often_where_the_current_moves() -> None:
    hold = HOLD | {"until_current_a": None, "until_duration_s": 600}
    sparse, dense = (
        run([LITHIATE, hold], record=record).points.rows
        for record in ({}, {"di_a": 1e-6})
    )
    count = [(rows[:, COLUMN.step_index] == 1).sum() for rows in (sparse, dense)]
    assert count[0] < 15
    assert count[1] > 3 * count[0]


def test_an_impedance_is_that_of_the_stated_circuit_at_both_ends() -> None:
    cell = SiliconHalfCell(nanowire())
    p = cell.parameters
    high, low = impedance_ohm(cell, np.array([1e7, 1e-6]))
    assert high.real == pytest.approx(p.resistance_ohm, rel=0.01)
    # At its low end the layer is a capacitor: a phase near -90 degrees.
    assert np.angle(low, deg=True) < -80
    spectrum = {
        "type": "impedance_spectroscopy",
        "amplitude_v": 0.01,
        "start_frequency_hz": 1e5,
        "end_frequency_hz": 0.1,
        "points_per_decade": 5,
    }
    device = run([{"type": "open_circuit_voltage", "duration_s": 1.0}, spectrum])
    rows = device.points.rows[device.points.rows[:, COLUMN.frequency_hz] > 0]
    assert len(rows) == 31
    measured = rows[:, COLUMN.z_real_ohm] + 1j * rows[:, COLUMN.z_imag_ohm]
    source: Any = device.source
    true = impedance_ohm(source.cell, rows[:, COLUMN.frequency_hz])
    np.testing.assert_allclose(measured, true, atol=0.02 * np.abs(true).max())
    assert device.progress_percent() == 100.0


@pytest.mark.parametrize(
    ("harvest", "cycle"),
    [
        ({"cycle_count": 2}, 2),
        ({"throughput_mah": 1.0}, 2),
        ({"lithiation_mah": 0.3}, 1),
        ({"retention": 1.5}, 3),  # true as soon as there is a reference
    ],
)
def test_a_harvest_finishes_after_a_delithiation_and_never_elsewhere(
    harvest: dict[str, Any], cycle: int
) -> None:
    loop = {"type": "loop", "goto_step": 0, "cycle_count": 5}
    device = run(
        [LITHIATE, DELITHIATE, loop],
        harvest={"after_step": [1], **harvest},
    )
    last = device.points.rows[-1]
    assert device.state is PotentiostatState.FINISHED
    assert last[COLUMN.cycle_number] == cycle
    assert last[COLUMN.step_index] == 1
    assert last[COLUMN.potential_v] == pytest.approx(1.5, abs=2e-3)


def test_a_lost_contact_ends_the_run_with_a_point_that_says_so() -> None:
    device = Potentiostat(CellSource(nanowire()), seed=1)
    device.load(text([LITHIATE]))
    device.start(0.0)
    device.set_contact(False, 100.0)
    assert device.state is PotentiostatState.FAILED
    assert "the contact to the cell was lost in step 0" in device.message
    rows = device.points.rows
    assert rows[-1, COLUMN.contact] == 0
    assert rows[:-1, COLUMN.contact].all()
    device.load(text([LITHIATE]))
    with pytest.raises(RefusedError, match="no cell is connected; connect it"):
        device.start(200.0)


def test_a_current_that_can_not_be_driven_is_flagged() -> None:
    forced = LITHIATE | {"until_potential_v": None, "until_duration_s": 1e5}
    rows = run([forced], safety={"potential_min_v": -5.0}).points.rows
    assert rows[-1, COLUMN.compliance] == 1
    assert rows[0, COLUMN.compliance] == 0


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (
            {"type": "constant_voltage", "potential_v": 0.1, "until_charge_mah": 1},
            "would never end; give until_current_a or until_duration_s",
        ),
        (
            {"type": "constant_current", "current_a": 1, "until_net_charge_mah": 0},
            "current_a 1 A is outside the safety limits -0.01..0.01 A",
        ),
        (
            LITHIATE | {"until_potential_v": None, "until_net_charge_mah": 0},
            "would never end; give until_potential_v, until_duration_s or",
        ),
    ],
)
def test_a_step_without_an_end_is_refused(step: dict[str, Any], words: str) -> None:
    with pytest.raises(ProgramError) as refusal:
        run([step])
    assert words in str(refusal.value)


def test_eight_cells_cycle_at_once_each_on_its_own() -> None:
    world = World(seed=1, cell=CellKind.NANOWIRE, channels=8)
    for channel in range(8):
        program = text([LITHIATE | {"current_a": -1e-4 * (channel + 1)}])
        perform(world, "potentiostat.load", {"text": program, "channel": channel})
        perform(world, "potentiostat.start", {"channel": channel})
    for device in world.potentiostats:
        device.advance(1e5)
    currents = [
        device.points.rows[:, COLUMN.current_a].mean() for device in world.potentiostats
    ]
    np.testing.assert_allclose(currents, -1e-4 * np.arange(1, 9), rtol=2e-3)
    perform(world, "potentiostat.lose_contact", {"channel": 3})
    assert [device.has_contact for device in world.potentiostats].count(False) == 1
    with pytest.raises(RefusedError, match=r"no channel 9; there are 1\.\.8"):
        perform(world, "potentiostat.stop", {"channel": 8})
