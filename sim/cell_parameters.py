"""Parameters of the simulated silicon half cells, each with where it comes from.

Marks: [S0] Si wafer paper (cryo-APT), [S1] Si nanowire paper (EDS tomography),
[S2] solid-state cell paper (cryo-STEM), [T] textbook value, [A] assumption: a free
knob, tuned only to give the shapes and charges that the papers report.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoline.analysis.constants import (
    FARADAY_C_PER_MOL,
    GAS_CONSTANT_J_PER_MOL_K,
    ZERO_CELSIUS_K,
)

__all__ = [
    "FRESH_POTENTIAL_V",
    "INDIUM_V",
    "LOGIT_MAX",
    "LOGIT_POINTS",
    "CellParameters",
    "OpenCircuitTables",
    "nanowire",
    "open_circuit_tables",
    "solid_state",
    "wafer",
]

CELL_TEMPERATURE_K: Final = ZERO_CELSIUS_K + 25.0  # [S1] cycling at 25 C
THERMAL_VOLTAGE_V: Final = (
    GAS_CONSTANT_J_PER_MOL_K * CELL_TEMPERATURE_K / FARADAY_C_PER_MOL
)
SPECIFIC_CAPACITY_MAH_PER_G: Final = 3579.0  # Li3.75Si, by Faraday's law
C_PER_MAH: Final = 3.6
SILICON_DENSITY_G_PER_CM3: Final = 2.33  # [T]
FRESH_POTENTIAL_V: Final = 2.8  # [A] open circuit of a cell just assembled
SEI_PEAK_V: Final = 0.90  # [A] within 0.8..1.2 V [T], at SEI_PEAK_RATE_V_PER_S
SEI_PEAK_RATE_V_PER_S: Final = 0.2e-3  # [S0] scan rate

LOGIT_MAX: Final = 16.0
"""The lithium content is tabulated for logit(z) between -16 and 16."""
LOGIT_POINTS: Final = 641

# Weight, centre (V), width (V) of each step of the open-circuit curve.
# Centres [T]: about 0.2 and 0.08 V on lithiation, 0.3 and 0.5 V on delithiation;
# weights, widths and the broad third term [A].
_LITHIATION_STEPS: Final = (
    (0.50, 0.240, 0.036),
    (0.38, 0.085, 0.022),
    (0.12, 0.55, 0.15),
)
_DELITHIATION_STEPS: Final = (
    (0.47, 0.290, 0.024),
    (0.43, 0.470, 0.030),
    (0.10, 0.70, 0.18),
)


class CellParameters(NamedTuple):
    """One cell; charges in C, so that the kernel needs no conversion."""

    fresh_potential_v: float
    """Open circuit of a cell just assembled."""
    reference_v: float
    """Potential of the counter electrode against lithium."""
    capacity_c: float
    exchange_current_a: float
    resistance_ohm: float
    diffusion_time_s: float
    double_layer_f: float
    sei_charge_c: float
    sei_rate_per_s: float
    sei_slope_v: float
    sei_resistance_ohm: float
    sei_tear: float
    """Part of the film that each delithiation tears ..."""
    sei_tear_first: float
    """... and what the n-th tears more, times n."""
    front_potential_v: float
    front_slope_v: float
    front_rate_per_s: float
    front_lithiation: float
    front_shrinks: bool
    front_stress_v: float
    """By so much the front's potential is lower when all silicon has reacted."""
    hysteresis_gain: float
    ageing_amplitude: float
    ageing_exponent: float
    ageing_resistance: float


class OpenCircuitTables(NamedTuple):
    """Open-circuit potential against logit(z) on a uniform grid, one per branch."""

    lithiation_v: NDArray[np.float64]
    delithiation_v: NDArray[np.float64]


_SEI_SLOPE_V: Final = THERMAL_VOLTAGE_V / 0.30  # [A] transfer coefficient 0.30
# A film that grows at k exp(-E/b) shows its CV peak at E = b ln(k b / scan rate).
_SEI_RATE_PER_S: Final = (
    SEI_PEAK_RATE_V_PER_S / _SEI_SLOPE_V * math.exp(SEI_PEAK_V / _SEI_SLOPE_V)
)


def nanowire(
    *, area_cm2: float = 1.27, loading_mg_per_cm2: float = 0.168
) -> CellParameters:
    """Silicon nanowires on steel, as cycled in [S1].

    The loading [A] is the paper's 0.6 mAh/cm2 over 3579 mAh/g; the area [A] is that
    of half-inch discs.
    """
    mass_g = loading_mg_per_cm2 * area_cm2 * 1e-3
    capacity_c = SPECIFIC_CAPACITY_MAH_PER_G * mass_g * C_PER_MAH
    return CellParameters(
        fresh_potential_v=FRESH_POTENTIAL_V,
        reference_v=0.0,
        capacity_c=capacity_c,
        exchange_current_a=2.0 * capacity_c / 3600.0,  # [A] 2C
        resistance_ohm=20.0,  # [A]
        diffusion_time_s=300.0,  # [A]
        double_layer_f=10 * 20e-6 * area_cm2,  # [T] 20 uF/cm2, roughness 10 [A]
        # [A] near 20 nm [S1 Fig. 2a] on 22.9 m2/g at 48 cm3 per mol e: 7.2 %
        sei_charge_c=0.085 * capacity_c,
        sei_rate_per_s=_SEI_RATE_PER_S,
        sei_slope_v=_SEI_SLOPE_V,
        sei_resistance_ohm=10.0,  # [A] per SEI grown
        sei_tear=0.04,  # [A]
        sei_tear_first=0.04,  # [A]
        front_potential_v=0.125,  # [T] crystalline Si lithiates near 0.1 V
        front_slope_v=0.020,  # [A]
        front_rate_per_s=1.2e-5,  # [A]
        front_lithiation=0.92,  # [A] content of the phase behind the front
        front_shrinks=True,  # a wire's front loses area as it moves inwards
        front_stress_v=0.0,  # [A] a wire swells freely
        hysteresis_gain=25.0,  # [A]
        # Fitted so that cycles 36 and 100 keep 94.5 and 69.2 % of cycle 2 [S1].
        ageing_amplitude=0.2354,
        ageing_exponent=1.848,
        ageing_resistance=0.5,  # [A] growth per fraction dead
    )


