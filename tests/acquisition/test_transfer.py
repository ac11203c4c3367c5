"""The plan's own promises, on vessels of plain Python with the simulator's physics."""

import contextlib
import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.utils import RequestAbort, RunEngineInterrupted
from event_model import DocumentNames, schema_validators
from ophyd.status import Status

from cryoline.acquisition import custody_guard
from cryoline.acquisition.custody import CustodyRecord
from cryoline.acquisition.errors import PlanRefused, TransferStopped
from cryoline.acquisition.routes import load_route
from cryoline.acquisition.specimen import Specimen
from cryoline.acquisition.transfer_plan import transfer
from cryoline.devices.errors import OperatorRefused, SettingRefused
from cryoline.sim import transfer_state as st
from cryoline.sim.errors import RefusedError
from cryoline.sim.transfer import TransferChain
from cryoline.sim.transfer_panels import transfer_values
from cryoline.sim.transfer_places import Host, Place
from cryoline.sim.vessels import Glovebox

SPECIMEN = Specimen(name="nw-01")
LOG_EVERY_S = 60.0
"""Sparser than in the shipped routes, for the sake of the tests' duration."""


def done(error: Exception | None = None) -> Status:
    status = Status()
    if error is None:
        status.set_finished()
    else:
        status.set_exception(error)
    return status


class Signal:
    """A value of the laboratory; written, it may be refused."""

    parent = None

    def __init__(
        self,
        name: str,
        get: Callable[[], Any],
        put: Callable[[Any], None] | None = None,
    ) -> None:
        self.name = name
        self._get = get
        self._put: Any = put

    def read(self) -> dict[str, Any]:
        return {self.name: {"value": self._get(), "timestamp": 0.0}}

    def describe(self) -> dict[str, Any]:
        kind = "string" if isinstance(self._get(), str) else "number"
        return {self.name: {"source": "x", "dtype": kind, "shape": []}}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        return {}

    def set(self, value: Any) -> Status:
        try:
            self._put(value)
        except RefusedError as error:
            return done(SettingRefused(f"{self.name}: {value!r} was refused: {error}"))
        return done()


class Vessel:
    """A device made of signals; a test may give it a way to be set."""

    set: Any

    parent = None

    def __init__(self, name: str, **signals: Signal) -> None:
        self.name = name
        self.component_names = tuple(signals)
        vars(self).update(signals)

    def _all(self, of: str) -> dict[str, Any]:
        parts = [getattr(getattr(self, n), of)() for n in self.component_names]
        return {key: value for part in parts for key, value in part.items()}

    def read(self) -> dict[str, Any]:
        return self._all("read")

    def describe(self) -> dict[str, Any]:
        return self._all("describe")

    def read_configuration(self) -> dict[str, Any]:
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        return {}


