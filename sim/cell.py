"""The silicon half cell: state, parameters and the few things one may do with it."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.sim.cell_kernel import drive, rest
from cryoline.sim.cell_parameters import (
    C_PER_MAH,
    LOGIT_MAX,
    CellParameters,
    OpenCircuitTables,
    open_circuit_tables,
)
from cryoline.sim.cell_state import (
    AMORPHOUS_C,
    CHARGE_C,
    CRYSTALLINE_C,
    CURRENT_A,
    DEAD,
    DELITHIATION_C,
    DELITHIATIONS,
    ELECTRODE_V,
    HYSTERESIS,
    LITHIATION_C,
    NODES,
    POTENTIAL_V,
    SEI_GROWN,
    STATE_SIZE,
    TRAPPED_C,
    Limits,
    Segment,
)

__all__ = ["SiliconHalfCell"]

_REST_STEP_S: Final = 10.0  # relaxation is slow; the sub-step is implicit
_AMORPHOUS_AT_START: Final = 1e-3  # [A] part of the capacity that is amorphous at first


class SiliconHalfCell:
    """A silicon electrode against lithium; deterministic, and without a clock.

    parameters: a preset of `cell_parameters`, or a variation of one
    """

    def __init__(self, parameters: CellParameters) -> None:
        self.parameters = parameters
        self.tables: OpenCircuitTables = open_circuit_tables(parameters.reference_v)
        self.state: NDArray[np.float64] = np.zeros(STATE_SIZE)
        logit = float(
            # The table falls with logit; interp wants rising abscissae.
            np.interp(
                -parameters.fresh_potential_v,
                -self.tables.delithiation_v,
                np.linspace(-LOGIT_MAX, LOGIT_MAX, len(self.tables.delithiation_v)),
            )
        )
        self.state[:NODES] = 1.0 / (1.0 + np.exp(-logit))
        self.state[HYSTERESIS] = 1.0
        self.state[AMORPHOUS_C] = _AMORPHOUS_AT_START * parameters.capacity_c
        self.state[CRYSTALLINE_C] = (1 - _AMORPHOUS_AT_START) * parameters.capacity_c
        self.state[ELECTRODE_V] = parameters.fresh_potential_v
        self.state[POTENTIAL_V] = parameters.fresh_potential_v
        self._fresh = True

    @property
    def potential_v(self) -> float:
        """Potential at the terminals against lithium, V."""
        return float(self.state[POTENTIAL_V])

    @property
    def current_a(self) -> float:
        """Current of the last sub-step, A; delithiation is positive."""
        return float(self.state[CURRENT_A])

    @property
    def capacity_mah(self) -> float:
        """Theoretical capacity of the whole electrode as Li3.75Si, mAh."""
        return self.parameters.capacity_c / C_PER_MAH

    @property
    def charge_mah(self) -> float:
        """Charge passed since the cell was mounted, mAh."""
        return float(self.state[CHARGE_C]) / C_PER_MAH

    @property
    def lithiation_mah(self) -> float:
        """Integral of the negative current since the cell was mounted, mAh."""
        return float(self.state[LITHIATION_C]) / C_PER_MAH

    @property
    def delithiation_mah(self) -> float:
        """Integral of the positive current since the cell was mounted, mAh."""
        return float(self.state[DELITHIATION_C]) / C_PER_MAH

    @property
    def delithiations(self) -> int:
        """Completed delithiations, which age the cell."""
        return int(self.state[DELITHIATIONS])

    @property
    def dead_fraction(self) -> float:
        """Part of the silicon that has lost contact, 0..1."""
        return float(self.state[DEAD])

    @property
    def silicon_lithium_mah(self) -> float:
        """Lithium in the live silicon, mAh: what a delithiation would bring out."""
        live_c = self.state[AMORPHOUS_C] * float(np.mean(self.state[:NODES]))
        return float(live_c) / C_PER_MAH

    @property
    def lithium_mah(self) -> float:
        """Lithium in the silicon, live and dead, and in the SEI, mAh."""
        sei_c = self.state[SEI_GROWN] * self.parameters.sei_charge_c
        return (
            self.silicon_lithium_mah + float(self.state[TRAPPED_C] + sei_c) / C_PER_MAH
        )

    def rest(self, duration_s: float) -> None:
        """Leave the cell at open circuit.

        A cell that never carried current is not changed: it leaks some 1e-15 A, and
        so its first program gives the same points whenever it starts.
        """
        if self._fresh or duration_s <= 0:
            return
        whole = int(duration_s // _REST_STEP_S)
        rest(self.state, self.parameters, self.tables, whole, _REST_STEP_S)
        remainder_s = duration_s - whole * _REST_STEP_S
        if remainder_s > 0:
            rest(self.state, self.parameters, self.tables, 1, remainder_s)

    def drive(
        self,
        segment: Segment,
        limits: Limits,
        progress: NDArray[np.float64],
        available_s: float,
        rows: NDArray[np.float64],
    ) -> tuple[int, int]:
        """Run a segment as far as time and rows allow; see `cell_kernel.drive`."""
        self._fresh = False
        count, reason = drive(
            self.state,
            self.parameters,
            self.tables,
            segment,
            limits,
            progress,
            available_s,
            rows,
        )
        return int(count), int(reason)
