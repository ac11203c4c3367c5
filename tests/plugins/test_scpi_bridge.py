"""The bridge as processes: meter, bridge, session; two instruments under one plan."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine

from cryoline.acquisition.contract import Verdict, examine_contract, load_contract
from cryoline.acquisition.cycling import cycle
from cryoline.acquisition.specimen import Specimen
from cryoline.devices import Potentiostat
from cryoline.devices.cycling_protocol import (
    ConstantCurrent,
    Program,
    ProgramState,
    Record,
    SafetyLimits,
    VoltageScan,
)
from cryoline.devices.errors import ProgramFailed, ProgramRefused
from cryoline.sim.scpi_cell import MicroCell
from cryoline.sim.scpi_meter import ScpiMeter
from cryoline.sim.scpi_server import ScpiServer

pytestmark = pytest.mark.lab

PREFIX = "LAB:POT2:"
INVALID = 3


@dataclass
class Bridge:
    """A bridge process, its meter in this process, and a device that speaks to it."""

    server: ScpiServer
    process: subprocess.Popen[bytes]
    device: Potentiostat

    @property
    def meter(self) -> ScpiMeter:
        return self.server.meter

    def worker_pid(self) -> int:
        """Return the process that the supervisor has started."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def fresh_cell(self, state: float = 0.5) -> None:
        self.device.stop()
        self.meter.cell = MicroCell(state=state)
        self.device.prepare(sweep()).wait(10)  # which looks at the cell

    def start(self, program: Program) -> None:
        self.device.prepare(program).wait(10)
        self.device.kickoff().wait(10)

    def until(self, is_so: Callable[[], bool], timeout_s: float = 20.0) -> float:
        tick = threading.Event()
        begun_s = time.monotonic()
        while not is_so():
            assert time.monotonic() - begun_s < timeout_s, self.device.message.get()
            tick.wait(0.01)
        return time.monotonic() - begun_s

    def rows(self) -> "np.ndarray[Any, Any]":
        """Return all points, by a client that comes for the first time."""
        client = Potentiostat(PREFIX, name="later")
        client.wait_for_connection(timeout=10)
        pages = [np.empty((0, 9))]
        width = len(client.point_columns.get().split(","))
        while (have := sum(map(len, pages))) < client.point_count.get():
            client.point_request.set(have).wait(5)
            page = np.asarray(client.points.get())
            pages.append(page[4 : 4 + int(page[1]) * width].reshape(-1, width)[:, :9])
        return np.concatenate(pages)


@contextmanager
def serving(directory: Path, port: int) -> Iterator[Bridge]:
    log = directory / "bridge.log"
    with (
        ScpiServer(ScpiMeter(MicroCell())).in_thread() as server,
        log.open("wb") as out,
    ):
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "cryoline.acquisition.cli"),
                *("serve", "keithley", "--address", server.address),
                *("--prefix", PREFIX, "--port", str(port), "--nplc", "0.1"),
                *("--directory", str(directory)),
            ],
            stderr=out,
            stdout=subprocess.DEVNULL,
        )
        try:
            device = Potentiostat(PREFIX, name="potentiostat")
            device.wait_for_connection(timeout=30)
            yield Bridge(server, process, device)
        finally:
            process.terminate()
            assert process.wait(15) == 0
        assert not server.meter.output_is_on


@pytest.fixture(scope="module")
def shared(
    bridge_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bridge]:
    with serving(tmp_path_factory.mktemp("bridge"), bridge_port) as bridge:
        yield bridge


@pytest.fixture
def bridge(shared: Bridge) -> Bridge:
    shared.fresh_cell()
    return shared


def sweep(**safety: float) -> Program:
    limits = {"potential_min_v": 0.1, "potential_max_v": 3.0, "current_max_a": 0.01}
    return Program(
        steps=(VoltageScan(end_v=2.4, rate_mv_per_s=150.0),),
        safety=SafetyLimits(**limits | safety),
        record=Record(dv_v=0.005, dt_s=1.0),
    )


