"""The world: stepped and free-running mode, events, resets, and its command list."""

import json

import numpy as np
import pytest

from cryoline.sim.clock import ClockMode, SimClock
from cryoline.sim.commands import COMMANDS, perform
from cryoline.sim.errors import RefusedError
from cryoline.sim.mounted_cells import CellKind
from cryoline.sim.potentiostat import PotentiostatState
from cryoline.sim.world import World

CYCLES = 2
VOLTAMMETRY = json.dumps(
    {
        "uid": "cv",
        "safety": {
            "potential_min_v": -0.1,
            "potential_max_v": 3.2,
            "current_max_a": 0.01,
        },
        "record": {"dv_v": 0.001, "dt_s": 60.0},
        "steps": [
            {"type": "voltage_scan", "end_v": 0.01, "rate_mv_per_s": 0.2},
            {"type": "voltage_scan", "end_v": 3.0, "rate_mv_per_s": 0.2},
            {"type": "loop", "goto_step": 0, "cycle_count": CYCLES},
        ],
        "cycle_starts_at_step": 0,
    }
)


def stepped_world(**options) -> World:
    return World(seed=5, clock=SimClock(mode=ClockMode.STEPPED), **options)


def read_all(world: World) -> np.ndarray:
    """Read what is unread, as a collecting client does."""
    device = world.potentiostat
    return device.read_page(len(device.points) - device.unread).copy()


def run_stepped() -> tuple[np.ndarray, list[str], World]:
    world = stepped_world()
    perform(world, "potentiostat.load", {"text": VOLTAMMETRY})
    perform(world, "potentiostat.start", {})
    events, pages = [], []
    while world.potentiostat.running:
        events.append(perform(world, "lab.step", {}))
        pages.append(read_all(world))
    return np.concatenate(pages), events, world


def test_stepped_mode_is_bit_identical_with_the_same_seed() -> None:
    first, events, world = run_stepped()
    second, _, _ = run_stepped()
    np.testing.assert_array_equal(first, second)
    assert events == ["points", "points", "program"]
    assert world.clock.now() == pytest.approx(58_800.0)
    assert world.potentiostat.state is PotentiostatState.FINISHED


def test_free_running_gives_the_rows_of_the_stepped_mode() -> None:
    wall_s = 0.0
    clock = SimClock(factor=1e5, monotonic=lambda: wall_s)
    world = World(seed=5, clock=clock)
    rhythm = np.random.default_rng(0)
    perform(world, "potentiostat.load", {"text": VOLTAMMETRY})
    perform(world, "potentiostat.start", {})
    while world.potentiostat.running:
        wall_s += rhythm.uniform(1e-5, 0.1)
        world.catch_up()
    stepped, _, _ = run_stepped()
    np.testing.assert_array_equal(world.potentiostat.points.rows, stepped)


def test_models_that_can_not_keep_up_hold_the_clock_back() -> None:
    wall_s = 0.0
    clock = SimClock(factor=1e6, monotonic=lambda: wall_s)
    world = World(seed=0, clock=clock)
    wall_s = 1.0
    world.catch_up()
    assert world.time_s == clock.now() == 50_000.0


def test_step_ends_at_the_first_of_several_events() -> None:
    world = stepped_world()
    perform(world, "clock.wake_at", {"time_s": 100.0})
    perform(world, "operator.ask", {"text": "Look"})
    assert world.step() == "operator"
    assert world.clock.now() == 30.0
    assert world.step() == "wake"
    assert world.clock.now() == 100.0
    assert world.wake_at_s == 0.0


def test_step_without_an_event_is_refused_with_what_to_do() -> None:
    with pytest.raises(RefusedError) as refusal:
        stepped_world().step()
    assert str(refusal.value) == (
        "laboratory: Step has nothing to wait for: no program or exposure runs, no "
        "axis moves, WakeAt is not set and no prompt waits; start one of them, or use "
        "Advance"
    )


def test_step_stays_where_it_is_until_a_full_page_is_read() -> None:
    world = stepped_world()
    perform(world, "potentiostat.load", {"text": VOLTAMMETRY})
    perform(world, "potentiostat.start", {})
    assert world.step() == "points"
    time_s = world.clock.now()
    assert world.step() == "points"
    assert world.clock.now() == time_s