class Lab:
    """The chain's models, whose time passes only while somebody waits for it."""

    def __init__(self) -> None:
        self.glovebox = Glovebox(seed=1)
        self.chain = TransferChain(self.glovebox)
        self.time_s = 0.0
        self.events: list[tuple[float, Callable[[], None]]] = []
        """What happens at which time."""
        self.prompts: list[str] = []
        self.refuse = ""
        self.before_answer: dict[str, Callable[[], None]] = {}
        self.at_arrival: dict[Place, Callable[[], None]] = {}
        self._arrivals: list[tuple[Status, Place]] = []
        self._held: list[tuple[Status, float]] = []
        self._stands_still = False
        chain, time = self.chain, lambda: self.time_s

        def value(group: str, pv: str) -> Callable[[], Any]:
            return lambda: transfer_values(chain)[group][pv]

        def named(group: str, pv: str, kind: Any) -> Callable[[], str]:
            return lambda: kind(transfer_values(chain)[group][pv]).name.lower()

        def flag(group: str, pv: str, off: str, on: str) -> Callable[[], str]:
            return lambda: on if transfer_values(chain)[group][pv] else off

        def vessel(name: str, group: str, **pvs: Any) -> Vessel:
            signals = {}
            for signal, pv in pvs.items():
                get, put = (value(group, pv), None) if isinstance(pv, str) else pv
                signals[signal] = Signal(f"{name}_{signal}", get, put)
            return Vessel(name, **signals)

        def port_pump(state: str) -> None:
            chain.port_pump_on = state == "on"

        def stage(degc: float) -> None:
            chain.fib_set_degc = degc

        self.vessels: dict[str, Any] = {
            "carrier": vessel(
                "carrier",
                "carrier",
                specimen=(lambda: chain.specimen, lambda n: chain.load(n, time())),
                place=(named("carrier", "Place_RBV", Place), None),
                moving="Moving_RBV",
                temperature_degc="Temp_RBV",
                temperature_max_degc="TempMax_RBV",
                air_s="Air_RBV",
                reset_max=(
                    lambda: 0,
                    lambda _: chain.reset_temperature_max(time()),
                ),
            ),
            "glovebox": Vessel(
                "glovebox",
                h2o_ppm=Signal(
                    "glovebox_h2o_ppm", lambda: self.glovebox.values()["h2o_ppm"]
                ),
                o2_ppm=Signal(
                    "glovebox_o2_ppm", lambda: self.glovebox.values()["o2_ppm"]
                ),
            ),
            "pot": vessel("pot", "plunge", ln2_percent="LN2_RBV"),
            "holder": vessel(
                "holder", "holder", temperature_degc="Temp_RBV", ln2_percent="LN2_RBV"
            ),
            "suitcase": vessel(
                "suitcase",
                "suitcase",
                temperature_degc="Temp_RBV",
                pressure_mbar="Pressure_RBV",
                port_pressure_mbar="PortPressure_RBV",
                ln2_percent="LN2_RBV",
                battery_percent="Battery_RBV",
                dock=(
                    named("suitcase", "Dock", Host),
                    lambda h: chain.dock(Host[h.upper()], time()),
                ),
                gate_valve=(
                    flag("suitcase", "GateValve", "shut", "open"),
                    lambda s: chain.set_gate(s == "open", time()),
                ),
                port_pump=(flag("suitcase", "PortPump", "off", "on"), port_pump),
                reset_max=(lambda: 0, lambda _: chain.reset_pressure_max(time())),
            ),
            "pfib": vessel(
                "pfib",
                "pfib",
                pressure_mbar="Pressure_RBV",
                stage_temperature_degc="StageTemp_RBV",
                stage_setpoint_degc=(value("pfib", "StageSet"), stage),
                gate_valve=(
                    flag("pfib", "GateValve", "shut", "open"),
                    lambda s: chain.set_fib_gate(s == "open", time()),
                ),
            ),
        }
        self.vessels["carrier"].set = self._carry
        self.clock: Any = Vessel(
            "clock",
            instrument_time_s=Signal("clock_instrument_time_s", lambda: self.time_s),
        )
        self.clock.set = self._wait
        self.operator: Any = Vessel(
            "operator",
            prompt=Signal("operator_prompt", lambda: self.prompts[-1]),
        )
        self.operator.set = self._ask

    def advance(self, until_s: float) -> None:
        """Let time pass, in pieces, so that everything happens in its time."""
        while self.time_s < until_s:
            self.time_s = min(until_s, self.time_s + 10.0)
            self.glovebox.advance(self.time_s)
            self.chain.advance(self.time_s)
            for event in [e for e in self.events if e[0] <= self.time_s]:
                self.events.remove(event)
                event[1]()
            for status, place in self._arrivals[:]:
                if self.chain.place is place:
                    self._arrivals.remove((status, place))
                    self.at_arrival.pop(place, lambda: None)()
                    status.set_finished()

    def pause(self, engine: RunEngine, *, defer: bool = False) -> None:
        """Ask for a pause from elsewhere; unless deferred, time stands still then."""
        self._stands_still = not defer
        threading.Thread(
            target=engine.request_pause, kwargs={"defer": defer}, daemon=True
        ).start()

    def go_on(self) -> None:
        """Let time pass again, first what was waited for."""
        self._stands_still = False
        for status, duration_s in self._held:
            self.advance(self.time_s + duration_s)
            status.set_finished()
        self._held = []

    def _wait(self, duration_s: float) -> Status:
        if self._stands_still:
            self._held.append((Status(), duration_s))
            return self._held[-1][0]
        if duration_s <= LOG_EVERY_S:  # a long wait passes while short ones are made
            self.advance(self.time_s + duration_s)
            return done()
        status = Status()
        self.events.append((self.time_s + duration_s, status.set_finished))
        return status

    def _ask(self, text: str) -> Status:
        self.prompts.append(text)
        for words, action in list(self.before_answer.items()):
            if words in text:
                del self.before_answer[words]
                action()
        if self.refuse and self.refuse in text:
            return done(OperatorRefused(f"operator: refused by the operator: {text!r}"))
        if "session was killed" in text:
            return done()  # nobody waits for the clock here
        status = Status()
        self.events.append((self.time_s + 30.0, status.set_finished))
        return status

    def _carry(self, place: str) -> Status:
        try:
            self.chain.move(Place[place.upper()], self.time_s)
        except RefusedError as error:
            return done(SettingRefused(f"carrier: {error}"))
        status = Status()
        self._arrivals.append((status, Place[place.upper()]))
        return status

    def plan(
        self,
        route: str | Path,
        specimen: Specimen = SPECIMEN,
        log_every_s: float = LOG_EVERY_S,
        **options: Any,
    ) -> Any:
        loaded = load_route(route).model_copy(update={"log_every_s": log_every_s})
        return transfer(
            loaded,
            specimen,
            vessels=self.vessels,
            operator=self.operator,
            clock=self.clock,
            **options,
        )


