"""The cold chain: specimen carrier, plunge pot, suitcase, PFIB and cryo holder.

Every change of a switch happens at the present instrument time; between changes the
kernel brings the state on, on a fixed grid.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.sim import transfer_kernel as k
from cryoline.sim import transfer_state as st
from cryoline.sim.errors import RefusedError
from cryoline.sim.transfer_limits import TAG_BYTES
from cryoline.sim.transfer_places import (
    AIR_TRANSIT_S,
    MOVES,
    SURROUNDINGS_OF,
    Host,
    Place,
    Surroundings,
)
from cryoline.sim.transfer_rules import (
    Doors,
    check_dock,
    check_gate,
    check_load,
    check_move,
)
from cryoline.sim.vessels import Glovebox

__all__ = ["TransferChain"]

_AIR_S: Final = 10.0  # [S1] from the loading station into the column
_STAGE_DEGC: Final = -178.0  # [S1]


class TransferChain:
    """Everything that a specimen passes between its cell and a microscope.

    Vessels that are not in use are kept full: people top them up.

    glovebox: gives what its gas does to an open specimen
    stage_degc: temperature of the microscope's stage
    on_insert: told when the specimen has come into the microscope
    """

    def __init__(
        self,
        glovebox: Glovebox,
        *,
        time_s: float = 0.0,
        stage_degc: Callable[[], float] = lambda: _STAGE_DEGC,
        on_insert: Callable[[float], None] = lambda time_s: None,
    ) -> None:
        self._glovebox = glovebox
        self._stage_degc = stage_degc
        self._on_insert = on_insert
        self._start_s = time_s
        self._steps = 0
        self._state = k.resting_state()
        self._switches = np.zeros(st.SWITCHES, dtype=np.int64)
        self._settings = np.array([0.0, k.BOX_DEGC, _STAGE_DEGC])
        self._path: list[tuple[Surroundings, int]] = []  # and the step it ends at
        self._surroundings = Surroundings.SEALED
        self._box_since_ppm_s: float | None = None
        self.place = Place.CELL
        self.going_to: Place | None = None
        self.specimen = ""
        self.host = Host.NONE
        self.gate_open = False
        self.fib_gate_open = False
        self.pump_on = True
        self.port_pump_on = False
        self.fib_set_degc = k.BOX_DEGC
        # Faults, and how quick the person is.
        self.leak_mbar_l_per_s = 0.0
        self.suitcase_dry = False
        self.air_transit_s = _AIR_S

    def advance(self, time_s: float) -> None:
        """Go on to the grid step at or before this instrument time."""
        due = int((time_s - self._start_s) / k.GRID_S + 1e-6)
        while self._steps < due:
            until = min(due, self._path[0][1]) if self._path else due
            self._run(until - self._steps)
            self._steps = until
            if self._path and self._path[0][1] <= self._steps:
                self._next_part()

    def arrives_at_s(self) -> float | None:
        """Return when the present move ends, None if there is none."""
        if not self._path:
            return None
        return self._start_s + self._path[-1][1] * k.GRID_S

    def move(self, place: Place, time_s: float) -> None:
        """Begin to carry the specimen to a place next to this one."""
        self.advance(time_s)
        if self.going_to is not None:
            raise RefusedError(
                f"carrier: it is on its way to {self.going_to.name.lower()}; wait "
                "until it is there"
            )
        if place is self.place:
            return
        check_move(self.place, place, self.doors())
        self.going_to = place
        end, path = self._steps, []
        for surroundings, duration_s in MOVES[self.place, place]:
            if duration_s == AIR_TRANSIT_S:
                duration_s = self.air_transit_s
            end += max(1, round(duration_s / k.GRID_S))
            path.append((surroundings, end))
        self._path = path
        self._surround(path[0][0])

    def load(self, specimen: str, time_s: float) -> None:
        """Put a fresh specimen on the carrier, in its sealed cell."""
        self.advance(time_s)
        if not 0 < len(specimen.encode()) <= TAG_BYTES:
            raise RefusedError(
                f"carrier: a tag of {len(specimen.encode())} bytes; it takes 1 to "
                f"{TAG_BYTES}: choose another name"
            )
        if self.going_to is not None:
            raise RefusedError("carrier: it is being moved; wait until it is there")
        if specimen == self.specimen and self.place is Place.CELL:
            return
        check_load(self.place, specimen, self.specimen)
        self._surround(Surroundings.SEALED)
        fresh = k.resting_state()
        for part in (
            *(st.T_CARRIER, st.T_MAX, st.CONTAMINATION, st.FROST, st.AIR),
            *(st.FROZEN, st.DEVITRIFIED, st.WARMEST_FROZEN),
        ):
            self._state[part] = fresh[part]
        self.specimen = specimen
        self.place = Place.CELL

    def dock(self, host: Host, time_s: float) -> None:
        """Bring the suitcase to a host, or take it away (none)."""
        self.advance(time_s)
        moving = self.going_to is not None
        check_dock(host, self.doors(), self.place, moving=moving)
        if host is not self.host:
            self.host = host
            self.port_pump_on = False
            self._state[st.P_PORT] = k.ATMOSPHERE_MBAR

    def set_gate(self, is_open: bool, time_s: float) -> None:
        """Open or shut the suitcase's gate valve."""
        self.advance(time_s)
        if is_open and not self.gate_open:
            near, far = self._state[st.P_SUITCASE], self._state[st.P_PORT]
            check_gate("suitcase", near, far, self.host)
        self._refuse_in_the_gate(is_open)
        self.gate_open = is_open

    def set_fib_gate(self, is_open: bool, time_s: float) -> None:
        """Open or shut the gate valve of the PFIB's chamber."""
        self.advance(time_s)
        if is_open and not self.fib_gate_open:
            docked = self.host if self.host is Host.PFIB else Host.NONE
            near, far = self._state[st.P_FIB], self._state[st.P_PORT]
            check_gate("pfib", near, far, docked)
        self._refuse_in_the_gate(is_open)
        self.fib_gate_open = is_open

    def vent_port(self, time_s: float) -> None:
        """Let gas into the port, so that the load lock's inner door opens."""
        self.advance(time_s)
        if self.gate_open or self.fib_gate_open or self.port_pump_on:
            raise RefusedError(
                "suitcase: the port is vented only with both gate valves shut and "
                "its pump off; see to that first"
            )
        self._state[st.P_PORT] = k.ATMOSPHERE_MBAR

    def refill_suitcase(self, time_s: float) -> None:
        """Fill the suitcase's dewar."""
        self.advance(time_s)
        if self.suitcase_dry:
            raise RefusedError(
                "suitcase: there is no liquid nitrogen to fill it with; end the fault"
            )
        self._state[st.SUITCASE] = k.SUITCASE_ML

    def fill_pot(self, time_s: float) -> None:
        """Fill the plunge pot."""
        self.advance(time_s)
        self._state[st.POT] = k.POT_ML

    def reset_temperature_max(self, time_s: float) -> None:
        """Begin anew to remember the warmest temperature of the carrier."""
        self.advance(time_s)
        self._state[st.T_MAX] = self._state[st.T_CARRIER]

    def reset_pressure_max(self, time_s: float) -> None:
        """Begin anew to remember the worst pressure in the suitcase."""
        self.advance(time_s)
        self._state[st.P_MAX] = self._state[st.P_SUITCASE]

    def state(self) -> NDArray[np.float64]:
        """Return a copy of the whole state, in the order of `transfer_state`."""
        return self._state.copy()

    def value(self, part: int) -> float:
        """Return one part of the state, by its place in `transfer_state`."""
        return float(self._state[part])

    @property
    def in_the_bath(self) -> bool:
        """Whether the specimen is in the plunge pot's nitrogen."""
        return self._surroundings is Surroundings.BATH

    @property
    def contamination_ml(self) -> float:
        """Monolayers that have reacted with the specimen."""
        return self.value(st.CONTAMINATION) + self._box_contamination_ml()

    def doors(self) -> Doors:
        """Return what the rules go by."""
        return Doors(
            host=self.host,
            gate_open=self.gate_open,
            fib_gate_open=self.fib_gate_open,
            suitcase_mbar=self.value(st.P_SUITCASE),
            port_mbar=self.value(st.P_PORT),
            fib_mbar=self.value(st.P_FIB),
            pot_percent=100.0 * self.value(st.POT) / k.POT_ML,
        )

    def _refuse_in_the_gate(self, is_open: bool) -> None:
        if not is_open and Surroundings.ROD is self._surroundings:
            raise RefusedError(
                "suitcase: the carrier is in the gate; wait until it is through"
            )

    def _run(self, steps: int) -> None:
        on = self._switches
        carried = {self.place, self.going_to}
        in_suitcase = not carried.isdisjoint({Place.SUITCASE, Place.LOCK})
        docked = self.host is not Host.NONE
        on[st.SURROUNDINGS] = self._surroundings
        on[st.POT_TOPPED] = Place.POT not in carried
        on[st.HOLDER_TOPPED] = Place.HOLDER not in carried
        on[st.SUITCASE_TOPPED] = not in_suitcase and not self.suitcase_dry
        on[st.SUITCASE_DRY] = self.suitcase_dry
        on[st.PUMP] = self.pump_on
        on[st.MAINS] = docked or not in_suitcase
        on[st.DOCKED] = docked
        on[st.PORT_PUMP] = self.port_pump_on
        on[st.GATE] = self.gate_open
        on[st.FIB_GATE] = self.fib_gate_open
        self._settings[st.LEAK] = self.leak_mbar_l_per_s
        self._settings[st.FIB_SET] = self.fib_set_degc
        self._settings[st.STAGE] = self._stage_degc()
        k.advance_chain(self._state, steps, on, self._settings)

    def _next_part(self) -> None:
        self._path.pop(0)
        if self._path:
            self._surround(self._path[0][0])
        elif self.going_to is not None:
            self.place, self.going_to = self.going_to, None
            self._surround(SURROUNDINGS_OF[self.place])
            if self.place is Place.MICROSCOPE:
                self._on_insert(self._start_s + self._steps * k.GRID_S)

    def _surround(self, surroundings: Surroundings) -> None:
        """Change what the specimen feels, and settle what the box did to it.

        It enters and leaves the box at the beginning of a move, which is now: so the
        box's sum is exactly of that time.
        """
        in_box = surroundings is Surroundings.BOX
        if in_box == (self._box_since_ppm_s is not None):
            self._surroundings = surroundings
            return
        self._state[st.CONTAMINATION] += self._box_contamination_ml()
        self._box_since_ppm_s = self._glovebox.exposure_ppm_s if in_box else None
        self._surroundings = surroundings

    def _box_contamination_ml(self) -> float:
        if self._box_since_ppm_s is None:
            return 0.0
        exposure_ppm_s = self._glovebox.exposure_ppm_s - self._box_since_ppm_s
        return k.ML_PER_PPM_S * exposure_ppm_s
