"""What the cell's kernel is to do for each step of a program."""

import math
from typing import Final, NamedTuple

import numpy as np

from cryoline.sim.cell_parameters import C_PER_MAH
from cryoline.sim.cell_state import (
    CURRENT_CONTROL,
    OPEN_CIRCUIT,
    POTENTIAL_CONTROL,
    Segment,
)
from cryoline.sim.program_steps import (
    ConstantCurrent,
    ConstantVoltage,
    Ends,
    Impedance,
    OpenCircuit,
    RecordRule,
    Step,
    VoltageScan,
)

__all__ = ["Stretch", "impedance_duration_s", "stretches_of"]

_SUB_STEP_S: Final = 1.0  # 0.2 mV at 0.2 mV/s; the model is converged there
_STAIR_V: Final = 1e-3  # a scan is a staircase of at most this
_PERIODS: Final = 3.0  # [A] of an oscillation that are measured
_SHORTEST_S: Final = 0.1  # [A] of a frequency


class Stretch(NamedTuple):
    """A part of a step that the kernel runs in one go."""

    segment: Segment
    sub_step_s: float
    direction: float = 0.0
    """Sign of the current or sweep; 0 if it has none."""
    frequency_hz: float = 0.0
    """Of the impedance that is measured in it; 0 if none is."""


def stretches_of(
    step: Step, record: RecordRule, potential_v: float, net_mah: float, counter_c: float
) -> list[Stretch]:
    """Return what to run for a step, from the cell's present potential.

    net_mah: the program's coulomb counter
    counter_c: the cell's own, in whose readings the kernel has its limits
    """
    sub_step_s = min(_SUB_STEP_S, record.dt_s)
    if isinstance(step, OpenCircuit):
        rest = Segment(OPEN_CIRCUIT, 0.0, 0.0, step.duration_s, -math.inf)
        return [Stretch(rest, sub_step_s)]
    if isinstance(step, Impedance):
        return [
            Stretch(
                Segment(OPEN_CIRCUIT, 0.0, 0.0, _measuring_s(hz), -math.inf),
                _SUB_STEP_S,
                frequency_hz=hz,
            )
            for hz in step.frequencies_hz
        ]
    if isinstance(step, VoltageScan):
        start_v = potential_v if step.start_v is None else step.start_v
        direction = float(np.sign(step.end_v - start_v))
        rate = step.rate_mv_per_s * 1e-3
        duration_s = abs(step.end_v - start_v) / rate
        stair_v = min(_STAIR_V, record.dv_v)
        segment = Segment(
            POTENTIAL_CONTROL, start_v, rate * direction, duration_s, -math.inf
        )
        sub_step_s = min(sub_step_s, stair_v / rate)
    elif isinstance(step, ConstantCurrent):
        direction = float(np.sign(step.current_a))
        until_v = step.ends.potential_v
        segment = Segment(
            CURRENT_CONTROL,
            step.current_a,
            0.0,
            step.ends.duration_s or math.inf,
            math.copysign(math.inf, direction) if until_v is None else until_v,
        )
    elif isinstance(step, ConstantVoltage):
        direction = 0.0
        until_a = step.ends.current_a
        segment = Segment(
            POTENTIAL_CONTROL,
            step.potential_v,
            0.0,
            step.ends.duration_s or math.inf,
            -math.inf,
            -1.0 if until_a is None else until_a,
        )
    else:
        raise TypeError(f"{step!r} can't be run")
    low_c, high_c = _charges_c(step.ends, net_mah, counter_c)
    return [
        Stretch(
            segment._replace(charge_low_c=low_c, charge_high_c=high_c),
            sub_step_s,
            direction,
        )
    ]


def impedance_duration_s(step: Impedance) -> float:
    """Return how long all frequencies take."""
    return sum(_measuring_s(hz) for hz in step.frequencies_hz)


def _measuring_s(frequency_hz: float) -> float:
    return max(_PERIODS / frequency_hz, _SHORTEST_S)


def _charges_c(ends: Ends, net_mah: float, counter_c: float) -> tuple[float, float]:
    """Return the cell's counter readings, below and above, that end a step."""
    low_c, high_c = -math.inf, math.inf
    if ends.charge_mah is not None:
        low_c = counter_c - ends.charge_mah * C_PER_MAH
        high_c = counter_c + ends.charge_mah * C_PER_MAH
    if ends.net_charge_mah is not None:
        target_c = counter_c + (ends.net_charge_mah - net_mah) * C_PER_MAH
        if target_c < counter_c:
            low_c = max(low_c, target_c)
        else:
            high_c = min(high_c, target_c)
    return low_c, high_c