SESSION = f"""
import sys
from bluesky import RunEngine
from cryoline.acquisition import run_program
from cryoline.devices import Potentiostat, Program
potentiostat = Potentiostat("{PREFIX}", name="potentiostat")
potentiostat.wait_for_connection(timeout=20)
RunEngine()(run_program(potentiostat, Program.model_validate_json(sys.argv[1])))
"""


def test_session_killed_in_mid_sweep_stops_neither_bridge_nor_meter(
    bridge: Bridge,
) -> None:
    program = sweep()
    session = subprocess.Popen([sys.executable, "-c", SESSION, program.to_json()])
    device = bridge.device
    bridge.until(
        lambda: device.program_uid.get() == program.uid and device.point_count.get() > 5
    )
    session.send_signal(signal.SIGKILL)
    session.wait(5)
    killed_at = bridge.rows()
    bridge.until(lambda: device.point_count.get() > len(killed_at) + 10)

    assert bridge.meter.output_is_on
    assert device.state.get() == ProgramState.RUNNING
    bridge.until(lambda: device.state.get() == ProgramState.FINISHED)
    assert not bridge.meter.output_is_on
    rows = bridge.rows()
    assert list(rows[:, 0]) == list(range(len(rows)))  # none lost, none twice
    assert np.array_equal(rows[: len(killed_at)], killed_at)
    # 5 mV a point, from where the cell was to the end of the sweep.
    assert np.all(np.diff(rows[:, 2]) > 0)
    assert np.diff(rows[:, 2]).max() < 0.03
    assert rows[-1, 2] == pytest.approx(2.4, abs=0.02)


def test_limit_trips_in_the_bridge_with_nobody_there(bridge: Bridge) -> None:
    program = sweep(current_max_a=2e-4)
    session = subprocess.Popen([sys.executable, "-c", SESSION, program.to_json()])
    bridge.until(lambda: bridge.device.program_uid.get() == program.uid)
    session.kill()
    session.wait(5)
    if bridge.device.state.get() == ProgramState.LOADED:  # killed before its start
        bridge.device.kickoff().wait(5)
    bridge.meter.highest_a = 0.0
    bridge.until(lambda: bridge.device.state.get() == ProgramState.FAILED)

    assert "reached the safety limit 0.0002 A" in bridge.device.message.get()
    assert bridge.meter.highest_a <= 2e-4 + 1e-12
    assert not bridge.meter.output_is_on


def test_killed_bridge_comes_back_and_opens_the_circuit(bridge: Bridge) -> None:
    step = ConstantCurrent(current_a=1e-3, until_potential_v=2.4)
    program = sweep().model_copy(update={"steps": (step,)})
    bridge.start(program)
    status = bridge.device.complete()
    bridge.until(lambda: bridge.device.point_count.get() > 5)
    before, boot = bridge.rows(), bridge.device.boot_id.get()
    bridge.meter.highest_v = bridge.meter.highest_a = 0.0
    os.kill(bridge.worker_pid(), signal.SIGKILL)
    took_s = bridge.until(lambda: not bridge.meter.output_is_on)

    assert took_s < 15.0
    with pytest.raises(ProgramFailed, match="the bridge died while the program ran"):
        status.wait(30)
    # What the meter held meanwhile is where the step would have ended.
    assert bridge.meter.highest_v <= 2.405 + 1e-9
    assert bridge.meter.highest_a <= 1e-3 + 1e-12
    assert np.array_equal(bridge.rows()[: len(before)], before)
    assert bridge.device.boot_id.get() != boot


def test_meter_that_is_cut_off_raises_alarms_and_is_opened_later(
    bridge: Bridge,
) -> None:
    import epics  # behind ophyd, which sets it up

    potential = epics.PV(f"{PREFIX}Potential_RBV", auto_monitor=False)
    bridge.start(sweep())
    bridge.until(lambda: bridge.device.point_count.get() > 5)
    bridge.server.unplug()
    bridge.until(lambda: bridge.device.state.get() == ProgramState.FAILED)

    assert "no answer to" in bridge.device.message.get()
    bridge.until(lambda: potential.get_timevars()["severity"] == INVALID)
    assert bridge.meter.output_is_on  # within its own limits: nobody can tell it
    with pytest.raises(ProgramRefused, match="the meter does not answer"):
        bridge.device.prepare(sweep()).wait(10)
    bridge.server.is_unplugged = False
    bridge.until(lambda: not bridge.meter.output_is_on)
    bridge.until(lambda: potential.get_timevars()["severity"] == 0)
    assert potential.get() == pytest.approx(bridge.meter.cell.open_circuit_v, abs=0.1)