class Documents:
    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        self.all.append((name, doc))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [doc for n, doc in self.all if n == name]

    def rows(self, stream: str = "transfer") -> list[dict[str, Any]]:
        (descriptor,) = [d for d in self.named("descriptor") if d["name"] == stream]
        return [
            doc["data"]
            for doc in self.named("event")
            if doc["descriptor"] == descriptor["uid"]
        ]


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture
def record(tmp_path: Path) -> CustodyRecord:
    return CustodyRecord(tmp_path / "custody.sqlite")


@pytest.fixture
def engine(record: CustodyRecord) -> RunEngine:
    engine = RunEngine({}, context_managers=[])
    custody_guard.install(engine, record)
    return engine


@pytest.fixture
def documents(engine: RunEngine) -> Documents:
    documents = Documents()
    engine.subscribe(documents)
    return documents


def test_he_2021_ends_cold_in_the_microscope_with_custody_of_every_leg(
    lab, engine, record, documents
) -> None:
    engine(lab.plan("he_2021"))

    assert lab.chain.place is Place.MICROSCOPE
    assert not lab.chain.value(st.DEVITRIFIED)
    assert lab.chain.contamination_ml < 1.0
    state = record.state("nw-01")
    assert (state.place, state.state) == ("microscope", "inserted")
    assert state.flags == ()
    assert state.air_s == pytest.approx(10.0)
    # As the carrier has seen it: 5 K warmer at the end of ten seconds in air.
    assert state.t_max_degc == pytest.approx(lab.chain.value(st.T_MAX))
    assert -190 < state.t_max_degc < -170
    entered = [
        r.body["start"]["leg"] for r in record.history("nw-01") if r.leg == r.uid
    ]
    assert entered == [
        *("open-cell", "rinse", "dry", "pick-up", "cool", "load-holder", "insert"),
    ]
    (start,) = documents.named("start")
    assert start["route_file"]["legs"]["insert"]["from"] == "in-holder"
    assert {r.run for r in record.history("nw-01") if r.leg} == {start["uid"]}
    assert sum("Rinse" in prompt for prompt in lab.prompts) == 3
    for name, doc in documents.all:
        schema_validators[DocumentNames[name]].validate(doc)


