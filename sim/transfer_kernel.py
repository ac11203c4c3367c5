"""Temperatures, pressures and supplies of the cold chain, one grid step at a time.

Marks: [S0] [S1] the published studies, [T] textbook, [A] assumption.
"""

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryoline.analysis.constants import GAS_CONSTANT_J_PER_MOL_K, ZERO_CELSIUS_K
from cryoline.sim.transfer_places import Surroundings
from cryoline.sim.transfer_state import (
    AIR,
    BATTERY,
    CONTAMINATION,
    DEVITRIFIED,
    DOCKED,
    FIB_GATE,
    FIB_SET,
    FROST,
    FROZEN,
    GATE,
    HOLDER,
    HOLDER_TOPPED,
    LEAK,
    MAINS,
    P_FIB,
    P_MAX,
    P_PORT,
    P_SUITCASE,
    PORT_PUMP,
    POT,
    POT_TOPPED,
    PUMP,
    SIZE,
    STAGE,
    SUITCASE,
    SUITCASE_DRY,
    SUITCASE_TOPPED,
    SURROUNDINGS,
    T_CARRIER,
    T_FIB,
    T_HOLDER,
    T_MAX,
    T_POT,
    T_SUITCASE,
    WARMEST_FROZEN,
)

__all__ = [
    "ATMOSPHERE_MBAR",
    "BATTERY_WH",
    "BOX_DEGC",
    "GRID_S",
    "HOLDER_ML",
    "LEIDENFROST_DEGC",
    "LN2_DEGC",
    "ML_PER_PPM_S",
    "POT_ML",
    "SUITCASE_ML",
    "advance_chain",
    "resting_state",
]

GRID_S: Final = 0.1
"""States change on this grid of instrument time, however often they are read."""

LN2_DEGC: Final = -195.8  # [T] boiling at 1 atm
BOX_DEGC: Final = 25.0
ROOM_DEGC: Final = 20.0
ATMOSPHERE_MBAR: Final = 1013.0

# Liquid nitrogen: 1 W boils 22.4 ml/h, from 199 J/g and 0.807 g/ml [T].
_ML_PER_J: Final = 1.0 / (199.0 * 0.807)
POT_ML: Final = 500.0  # [A]
_POT_W: Final = 4.5  # [A] an open dewar: 100 ml/h
SUITCASE_ML: Final = 500.0  # [A]
_SUITCASE_W: Final = 2.0  # [A] 11 h
HOLDER_ML: Final = 300.0  # [A]
_HOLDER_W: Final = 1.5  # [A] 8.9 h
BATTERY_WH: Final = 60.0  # [A]
_PUMP_W: Final = 5.0  # [A] 12 h

# A copper clip of 4 g and 6 cm2 in boiling nitrogen; heat capacity of copper at
# room temperature [T], though it falls by half on the way down.
_CLIP_J_PER_K: Final = 4.0 * 0.385
_CLIP_M2: Final = 6e-4
_FILM_W_PER_M2K: Final = 200.0  # [T]
_NUCLEATE_W_PER_M2K: Final = 2000.0  # [T]
LEIDENFROST_DEGC: Final = -150.0  # [T]

# Time constants, s, and temperatures of rest, degC: all [A] but those marked.
_BOX_S: Final = 120.0
_SHELF_DEGC: Final = -180.0
_SHELF_S: Final = 600.0
_SUITCASE_DEGC: Final = -190.0  # [S0]
_HOLDER_DEGC: Final = -178.0  # [S1]
_COLD_S: Final = 400.0
_DRY_S: Final = 4000.0
_CONTACT_S: Final = 120.0
_LEAP_DEGC: Final = -213.15  # 60 K [S0]
_AIR_K_PER_S: Final = 0.5
_ROD_K_PER_S: Final = 0.2

