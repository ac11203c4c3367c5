"""The compiled half cell under a potentiostat: one implicit sub-step, and many.

Delithiation current is positive. z in [0, 1] is the lithium content of the
amorphous phase, 1 = Li3.75Si. One file on purpose: numba's cache does not notice
that a function called from another file has changed.
"""

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryoline.sim.cell_parameters import (
    LOGIT_MAX,
    LOGIT_POINTS,
    THERMAL_VOLTAGE_V,
    CellParameters,
    OpenCircuitTables,
)
from cryoline.sim.cell_state import (
    AMORPHOUS_C,
    CHARGE_C,
    CHARGE_TOO_HIGH,
    CRYSTALLINE_C,
    CURRENT_A,
    CURRENT_CONTROL,
    CURRENT_TOO_HIGH,
    DEAD,
    DELITHIATION_C,
    DELITHIATIONS,
    ELAPSED_S,
    ELECTRODE_V,
    EXTRACTED_C,
    HYSTERESIS,
    LITHIATION_C,
    NODES,
    OPEN_CIRCUIT,
    POTENTIAL_CONTROL,
    POTENTIAL_TOO_HIGH,
    POTENTIAL_TOO_LOW,
    POTENTIAL_V,
    RECORDED_A,
    RECORDED_V,
    ROWS_FULL,
    SEI_COVER,
    SEI_GROWN,
    STEP_DONE,
    SUB_STEP_S,
    SUM_AS,
    SUM_S,
    SUM_VS,
    TIME_UP,
    TRAPPED_C,
    Limits,
    Segment,
)

__all__ = ["drive", "open_circuit_v", "rest", "sub_step"]

RAIL_HIGH_V: Final = 5.0  # [A] where the cell goes when no lithium is left
RAIL_LOW_V: Final = -2.0  # [A] ... and when no more fits
_EPS_S: Final = 1e-9
_EPS_V: Final = 1e-6  # steps of the setpoint add up to a record step within this
_OVERSHOOT_V: Final = 1e-3  # a limit may be overrun by this much,
_SHORTEST_S: Final = 1e-3  # else the sub-step is halved, down to this


@njit(cache=True)
def open_circuit_v(logit: float, hysteresis: float, tables: OpenCircuitTables) -> float:
    """Return the open-circuit potential between the two branches."""
    x = (logit + LOGIT_MAX) / (2.0 * LOGIT_MAX) * (LOGIT_POINTS - 1)
    x = min(max(x, 0.0), LOGIT_POINTS - 1.001)
    k = int(x)
    f = x - k
    low = tables.lithiation_v[k] * (1 - f) + tables.lithiation_v[k + 1] * f
    high = tables.delithiation_v[k] * (1 - f) + tables.delithiation_v[k + 1] * f
    mixed: float = 0.5 * (1 - hysteresis) * low + 0.5 * (1 + hysteresis) * high
    return mixed


@njit(cache=True)
def _diffuse(s: NDArray[np.float64], number: float) -> None:
    """Even out the nodes implicitly; `number` = dt NODES^2 / diffusion time."""
    upper = np.empty(NODES)
    value = np.empty(NODES)
    upper[0] = -number / (1.0 + number)
    value[0] = s[0] / (1.0 + number)
    for k in range(1, NODES):
        diagonal = 1.0 + (2.0 * number if k < NODES - 1 else number)
        pivot = diagonal + number * upper[k - 1]
        upper[k] = -number / pivot
        value[k] = (s[k] + number * value[k - 1]) / pivot
    s[NODES - 1] = value[NODES - 1]
    for k in range(NODES - 2, -1, -1):
        s[k] = value[k] - upper[k] * s[k + 1]


@njit(cache=True)
def _age(s: NDArray[np.float64], p: CellParameters, active_a: float, dt: float) -> None:
    """Count completed delithiations; each costs silicon and bares new surface."""
    if active_a > 0:
        s[EXTRACTED_C] += active_a * dt
        return
    lithiating = active_a < -1e-4 * s[AMORPHOUS_C] / 3600.0
    if not (lithiating and s[EXTRACTED_C] > 0.2 * s[AMORPHOUS_C]):
        return
    s[EXTRACTED_C] = 0.0
    s[DELITHIATIONS] += 1.0
    ageing_cycles = s[DELITHIATIONS] - 1.0  # counted from cycle 2, as retention is
    dead = min(p.ageing_amplitude * (ageing_cycles / 98.0) ** p.ageing_exponent, 0.95)
    lost = 1.0 - (1.0 - dead) / (1.0 - s[DEAD])
    s[TRAPPED_C] += lost * s[AMORPHOUS_C] * np.mean(s[:NODES])
    s[AMORPHOUS_C] *= 1.0 - lost
    # The silicon breathes, and SEI forms again where the film tore: much of it at
    # first, less on a film that has been mended; and on what cracks lay bare.
    torn = p.sei_tear + p.sei_tear_first / s[DELITHIATIONS]
    s[SEI_COVER] = max(0.0, s[SEI_COVER] - torn - 0.35 * (dead - s[DEAD]))
    s[DEAD] = dead