def test_log_has_a_row_at_least_every_ten_seconds_with_leg_and_readings(
    lab, engine, documents
) -> None:
    engine(lab.plan("he_2021", log_every_s=10.0))

    rows = documents.rows()
    dry = [row for row in rows if row["transfer_leg"] == "dry"]
    times = [row["clock_instrument_time_s"] for row in dry]
    assert max(b - a for a, b in itertools.pairwise(times)) <= 10.0
    assert times[-1] - times[0] >= 900
    assert {row["glovebox_h2o_ppm"] < 5 for row in rows} == {True}
    assert {"carrier_temperature_degc", "holder_ln2_percent"} <= set(rows[0])
    assert len(documents.rows("operator")) == len(lab.prompts)


def test_cryo_apt_goes_cold_and_in_vacuum_to_the_atom_probe(
    lab, engine, record
) -> None:
    engine(lab.plan("cryo_apt", to="in-atom-probe"))

    assert lab.chain.place is Place.LEAP
    assert lab.chain.host is Host.NONE
    state = record.state("nw-01")
    assert state.place == "leap"
    assert state.flags == ()
    assert state.air_s == 0.0
    assert state.t_max_degc < -170
    assert 1e-9 < state.p_max_mbar < 1e-7
    assert not lab.chain.value(st.DEVITRIFIED)


def test_route_goes_on_from_where_the_last_transfer_has_ended(
    lab, engine, record
) -> None:
    engine(lab.plan("cryo_apt", to="frozen"))
    assert record.state("nw-01").state == "frozen"
    engine(lab.plan("cryo_apt", to="in-suitcase"))
    assert lab.chain.place is Place.SUITCASE
    legs = [r.body["start"]["leg"] for r in record.history("nw-01") if r.leg == r.uid]
    assert legs == ["prepare", "open-cell", "plunge", "into-lock", "into-suitcase"]
    with pytest.raises(PlanRefused, match="nothing is left to do"):
        engine(lab.plan("cryo_apt", to="in-suitcase"))
    with pytest.raises(PlanRefused, match="no way from 'in-suitcase' to 'frozen'"):
        engine(lab.plan("cryo_apt", to="frozen"))


def test_child_has_its_own_record_from_where_it_was_made(lab, engine, record) -> None:
    needle = Specimen(name="needle-1", ancestors=("nw-01",))
    engine(lab.plan("cryo_apt", to="back-in-suitcase", child=needle))
    assert record.state("nw-01").state == "milled"
    state = record.state("needle-1")
    assert (state.state, state.ancestors) == ("back-in-suitcase", ("nw-01",))
    assert state.t_max_degc is not None
    assert any("Draw needle-1 back" in prompt for prompt in lab.prompts)
    engine(lab.plan("cryo_apt", needle, to="in-atom-probe"))
    assert record.state("needle-1").place == "leap"


def test_warm_suitcase_is_refused_before_the_cell_is_opened(
    lab, engine, record, documents
) -> None:
    lab.chain.suitcase_dry = True
    lab.advance(2000)
    with pytest.raises(PlanRefused) as refusal:
        engine(lab.plan("cryo_apt", to="in-suitcase"))
    assert str(refusal.value).startswith(
        "transfer cryo_apt: not ready: suitcase.temperature_degc = -107.4 degC is "
        "above -170 degC; fill the suitcase's dewar (suitcase.refill)"
    )
    assert str(refusal.value).endswith("Nothing was moved")
    assert documents.all == []
    assert lab.prompts == []
    assert not record.knows("nw-01")


def test_leaky_suitcase_is_refused_before_the_leg_that_needs_it(
    lab, engine, record
) -> None:
    engine(lab.plan("cryo_apt", to="frozen"))
    lab.chain.leak_mbar_l_per_s = 1e-5
    lab.advance(lab.time_s + 10)
    with pytest.raises(PlanRefused, match=r"not ready: suitcase\.pressure_mbar = 5\."):
        engine(lab.plan("cryo_apt", to="in-suitcase"))
    assert lab.chain.place is Place.POT
    assert record.state("nw-01").state == "frozen"