# Vacuum. A shut suitcase of 2 l with 1e-10 mbar l/s rises from 1e-9 [S0] to 1e-7 mbar
# in 33 minutes.
_VOLUME_L: Final = 2.0  # [A]
_OUTGASSING_MBAR_L_PER_S: Final = 1e-10  # [A]
_OUTGASSING_K: Final = 40.0  # [A] e-fold
_PUMP_L_PER_S: Final = 20.0  # [A]
_ULTIMATE_MBAR: Final = 1e-9  # [S0]
_PORT_MBAR: Final = 1e-8  # [A]
_PORT_S: Final = 15.0  # [A] 1013 to 1e-7 mbar in 6 minutes
_PORT_LEAK_MBAR_PER_S: Final = 1e-8  # [A] with its pump off
_MIX_S: Final = 0.5  # [A] through an open valve
_FIB_MBAR: Final = 2e-8  # [A]
_FIB_WARM_MBAR: Final = 1e-6  # [A] more at 25 degC: a cold stage pumps water
_FIB_K: Final = 60.0  # [A] e-fold
_FIB_S: Final = 60.0  # [A]

# Contamination. 1e-9 mbar is 1.3 monolayers an hour (1e15 a cm2, room temperature);
# how many of those react is [A], and falls with the temperature.
_ML_PER_S_MBAR: Final = 1.3 / 3600.0 / 1e-9
_REACTION: Final = 1e-6
_REACTION_J_PER_MOL: Final = 20e3
ML_PER_PPM_S: Final = _ML_PER_S_MBAR * 1e-3 * _REACTION
"""Monolayers a second for each ppm at 1 bar, in the warm box."""
_AIR_MBAR: Final = 220.0  # of oxygen and water
_WATER: Final = 0.1  # of the residual gas
_FROST_NM_PER_S_MBAR: Final = 0.41 / 3600.0 / 1e-9  # of water, sticking 1 [T]
_FROST_BELOW_DEGC: Final = -140.0  # above, it leaves in vacuum
_AIR_FROST_NM_PER_S: Final = 0.095  # 1e-3, by the shutter, of free convection

_FROZEN_DEGC: Final = -140.0
_DEVITRIFIED_DEGC: Final = -135.0  # [T] amorphous ice and electrolyte crystallise

_SEALED, _BOX, _BATH, _SHELF, _CASE, _FIB, _HOLDER, _AIR, _ROD, _MICROSCOPE, _LEAP = (
    int(s) for s in Surroundings
)


def resting_state() -> NDArray[np.float64]:
    """Return the chain ready for use: full, cold, pumped, a warm specimen in a cell."""
    state = np.zeros(SIZE)
    state[[T_CARRIER, T_MAX]] = BOX_DEGC
    state[T_POT], state[POT] = LN2_DEGC, POT_ML
    state[T_SUITCASE], state[SUITCASE] = _SUITCASE_DEGC, SUITCASE_ML
    state[[P_SUITCASE, P_MAX]] = (
        _ULTIMATE_MBAR + _OUTGASSING_MBAR_L_PER_S / _PUMP_L_PER_S
    )
    state[BATTERY] = BATTERY_WH
    state[P_PORT] = ATMOSPHERE_MBAR
    state[T_FIB] = BOX_DEGC
    state[P_FIB] = _FIB_MBAR + _FIB_WARM_MBAR
    state[T_HOLDER], state[HOLDER] = _HOLDER_DEGC, HOLDER_ML
    return state


@njit(cache=True)
def advance_chain(
    state: NDArray[np.float64],
    steps: int,
    switches: NDArray[np.int64],
    settings: NDArray[np.float64],
) -> None:
    """Change the state by so many grid steps, none of the switches changing.

    It ends early once a step changes nothing: then no later one would.
    """
    before = np.empty_like(state)
    for _ in range(steps):
        before[:] = state
        _supplies(state, switches)
        _vacuum(state, switches, settings)
        _carrier(state, switches, settings)
        if (before == state).all():
            return


@njit(cache=True)
def _toward(value: float, target: float, time_constant_s: float) -> float:
    """Return one exact step of an exponential approach."""
    return value + (target - value) * -math.expm1(-GRID_S / time_constant_s)