PROTOCOL = """
name = "short"
description = "Seconds at a small cell: rest, lithiate, hold, sweep."

[safety]
potential_min_v = 0.1
potential_max_v = 3.0
current_max_a = 0.02

[record]
dv_v = 0.005
dt_s = 1.0

[[steps]]
type = "open_circuit_voltage"
duration_s = 0.5

[[steps]]
type = "constant_current"
current_ma = -2.0
until_potential_v = 2.2
until_duration_s = 20.0

[[steps]]
type = "constant_voltage"
potential_v = 2.2
until_duration_s = 0.5

[[steps]]
type = "voltage_scan"
end_v = 2.0
rate_mv_per_s = 150.0

[[steps]]
type = "voltage_scan"
end_v = 2.3
rate_mv_per_s = 150.0
"""


def test_one_protocol_file_and_one_plan_run_on_both_instruments(
    bridge: Bridge, lab: Any, tmp_path: Path
) -> None:
    bridge.fresh_cell(state=0.95)
    file = tmp_path / "short.toml"
    file.write_text(PROTOCOL)
    simulated = Potentiostat("SIM:POT1:", name="potentiostat")
    simulated.wait_for_connection(timeout=20)
    specimen = Specimen(name="wafer-01", electrode_mass_mg=0.3)
    runs = []
    for device in (simulated, bridge.device):
        documents: list[tuple[str, Any]] = []
        RunEngine()(
            cycle(device, file, specimen),
            lambda name, doc, to=documents: to.append((name, doc)),
        )
        runs.append(documents)

    told = [_what_differs_between_instruments_left_out(run) for run in runs]
    assert told[0] == told[1]
    assert told[0]["steps"] == [0, 1, 2, 3, 4]
    assert told[0]["exit_status"] == "success"


def _what_differs_between_instruments_left_out(
    documents: list[tuple[str, Any]],
) -> dict[str, Any]:
    start, stop = documents[0][1], documents[-1][1]
    (descriptor,) = [doc for name, doc in documents if name == "descriptor"]
    pages = [doc["data"] for name, doc in documents if name == "event_page"]
    steps = [i for page in pages for i in page["potentiostat_step_index"]]
    start = {k: v for k, v in start.items() if k not in ("uid", "time", "scan_id")}
    start["program"] = {k: v for k, v in start["program"].items() if k != "uid"}
    return {
        "start": start,
        "documents": list(dict.fromkeys(name for name, _ in documents)),
        "keys": {
            key: (value["dtype"], value["units"], value["shape"])
            for key, value in descriptor["data_keys"].items()
        },
        "steps": list(dict.fromkeys(steps)),
        "exit_status": stop["exit_status"],
    }


@pytest.mark.parametrize("prefix", [PREFIX, "SIM:POT1:"])
def test_contract_is_kept_by_both_instruments(
    prefix: str, bridge: Bridge, lab: Any
) -> None:
    results = list(
        examine_contract(load_contract("potentiostat"), prefix, may_act=True)
    )

    assert [r for r in results if r.verdict is not Verdict.KEPT] == []
    assert len(results) >= 15


def test_bridge_without_its_meter_says_so_and_is_not_started_again(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "cryoline.plugins.scpi_potentiostat"),
            *("--address", "TCPIP::127.0.0.1::9::SOCKET", "--prefix", "LAB:POT3:"),
            *("--directory", str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 3
    assert "TCPIP::127.0.0.1::9::SOCKET: no answer to *LANG?" in done.stderr
    assert "Traceback" not in done.stderr
