"""The potentiostat's contract: kept by one that is right, broken by each that isn't."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from cryoline.acquisition.contract import Verdict, examine_contract
from cryoline.acquisition.contract_potentiostat import CONTRACT
from cryoline.acquisition.contract_potentiostat_rig import UNITS, PotentiostatRig
from cryoline.acquisition.errors import ConnectionFailed
from cryoline.devices.cycling_protocol import ProgramState
from cryoline.ioc.points import COLUMNS
from cryoline.sim.cell_parameters import wafer
from cryoline.sim.cell_source import CellSource
from cryoline.sim.errors import RefusedError
from cryoline.sim.potentiostat import Potentiostat

RATE = 1000.0
LOOK_S = 0.02


class Toy:
    """A potentiostat without a network, and a clock that goes on when looked at."""

    def __init__(self) -> None:
        self.device = Potentiostat(CellSource(wafer()), seed=1)
        self.time_s = 0.0
        self.refusal = ""
        self.page = np.empty(0)
        self.columns = ",".join(COLUMNS)
        self.overrides: dict[str, Callable[[], Any]] = {}
        self.puts: dict[str, Callable[[Any], None]] = {
            "Program": lambda text: self.device.load(text),
            "Start": lambda _: self.device.start(self.time_s),
            "Stop": lambda _: self.device.stop(self.time_s),
            "PointRequest": self.request,
        }
        self.units = {name: allowed[0] for name, allowed in UNITS.items()}

    def wait(self, wall_s: float) -> None:
        self.time_s += wall_s * RATE
        self.device.advance(self.time_s)

    def request(self, first: int) -> None:
        rows = self.device.read_page(first)
        self.page = np.concatenate(([first, len(rows), len(COLUMNS), 7], rows.ravel()))

    def put(self, name: str, value: Any) -> None:
        self.wait(0.001)
        try:
            self.puts[name](value)
        except RefusedError as error:
            self.refusal = str(error)
        else:
            self.refusal = ""

    def get(self, name: str) -> Any:
        if name in self.overrides:
            return self.overrides[name]()
        device, reading = self.device, self.device.reading()
        values: dict[str, Any] = {
            "BootId_RBV": "7",
            "Heartbeat_RBV": round(self.time_s),
            "InstrumentTime_RBV": self.time_s,
            "Message_RBV": self.refusal or device.message,
            "ProgramUid_RBV": device.program_uid,
            "State_RBV": int(device.state),
            "Potential_RBV": reading.potential_v,
            "Current_RBV": reading.current_a,
            "Progress_RBV": device.progress_percent(),
            "PointCount_RBV": len(device.points),
            "PointColumns_RBV": self.columns,
            "Points_RBV": self.page,
            "PotentialMin_RBV": -10.0,
            "PotentialMax_RBV": 10.0,
            "CurrentMax_RBV": 0.1,
            "ScanRateMax_RBV": 1000.0,
            "Contact_RBV": 1,
        }
        return values[name]


TOYS: dict[str, Toy] = {}


class ToyRig(PotentiostatRig):
    """The contract's rig, without Channel Access."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._toy = TOYS[prefix]
        self.rate = RATE

    def get(self, name: str) -> Any:
        return self._toy.get(name)

    def put(self, name: str, value: Any) -> None:
        self._toy.put(name, value)

    def unit(self, name: str) -> str:
        return self._toy.units[name]

    def until(self, is_so: Callable[[], bool], *, timeout_s: float) -> float | None:
        waited_s = 0.0
        while not is_so():
            if waited_s > timeout_s:
                return None
            self._toy.wait(LOOK_S)
            waited_s += LOOK_S
        return waited_s


@pytest.fixture
def toy() -> Toy:
    return Toy()


def verdicts(toy: Toy, *, may_act: bool = True) -> dict[str, Verdict]:
    TOYS["TOY:"] = toy
    contract = replace(CONTRACT, connect=ToyRig)
    results = examine_contract(contract, "TOY:", may_act=may_act)
    return {result.name: result.verdict for result in results}


def test_simulated_potentiostat_keeps_every_promise(toy: Toy) -> None:
    assert set(verdicts(toy).values()) == {Verdict.KEPT}


def test_without_leave_nothing_is_loaded(toy: Toy) -> None:
    def never(_: Any) -> None:
        raise AssertionError("a running cell, or its points, were touched")

    toy.puts["Start"] = toy.puts["Stop"] = never
    found = verdicts(toy, may_act=False)

    assert toy.device.program_uid == ""
    assert [name for name, v in found.items() if v is Verdict.NOT_TRIED] == [
        check.name for check in CONTRACT.checks if check.acts
    ]
    assert Verdict.BROKEN not in found.values()


def silently(toy: Toy) -> None:
    toy.overrides["Message_RBV"] = lambda: ""


def stuck_heart(toy: Toy) -> None:
    toy.overrides["Heartbeat_RBV"] = lambda: 5


def new_boot_each_time(toy: Toy) -> None:
    toy.overrides["BootId_RBV"] = lambda: str(toy.time_s)


