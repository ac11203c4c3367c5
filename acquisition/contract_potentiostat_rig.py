"""A potentiostat's IOC as its contract tries it: programs of its own, and pages."""

import json
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from cryoline.acquisition.contract import Breach
from cryoline.acquisition.contract_pvs import ContractPVs
from cryoline.acquisition.errors import ConnectionFailed
from cryoline.devices.cycling_protocol import (
    OpenCircuitVoltage,
    Program,
    ProgramState,
    Record,
    SafetyLimits,
    Step,
    VoltageScan,
)

__all__ = ["UNITS", "PotentiostatRig"]

UNITS: Final = {
    "Potential_RBV": ("V",),
    "Current_RBV": ("A",),
    "Charge_RBV": ("mAh",),
    "Range_RBV": ("A",),
    "Cycle_RBV": ("cycles",),
    "HalfCycle_RBV": ("half cycles",),
    "Step_RBV": ("steps",),
    "Progress_RBV": ("%",),
    "Remaining_RBV": ("s",),
    "PointCount_RBV": ("points",),
    "PointRequest": ("points",),
    "PotentialMin_RBV": ("V",),
    "PotentialMax_RBV": ("V",),
    "CurrentMax_RBV": ("A",),
    "ScanRateMax_RBV": ("mV/s",),
    "InstrumentTime_RBV": ("s",),
    "Heartbeat_RBV": ("beats",),
}
"""Units that a number may be in, by its name."""
_OTHERS: Final = (
    *("BootId_RBV", "Message_RBV", "Program", "ProgramUid_RBV", "Start", "Stop"),
    *("State_RBV", "Overload_RBV", "Contact_RBV", "Points_RBV", "PointColumns_RBV"),
)
SWEEP_V: Final = 5e-3
"""How far the contract moves a cell from where it is."""
CURRENT_A: Final = 1e-3
"""Most that it lets flow."""
_WINDOW_V: Final = 0.1
_ANSWER_S: Final = 2.0
_MARGIN_S: Final = 10.0
_SETTLE_S: Final = 1.0
_HEADER: Final = 4


