"""What the instrument accepts, and the exact words with which it refuses."""

import json

import pytest

from cryoline.sim.errors import ProgramError
from cryoline.sim.program import parse_program
from cryoline.sim.program_steps import VoltageScan
from cryoline.sim.step_walk import forecast, walk


def program(**changes):
    """A valid voltammetry of two cycles, with changes."""
    document = {
        "uid": "a-program",
        "safety": {
            "potential_min_v": -0.1,
            "potential_max_v": 3.2,
            "current_max_a": 0.01,
        },
        "record": {"dv_v": 0.001, "dt_s": 60.0},
        "steps": [scan(None, 0.01), scan(0.01, 3.0), loop(0, 2)],
        "cycle_starts_at_step": 0,
    }
    return json.dumps(document | changes)


def scan(start_v, end_v, rate_mv_per_s=0.2):
    return {
        "type": "voltage_scan",
        "start_v": start_v,
        "end_v": end_v,
        "rate_mv_per_s": rate_mv_per_s,
    }


def loop(goto_step, cycle_count):
    return {"type": "loop", "goto_step": goto_step, "cycle_count": cycle_count}


def refusal(text):
    with pytest.raises(ProgramError) as caught:
        forecast(parse_program(text), 2.8)
    return str(caught.value)


def test_valid_program_is_read_as_it_stands() -> None:
    parsed = parse_program(program())
    assert parsed.uid == "a-program"
    assert parsed.steps[1] == VoltageScan(0.01, 3.0, 0.2)
    assert parsed.cycle_starts == {0}


def test_every_kind_of_step_is_known() -> None:
    steps = [
        {"type": "open_circuit_voltage", "duration_s": 300},
        {"type": "constant_current", "current_a": -1e-4, "until_potential_v": 0.02},
        {"type": "constant_current", "current_a": 1e-4, "until_duration_s": 60},
        scan(None, 0.5),
        {"type": "tag", "cycle_number": 1},
        loop(1, 3),
    ]
    assert len(parse_program(program(steps=steps)).steps) == 6


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (
            [scan(None, 0.01, 0)],
            "potentiostat: step 0 (voltage_scan): rate_mv_per_s 0 mV/s would never "
            "end; choose 1e-06..1000 mV/s",
        ),
        (
            [scan(None, 0.01, 2000)],
            "potentiostat: step 0 (voltage_scan): rate_mv_per_s 2000 mV/s is outside "
            "the instrument's 0..1000 mV/s; choose a value in between",
        ),
        (
            [scan(None, 0.01), scan(0.01, 3.5)],
            "potentiostat: step 1 (voltage_scan): end_v 3.5 V is outside the safety "
            "limits -0.1..3.2 V; choose a value in between",
        ),
        (
            [{"type": "constant_current", "current_a": 0.02, "until_duration_s": 1}],
            "potentiostat: step 0 (constant_current): current_a 0.02 A is outside the "
            "safety limits -0.01..0.01 A; choose a value in between",
        ),
        (
            [{"type": "constant_current", "current_a": 0.001}],
            "potentiostat: step 0 (constant_current): would never end; give "
            "until_potential_v, until_duration_s or until_charge_mah",
        ),
        (
            [{"type": "polarise"}],
            "potentiostat: step 0: unknown type 'polarise'; known: "
            "open_circuit_voltage, constant_current, constant_voltage, voltage_scan, "
            "impedance_spectroscopy, loop, tag",
        ),
        (
            [scan(None, 0.01) | {"rate": 1}],
            "potentiostat: step 0 (voltage_scan): unknown key 'rate'; known: type, "
            "start_v, end_v, rate_mv_per_s, until_charge_mah, until_net_charge_mah",
        ),
        (
            [scan(None, 0.01), loop(1, 2)],
            "potentiostat: step 1 (loop): goto_step 1 is outside 0..0",
        ),
        (
            [scan(None, 0.01), loop(0, 100_000), loop(0, 100_000)],
            "potentiostat: program: its loops run more than 100000 steps; lower a "
            "cycle_count",
        ),
        ([], "potentiostat: program: steps must be a list of 1..1000 steps"),
        (
            [{"type": "tag"}],
            "potentiostat: program: no step does anything; add a voltage_scan or "
            "another step",
        ),
    ],
)
def test_impossible_step_is_refused_with_place_limit_and_remedy(steps, words) -> None:
    assert refusal(program(steps=steps)) == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {
                "safety": {
                    "potential_min_v": -0.1,
                    "potential_max_v": 12,
                    "current_max_a": 0.01,
                }
            },
            "potentiostat: program safety: potential_max_v 12 V is outside the "
            "instrument's -10..10 V; choose a value in between",
        ),
        (
            {"record": {"dv_v": 0, "dt_s": 60}},
            "potentiostat: program record: dv_v 0 V is outside the instrument's "
            "5e-05..20 V; choose a value in between",
        ),
        (
            {"safety": None},
            "potentiostat: program: safety is missing; give potential_min_v, "
            "potential_max_v, current_max_a",
        ),
        (
            {"uid": ""},
            "potentiostat: program: uid '' must be a text of 1..39 characters; give "
            "each program a new one",
        ),
        (
            {"cycle_starts_at_step": 2},
            "potentiostat: program: cycle_starts_at_step 2 is a loop or tag, not a "
            "step",
        ),
    ],
)
def test_impossible_program_is_refused_with_its_limit(changes, words) -> None:
    assert refusal(program(**changes)) == words


def test_text_that_is_no_json_is_refused() -> None:
    assert refusal("{").startswith("potentiostat: program: not readable as JSON (")


def test_loops_count_total_passes_and_nest() -> None:
    steps = [scan(None, 0.1), scan(None, 1.0), loop(1, 2), loop(0, 2)]
    parsed = parse_program(program(steps=steps))
    assert list(walk(parsed.steps)) == [0, 1, 1, 0, 1, 1]


def test_forecast_of_a_voltammetry_is_exact() -> None:
    found = forecast(parse_program(program()), 2.8)
    assert found.exact
    assert found.steps == 4
    assert found.total_s == pytest.approx(28_900 + 29_900)
