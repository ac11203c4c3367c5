"""What the half cell's compiled kernel reads and writes: state, segment, limits.

numba's cache of the kernel does not notice a changed constant here or in
`cell_parameters`: delete its files (`__pycache__/cell_kernel*.nb?`) after a change.
"""

import math
from typing import Final, NamedTuple

__all__ = [
    "AMORPHOUS_C",
    "CHARGE_C",
    "CHARGE_TOO_HIGH",
    "CRYSTALLINE_C",
    "CURRENT_A",
    "CURRENT_CONTROL",
    "CURRENT_TOO_HIGH",
    "DEAD",
    "DELITHIATIONS",
    "DELITHIATION_C",
    "ELAPSED_S",
    "ELECTRODE_V",
    "EXTRACTED_C",
    "HYSTERESIS",
    "LITHIATION_C",
    "NODES",
    "OPEN_CIRCUIT",
    "POTENTIAL_CONTROL",
    "POTENTIAL_TOO_HIGH",
    "POTENTIAL_TOO_LOW",
    "POTENTIAL_V",
    "PROGRESS_SIZE",
    "RECORDED_A",
    "RECORDED_V",
    "ROWS_FULL",
    "SEI_COVER",
    "SEI_GROWN",
    "STATE_SIZE",
    "STEP_DONE",
    "SUB_STEP_S",
    "SUM_AS",
    "SUM_S",
    "SUM_VS",
    "TIME_UP",
    "TRAPPED_C",
    "Limits",
    "Segment",
]

NODES: Final = 8  # planar diffusion nodes of the amorphous layer; node 0 = surface
HYSTERESIS: Final = NODES  # -1 on the lithiation branch, +1 on the other
AMORPHOUS_C: Final = NODES + 1  # capacity of the amorphous phase
CRYSTALLINE_C: Final = NODES + 2  # capacity not yet reached by the front
SEI_COVER: Final = NODES + 3  # 0..1
SEI_GROWN: Final = NODES + 4  # SEI ever grown, in units of the first full film
DELITHIATIONS: Final = NODES + 5  # completed ones
DEAD: Final = NODES + 6  # fraction of the silicon that has lost contact
TRAPPED_C: Final = NODES + 7  # lithium lost with it
POTENTIAL_V: Final = NODES + 8  # of the cell, at its terminals
ELECTRODE_V: Final = NODES + 9  # without the resistive drop
CURRENT_A: Final = NODES + 10
CHARGE_C: Final = NODES + 11  # passed since the cell was mounted
LITHIATION_C: Final = NODES + 12  # integral of the negative current
DELITHIATION_C: Final = NODES + 13  # integral of the positive current
EXTRACTED_C: Final = NODES + 14  # lithium extracted since the last lithiation
STATE_SIZE: Final = NODES + 15

OPEN_CIRCUIT: Final = 0
POTENTIAL_CONTROL: Final = 1
CURRENT_CONTROL: Final = 2

TIME_UP: Final = 0
STEP_DONE: Final = 1
ROWS_FULL: Final = 2
POTENTIAL_TOO_LOW: Final = 3
POTENTIAL_TOO_HIGH: Final = 4
CURRENT_TOO_HIGH: Final = 5
CHARGE_TOO_HIGH: Final = 6

# Progress of a step between two calls.
ELAPSED_S: Final = 0
SUB_STEP_S: Final = 1
SUM_S: Final = 2
SUM_VS: Final = 3
SUM_AS: Final = 4
RECORDED_V: Final = 5
RECORDED_A: Final = 6
PROGRESS_SIZE: Final = 7


class Segment(NamedTuple):
    """A stretch of a step: a ramp of the setpoint, and what ends it.

    Charges are readings of the cell's counter.
    """

    control: int
    start: float  # V or A
    slope_per_s: float
    duration_s: float
    until_v: float  # ends a constant current; inf of its sign for none
    until_a: float = -1.0  # ends a constant potential, when the current falls to it
    charge_low_c: float = -math.inf
    charge_high_c: float = math.inf


class Limits(NamedTuple):
    """What trips the whole program, and when a point is recorded."""

    potential_min_v: float
    potential_max_v: float
    current_max_a: float
    record_v: float
    record_s: float
    record_a: float = math.inf
    charge_low_c: float = -math.inf
    charge_high_c: float = math.inf
