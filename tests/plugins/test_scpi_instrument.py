"""The bridge's channel on the simulated meter, over TCP, in this process."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cryoline.devices.cycling_protocol import (
    ConstantCurrent,
    OpenCircuitVoltage,
    Program,
    ProgramState,
    Record,
    SafetyLimits,
    Step,
    VoltageScan,
)
from cryoline.ioc.points import COLUMNS
from cryoline.plugins.scpi_potentiostat.errors import (
    BridgeError,
    MeterComplains,
    MeterGarbled,
    MeterGone,
    RequestRefused,
    StorageFailed,
)
from cryoline.plugins.scpi_potentiostat.instrument import Instrument
from cryoline.plugins.scpi_potentiostat.link import ScpiLink
from cryoline.plugins.scpi_potentiostat.meter import Drive, SourceMeter
from cryoline.plugins.scpi_potentiostat.storage import PointFile, Storage
from cryoline.sim.scpi_cell import MicroCell
from cryoline.sim.scpi_meter import ScpiMeter
from cryoline.sim.scpi_server import ScpiServer

LONG_REST = OpenCircuitVoltage(duration_s=600.0)
SWEEP = VoltageScan(end_v=2.4, rate_mv_per_s=100.0)


@pytest.fixture
def server() -> Iterator[ScpiServer]:
    with ScpiServer(ScpiMeter(MicroCell())).in_thread() as serving:
        yield serving


@pytest.fixture
def instrument(server: ScpiServer, tmp_path: Path) -> Iterator[Instrument]:
    with Storage(tmp_path) as storage:
        instrument = Instrument(lambda: connect(server), storage, reconnect_s=0.2)
        yield instrument
        instrument.close()


def connect(server: ScpiServer) -> SourceMeter:
    # One answer is awaited for half a second: nothing here is slower.
    link = ScpiLink.open(server.address, timeout_s=0.5)
    return SourceMeter(link, power_line_cycles=0.05)


def program(*steps: Step, current_max_a: float = 0.01) -> Program:
    return Program(
        steps=steps,
        safety=SafetyLimits(
            potential_min_v=0.1, potential_max_v=2.6, current_max_a=current_max_a
        ),
        record=Record(dv_v=0.01, dt_s=0.1),
    )


def run(instrument: Instrument, program: Program, ticks: int = 400) -> None:
    instrument.load(program.to_json())
    instrument.begin()
    tick_until(instrument, lambda: state(instrument) is not ProgramState.RUNNING, ticks)


def tick_until(
    instrument: Instrument, is_so: Callable[[], bool], ticks: int = 400
) -> None:
    for _ in range(ticks):
        if is_so():
            return
        instrument.tick()
    raise AssertionError(instrument.values())


def state(instrument: Instrument) -> ProgramState:
    return ProgramState(instrument.values()["State_RBV"])


def message(instrument: Instrument) -> str:
    return str(instrument.values()["Message_RBV"])


def test_program_runs_and_its_points_are_on_the_disk(
    instrument: Instrument, server: ScpiServer, tmp_path: Path
) -> None:
    rest = OpenCircuitVoltage(duration_s=0.2)
    run(instrument, program(rest, VoltageScan(end_v=1.8, rate_mv_per_s=150.0)))

    assert state(instrument) is ProgramState.FINISHED
    assert not server.meter.output_is_on
    assert server.meter.off_state == {"VOLT": "HIMP", "CURR": "HIMP"}
    rows = instrument.page(0)
    (path,) = tmp_path.glob("points-*.f64")
    assert np.array_equal(np.fromfile(path).reshape(-1, len(COLUMNS)), rows)
    assert list(rows[:, 0]) == list(range(len(rows)))
    assert rows[-1, COLUMNS.index("potential_v")] == pytest.approx(1.8, abs=0.02)
    assert np.array_equal(instrument.page(3), rows[3:])
    assert instrument.values()["Progress_RBV"] == 100.0


def test_meter_itself_is_told_the_limits_of_the_program(
    instrument: Instrument, server: ScpiServer
) -> None:
    """So that they hold without the bridge: the meter's own words are asked."""
    run_until_driven(instrument, program(SWEEP, current_max_a=2e-3))
    ask = server.meter.handle

    assert ask(":SOUR:FUNC?") == "VOLT"
    assert float(str(ask(":SOUR:VOLT:ILIM?"))) == pytest.approx(2e-3)
    assert float(str(ask(":SOUR:CURR:VLIM?"))) == pytest.approx(2.75)
    assert ask(":SOUR:VOLT:PROT?") == "PROT5"
    assert ask(":SENS:CURR:RSEN?") == "1"