@njit(cache=True)
def sub_step(
    s: NDArray[np.float64],
    p: CellParameters,
    tables: OpenCircuitTables,
    control: int,
    setpoint: float,
    dt: float,
) -> None:
    """Advance the state by dt seconds at a fixed potential, current or rest.

    The unknown is logit(z) of the surface at t + dt: it can't leave (0, 1), and the
    electrode potential falls monotonically with it, so that Newton's method inside
    a bracket always ends.
    """
    node_c = s[AMORPHOUS_C] / NODES
    surface = s[0]
    exchange = max(p.exchange_current_a * s[AMORPHOUS_C] / p.capacity_c, 1e-15)
    kinetic_v = 2.0 * THERMAL_VOLTAGE_V  # Butler-Volmer, alpha = 0.5
    resistance = (
        p.resistance_ohm * (1 + p.ageing_resistance * s[DEAD])
        + p.sei_resistance_ohm * s[SEI_GROWN]
    )
    farad_per_s = p.double_layer_f / dt
    crystalline = s[CRYSTALLINE_C]
    front_area = np.sqrt(crystalline / p.capacity_c) if p.front_shrinks else 1.0
    # The swollen layer presses on its own front: the thicker, the lower the potential
    # that still moves it, until it stands.
    front_v = p.front_potential_v - p.front_stress_v * (1 - crystalline / p.capacity_c)
    front_scale = p.capacity_c * p.front_rate_per_s * front_area
    front_most = crystalline * p.front_lithiation / dt
    sei_scale = p.sei_charge_c * p.sei_rate_per_s * (1 - s[SEI_COVER])
    sei_most = p.sei_charge_c * (1 - s[SEI_COVER]) / dt

    low = -LOGIT_MAX
    high = LOGIT_MAX
    clipped = min(max(surface, 2e-7), 1 - 2e-7)
    logit = np.log(clipped / (1 - clipped))
    content = surface
    electrode = active = front = sei = total = 0.0
    for _ in range(80):
        content = 1.0 / (1.0 + np.exp(-logit))
        d_active = -content * (1 - content) * node_c / dt
        active = -(content - surface) * node_c / dt
        y = active / (2 * exchange)
        electrode = open_circuit_v(logit, s[HYSTERESIS], tables)
        electrode += kinetic_v * np.arcsinh(y)
        d_electrode = (
            open_circuit_v(logit + 1e-3, s[HYSTERESIS], tables)
            - open_circuit_v(logit - 1e-3, s[HYSTERESIS], tables)
        ) / 2e-3 + kinetic_v / (2 * exchange * np.sqrt(1 + y * y)) * d_active
        front = d_front = 0.0
        if electrode < front_v and crystalline > 0:
            drive = (front_v - electrode) / p.front_slope_v
            growth = front_scale * np.exp(min(drive, 12.0))
            front = -(growth - front_scale)
            d_front = growth / p.front_slope_v
            if -front > front_most:
                front = -front_most
                d_front = 0.0
        sei = -sei_scale * np.exp(min(-electrode / p.sei_slope_v, 40.0))
        d_sei = -sei / p.sei_slope_v
        if -sei > sei_most:
            sei = -sei_most
            d_sei = 0.0
        total = active + front + sei + farad_per_s * (electrode - s[ELECTRODE_V])
        d_total = d_active + (d_front + d_sei + farad_per_s) * d_electrode
        if control == POTENTIAL_CONTROL:
            miss = electrode + resistance * total - setpoint
            d_miss = d_electrode + resistance * d_total
            enough = 1e-7
        else:
            miss = total - setpoint
            d_miss = d_total
            enough = 1e-8 * p.capacity_c / 3600.0 + 1e-14
        if abs(miss) < enough or high - low < 1e-10:
            break
        if miss > 0:
            low = logit  # potential too high: more lithium
        else:
            high = logit
        logit = logit - miss / d_miss if d_miss < -1e-300 else 1e9
        if not low < logit < high:
            logit = 0.5 * (low + high)
    if abs(logit) > LOGIT_MAX - 1e-3:  # empty or full: no faradaic path is left
        total = active + front + sei
        if control == POTENTIAL_CONTROL:
            electrode = setpoint
        elif setpoint != 0.0:
            total = active + sei
            front = 0.0
            electrode = RAIL_HIGH_V if setpoint > 0 else RAIL_LOW_V

    s[0] = content
    _diffuse(s, dt / p.diffusion_time_s * NODES * NODES)
    turned = 1 - np.exp(-p.hysteresis_gain * abs(active) * dt / s[AMORPHOUS_C])
    s[HYSTERESIS] += turned * ((1.0 if active > 0 else -1.0) - s[HYSTERESIS])
    if front < 0:
        converted = -front * dt / p.front_lithiation
        grown = s[AMORPHOUS_C] + converted
        for k in range(NODES):
            s[k] = (s[k] * s[AMORPHOUS_C] + p.front_lithiation * converted) / grown
        s[AMORPHOUS_C] = grown
        s[CRYSTALLINE_C] = max(0.0, crystalline - converted)
    s[SEI_COVER] = min(1.0, s[SEI_COVER] - sei * dt / p.sei_charge_c)
    s[SEI_GROWN] -= sei * dt / p.sei_charge_c
    _age(s, p, active, dt)
    s[ELECTRODE_V] = electrode
    s[CURRENT_A] = total
    s[POTENTIAL_V] = (
        setpoint if control == POTENTIAL_CONTROL else electrode + resistance * total
    )
    s[CHARGE_C] += total * dt
    if total < 0:
        s[LITHIATION_C] -= total * dt
    else:
        s[DELITHIATION_C] += total * dt


