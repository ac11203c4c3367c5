import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cryoline.devices import (
    ConstantCurrent,
    ConstantVoltage,
    CyclicVoltammetry,
    Harvest,
    Loop,
    OpenCircuitVoltage,
    Program,
    SafetyLimits,
    Tag,
    VoltageScan,
)

LITHIATE = ConstantCurrent(current_a=-1e-3, until_potential_v=0.02)
DELITHIATE = ConstantCurrent(current_a=1e-3, until_potential_v=1.5)
LIMITS = SafetyLimits(potential_min_v=-0.05, potential_max_v=3.05, current_max_a=0.01)


def sweep(**changes: object) -> CyclicVoltammetry:
    given_: dict[str, object] = {
        "vertex1_v": 0.01,
        "vertex2_v": 3.0,
        "rate_mv_per_s": 0.2,
        "n_cycles": 2,
    }
    return CyclicVoltammetry.model_validate(given_ | changes)


@given(n_cycles=st.integers(1, 200), rests=st.integers(0, 3))
def test_lowered_sweeps_visit_each_vertex_once_a_cycle_and_end_at_the_second(
    n_cycles: int, rests: int
) -> None:
    rest = OpenCircuitVoltage(duration_s=10)
    program = Program(
        steps=(*[rest] * rests, sweep(n_cycles=n_cycles)), safety=LIMITS
    ).lowered()

    visited = []
    step: Any = 0
    passes = 1
    while step < len(program.steps):  # run it as an instrument would
        now = program.steps[step]
        if now.type == "voltage_scan":
            visited.append(now.end_v)
        if now.type == "loop" and passes < now.cycle_count:
            step, passes = now.goto_step, passes + 1
        else:
            step += 1

    assert visited == [0.01, 3.0] * n_cycles


def test_uploaded_program_survives_json_and_keeps_its_uid() -> None:
    program = Program(steps=(sweep(),), safety=LIMITS)

    uploaded = json.loads(program.to_json())

    assert uploaded["uid"] == program.uid
    assert "harvest" not in uploaded  # what is not asked is not said
    assert uploaded["safety"] == {
        "potential_min_v": -0.05,
        "potential_max_v": 3.05,
        "current_max_a": 0.01,
    }
    assert Program.model_validate(uploaded) == program.lowered()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate_mv_per_s": 0}, "greater than 0"),
        ({"rate_mv_per_s": float("nan")}, "finite number"),
        ({"n_cycles": 0}, "greater than or equal to 1"),
        ({"vertex2_v": 0.01}, "both vertices are 0.01 V"),
        ({"vertex1_v": float("inf")}, "finite number"),
        ({"vertex3_v": 1.0}, "Extra inputs are not permitted"),
    ],
)
def test_impossible_sweeps_are_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        sweep(**changes)


def test_closed_safety_window_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"3 V is not below potential_max_v 3 V"):
        SafetyLimits(potential_min_v=3, potential_max_v=3, current_max_a=0.01)


def lowered(*steps: object, **changes: object) -> Program:
    return Program.model_validate(
        {"steps": steps, "safety": LIMITS, **changes}
    ).lowered()


def test_places_keep_their_meaning_when_sweeps_are_lowered() -> None:
    program = lowered(
        OpenCircuitVoltage(duration_s=1),
        Tag(tag="again"),
        sweep(initial_v=3.0, n_cycles=3),
        LITHIATE,
        DELITHIATE,
        Loop(goto_step=3, cycle_count=2),
        Loop(goto_step="again", cycle_count=2),
        harvest=Harvest(after_step=(2, 4), cycle_count=4),
    )
    kinds = [step.type for step in program.steps]
    assert kinds[2:6] == ["voltage_scan"] * 3 + ["loop"]
    # Of a sweep's passes the initial one is none.
    assert [s.goto_step for s in program.steps if isinstance(s, Loop)] == [3, 6, 1]
    assert program.harvest is not None
    assert program.harvest.after_step == (4, 7)  # vertex 2, and the delithiation
    assert program.cycle_starts_at_step == (3, 6)


def test_a_sweep_may_begin_and_end_elsewhere_than_its_vertices() -> None:
    steps = lowered(sweep(initial_v=2.5, final_v=1.0)).steps
    assert [s.end_v for s in steps if isinstance(s, VoltageScan)] == [
        2.5,
        0.01,
        3.0,
        1.0,
    ]


@pytest.mark.parametrize(
    ("steps", "starts"),
    [
        ([OpenCircuitVoltage(duration_s=1)], 0),
        ([OpenCircuitVoltage(duration_s=1), LITHIATE, DELITHIATE], 1),
        ([DELITHIATE, LITHIATE, DELITHIATE, LITHIATE], (0, 2)),
        ([LITHIATE, LITHIATE, DELITHIATE], 0),
        (
            [
                LITHIATE,
                ConstantVoltage(potential_v=0.02, until_duration_s=60),
                DELITHIATE,
            ],
            0,
        ),
    ],
)
def test_a_cycle_begins_where_the_current_turns_into_its_first_direction(
    steps: list[object], starts: object
) -> None:
    assert lowered(*steps).cycle_starts_at_step == starts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": [Loop(goto_step="x", cycle_count=2)]}, "no tag 'x' stands before"),
        (
            {"steps": [LITHIATE, Loop(goto_step=1, cycle_count=2)]},
            "does not lie before",
        ),
        ({"steps": [Tag(tag="a"), Tag(tag="a")]}, "the tag 'a' occurs twice"),
        ({"cycle_starts_at_step": 4}, "no step 4; give 0..0"),
        ({"harvest": {"after_step": 0}}, "harvest needs one of cycle_count"),
        ({"harvest": {"after_step": 9, "cycle_count": 1}}, "harvest.after_step: no"),
    ],
)
def test_a_place_that_is_not_there_is_refused(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError) as refusal:
        Program.model_validate({"steps": [LITHIATE], "safety": LIMITS, **change})
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"type": "constant_current", "current_a": 1e-3}, "would never end"),
        (
            {"type": "constant_current", "current_a": 0, "until_duration_s": 1},
            "current_a is 0 A",
        ),
        (
            {"type": "constant_voltage", "potential_v": 1, "until_charge_mah": 1},
            "would never end",
        ),
    ],
)
def test_a_step_without_an_end_is_refused(
    step: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Program.model_validate({"steps": [step], "safety": LIMITS})