def run_until_driven(instrument: Instrument, program: Program) -> None:
    instrument.load(program.to_json())
    instrument.begin()
    tick_until(instrument, lambda: instrument.values()["PointCount_RBV"] > 0)


def test_limit_of_current_trips_in_the_meter_and_ends_the_program(
    instrument: Instrument, server: ScpiServer
) -> None:
    run(instrument, program(SWEEP, current_max_a=2e-4))

    assert state(instrument) is ProgramState.FAILED
    assert "A reached the safety limit 0.0002 A in step 0" in message(instrument)
    assert server.meter.highest_a <= 2e-4 + 1e-12  # the meter let no more through
    assert not server.meter.output_is_on


def test_potential_limit_holds_in_the_meter_when_nobody_looks(
    instrument: Instrument, server: ScpiServer
) -> None:
    server.meter.cell = MicroCell(capacity_mah=1e-3)
    step = ConstantCurrent(current_a=5e-3, until_duration_s=500.0)
    run_until_driven(instrument, program(step))
    # No tick: the bridge is dead. So much charge is the whole capacity.
    threading.Event().wait(0.75)
    server.meter.advance()

    assert server.meter.highest_v <= 2.6 + 1e-9
    assert server.meter.output_is_on


@pytest.mark.parametrize("fault", ["unplugged", "garbled"])
def test_lost_meter_fails_the_program_and_is_opened_as_soon_as_it_answers(
    instrument: Instrument, server: ScpiServer, fault: str
) -> None:
    run_until_driven(instrument, program(SWEEP))
    recorded = instrument.values()["PointCount_RBV"]
    if fault == "unplugged":
        server.unplug()
        reason = "no answer to"
    else:
        server.garbled_answer = "@#!"
        reason = "is '@#!', not 2 numbers; does another program talk to this meter?"
    tick_until(instrument, lambda: not instrument.is_connected)

    assert state(instrument) is ProgramState.FAILED
    assert reason in message(instrument)
    assert "then the circuit is opened" in message(instrument)
    assert "Potential_RBV" not in instrument.values()  # nobody knows it
    assert instrument.values()["PointCount_RBV"] >= recorded
    with pytest.raises(RequestRefused, match="the meter does not answer"):
        instrument.load(program(SWEEP).to_json())
    server.is_unplugged, server.garbled_answer = False, None
    tick = threading.Event()
    tick_until(instrument, lambda: tick.wait(0.02) or instrument.is_connected)
    assert not server.meter.output_is_on
    run(instrument, program(OpenCircuitVoltage(duration_s=0.1)))
    assert state(instrument) is ProgramState.FINISHED


def test_bridge_that_died_opens_the_circuit_and_keeps_the_points(
    server: ScpiServer, tmp_path: Path
) -> None:
    sweep = program(SWEEP)
    with Storage(tmp_path) as storage:
        dying = Instrument(lambda: connect(server), storage)
        run_until_driven(dying, sweep)
        before = dying.page(0)
        dying.close()
    (path,) = tmp_path.glob("points-*.f64")
    with path.open("ab") as file:
        file.write(b"half a row")
    assert server.meter.output_is_on  # it holds its last potential
    with Storage(tmp_path) as storage:
        reborn = Instrument(lambda: connect(server), storage)

        assert not server.meter.output_is_on
        assert state(reborn) is ProgramState.FAILED
        assert "the bridge died while the program ran" in message(reborn)
        assert reborn.values()["ProgramUid_RBV"] == sweep.uid
        assert np.array_equal(reborn.page(0), before)
        assert np.array_equal(np.fromfile(path).reshape(before.shape), before)
        reborn.close()


def test_loaded_program_waits_over_a_restart(
    server: ScpiServer, tmp_path: Path
) -> None:
    with Storage(tmp_path) as storage:
        first = Instrument(lambda: connect(server), storage)
        first.load(program(OpenCircuitVoltage(duration_s=0.1)).to_json())
        first.close()
    with Storage(tmp_path) as storage:
        second = Instrument(lambda: connect(server), storage)
        second.begin()
        tick_until(second, lambda: state(second) is ProgramState.FINISHED)
        second.close()


def test_stop_opens_the_circuit_and_keeps_the_points(
    instrument: Instrument, server: ScpiServer
) -> None:
    run_until_driven(instrument, program(SWEEP))
    instrument.halt()

    assert state(instrument) is ProgramState.STOPPED
    assert not server.meter.output_is_on
    assert instrument.values()["PointCount_RBV"] > 0
    assert instrument.values()["Current_RBV"] == 0.0


