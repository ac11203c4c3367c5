"""The simulated source-meter: the language it speaks, and what it does to a cell."""

from collections.abc import Callable

import pytest

from cryoline.sim.scpi_cell import MicroCell
from cryoline.sim.scpi_meter import ScpiMeter


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(clock: Clock) -> ScpiMeter:
    return ScpiMeter(MicroCell(), clock=clock)


def test_long_and_short_forms_are_one(meter: ScpiMeter) -> None:
    meter.handle(":SOURce1:VOLTage:LEVel:IMMediate:AMPLitude 1.5")

    assert meter.handle(":SOUR:VOLT?") == "1.500000E+00"
    assert meter.handle("sour:voltage?") == "1.500000E+00"
    assert meter.handle("*IDN?") == ("KEITHLEY INSTRUMENTS,MODEL 2450,00000001,1.7.12b")
    assert meter.handle(":SYST:ERR?") == '0,"No error;0;0 0"'


def test_line_holds_several_commands_and_goes_on_where_it_was(meter: ScpiMeter) -> None:
    answer = meter.handle(":SOUR:VOLT:ILIM 2e-3;ILIM?;:OUTP?;*LANG?")

    assert answer == "2.000000E-03;0;SCPI"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (":SOUR:VOLTS 1", -113),  # undefined header
        (":OUTP:STATUS ON", -113),
        (":READ", -113),  # only a query
        (":SOUR:VOLT", -109),  # missing parameter
        (":SOUR:VOLT 1,2", -108),  # parameter not allowed
        (":SOUR:VOLT one", -104),  # data type error
        (":SOUR:VOLT 300", -222),  # out of range
        (":SOUR:VOLT:ILIM 0", -222),
        (":SOUR:FUNC POWER", -224),  # illegal value
        (":OUTP MAYBE", -224),
        (':READ? "defbuffer1", BOGUS', -224),
        (":FETC?", -230),  # nothing measured yet
    ],
)
def test_what_it_can_not_do_goes_into_the_queue_with_its_code(
    meter: ScpiMeter, line: str, code: int
) -> None:
    assert meter.handle(line) is None

    found = meter.handle(":SYST:ERR?")
    assert found is not None
    assert found.startswith(f'{code},"')
    assert meter.handle(":SYST:ERR?") == '0,"No error;0;0 0"'


def test_errors_come_oldest_first_and_are_cleared(meter: ScpiMeter) -> None:
    meter.handle(":BOGUS 1;:SOUR:VOLT 300")
    assert str(meter.handle(":SYST:ERR?")).startswith("-113")
    meter.handle("*CLS")

    assert meter.handle(":SYST:ERR?") == '0,"No error;0;0 0"'


def on(meter: ScpiMeter, *lines: str) -> Callable[[], list[float]]:
    for line in (*lines, ":OUTP ON"):
        meter.handle(line)
    assert meter.handle(":SYST:ERR?") == '0,"No error;0;0 0"'

    def read() -> list[float]:
        answer = meter.handle(':READ? "defbuffer1", READ, SOUR')
        return [float(part) for part in str(answer).split(",")]

    return read


def test_current_limit_bounds_the_current_and_says_so(
    meter: ScpiMeter, clock: Clock
) -> None:
    read = on(meter, ":SOUR:FUNC VOLT", ":SOUR:VOLT:ILIM 1e-3", ":SOUR:VOLT 2.5")
    current_a, potential_v = read()

    assert current_a == pytest.approx(1e-3, rel=1e-2)
    assert potential_v < 2.0  # it can't get to its level yet
    assert meter.handle(":SOUR:VOLT:ILIM:TRIP?") == "1"
    clock.now_s += 120.0
    current_a, potential_v = read()
    assert potential_v == pytest.approx(2.5, abs=1e-3)
    assert abs(current_a) < 1e-4
    assert meter.handle(":SOUR:VOLT:ILIM:TRIP?") == "0"


def test_zero_current_measures_the_cell_and_open_terminals_go_to_the_limit(
    meter: ScpiMeter,
) -> None:
    read = on(
        meter,
        ":SOUR:FUNC CURR",
        ':SENS:FUNC "VOLT"',
        ":SOUR:CURR:VLIM 5",
        ":SOUR:CURR 0",
    )
    assert read()[0] == pytest.approx(meter.cell.open_circuit_v, abs=1e-3)
    meter.cell.is_connected = False

    assert read()[0] == pytest.approx(5.0, abs=1e-3)


def test_overvoltage_protection_bounds_the_limit_and_the_level(
    meter: ScpiMeter,
) -> None:
    meter.handle(":SOUR:VOLT:PROT PROT2;:SOUR:CURR:VLIM 20")
    assert meter.handle(":SOUR:CURR:VLIM?") == "2.000000E+00"
    assert meter.handle(":SOUR:VOLT:PROT?") == "PROT2"
    read = on(meter, ":SOUR:VOLT:ILIM 0.5", ":SOUR:VOLT 5")

    assert read()[1] <= 2.001


def test_fixed_range_refuses_a_level_beyond_it(meter: ScpiMeter) -> None:
    meter.handle(":SOUR:VOLT:RANG 2;:SOUR:VOLT 2.5")

    assert str(meter.handle(":SYST:ERR?")).startswith("-222")


@pytest.mark.parametrize("line", [":SOUR:FUNC CURR", ":SENS:CURR:RSEN ON", "*RST"])
def test_changes_of_function_or_wires_switch_the_output_off(
    meter: ScpiMeter, line: str
) -> None:
    on(meter, ":SOUR:FUNC VOLT", ":SOUR:VOLT 1.7")
    assert meter.output_is_on
    meter.handle(line)

    assert not meter.output_is_on


def test_readings_are_kept_and_come_by_their_index(meter: ScpiMeter) -> None:
    read = on(meter, ":SOUR:VOLT 1.7")
    first, second = read()[0], read()[0]

    assert meter.handle(':TRAC:ACT? "defbuffer1"') == "2"
    rows = str(meter.handle(':TRAC:DATA? 1, 2, "defbuffer1", READ')).split(",")
    assert [float(row) for row in rows] == [first, second]


def test_output_off_leaves_the_cell_alone(meter: ScpiMeter, clock: Clock) -> None:
    before_v = meter.cell.open_circuit_v
    meter.handle(":SOUR:VOLT 2.5")
    clock.now_s += 3600.0
    meter.advance()

    assert meter.cell.open_circuit_v == before_v