def test_leak_that_opens_on_the_way_stops_the_leg_and_flags_the_specimen(
    lab, engine, record
) -> None:
    engine(lab.plan("cryo_apt", to="in-suitcase"))

    def leak() -> None:
        lab.chain.leak_mbar_l_per_s = 1e-4

    lab.before_answer["Carry the suitcase to the plasma FIB"] = leak
    with pytest.raises(TransferStopped) as stop:
        engine(lab.plan("cryo_apt", to="in-fib"))
    text = str(stop.value)
    assert "nw-01: leg into-fib: suitcase.pressure_mbar = 5.001e-06 mbar is" in text
    assert "above 1e-07 mbar; leave the valves shut; find the leak" in text
    assert "nw-01 is in the suitcase: leave it in the suitcase, valve shut" in text
    assert lab.chain.place is Place.SUITCASE
    state = record.state("nw-01")
    assert (state.place, state.state) == ("suitcase", "in-suitcase")
    assert state.flags == ("pressure",)
    assert state.unfinished.leg == "into-fib"
    assert state.p_max_mbar == pytest.approx(5e-6, rel=0.01)


def test_valves_are_shut_when_a_leg_is_stopped_with_them_open(
    lab, engine, record
) -> None:
    engine(lab.plan("cryo_apt", to="in-suitcase"))
    lab.refuse = "Push nw-01 on the FIB"
    with pytest.raises(TransferStopped, match=r"refused by the operator: .Push nw-01"):
        engine(lab.plan("cryo_apt", to="in-fib"))
    assert not lab.chain.gate_open
    assert not lab.chain.fib_gate_open
    assert record.state("nw-01").unfinished is not None
    lab.refuse = ""
    lab.advance(lab.time_s + 60)
    engine(lab.plan("cryo_apt", to="in-fib"))
    assert record.state("nw-01").state == "in-fib"


def test_operator_who_refuses_ends_the_leg_with_what_to_do(lab, engine, record) -> None:
    lab.refuse = "Rinse nw-01 in fresh dimethyl carbonate (2 of 3)"
    with pytest.raises(TransferStopped) as stop:
        engine(lab.plan("he_2021"))
    assert "leg rinse: operator: refused by the operator: 'Rinse nw-01" in str(
        stop.value
    )
    assert "nw-01 is in the glovebox: it is open in the box: go on" in str(stop.value)
    leaves = [r.body["report"] for r in record.history("nw-01") if r.kind == "leave"]
    assert [r["outcome"] for r in leaves] == ["done", "stopped"]
    assert record.state("nw-01").state == "open"


def test_move_that_the_hardware_refuses_is_told_with_its_reason(
    lab, engine, tmp_path
) -> None:
    route = tmp_path / "wrong.toml"
    route.write_text(
        'name = "wrong"\nstart = "cell"\n'
        '[states.cell]\nplace = "cell"\nsafe = "it keeps."\n'
        '[states.in-suitcase]\nplace = "suitcase"\nsafe = "it keeps."\n'
        '[legs.jump]\nfrom = "cell"\nto = "in-suitcase"\n'
        'steps = [{ move = "suitcase" }]\n'
    )
    with pytest.raises(
        TransferStopped,
        match=r"leg jump: carrier: .*no way from cell to suitcase; from here it can "
        r"go to: glovebox\. nw-01 is in the cell: it keeps\.",
    ):
        engine(lab.plan(route))