def test_start_looks_at_the_cell_first(
    instrument: Instrument, server: ScpiServer
) -> None:
    with pytest.raises(RequestRefused, match="no program is loaded"):
        instrument.begin()
    narrow = Program(
        steps=(LONG_REST,),
        safety=SafetyLimits(
            potential_min_v=2.0, potential_max_v=2.6, current_max_a=0.01
        ),
    )
    instrument.load(narrow.to_json())
    with pytest.raises(
        RequestRefused, match=r"the cell is at 1.7\d+ V, outside the sa"
    ):
        instrument.begin()
    server.meter.cell.is_connected = False
    with pytest.raises(RequestRefused, match="no cell is connected"):
        instrument.begin()

    assert state(instrument) is ProgramState.LOADED
    assert instrument.values()["Contact_RBV"] is False


def test_refusals_while_a_program_runs_change_nothing(
    instrument: Instrument, server: ScpiServer
) -> None:
    first = program(LONG_REST)
    run_until_driven(instrument, first)
    with pytest.raises(RequestRefused, match="can't be loaded while program"):
        instrument.load(program(SWEEP).to_json())
    with pytest.raises(RequestRefused, match="can't be started while program"):
        instrument.begin()
    with pytest.raises(RequestRefused, match="point 999 is not recorded; ask for 0"):
        instrument.page(999)

    assert state(instrument) is ProgramState.RUNNING
    assert instrument.values()["ProgramUid_RBV"] == first.uid


def test_full_disk_ends_the_program_at_open_circuit(
    instrument: Instrument, server: ScpiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_until_driven(instrument, program(SWEEP))

    def full(_: PointFile) -> None:
        raise StorageFailed("potentiostat: points.f64 can't be written (No space)")

    monkeypatch.setattr(PointFile, "flush", full)
    tick_until(instrument, lambda: state(instrument) is not ProgramState.RUNNING)

    assert state(instrument) is ProgramState.FAILED
    assert message(instrument).startswith(
        "potentiostat: points.f64 can't be written (No space); the cell is at open"
    )
    assert not server.meter.output_is_on


def test_second_bridge_on_a_directory_is_refused(tmp_path: Path) -> None:
    with (
        Storage(tmp_path),
        pytest.raises(BridgeError, match="another bridge works here"),
    ):
        Storage(tmp_path)


def test_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "program.json").write_text('{"uid"')
    with pytest.raises(BridgeError, match=r"program.json: can't be used"):
        Storage(tmp_path)


def test_meter_says_what_it_did_not_like(server: ScpiServer) -> None:
    link = ScpiLink.open(server.address)
    link.write(":SOUR:VOLTS 1")
    with pytest.raises(MeterComplains, match="error is -113, Undefined header, at try"):
        link.check("trying")
    link.check("nothing")
    link.close()


def test_answers_that_are_no_numbers_are_named(server: ScpiServer) -> None:
    link = ScpiLink.open(server.address)
    with pytest.raises(MeterGarbled, match=r"answer to \*IDN\? is .*, not a number"):
        link.numbers("*IDN?", 1)
    with pytest.raises(MeterGarbled, match="not 0 or 1"):
        link.flag("*LANG?")
    link.close()


def test_no_meter_at_an_address_is_named() -> None:
    with pytest.raises(MeterGone, match="check its power"):
        SourceMeter(ScpiLink.open("TCPIP::127.0.0.1::9::SOCKET", timeout_s=0.5))


def test_other_instruments_are_refused(
    server: ScpiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = server.meter.handle

    def other(line: str) -> str | None:
        return "KEITHLEY,MODEL 2000,1,A" if line == "*IDN?" else handle(line)

    monkeypatch.setattr(server.meter, "handle", other)
    with pytest.raises(MeterComplains, match="knows the models 2450, 2460, 2461, 2470"):
        connect(server)


def test_stricter_setting_goes_first(
    server: ScpiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a wide limit to a narrow one, and back, the cell never sees the wide one."""
    meter = connect(server)
    meter.drive(Drive(1.7, 1e-2))
    lines: list[str] = []
    handle = server.meter.handle

    def heard(line: str) -> str | None:
        lines.append(line)
        return handle(line)

    monkeypatch.setattr(server.meter, "handle", heard)
    meter.drive(Drive(2.5, 1e-3))
    meter.drive(Drive(1.7, 1e-2))
    meter.read()
    meter.close()

    assert lines[:4] == [
        ":SOUR:VOLT:ILIM 0.001",
        ":SOUR:VOLT 2.5",
        ":SOUR:VOLT 1.7",
        ":SOUR:VOLT:ILIM 0.01",
    ]