@njit(cache=True)
def rest(
    s: NDArray[np.float64],
    p: CellParameters,
    tables: OpenCircuitTables,
    count: int,
    dt: float,
) -> None:
    """Leave the cell at open circuit for `count` sub-steps."""
    for _ in range(count):
        sub_step(s, p, tables, OPEN_CIRCUIT, 0.0, dt)


@njit(cache=True)
def _record(
    s: NDArray[np.float64],
    progress: NDArray[np.float64],
    row: NDArray[np.float64],
) -> None:
    """Write the mean since the last point, and begin the next."""
    row[0] = progress[ELAPSED_S]
    row[1] = progress[SUM_VS] / progress[SUM_S]
    row[2] = progress[SUM_AS] / progress[SUM_S]
    row[3] = s[CHARGE_C]
    progress[SUM_S] = progress[SUM_VS] = progress[SUM_AS] = 0.0
    progress[RECORDED_V] = s[POTENTIAL_V]
    progress[RECORDED_A] = s[CURRENT_A]


@njit(cache=True)
def drive(
    s: NDArray[np.float64],
    p: CellParameters,
    tables: OpenCircuitTables,
    segment: Segment,
    limits: Limits,
    progress: NDArray[np.float64],
    available_s: float,
    rows: NDArray[np.float64],
) -> tuple[int, int]:
    """Run a segment as far as `available_s` (of its own time) and `rows` allow.

    Only whole sub-steps are taken, so that the result does not depend on how often
    this is called. Returns (points written, why it stopped); a row holds elapsed s
    of the segment, mean V, mean A and the cell's charge counter, C.
    """
    count = 0
    before = np.empty_like(s)
    sense = -1.0 if segment.start < 0 else 1.0
    while True:
        left_s = segment.duration_s - progress[ELAPSED_S]
        if left_s <= _EPS_S:
            return count, STEP_DONE
        if count == rows.shape[0]:
            return count, ROWS_FULL
        dt = progress[SUB_STEP_S]
        if left_s < 1.000001 * dt:
            dt = left_s
        if progress[ELAPSED_S] + dt > available_s + _EPS_S:
            return count, TIME_UP
        end_s = progress[ELAPSED_S] + dt
        before[:] = s
        sub_step(
            s,
            p,
            tables,
            segment.control,
            segment.start + segment.slope_per_s * end_s,
            dt,
        )
        past_v = max(
            limits.potential_min_v - s[POTENTIAL_V],
            s[POTENTIAL_V] - limits.potential_max_v,
        )
        over_v = -1.0
        if segment.control == CURRENT_CONTROL:
            over_v = sense * (s[POTENTIAL_V] - segment.until_v)
            if max(over_v, past_v) > _OVERSHOOT_V and dt > _SHORTEST_S:
                s[:] = before
                progress[SUB_STEP_S] = 0.5 * dt
                continue
        progress[ELAPSED_S] = end_s
        progress[SUM_S] += dt
        progress[SUM_VS] += s[POTENTIAL_V] * dt
        progress[SUM_AS] += s[CURRENT_A] * dt
        done = (
            over_v >= 0.0
            or segment.duration_s - end_s <= _EPS_S
            or abs(s[CURRENT_A]) <= segment.until_a
            or s[CHARGE_C] <= segment.charge_low_c
            or s[CHARGE_C] >= segment.charge_high_c
        )
        reason = TIME_UP
        if done:
            reason = STEP_DONE
        elif s[POTENTIAL_V] < limits.potential_min_v:
            reason = POTENTIAL_TOO_LOW
        elif s[POTENTIAL_V] > limits.potential_max_v:
            reason = POTENTIAL_TOO_HIGH
        elif abs(s[CURRENT_A]) > limits.current_max_a:
            reason = CURRENT_TOO_HIGH
        elif not limits.charge_low_c <= s[CHARGE_C] <= limits.charge_high_c:
            reason = CHARGE_TOO_HIGH
        moved_v = abs(s[POTENTIAL_V] - progress[RECORDED_V])
        moved_a = abs(s[CURRENT_A] - progress[RECORDED_A])
        if (
            reason != TIME_UP
            or moved_v >= limits.record_v - _EPS_V
            or moved_a >= limits.record_a
            or progress[SUM_S] >= limits.record_s - _EPS_S
        ):
            _record(s, progress, rows[count])
            count += 1
        if reason != TIME_UP:
            return count, reason