def test_slow_insertion_is_stopped_flagged_for_life_and_told_to_the_truth(
    lab, engine, record
) -> None:
    lab.chain.air_transit_s = 100.0
    with pytest.raises(TransferStopped, match=r"temperature_max_degc = -133\.. degC"):
        engine(lab.plan("he_2021"))
    assert lab.chain.value(st.DEVITRIFIED)
    state = record.state("nw-01")
    assert state.flags == ("air", "temperature")
    assert state.place == "microscope"
    assert state.air_s == pytest.approx(100.0)
    # The step behind the move is left: it is refused, unless a person accepts.
    with pytest.raises(PlanRefused, match=r"leg insert does not begin: .* -133"):
        engine(lab.plan("he_2021"))
    engine(lab.plan("he_2021", accept=("temperature", "air")))
    assert record.state("nw-01").state == "inserted"
    assert record.state("nw-01").flags == ("air", "temperature")


def test_limit_that_is_passed_on_a_move_stops_the_leg_behind_it(
    lab, engine, record, documents
) -> None:
    lab.chain.air_transit_s = 200.0
    with pytest.raises(TransferStopped, match=r"nw-01 is in the microscope: leave it"):
        engine(lab.plan("he_2021"))
    assert lab.chain.place is Place.MICROSCOPE
    assert set(record.state("nw-01").flags) == {"air", "temperature"}
    on_its_way = [r for r in documents.rows() if r["carrier_moving"]]
    assert [r["transfer_alarm"] for r in on_its_way][-1] == 2
    flags = [r for r in record.history("nw-01") if r.kind == "flag"]
    assert len(flags) == 2


def test_warning_is_kept_once_and_stops_nothing(lab, engine, record, documents) -> None:
    lab.chain.air_transit_s = 20.0
    engine(lab.plan("he_2021"))
    warnings = [r.body["text"] for r in record.history("nw-01") if r.kind == "warning"]
    assert warnings == [
        "carrier.air_s = 20 s is above 15 s; look for frost before anything is exposed"
    ]
    assert record.state("nw-01").flags == ()
    alarms = {(r["transfer_leg"], r["transfer_alarm"]) for r in documents.rows()}
    assert ("insert", 1) in alarms
    assert ("dry", 0) in alarms


def test_nitrogen_that_runs_out_warns_and_then_stops_the_leg(
    lab, engine, record
) -> None:
    engine(lab.plan("cryo_apt", to="in-suitcase"))

    def dry() -> None:
        lab.chain.suitcase_dry = True

    lab.before_answer["Carry the suitcase to the plasma FIB"] = dry
    with pytest.raises(TransferStopped, match=r"ln2_percent = 0 % is below 5 %; fill"):
        engine(lab.plan("cryo_apt", to="in-fib"))
    assert record.state("nw-01").flags == ()  # it is still cold


def test_wait_that_takes_too_long_is_stopped(lab, engine) -> None:
    engine(lab.plan("cryo_apt", to="frozen"))

    class NoPump:
        def set(self, _: Any) -> Status:
            return done()

    pump = lab.vessels["suitcase"].port_pump
    pump.set = NoPump().set
    with pytest.raises(
        TransferStopped,
        match=r"port_pressure_mbar = 1013 did not come below 5e-08 within 3600 s",
    ):
        engine(lab.plan("cryo_apt", to="in-lock"))


def test_carrier_elsewhere_than_its_record_says_is_refused(lab, engine, record) -> None:
    engine(lab.plan("cryo_apt", to="frozen"))
    lab.chain.move(Place.GLOVEBOX, lab.time_s)
    lab.advance(lab.time_s + 60)
    with pytest.raises(
        PlanRefused,
        match="is in the pot by its record, and the carrier is in the glove",
    ):
        engine(lab.plan("cryo_apt", to="in-lock"))
    record.correct_place("nw-01", "glovebox", state="", reason="it fell out")
    with pytest.raises(
        PlanRefused, match="in route he_2021 that is 'open' or 'rinsed' or 'dry' or"
    ):
        engine(lab.plan("he_2021", to="cold"))


def test_other_specimen_on_the_carrier_is_not_taken_for_this_one(lab, engine) -> None:
    engine(lab.plan("cryo_apt", to="frozen"))
    with pytest.raises(PlanRefused, match="nw-01 is in the pot; finish its transfer"):
        engine(lab.plan("cryo_apt", Specimen(name="nw-02"), to="frozen"))