class PotentiostatRig(ContractPVs):
    """The PVs of a potentiostat whose cell nobody else is using."""

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix, (*UNITS, *_OTHERS))
        self._refuse_while_running()
        self.rate = self.instrument_rate()
        """Instrument time over wall time, 1 for a real instrument."""

    def come_to_rest(self) -> str:
        """Stop a program of the contract's own."""
        if self.state is ProgramState.RUNNING:
            self.put("Stop", 1)
            if self.ends(within_s=_ANSWER_S) is ProgramState.RUNNING:
                raise Breach(f"still running {_ANSWER_S:g} s after Stop")
        return "at rest"

    @property
    def state(self) -> ProgramState:
        """What the instrument does."""
        number = int(self.get("State_RBV"))
        try:
            return ProgramState(number)
        except ValueError:
            raise Breach(f"State_RBV is {number}, which is no state") from None

    # Programs ----------------------------------------------------------------------

    def program(self, *steps: Step, **safety: float) -> Program:
        """Return a program of steps around the potential that the cell has."""
        here_v = float(self.get("Potential_RBV"))
        low_v, high_v = (
            float(self.get(f"Potential{end}_RBV")) for end in ("Min", "Max")
        )
        limits = {
            "potential_min_v": max(here_v - _WINDOW_V, low_v),
            "potential_max_v": min(here_v + _WINDOW_V, high_v),
            "current_max_a": min(CURRENT_A, float(self.get("CurrentMax_RBV"))),
            **safety,
        }
        record = Record(dv_v=1e-3, dt_s=0.1 * max(1.0, self.rate))
        try:
            return Program(steps=steps, safety=SafetyLimits(**limits), record=record)
        except ValidationError as error:
            said = error.errors()[0]
            raise Breach(
                f"no program fits into what it can: {said['loc'][-1]}: {said['msg']}"
            ) from error

    def rest_step(self, wall_s: float) -> OpenCircuitVoltage:
        """Return a rest of so much wall time."""
        return OpenCircuitVoltage(duration_s=wall_s * max(1.0, self.rate))

    def sweeps(self, wall_s: float) -> tuple[VoltageScan, VoltageScan]:
        """Return sweeps by `SWEEP_V` up and back, of so much wall time each."""
        here_v = float(self.get("Potential_RBV"))
        rate = min(
            SWEEP_V * 1e3 / (wall_s * max(1.0, self.rate)),
            float(self.get("ScanRateMax_RBV")),
        )
        up = VoltageScan(end_v=here_v + SWEEP_V, rate_mv_per_s=rate)
        return up, VoltageScan(end_v=here_v, rate_mv_per_s=rate)

    def load(self, program: Program) -> None:
        """Load a program; raises Breach if it is refused."""
        self.put("Program", program.to_json())
        if self.get("ProgramUid_RBV") != program.uid:
            raise Breach(f"the program was refused: {self.get('Message_RBV')}")
        if self.state is not ProgramState.LOADED:
            raise Breach(f"a program was loaded, and the state is {self.state.name}")

    def begin(self, program: Program) -> None:
        """Load and start; raises Breach if it is refused."""
        self.load(program)
        self.put("Start", 1)
        if self.state is ProgramState.LOADED:
            raise Breach(f"Start was refused: {self.get('Message_RBV')}")

    def ends(self, *, within_s: float) -> ProgramState:
        """Wait until the program does not run; returns the state then."""
        self.until(
            lambda: self.state is not ProgramState.RUNNING,
            timeout_s=within_s + _MARGIN_S,
        )
        return self.state

    def must_be_open(self) -> None:
        """Raise Breach if a current flows still."""
        self.must_become("Current_RBV", 0.0, "A")

    def must_become(self, name: str, value: float, unit: str) -> None:
        """Raise Breach if a reading of a program that has ended is another."""
        # Readings are shown one after the other.
        if self.until(lambda: self.get(name) == value, timeout_s=_SETTLE_S) is None:
            raise Breach(
                f"the program has ended, and {name} is {self.get(name):g} {unit}"
            )

    def refuses(self, text: str, what: str) -> str:
        """Return why a program was refused; raises Breach if it was not."""
        before = (self.get("ProgramUid_RBV"), self.get("PointCount_RBV"), self.state)
        self.put("Program", text)
        after = (self.get("ProgramUid_RBV"), self.get("PointCount_RBV"), self.state)
        if after != before:
            raise Breach(f"{what}: accepted, or the last program is gone")
        reason = str(self.get("Message_RBV"))
        if not reason:
            raise Breach(f"{what}: refused, and Message_RBV gives no reason")
        return reason

    def text(self, **changes: Any) -> str:
        """Return a program's text with keys changed, or left out where None."""
        fields = json.loads(self.program(*self.sweeps(1.0)).to_json()) | changes
        return json.dumps({k: v for k, v in fields.items() if v is not None})

    # Points ------------------------------------------------------------------------

    @property
    def columns(self) -> list[str]:
        """The names of a point's columns."""
        return str(self.get("PointColumns_RBV")).split(",")

    def page(self, first: int) -> NDArray[np.float64]:
        """Return (points, columns) from an index on; raises Breach if malformed."""
        self.put("PointRequest", first)
        page = np.asarray(self.get("Points_RBV"), dtype=float)
        if len(page) < _HEADER:
            raise Breach(f"Points_RBV has {len(page)} numbers, not even a header")
        got, count, width = (int(x) for x in page[: _HEADER - 1])
        if got != first:
            raise Breach(f"asked for points from {first}, the header says {got}")
        if width != len(self.columns):
            raise Breach(f"{width} columns, PointColumns_RBV names {len(self.columns)}")
        rows = page[_HEADER : _HEADER + count * width]
        if len(rows) != count * width:
            raise Breach(f"{count} points of {width} do not fit into {len(page)}")
        return rows.reshape(count, width)

    def points(self) -> NDArray[np.float64]:
        """Return all points, page by page."""
        count = int(self.get("PointCount_RBV"))
        pages = [np.empty((0, len(self.columns)))]
        while (have := sum(map(len, pages))) < count:
            page = self.page(have)
            if not len(page):
                raise Breach(
                    f"PointCount_RBV is {count}, the page from {have} is empty"
                )
            pages.append(page)
        return np.concatenate(pages)

    def _refuse_while_running(self) -> None:
        if self.state is ProgramState.RUNNING:
            raise ConnectionFailed(
                f"{self.prefix}: program {self.get('ProgramUid_RBV')} runs; wait for "
                "its end, or stop it, before its IOC is tried"
            )
