"""The cold chain's models: figures of the studies and of textbooks, and its rules."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from cryoline.sim import transfer_state as st
from cryoline.sim.errors import RefusedError
from cryoline.sim.transfer import TransferChain
from cryoline.sim.transfer_kernel import LEIDENFROST_DEGC, LN2_DEGC
from cryoline.sim.transfer_places import Host, Place
from cryoline.sim.vessels import Glovebox


class Chain(TransferChain):
    """A chain with a clock of its own."""

    def __init__(self) -> None:
        self.box = Glovebox(seed=1)
        super().__init__(self.box)
        self.time_s = 0.0

    def wait(self, duration_s: float, step_s: float = math.inf) -> None:
        """Let time pass, in polls of so long."""
        end_s = self.time_s + duration_s
        while self.time_s < end_s:
            self.time_s = min(end_s, self.time_s + step_s)
            self.box.advance(self.time_s)
            self.advance(self.time_s)

    def go(self, *places: Place) -> None:
        """Carry the specimen along."""
        for place in places:
            self.move(place, self.time_s)
            arrives_s = self.arrives_at_s()
            assert arrives_s is not None
            self.wait(arrives_s - self.time_s)
            assert self.place is place

    def into_the_lock(self) -> None:
        """Plunge, and bring the specimen into the pumped lock."""
        self.go(Place.GLOVEBOX, Place.POT)
        self.wait(60)
        self.dock(Host.GLOVEBOX, self.time_s)
        self.go(Place.LOCK)
        self.port_pump_on = True
        self.wait(400)

    def into_the_suitcase(self) -> None:
        """Plunge, and leave with the specimen in the shut suitcase."""
        self.into_the_lock()
        self.set_gate(True, self.time_s)
        self.go(Place.SUITCASE)
        self.set_gate(False, self.time_s)
        self.dock(Host.NONE, self.time_s)
        self.wait(10)


@pytest.fixture
def chain() -> Chain:
    return Chain()


def when(chain: Chain, condition: Callable[[], bool], step_s: float) -> float:
    """Return how long it takes until something is so."""
    began_s = chain.time_s
    while not condition():
        chain.wait(step_s)
        assert chain.time_s - began_s < 1e5, "never"
    return chain.time_s - began_s


def test_shut_suitcase_rises_from_1e_9_to_1e_7_mbar_in_33_minutes(chain) -> None:
    chain.into_the_suitcase()
    assert chain.value(st.P_SUITCASE) == pytest.approx(1e-9, rel=0.01)
    chain.pump_on = False
    took_s = when(chain, lambda: chain.value(st.P_SUITCASE) >= 1e-7, 1.0)
    assert took_s / 60 == pytest.approx(33.0, abs=0.1)


def test_warm_suitcase_gives_off_more_gas(chain) -> None:
    chain.suitcase_dry = True
    chain.pump_on = False
    chain.wait(2000)  # 210 K below the room, time constant 4000 s
    warm_degc = chain.value(st.T_SUITCASE)
    assert warm_degc == pytest.approx(20 - 210 * math.exp(-0.5), abs=0.1)
    before = chain.value(st.P_SUITCASE)
    chain.wait(10)
    rate = (chain.value(st.P_SUITCASE) - before) / 10
    q = 1e-10 * math.exp((warm_degc + 190) / 40)
    assert rate == pytest.approx(q / 2.0, rel=0.05)


def test_leak_of_a_pumped_suitcase_is_its_rate_over_the_pumping_speed(chain) -> None:
    chain.leak_mbar_l_per_s = 1e-6
    chain.wait(10)
    assert chain.value(st.P_SUITCASE) == pytest.approx(1e-9 + 1e-6 / 20, rel=0.01)


@pytest.mark.parametrize(
    ("place", "part", "millilitres", "watts"),
    [("holder", st.HOLDER, 300.0, 1.5), ("suitcase", st.SUITCASE, 500.0, 2.0)],
)
def test_dewar_lasts_as_long_as_its_heat_load_says(
    chain, place, part, millilitres, watts
) -> None:
    if place == "holder":
        chain.go(Place.GLOVEBOX, Place.POT, Place.HOLDER)
    else:
        chain.into_the_suitcase()
    used_s = (millilitres - chain.value(part)) * 199 * 0.807 / watts
    left_s = when(chain, lambda: chain.value(part) == 0.0, 10.0)
    hours = millilitres / (22.4 * watts)  # 1 W boils 22.4 ml/h
    assert (used_s + left_s) / 3600 == pytest.approx(hours, rel=0.005)


def test_vessels_that_nobody_uses_are_kept_full_and_cost_nothing(chain) -> None:
    before = chain.state()
    chain.wait(1e6)
    np.testing.assert_array_equal(chain.state(), before)


def test_clip_boils_in_a_film_and_falls_fast_below_leidenfrost(chain) -> None:
    chain.go(Place.GLOVEBOX)
    chain.move(Place.POT, chain.time_s)
    above_s = when(chain, lambda: chain.value(st.T_CARRIER) < LEIDENFROST_DEGC, 0.1)
    # 4 g of copper, 6 cm2, 200 W/m2K: time constant 12.8 s.
    ratio = (25 - LN2_DEGC) / (LEIDENFROST_DEGC - LN2_DEGC)
    assert above_s == pytest.approx(1.54 / 0.12 * math.log(ratio), abs=0.2)
    below_s = when(chain, lambda: chain.value(st.T_CARRIER) < -190, 0.1)
    assert below_s == pytest.approx(1.28 * math.log(45.8 / 5.8), abs=0.2)
    assert above_s + below_s < 60


def test_ten_seconds_in_air_warm_by_five_degrees_and_frost(chain) -> None:
    chain.go(Place.GLOVEBOX, Place.POT)
    chain.wait(60)
    chain.go(Place.HOLDER)
    chain.wait(600)
    chain.reset_temperature_max(chain.time_s)
    before_degc = chain.value(st.T_CARRIER)
    assert before_degc == pytest.approx(-178, abs=0.2)
    clean_ml = chain.contamination_ml
    chain.go(Place.MICROSCOPE)
    assert chain.value(st.AIR) == pytest.approx(10.0)
    assert chain.value(st.T_CARRIER) == pytest.approx(before_degc + 5, abs=0.01)
    assert 0.5 < chain.value(st.FROST) < 1.5
    assert chain.contamination_ml - clean_ml < 1e-3  # cold: it doesn't react
    chain.wait(1200)
    assert chain.value(st.T_CARRIER) == pytest.approx(-178, abs=0.1)
    assert chain.value(st.T_MAX) == pytest.approx(before_degc + 5, abs=0.01)
    assert not chain.value(st.DEVITRIFIED)


def test_slow_person_devitrifies_the_specimen_for_good(chain) -> None:
    chain.air_transit_s = 100.0
    chain.go(Place.GLOVEBOX, Place.POT)
    chain.wait(60)
    chain.go(Place.HOLDER)
    chain.wait(600)
    chain.go(Place.MICROSCOPE)
    assert chain.value(st.T_CARRIER) == pytest.approx(-128, abs=0.5)
    chain.wait(5000)
    assert chain.value(st.T_CARRIER) < -177
    assert chain.value(st.DEVITRIFIED)
    chain.load("next", chain.time_s)
    assert not chain.value(st.DEVITRIFIED)
    assert chain.value(st.AIR) == 0.0


def test_open_specimen_takes_a_monolayer_from_the_box_in_an_hour(chain) -> None:
    chain.go(Place.GLOVEBOX)
    chain.wait(3600)
    # 0.8 ppm in all, 360 monolayers a second for each ppm, one in 1e6 reacts.
    assert chain.contamination_ml == pytest.approx(3720 * 0.8 * 3.6e-4, rel=0.1)
    in_time = chain.contamination_ml
    chain.go(Place.POT)
    chain.wait(3600)
    assert chain.contamination_ml == in_time


def test_result_does_not_depend_on_who_asks_how_often() -> None:
    states = []
    for step_s in (math.inf, 0.37):
        chain = Chain()
        chain.go(Place.GLOVEBOX)
        chain.wait(300, step_s)
        chain.move(Place.POT, chain.time_s)
        chain.wait(60, step_s)
        chain.dock(Host.GLOVEBOX, chain.time_s)
        chain.move(Place.LOCK, chain.time_s)
        chain.wait(200, step_s)
        states.append((*chain.state(), chain.contamination_ml, chain.place))
    assert states[0] == states[1]


def test_wrong_order_is_refused_with_a_reason(chain) -> None:
    now_s = chain.time_s

    def refused(words: str, action: Callable[[], None]) -> None:
        with pytest.raises(RefusedError, match=words):
            action()

    refused(
        "no way from cell to suitcase; from here it can go to: glovebox",
        lambda: chain.move(Place.SUITCASE, now_s),
    )
    refused("opens only when the suitcase is docked", lambda: chain.set_gate(True, 0))
    chain.go(Place.GLOVEBOX, Place.POT)
    now_s = chain.time_s
    refused(
        "suitcase is not docked at the glovebox", lambda: chain.move(Place.LOCK, now_s)
    )
    chain.dock(Host.GLOVEBOX, now_s)
    chain.go(Place.LOCK)
    now_s = chain.time_s
    refused("gate valve is shut", lambda: chain.move(Place.SUITCASE, now_s))
    refused(
        r"1\.0e-09 mbar inside and 1\.0e\+03 mbar in the port are 12\.0 decades apart, "
        "2 are allowed",
        lambda: chain.set_gate(True, now_s),
    )
    refused("carrier is between", lambda: chain.dock(Host.NONE, now_s))
    refused("write Dock none before pfib", lambda: chain.dock(Host.PFIB, now_s))
    refused(
        "a is in the lock|a specimen is in the lock", lambda: chain.load("b", now_s)
    )


def test_gate_valve_stays_open_while_the_carrier_is_in_it(chain) -> None:
    chain.into_the_lock()
    chain.set_gate(True, chain.time_s)
    chain.move(Place.SUITCASE, chain.time_s)
    with pytest.raises(RefusedError, match="carrier is in the gate"):
        chain.set_gate(False, chain.time_s)
    chain.wait(20)
    chain.set_gate(False, chain.time_s)
    assert not chain.gate_open


def test_warm_pfib_does_not_open_to_the_suitcase_but_a_cold_one_does(chain) -> None:
    chain.into_the_suitcase()
    chain.dock(Host.PFIB, chain.time_s)
    chain.port_pump_on = True
    chain.wait(600)
    chain.set_gate(True, chain.time_s)
    with pytest.raises(RefusedError, match=r"pfib: .* decades apart"):
        chain.set_fib_gate(True, chain.time_s)
    chain.fib_set_degc = -190.0
    chain.wait(2000)
    chain.set_fib_gate(True, chain.time_s)
    chain.go(Place.PFIB, Place.SUITCASE)


def test_battery_runs_the_pump_for_twelve_hours(chain) -> None:
    chain.into_the_suitcase()
    took_s = when(chain, lambda: chain.value(st.BATTERY) == 0.0, 10.0)
    assert took_s / 3600 == pytest.approx(12.0, abs=0.05)
    pumped = chain.value(st.P_SUITCASE)
    chain.wait(10)
    assert chain.value(st.P_SUITCASE) > pumped