def wrong_unit(toy: Toy) -> None:
    toy.units["Current_RBV"] = "mA"


def no_ability(toy: Toy) -> None:
    toy.overrides["CurrentMax_RBV"] = lambda: 0.0


def no_counter_column(toy: Toy) -> None:
    toy.columns = toy.columns.replace("charge_mah", "charge")


def no_cell(toy: Toy) -> None:
    toy.overrides["Contact_RBV"] = lambda: 0


def forgets_by_a_refusal(toy: Toy) -> None:
    load = toy.puts["Program"]

    def clumsy(text: str) -> None:
        toy.overrides["PointCount_RBV"] = lambda: toy.time_s
        load(text)

    toy.puts["Program"] = clumsy


def leaves_current_on(toy: Toy) -> None:
    toy.overrides["Current_RBV"] = lambda: 1e-6


def pages_shifted(toy: Toy) -> None:
    def request(first: int) -> None:
        toy.request(max(0, first - 1))
        toy.page[0] = first

    toy.puts["PointRequest"] = request


def repeats_a_point(toy: Toy) -> None:
    def request(first: int) -> None:
        toy.request(first)
        if len(toy.page) > 40:
            toy.page[4 + len(COLUMNS) : 4 + 2 * len(COLUMNS)] = toy.page[
                4 : 4 + len(COLUMNS)
            ]

    toy.puts["PointRequest"] = request


def forgets_what_was_read(toy: Toy) -> None:
    handed_out: list[int] = []

    def request(first: int) -> None:
        toy.request(first)
        if first == 0 and toy.page.size > 5:
            toy.page[5] += len(handed_out)
            handed_out.append(first)

    toy.puts["PointRequest"] = request


def needs_a_watcher(toy: Toy) -> None:
    wait = toy.wait

    def idle(wall_s: float) -> None:
        wait(wall_s)
        if wall_s == LOOK_S and toy.device.running and not toy.page.size:
            toy.device.stop(toy.time_s)

    toy.wait = idle  # type: ignore[method-assign]


def replaces_what_runs(toy: Toy) -> None:
    def load(text: str) -> None:
        toy.device.stop(toy.time_s)
        toy.device.load(text)

    toy.puts["Program"] = load


def starts_again(toy: Toy) -> None:
    last = ""

    def load(text: str) -> None:
        nonlocal last
        toy.device.load(text)
        last = text

    def start(_: Any) -> None:
        if int(toy.device.state) == ProgramState.FINISHED:
            toy.device.load(last)
        toy.device.start(toy.time_s)

    toy.puts |= {"Program": load, "Start": start}


def goes_on_after_stop(toy: Toy) -> None:
    toy.puts["Stop"] = lambda _: None


def unsafe(toy: Toy) -> None:
    """It takes the limits, and does nothing with them."""

    def load(text: str) -> None:
        toy.device.load(text)  # whatever it refuses, it refuses
        program = orjson.loads(text)
        program["safety"] |= {
            "potential_min_v": -9.0,
            "potential_max_v": 9.0,
            "current_max_a": 0.1,
        }
        toy.device.load(orjson.dumps(program).decode())

    toy.puts["Program"] = load


@pytest.mark.parametrize(
    ("spoil", "broken"),
    [
        (stuck_heart, {"says who it is"}),
        (new_boot_each_time, {"says who it is", "runs unwatched"}),
        (wrong_unit, {"units"}),
        (no_ability, {"says what it can"}),
        (no_counter_column, {"names its columns"}),
        (no_cell, {"sees a cell"}),
        (silently, {"refuses what it can't do", "one at a time", "starts once"}),
        (forgets_by_a_refusal, {"refuses what it can't do"}),
        (leaves_current_on, {"runs to its end", "stops", "current limit ends it"}),
        (pages_shifted, {"points by pages"}),
        (repeats_a_point, {"points by pages"}),
        (forgets_what_was_read, {"keeps the points"}),
        (needs_a_watcher, {"runs unwatched"}),
        (replaces_what_runs, {"one at a time"}),
        (starts_again, {"starts once"}),
        (goes_on_after_stop, {"stops"}),
        (unsafe, {"current limit ends it", "window protects"}),
    ],
)
def test_each_promise_is_broken_by_an_instrument_that_does_not_keep_it(
    toy: Toy, spoil: Callable[[Toy], None], broken: set[str]
) -> None:
    spoil(toy)
    found = verdicts(toy)

    assert broken <= {name for name, v in found.items() if v is Verdict.BROKEN}


def test_running_cell_is_not_touched() -> None:
    class Busy(PotentiostatRig):
        def __init__(self, prefix: str) -> None:
            self.prefix = prefix
            self._refuse_while_running()

        def get(self, name: str) -> Any:
            return {"State_RBV": 2, "ProgramUid_RBV": "abc"}[name]

    with pytest.raises(
        ConnectionFailed, match="X:: program abc runs; wait for its end"
    ):
        Busy("X:")