@njit(cache=True)
def _supplies(state: NDArray[np.float64], on: NDArray[np.int64]) -> None:
    state[POT] -= _POT_W * _ML_PER_J * GRID_S
    if on[POT_TOPPED]:
        state[POT] = POT_ML
    state[POT] = max(0.0, state[POT])
    if state[POT] > 0.0:
        state[T_POT] = LN2_DEGC
    else:
        state[T_POT] = _toward(state[T_POT], BOX_DEGC, _DRY_S)

    state[SUITCASE] -= _SUITCASE_W * _ML_PER_J * GRID_S
    if on[SUITCASE_TOPPED]:
        state[SUITCASE] = SUITCASE_ML
    if on[SUITCASE_DRY]:
        state[SUITCASE] = 0.0
    state[SUITCASE] = max(0.0, state[SUITCASE])
    if state[SUITCASE] > 0.0:
        state[T_SUITCASE] = _toward(state[T_SUITCASE], _SUITCASE_DEGC, _COLD_S)
    else:
        state[T_SUITCASE] = _toward(state[T_SUITCASE], ROOM_DEGC, _DRY_S)

    state[HOLDER] -= _HOLDER_W * _ML_PER_J * GRID_S
    if on[HOLDER_TOPPED]:
        state[HOLDER] = HOLDER_ML
    state[HOLDER] = max(0.0, state[HOLDER])
    if state[HOLDER] > 0.0:
        state[T_HOLDER] = _toward(state[T_HOLDER], _HOLDER_DEGC, _COLD_S)
    else:
        state[T_HOLDER] = _toward(state[T_HOLDER], ROOM_DEGC, _DRY_S)

    if on[MAINS]:
        state[BATTERY] = BATTERY_WH
    elif on[PUMP]:
        state[BATTERY] = max(0.0, state[BATTERY] - _PUMP_W * GRID_S / 3600.0)


@njit(cache=True)
def _vacuum(
    state: NDArray[np.float64], on: NDArray[np.int64], settings: NDArray[np.float64]
) -> None:
    state[T_FIB] = _toward(state[T_FIB], settings[FIB_SET], _COLD_S)
    rest = _FIB_MBAR + _FIB_WARM_MBAR * math.exp((state[T_FIB] - BOX_DEGC) / _FIB_K)
    state[P_FIB] = _toward(state[P_FIB], rest, _FIB_S)

    if not on[DOCKED]:
        state[P_PORT] = ATMOSPHERE_MBAR
    elif on[FIB_GATE]:
        state[P_PORT] = _toward(state[P_PORT], state[P_FIB], _MIX_S)
    elif on[PORT_PUMP]:
        state[P_PORT] = _toward(state[P_PORT], _PORT_MBAR, _PORT_S)
    elif state[P_PORT] < ATMOSPHERE_MBAR:
        state[P_PORT] += _PORT_LEAK_MBAR_PER_S * GRID_S

    warm = math.exp((state[T_SUITCASE] - _SUITCASE_DEGC) / _OUTGASSING_K)
    load = _OUTGASSING_MBAR_L_PER_S * warm + settings[LEAK]
    if on[GATE]:
        state[P_SUITCASE] = _toward(state[P_SUITCASE], state[P_PORT], _MIX_S)
    elif on[PUMP] and (on[MAINS] or state[BATTERY] > 0.0):
        rest = _ULTIMATE_MBAR + load / _PUMP_L_PER_S
        time_constant_s = _VOLUME_L / _PUMP_L_PER_S
        state[P_SUITCASE] = _toward(state[P_SUITCASE], rest, time_constant_s)
    else:
        state[P_SUITCASE] += load * GRID_S / _VOLUME_L
    state[P_SUITCASE] = min(state[P_SUITCASE], ATMOSPHERE_MBAR)
    state[P_MAX] = max(state[P_MAX], state[P_SUITCASE])