_WAFER_FRONT_NM: Final = 25.0
"""[A] depth at which the wafer's front stands; after 25 cycles [S0] finds what came
from the electrolyte 20 to 30 nm deep."""


def wafer(*, diameter_cm: float = 0.30, depth_um: float = 2.0) -> CellParameters:
    """An undoped (111) wafer, a disc of 3.0 mm [S0].

    The depth that can react [A] is a free knob: the paper gives none.
    """
    area_cm2 = math.pi * (diameter_cm / 2) ** 2
    mass_g = SILICON_DENSITY_G_PER_CM3 * area_cm2 * depth_um * 1e-4
    return nanowire()._replace(
        capacity_c=SPECIFIC_CAPACITY_MAH_PER_G * mass_g * C_PER_MAH,
        exchange_current_a=6.0e-3 * area_cm2,  # [A]
        resistance_ohm=60.0,  # [A]
        double_layer_f=20e-6 * area_cm2,  # [T]
        sei_charge_c=3 * 4.0e-3 * area_cm2,  # [A] 12 mC/cm2
        sei_resistance_ohm=50.0,  # [A]
        front_slope_v=0.045,  # [A]
        front_rate_per_s=8.0e-5,  # [A]
        front_shrinks=False,  # a flat front keeps its area
        # It stands where 0.01 V [S0] no longer moves it.
        front_stress_v=(0.125 - 0.01) * depth_um * 1e3 / _WAFER_FRONT_NM,
        # [A] so that the fading of the cathodic charge is evident in 10 cycles [S0].
        ageing_amplitude=1.2,
        ageing_exponent=1.0,
        ageing_resistance=2.0,  # [A]
    )


INDIUM_V: Final = 0.62  # [T] of In/InLi against lithium


def solid_state(
    *, area_cm2: float = 0.724, loading_mg_per_cm2: float = 1.8
) -> CellParameters:
    """Micrometre silicon particles in a solid electrolyte against In/InLi [S2].

    A cell against another electrode is the same cell with every potential lower. The
    charge that does not come back (777 of 3314 mAh/g) goes into reactions of the
    electrolyte [A]; [S2] says that it is lost, not where.
    """
    wire = nanowire(area_cm2=area_cm2, loading_mg_per_cm2=loading_mg_per_cm2)
    capacity_c = wire.capacity_c
    return wire._replace(
        fresh_potential_v=0.90,  # [A] within the window of [S2], -0.6 to 1.0 V
        reference_v=INDIUM_V,
        exchange_current_a=0.5 * capacity_c / 3600.0,  # [A] C/2
        resistance_ohm=30.0,  # [A] of a pressed pellet
        diffusion_time_s=1800.0,  # [A] 1 to 5 um [S2]
        sei_charge_c=0.204 * capacity_c,  # [A] so that [S2]'s 777 mAh/g are lost
        sei_rate_per_s=_SEI_RATE_PER_S * math.exp(-INDIUM_V / _SEI_SLOPE_V),
        front_potential_v=wire.front_potential_v - INDIUM_V,
        front_stress_v=0.0678,  # [A] so that as much reacts as in [S2]
        ageing_amplitude=0.3,  # [A]
        ageing_exponent=1.0,  # [A]
    )


def open_circuit_tables(reference_v: float = 0.0) -> OpenCircuitTables:
    """Tabulate both branches of the open-circuit potential against a reference."""
    return OpenCircuitTables(
        _inverse_table(_LITHIATION_STEPS) - reference_v,
        _inverse_table(_DELITHIATION_STEPS) - reference_v,
    )


def _inverse_table(
    steps: tuple[tuple[float, float, float], ...],
) -> NDArray[np.float64]:
    """Turn z(U), a sum of sigmoids, into U(logit z)."""
    potential_v = np.linspace(-2.5, 5.0, 150_001)
    content = np.zeros_like(potential_v)
    for weight, centre_v, width_v in steps:
        exponent = np.clip((potential_v - centre_v) / width_v, -60.0, 60.0)
        content += weight / (1.0 + np.exp(exponent))
    content = np.clip(content, 1e-300, 1.0 - 1e-16)
    logit = np.log(content) - np.log1p(-content)
    order = np.argsort(logit, kind="stable")
    grid = np.linspace(-LOGIT_MAX, LOGIT_MAX, LOGIT_POINTS)
    return np.interp(grid, logit[order], potential_v[order])
