"""The impedance of the half cell about its open circuit: a simple circuit, stated.

R_u + C_dl || (R_ct + Z_D): the series resistance, the double layer beside the charge
transfer, and diffusion into a layer that is closed at its far side [T],

    R_ct = RT / (F i_0),  Z_D = R_D coth(sqrt(j w tau)) / sqrt(j w tau),

with R_D = tau |dU/dQ|, so that at low frequency the layer is the capacitor which the
slope of the open-circuit potential makes of it. The front and the SEI's growth don't
follow an oscillation of some mV and have no part [A].
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.sim.cell import SiliconHalfCell
from cryoline.sim.cell_kernel import open_circuit_v
from cryoline.sim.cell_parameters import LOGIT_MAX, THERMAL_VOLTAGE_V
from cryoline.sim.cell_state import AMORPHOUS_C, DEAD, HYSTERESIS, SEI_GROWN

__all__ = ["impedance_ohm"]

_LOGIT_STEP: Final = 1e-2


def impedance_ohm(
    cell: SiliconHalfCell, frequency_hz: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Return the cell's complex impedance at each frequency, in its present state."""
    state, p = cell.state, cell.parameters
    live_c = max(float(state[AMORPHOUS_C]), 1e-12)
    series_ohm = p.resistance_ohm * (
        1 + p.ageing_resistance * float(state[DEAD])
    ) + p.sei_resistance_ohm * float(state[SEI_GROWN])
    exchange_a = max(p.exchange_current_a * live_c / p.capacity_c, 1e-15)
    omega = 2.0 * math.pi * frequency_hz
    root = np.sqrt(1j * omega * p.diffusion_time_s)
    slope_v_per_c = _slope_v(cell) / live_c
    diffusion = p.diffusion_time_s * slope_v_per_c / (np.tanh(root) * root)
    faradaic = THERMAL_VOLTAGE_V / exchange_a + diffusion
    total: NDArray[np.complex128] = series_ohm + 1.0 / (
        1j * omega * p.double_layer_f + 1.0 / faradaic
    )
    return total


def _slope_v(cell: SiliconHalfCell) -> float:
    """Return |dU/dz| of the surface's open-circuit potential."""
    z = min(max(float(cell.state[0]), 2e-7), 1 - 2e-7)
    logit = math.log(z / (1 - z))
    logit = min(max(logit, -LOGIT_MAX + 2 * _LOGIT_STEP), LOGIT_MAX - 2 * _LOGIT_STEP)
    hysteresis = float(cell.state[HYSTERESIS])
    low = open_circuit_v(logit - _LOGIT_STEP, hysteresis, cell.tables)
    high = open_circuit_v(logit + _LOGIT_STEP, hysteresis, cell.tables)
    return float(abs(high - low)) / (2 * _LOGIT_STEP * z * (1 - z))
