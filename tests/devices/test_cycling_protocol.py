import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cryoline.devices import (
    CyclicVoltammetry,
    OpenCircuitVoltage,
    Program,
    SafetyLimits,
)

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
    step, passes = 0, 1
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
