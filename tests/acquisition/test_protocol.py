"""Protocols: read, resolved for an electrode, judged on paper, told to others."""

import json
from pathlib import Path
from typing import Any

import pytest

from cryoline.acquisition import (
    HarvestAt,
    Protocol,
    Specimen,
    load_protocol,
    shipped_protocols,
)
from cryoline.acquisition.cli_files import read_specimen
from cryoline.acquisition.errors import CryolineError, ProtocolError
from cryoline.acquisition.protocol_checks import (
    InstrumentLimits,
    program_faults,
    start_faults,
)
from cryoline.acquisition.protocol_forecast import forecast_program
from cryoline.acquisition.protocol_unicycler import to_unicycler

CELL = Specimen(name="nw-01", electrode_mass_mg=0.2, electrode_area_cm2=1.27)
SAFETY = {"potential_min_v": -0.05, "potential_max_v": 3.4, "current_max_a": 0.01}
CV = {
    "type": "cyclic_voltammetry",
    "vertex1_v": 0.01,
    "vertex2_v": 3.0,
    "rate_mv_per_s": 0.2,
    "n_cycles": 1,
}
INSTRUMENT = InstrumentLimits("pot", -10.0, 10.0, 0.1, 1000.0)


def protocol(*steps: dict[str, Any], **changes: Any) -> Protocol:
    return Protocol.model_validate(
        {"name": "p", "steps": steps, "safety": SAFETY, **changes}
    )


def current(**ends: Any) -> dict[str, Any]:
    return {"type": "constant_current", "until_potential_v": 0.02, **ends}


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", shipped_protocols())
def test_a_shipped_protocol_fits_instrument_and_files(
    name: str, tmp_path: Path
) -> None:
    found = load_protocol(name)
    assert program_faults(found.program(CELL), INSTRUMENT) == ()
    for suffix in (".toml", ".json"):
        found.to_file(tmp_path / f"a{suffix}")
        assert Protocol.from_file(tmp_path / f"a{suffix}") == found


def test_the_papers_numbers_are_those_of_the_shipped_protocols() -> None:
    s0 = load_protocol("s0-25").program(CELL)
    assert forecast_program(s0, potential_v=2.8).duration_s == pytest.approx(746_500)
    assert {s.end_v for s in s0.steps if s.type == "voltage_scan"} == {0.01, 3.0}
    s1 = load_protocol("s1-100").program(CELL)
    # 0.06 and 0.4 mA/cm2 on 1.27 cm2; a formation and 99 cycles.
    set_a = sorted({s.current_a for s in s1.steps if s.type == "constant_current"})
    assert set_a == pytest.approx([-0.508e-3, -0.0762e-3, 0.0762e-3, 0.508e-3])
    assert forecast_program(s1).half_cycles == 200
    assert s1.cycle_starts_at_step == (2, 5)
    steps: Any = load_protocol("s2").program(CELL).steps
    assert steps[0].duration_s == 5 * 3600
    assert [s.duration_s for s in steps[3:6:2]] == [300, 300]


@pytest.mark.parametrize(
    ("given", "ampere"),
    [
        ({"current_a": -1e-4}, -1e-4),
        ({"current_ma": -0.1}, -1e-4),
        ({"current_ma_per_cm2": -0.1}, -1.27e-4),
        ({"current_ma_per_g": -100}, -2e-5),
        ({"rate_c": -0.1}, -0.1 * 3579 * 0.2e-3 * 1e-3),
        ({"rate_c": "-C/10"}, -0.1 * 3579 * 0.2e-3 * 1e-3),
        ({"rate_c": "D/10"}, -0.1 * 3579 * 0.2e-3 * 1e-3),
        ({"rate_c": "2C"}, 2 * 3579 * 0.2e-3 * 1e-3),
    ],
)
def test_a_current_is_given_as_the_author_likes(
    given: dict[str, Any], ampere: float
) -> None:
    step: Any = protocol(current(**given)).program(CELL).steps[0]
    assert step.current_a == pytest.approx(ampere)