def test_child_that_no_leg_makes_is_refused(lab, engine) -> None:
    with pytest.raises(PlanRefused, match="needle-1 would never be; leave child out"):
        engine(lab.plan("cryo_apt", to="frozen", child=Specimen(name="needle-1")))


def test_abort_shuts_the_valves_and_says_where_it_is(lab, engine, record) -> None:
    engine(lab.plan("cryo_apt", to="in-suitcase"))
    lab.before_answer["Push nw-01 on the FIB"] = lambda: lab.pause(engine)
    with pytest.raises(RunEngineInterrupted):
        engine(lab.plan("cryo_apt", to="in-fib"))
    assert lab.chain.gate_open
    lab.go_on()
    engine.abort()
    assert not lab.chain.gate_open
    assert not lab.chain.fib_gate_open
    state = record.state("nw-01")
    assert (state.open_leg, state.place) == (None, "suitcase")


def test_hard_pause_on_a_leg_is_resumed_where_it_was(
    lab, engine, record, documents
) -> None:
    for words in ("2 of 3", "Lower the grid", "Column valves shut"):
        lab.before_answer[words] = lambda: lab.pause(engine)
    with pytest.raises(RunEngineInterrupted):
        engine(lab.plan("he_2021"))
    for _ in range(2):
        lab.go_on()
        with pytest.raises(RunEngineInterrupted):
            engine.resume()
    lab.go_on()
    engine.resume()
    assert record.state("nw-01").state == "inserted"
    assert len(lab.prompts) == len(set(lab.prompts)) == 11
    assert len(documents.rows("operator")) == 11
    (stop,) = documents.named("stop")
    assert stop["exit_status"] == "success"


def test_deferred_pause_takes_effect_between_two_legs(lab, engine, record) -> None:
    lab.before_answer["2 of 3"] = lambda: lab.pause(engine, defer=True)
    with pytest.raises(RunEngineInterrupted):
        engine(lab.plan("he_2021"))
    assert record.state("nw-01").state == "rinsed"
    assert record.state("nw-01").open_leg is None
    engine.resume()
    assert record.state("nw-01").state == "inserted"


def test_halted_leg_stays_open_and_is_taken_up_only_when_a_person_says_so(
    lab, engine, record
) -> None:
    engine(lab.plan("cryo_apt", to="in-suitcase"))
    lab.before_answer["Push nw-01 on the FIB"] = lambda: lab.pause(engine)
    with pytest.raises(RunEngineInterrupted):
        engine(lab.plan("cryo_apt", to="in-fib"))
    engine.halt()
    lab.go_on()
    assert record.state("nw-01").state == "on into-fib"
    assert lab.chain.gate_open

    with pytest.raises(PlanRefused) as refusal:
        engine(lab.plan("cryo_apt", to="in-fib"))
    assert "nw-01 is on leg into-fib of route cryo_apt (suitcase to pfib)" in str(
        refusal.value
    )
    assert "then go on with transfer(..., resume=True)" in str(refusal.value)

    engine(lab.plan("cryo_apt", to="in-fib", resume=True))
    assert any("while nw-01 was on leg into-fib" in p for p in lab.prompts)
    state = record.state("nw-01")
    assert (state.state, state.open_leg) == ("in-fib", None)
    legs = [r.body["start"] for r in record.history("nw-01") if r.leg == r.uid]
    assert legs[-1]["continues"] == legs[-2]["uid"]