def test_reset_makes_everything_new_but_the_time() -> None:
    world = stepped_world(cell=CellKind.NANOWIRE)
    perform(world, "lab.mount", {"cell": 0})
    perform(world, "potentiostat.load", {"text": VOLTAMMETRY})
    perform(world, "potentiostat.start", {})
    perform(world, "operator.auto_confirm", {"on": False})
    perform(world, "lab.advance", {"duration_s": 500.0})
    perform(world, "lab.reset", {"seed": 9})
    assert world.seed == 9
    assert world.clock.now() == 500.0
    assert world.cells.kind is CellKind.NANOWIRE
    assert world.potentiostat.state is PotentiostatState.IDLE
    assert len(world.potentiostat.points) == 0
    assert world.operator.auto_confirm


def test_cell_can_not_be_changed_while_a_program_runs() -> None:
    world = stepped_world()
    perform(world, "potentiostat.load", {"text": VOLTAMMETRY})
    perform(world, "potentiostat.start", {})
    with pytest.raises(RefusedError, match="can't be mounted while a program runs"):
        perform(world, "lab.mount", {"cell": 1})


def test_recorded_cell_needs_a_recorded_measurement() -> None:
    with pytest.raises(RefusedError, match="start it with --recorded FILE"):
        stepped_world().mount(CellKind.RECORDED)


def test_only_listed_commands_with_their_arguments_are_done() -> None:
    world = stepped_world()
    with pytest.raises(RefusedError, match="no command '__class__'"):
        perform(world, "__class__", {})
    with pytest.raises(RefusedError, match=r"lab\.reset takes seed"):
        perform(world, "lab.reset", {})
    with pytest.raises(RefusedError, match="seed must be int, not '1'"):
        perform(world, "lab.reset", {"seed": "1"})
    assert "poll" in COMMANDS


ORDER = json.dumps(
    {
        "ticket": "t",
        "width_px": 100,
        "height_px": 100,
        "pixel_nm": 2.0,
        "dwell_s": 20e-6,
        "n_frames": 100,
        "flyback_s": 0.0,
        "flyback_blanked": True,
        "center_x_nm": 0.0,
        "center_y_nm": 0.0,
        "max_time_s": 1e3,
        "max_charge_c": 1e-3,
    }
)


def test_axis_at_rest_and_exposure_over_are_events_of_a_step() -> None:
    world = stepped_world()
    perform(world, "stage.move", {"axis": "Alpha", "target": 10.0})
    assert world.step() == "stage"
    assert world.clock.now() == 8.0
    perform(world, "beam.measure", {})
    assert world.step() == "measurement"
    perform(world, "beam.arm", {"text": ORDER})
    perform(world, "beam.start", {})
    assert world.step() == "exposure"
    assert world.clock.now() == pytest.approx(30.0)
    answer = perform(world, "beam.exposure", {"ticket": "t"})
    assert answer["state"] == "ended"
    assert answer["specimen"] == {
        "directory": None,
        "kind": "wire",
        "seed": 5,
        "n_cycles": 1,
    }
    assert perform(world, "beam.record", {"counter": 1})["ticket"] == "t"
    assert perform(world, "beam.record", {"counter": 2}) is None


def test_reset_cuts_an_exposure_and_keeps_the_counter() -> None:
    world = stepped_world(boot_id="9")
    perform(world, "beam.arm", {"text": ORDER})
    perform(world, "beam.start", {})
    perform(world, "lab.advance", {"duration_s": 3.0})
    perform(world, "lab.reset", {"seed": 5})
    values = perform(world, "poll", {"instrument": "beam"})["values"]["beam"]
    assert values["ExposureCounter_RBV"] == 1
    assert perform(world, "beam.record", {"counter": 1})["outcome"] == 2
    assert perform(world, "beam.exposure", {"ticket": "t"})["specimen"]["seed"] == 5
    with pytest.raises(RefusedError, match="was exposed already"):
        perform(world, "beam.arm", {"text": ORDER})


def test_silence_of_a_server_is_seen_in_wall_time() -> None:
    world = stepped_world()
    assert perform(world, "beam.guard", {})["stage_poll_age_s"] == 1e9
    perform(world, "poll", {"instrument": "stage"})
    guard = perform(world, "beam.guard", {})
    assert 0.0 <= guard["stage_poll_age_s"] < 5.0
    assert guard["stage_temperature_degc"] == -178.0


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("stage.move", {"axis": "Beta", "target": 0.0}, "no axis 'Beta'"),
        ("beam.blank", {"cause": "whim"}, "no cause 'whim' of blanking"),
        ("lab.fault", {"name": "fire", "value": 1.0}, "no fault 'fire'; known"),
        ("lab.fault", {"name": "ln2_level", "value": 101.0}, "outside 0..100"),
        ("truth.save", {}, "started without a directory"),
    ],
)
def test_microscope_refuses_what_it_does_not_know(command, arguments, words) -> None:
    with pytest.raises(RefusedError, match=words):
        perform(stepped_world(), command, arguments)