def test_charges_by_mass_and_by_lithium_per_silicon_agree() -> None:
    x = 3.75
    ends = {"current_ma": -0.1, "until_potential_v": None}
    by_mass: Any
    by_x: Any
    (by_mass,) = (
        protocol(current(**ends, until_capacity_mah_per_g=3578.6)).program(CELL).steps
    )
    (by_x,) = (
        protocol(current(**ends, until_duration_s=1e6, until_lithiation_x=x))
        .program(CELL)
        .steps
    )
    # Li3.75Si holds 3578.6 mAh/g, by Faraday's law and silicon's molar mass.
    assert by_x.until_net_charge_mah == pytest.approx(-by_mass.until_charge_mah, 1e-4)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (current(), "needs one of current_a, current_ma"),
        (current(current_a=0), "and not 0"),
        (current(current_a=1e-3, rate_c=1), "current_a and rate_c say the same"),
        (current(rate_c="fast"), "'fast' is no C-rate; give a number or C/10"),
        (
            {"type": "constant_current", "current_ma": 1, "until_lithiation_x": 1},
            "would never end; give one of until_potential_v",
        ),
        (
            {"type": "constant_voltage", "potential_v": 1, "until_charge_mah": 1},
            "would never end; give until_current_a",
        ),
        (
            {"type": "voltage_scan", "end_v": 1, "rate_mv_per_s": 0},
            "rate_mv_per_s = 0: Input should be greater than 0",
        ),
        (
            {"type": "voltage_scan", "end_v": 1, "rate_mv_per_s": -0.2},
            "rate_mv_per_s = -0.2: Input should be greater than 0",
        ),
        ({"type": "polarise"}, "does not match any of the expected tags"),
        (current(current_a=1, until_x=1), "unknown key 'steps.0 (constant_current)"),
    ],
)
def test_an_impossible_step_is_refused_with_file_and_place(
    step: dict[str, Any], words: str, tmp_path: Path
) -> None:
    text = json.dumps({"name": "p", "steps": [step], "safety": SAFETY})
    with pytest.raises(ProtocolError) as refusal:
        load_protocol(written(tmp_path / "p.json", text))
    assert words in str(refusal.value)
    assert "p.json: " in str(refusal.value)
    assert "steps.0" in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.toml", "name = ", "p.toml: not valid TOML"),
        ("p.json", '{"name": "p"', "p.json: not valid JSON"),
        ("p.json", "[]", "a protocol is a table of keys"),
        ("p.json", '{"name": "p"}', "key 'steps' is missing"),
        ("p.txt", "", "ends in .toml or .json"),
    ],
)
def test_a_file_that_is_no_protocol_is_refused(
    name: str, content: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ProtocolError) as refusal:
        load_protocol(written(tmp_path / name, content))
    assert words in str(refusal.value)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ProtocolError, match=r"no protocol 's0-24'.*s0-25|s0-2"):
        load_protocol("s0-24")


@pytest.mark.parametrize(
    ("step", "missing"),
    [
        (current(rate_c=-1), "rate_c needs the capacity of bare; give Specimen("),
        (current(current_ma_per_g=-1), "needs the active mass of bare"),
        (current(current_ma_per_cm2=-1), "needs the electrode area of bare"),
    ],
)
def test_what_an_electrode_must_tell_is_asked_for(
    step: dict[str, Any], missing: str
) -> None:
    with pytest.raises(ProtocolError) as refusal:
        protocol(step).program(Specimen(name="bare"))
    assert "p: steps.0 (constant_current): " in str(refusal.value)
    assert missing in str(refusal.value)


@pytest.mark.parametrize(
    ("mass_mg", "area_cm2", "said"),
    [
        (0.0, None, "electrode_mass_mg = 0.0: Input should be greater than 0; weigh"),
        (-1.0, None, "electrode_mass_mg = -1.0: Input should be greater than 0; we"),
        (float("inf"), None, "electrode_mass_mg = inf: Input should be a finite num"),
        (0.2, 0.0, "electrode_area_cm2 = 0.0: Input should be greater than 0; weigh"),
    ],
)
def test_an_electrode_of_no_mass_or_area_is_no_specimen(
    mass_mg: float, area_cm2: float | None, said: str
) -> None:
    with pytest.raises(CryolineError) as refusal:
        read_specimen("nw-01", None, mass_mg, area_cm2)
    assert str(refusal.value).startswith(f"specimen: {said}")


@pytest.mark.parametrize("rate", [0, -0.2])
def test_a_sweep_of_no_rate_or_a_negative_one_is_refused(
    rate: float, tmp_path: Path
) -> None:
    steps = [CV | {"rate_mv_per_s": rate}]
    text = json.dumps({"name": "p", "steps": steps, "safety": SAFETY})
    with pytest.raises(ProtocolError) as refusal:
        load_protocol(written(tmp_path / "p.json", text))
    said = f"rate_mv_per_s = {rate}: Input should be greater than 0"
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (
            [CV | {"vertex2_v": 3.5}],
            "step 1 (voltage_scan): end_v = 3.5 V is outside the safety limits -0.05.."
            "3.4 V, which would end the run first; widen them, or choose another",
        ),
        (
            [{"type": "voltage_scan", "end_v": 3.5, "rate_mv_per_s": 1}],
            "step 0 (voltage_scan): end_v = 3.5 V is outside the safety limits",
        ),
        (
            [current(current_a=-1e-3, until_potential_v=-1)],
            "until_potential_v = -1 V is outside the safety limits -0.05..3.4 V, "
            "which would end the run first",
        ),
        ([current(current_a=-0.02)], "-0.02 A is beyond the safety limit 0.01 A"),
        (
            [current(current_a=-1e-3), current(current_a=-1e-3, until_potential_v=1)],
            "step 1 (constant_current): -0.001 A can't lead from 0.02 V to 1 V",
        ),
        (
            [{"type": "voltage_scan", "end_v": 1, "rate_mv_per_s": 2000}],
            "pot: step 0 (voltage_scan): 2000 mV/s is above 1000 mV/s",
        ),
    ],
)
def test_what_can_not_be_done_is_found_on_paper(
    steps: list[dict[str, Any]], words: str
) -> None:
    (fault,) = program_faults(protocol(*steps).program(CELL), INSTRUMENT)
    assert words in fault