@njit(cache=True)
def _carrier(
    state: NDArray[np.float64], on: NDArray[np.int64], settings: NDArray[np.float64]
) -> None:
    where = on[SURROUNDINGS]
    was_degc = state[T_CARRIER]
    residual_mbar = 0.0
    if where == _SEALED or where == _BOX:
        # What the box's gas does to it is summed up by its own hygrometers.
        state[T_CARRIER] = _toward(was_degc, BOX_DEGC, _BOX_S)
    elif where == _BATH:
        _boil(state)
    elif where == _SHELF:
        state[T_CARRIER] = _toward(was_degc, _SHELF_DEGC, _SHELF_S)
    elif where == _CASE:
        state[T_CARRIER] = _toward(was_degc, state[T_SUITCASE], _CONTACT_S)
        residual_mbar = state[P_SUITCASE]
    elif where == _FIB:
        state[T_CARRIER] = _toward(was_degc, state[T_FIB], _CONTACT_S)
        residual_mbar = state[P_FIB]
    elif where == _HOLDER:
        state[T_CARRIER] = _toward(was_degc, state[T_HOLDER], _CONTACT_S)
    elif where == _AIR:
        state[T_CARRIER] = min(ROOM_DEGC, was_degc + _AIR_K_PER_S * GRID_S)
        state[AIR] += GRID_S
        state[CONTAMINATION] += _reacted_ml(_AIR_MBAR, was_degc)
        state[FROST] += _AIR_FROST_NM_PER_S * GRID_S
    elif where == _ROD:
        state[T_CARRIER] = min(ROOM_DEGC, was_degc + _ROD_K_PER_S * GRID_S)
        residual_mbar = state[P_SUITCASE]
    elif where == _MICROSCOPE:
        state[T_CARRIER] = _toward(was_degc, settings[STAGE], _CONTACT_S)
    elif where == _LEAP:
        state[T_CARRIER] = _toward(was_degc, _LEAP_DEGC, _CONTACT_S)

    if residual_mbar > 0.0:
        water_mbar = _WATER * residual_mbar
        state[CONTAMINATION] += _reacted_ml(water_mbar, was_degc)
        if was_degc < _FROST_BELOW_DEGC:
            state[FROST] += _FROST_NM_PER_S_MBAR * water_mbar * GRID_S
    state[T_MAX] = max(state[T_MAX], state[T_CARRIER])
    if not state[FROZEN]:
        if state[T_CARRIER] < _FROZEN_DEGC:
            state[FROZEN] = 1.0
            state[WARMEST_FROZEN] = state[T_CARRIER]
        return
    state[WARMEST_FROZEN] = max(state[WARMEST_FROZEN], state[T_CARRIER])
    if state[T_CARRIER] > _DEVITRIFIED_DEGC:
        state[DEVITRIFIED] = 1.0


@njit(cache=True)
def _boil(state: NDArray[np.float64]) -> None:
    """Cool the clip in the pot: film boiling, then nucleate below Leidenfrost."""
    was_degc = state[T_CARRIER]
    if state[POT] <= 0.0:
        state[T_CARRIER] = _toward(was_degc, state[T_POT], _BOX_S)
        return
    film = was_degc > LEIDENFROST_DEGC
    transfer = _FILM_W_PER_M2K if film else _NUCLEATE_W_PER_M2K
    time_constant_s = _CLIP_J_PER_K / (transfer * _CLIP_M2)
    state[T_CARRIER] = _toward(was_degc, LN2_DEGC, time_constant_s)
    heat_j = _CLIP_J_PER_K * (was_degc - state[T_CARRIER])
    state[POT] = max(0.0, state[POT] - heat_j * _ML_PER_J)


@njit(cache=True)
def _reacted_ml(reactive_mbar: float, temperature_degc: float) -> float:
    """Return the monolayers that react in one step."""
    inverse = 1.0 / (temperature_degc + ZERO_CELSIUS_K) - 1.0 / (
        BOX_DEGC + ZERO_CELSIUS_K
    )
    reaction = _REACTION * math.exp(
        -_REACTION_J_PER_MOL / GAS_CONSTANT_J_PER_MOL_K * inverse
    )
    return _ML_PER_S_MBAR * reactive_mbar * reaction * GRID_S