def test_leg_halted_behind_its_move_is_only_finished(lab, engine, record) -> None:
    engine(lab.plan("cryo_apt", to="in-lock"))
    lab.at_arrival[Place.SUITCASE] = lambda: lab.pause(engine)
    with pytest.raises(RunEngineInterrupted):
        engine(lab.plan("cryo_apt", to="in-suitcase"))
    engine.halt()
    lab.go_on()
    lab.advance(lab.time_s + 60)
    assert lab.chain.place is Place.SUITCASE
    asked = len(lab.prompts)
    engine(lab.plan("cryo_apt", to="in-suitcase", resume=True))
    assert len(lab.prompts) == asked + 1  # only whether all is well
    assert lab.chain.host is Host.NONE
    assert record.state("nw-01").state == "in-suitcase"


ONE_LEG = """
name = "one-leg"
start = "cell"
log_every_s = 60
[states.cell]
place = "cell"
safe = "it keeps."
[states.open]
place = "glovebox"
safe = "go on."
[legs.open]
from = "cell"
to = "open"
steps = [
    { ask = "Open {specimen}." },
    { set = "pfib.stage_setpoint_degc", to = -20 },
    { move = "glovebox" },
    { until = "pfib.stage_temperature_degc", below = 24, within_s = 900 },
]
[[legs.open.limits]]
sensor = "carrier.air_s"
stop_above = 10
"""


class Interrupter:
    """Walks the one leg with ever new specimens, and interrupts it at a message."""

    def __init__(self, path: Path, engine: RunEngine, record: CustodyRecord) -> None:
        self.path = path
        self.engine: Any = engine
        self.record = record
        self.documents = Documents()
        engine.subscribe(self.documents)
        path.write_text(ONE_LEG)

    def walk(self, number: int, request: str) -> tuple[Lab, Specimen, bool]:
        """Return the laboratory, the specimen, and whether there is that message."""
        self.documents.all.clear()
        lab, specimen = Lab(), Specimen(name=f"nw-{number}")
        message = itertools.count()

        def hook(_: Any) -> None:
            if next(message) == number:
                target = getattr(self.engine, request)
                threading.Thread(target=target, daemon=True).start()
                threading.Event().wait(0.01)  # until it has reached the loop

        self.engine.msg_hook = hook
        with contextlib.suppress(RunEngineInterrupted, RequestAbort):
            self.engine(lab.plan(self.path, specimen))
        self.engine.msg_hook = None
        return lab, specimen, next(message) > number


@pytest.fixture
def interrupter(
    tmp_path: Path, engine: RunEngine, record: CustodyRecord
) -> Interrupter:
    return Interrupter(tmp_path / "one-leg.toml", engine, record)


def test_hard_pause_at_each_message_of_a_leg_loses_and_repeats_nothing(
    interrupter, engine, record
) -> None:
    for number in itertools.count():
        lab, specimen, was_reached = interrupter.walk(number, "request_pause")
        if engine.state == "paused":
            engine.resume()
        context = f"message {number}"
        assert engine.state == "idle", context
        assert record.state(specimen.name).state == "open", context
        assert lab.prompts == [f"Open {specimen.name}."], context
        (stop,) = interrupter.documents.named("stop")
        assert stop["exit_status"] == "success", context
        assert stop["num_events"]["operator"] == 1, context
        kinds = [r.kind for r in record.history(specimen.name)]
        assert kinds == ["specimen", "enter", "leave"], context
        if not was_reached:
            break
    assert number > 50


@pytest.mark.parametrize("request_name", ["halt", "abort"])
def test_leg_ended_at_any_message_is_taken_up_to_its_end(
    interrupter, engine, record, request_name
) -> None:
    opened = 0
    for number in itertools.count(step=4):
        lab, specimen, was_reached = interrupter.walk(number, request_name)
        lab.advance(lab.time_s + 300)  # what is under way arrives
        context = f"message {number}"
        assert engine.state == "idle", context
        state = record.state(specimen.name)
        opened += state.open_leg is not None
        if state.state != "open":
            resume = request_name == "halt"
            engine(lab.plan(interrupter.path, specimen, resume=resume))
        state = record.state(specimen.name)
        assert (state.state, state.open_leg) == ("open", None), context
        if not was_reached:
            break
    assert (opened > 8) if request_name == "halt" else (opened == 0)