def test_a_cell_at_an_unexpected_potential_is_not_started() -> None:
    s0 = load_protocol("s0-25")
    assert start_faults(s0, 2.8, "wafer-01") == ()
    (fault,) = start_faults(s0, 0.2, "wafer-01")
    assert fault == (
        "wafer-01 is at 0.2 V, and s0-25 starts at 1..3.2 V: an unexpected "
        "open-circuit potential. Check the cell, or widen start_at in the protocol"
    )
    (fault,) = start_faults(s0, -2.8, "wafer-01")
    assert "outside the safety limits -0.04..3.05 V" in fault


def test_a_forecast_bounds_time_and_charge_by_the_electrode() -> None:
    steps = [current(rate_c=-1), current(rate_c=1, until_potential_v=1.5)]
    found = protocol(*steps)
    forecast = forecast_program(found.program(CELL), capacity_mah=0.7158)
    assert forecast.duration_s == pytest.approx(7200)
    assert not forecast.duration_is_exact
    assert forecast.charge_mah == pytest.approx(2 * 0.7158)
    assert forecast.ranges_a == (1e-3,)
    assert forecast.open_steps == ()
    unbounded = forecast_program(found.program(CELL))
    assert unbounded.charge_mah is None
    assert unbounded.open_steps == (0, 1)


@pytest.mark.parametrize(
    ("at", "after"), [({"cycle_count": 3}, (3, 6)), ({"lithiation_x": 2.0}, (3, 6))]
)
def test_a_harvest_is_after_every_step_that_leaves_the_state(
    at: dict[str, Any], after: tuple[int, ...]
) -> None:
    harvest = load_protocol("s1-100").program(CELL, harvest=HarvestAt(**at)).harvest
    assert harvest is not None
    assert harvest.after_step == after
    if "lithiation_x" in at:
        # 954.3 mAh/g for each lithium per silicon.
        assert harvest.lithiation_mah == pytest.approx(2.0 * 954.28 * 0.2e-3, 1e-4)


def test_aurora_unicycler_gets_what_it_has_words_for_and_gives_it_back(
    tmp_path: Path,
) -> None:
    program = load_protocol("s1-100").program(CELL)
    path = written(tmp_path / "a.json", json.dumps(to_unicycler(program)))
    assert load_protocol(path).program(CELL).lowered().steps == program.steps
    limited = protocol(current(current_ma=1, until_charge_mah=1)).program(CELL)
    with pytest.raises(ProtocolError, match="no word for until_charge_mah"):
        to_unicycler(limited)


def test_a_document_of_aurora_unicycler_is_read_by_its_own_rules(
    tmp_path: Path,
) -> None:
    document = {
        "unicycler": {"version": "0.4.4"},
        "sample": {"name": "s", "capacity_mAh": "0.5"},
        "record": {"time_s": "10", "voltage_V": "0.1", "current_mA": "0.1"},
        "safety": {
            "max_voltage_V": "2",
            "min_voltage_V": "0",
            "max_current_mA": "5",
            "min_current_mA": "-3",
        },
        "method": [
            {"step": "open_circuit_voltage", "until_time_s": "3600"},
            {"step": "tag", "tag": "go"},
            # The rate wins over the current, as there.
            {
                "step": "constant_current",
                "rate_C": "-C/5",
                "current_mA": "9",
                "until_voltage_V": "0.05",
                "until_time_s": "",
            },
            {"step": "constant_voltage", "voltage_V": "0.05", "until_rate_C": "0.02"},
            {"step": "loop", "loop_to": "go", "cycle_count": 3},
            {"step": "loop", "loop_to": 1, "cycle_count": 2},
        ],
    }
    found = load_protocol(written(tmp_path / "u.json", json.dumps(document)))
    steps: Any = found.program(Specimen(name="s")).steps
    assert steps[2].current_a == pytest.approx(-0.1e-3)
    assert steps[3].until_current_a == pytest.approx(0.01e-3)
    assert [s.goto_step for s in steps[4:]] == [1, 0]
    assert found.safety.current_max_a == pytest.approx(3e-3)  # the stricter
    assert found.record.di_a == pytest.approx(1e-4)
    del document["safety"]
    with pytest.raises(ProtocolError, match="cryoline runs no cell without limits"):
        load_protocol(written(tmp_path / "u.json", json.dumps(document)))
