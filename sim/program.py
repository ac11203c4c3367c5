"""Reading a cycling program: accepted as a whole, or refused with the reason."""

from typing import Any, Final

import orjson

from cryoline.sim.errors import ProgramError
from cryoline.sim.program_fields import Fields
from cryoline.sim.program_limits import (
    CHARGE_MAX_MAH,
    COMPLIANCE_V,
    CURRENT_MAX_A,
    CYCLES_MAX,
    SCAN_RATE_MAX_MV_PER_S,
)
from cryoline.sim.program_readers import read_step
from cryoline.sim.program_steps import (
    Harvest,
    Loop,
    Program,
    RecordRule,
    Safety,
    Step,
    Tag,
)

__all__ = [
    "COMPLIANCE_V",
    "CURRENT_MAX_A",
    "SCAN_RATE_MAX_MV_PER_S",
    "parse_program",
    "parse_uid",
]

_STEPS_MAX: Final = 1000
_UID_MAX: Final = 39  # characters of an EPICS string
_KEYS: Final = (
    *("uid", "safety", "record", "steps", "cycle_starts_at_step", "harvest"),
)


def parse_program(text: str) -> Program:
    """Return the program in `text`, or raise ProgramError saying what is wrong."""
    document = _document(text)
    top = Fields("program", document, _KEYS)
    safety = _safety(top)
    record = _record(top)
    raw_steps = document.get("steps")
    if not isinstance(raw_steps, list) or not 0 < len(raw_steps) <= _STEPS_MAX:
        top.refuse(f"steps must be a list of 1..{_STEPS_MAX} steps")
    steps = tuple(read_step(i, raw, safety) for i, raw in enumerate(raw_steps or ()))
    if all(isinstance(step, (Loop, Tag)) for step in steps):
        top.refuse("no step does anything; add a voltage_scan or another step")
    starts = _cycle_starts(top, steps)
    return Program(parse_uid(text), safety, record, steps, starts, _harvest(top, steps))


def parse_uid(text: str) -> str:
    """Return only the uid of a program; all that a playback needs of it."""
    uid = _document(text).get("uid")
    if not isinstance(uid, str) or not 0 < len(uid.encode()) <= _UID_MAX:
        raise ProgramError(
            f"potentiostat: program: uid {uid!r} must be a text of 1..{_UID_MAX} "
            "characters; give each program a new one"
        )
    return uid


def _document(text: str) -> dict[str, Any]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ProgramError(
            f"potentiostat: program: not readable as JSON ({error}); send it whole"
        ) from None
    if not isinstance(document, dict):
        raise ProgramError("potentiostat: program: must be a JSON object")
    return document


def _safety(top: Fields) -> Safety:
    fields = top.within(
        "safety",
        ("potential_min_v", "potential_max_v", "current_max_a"),
        ("charge_max_mah",),
    )
    safety = Safety(
        fields.number("potential_min_v", -COMPLIANCE_V, COMPLIANCE_V, "V"),
        fields.number("potential_max_v", -COMPLIANCE_V, COMPLIANCE_V, "V"),
        fields.number("current_max_a", 1e-9, CURRENT_MAX_A, "A"),
        fields.number_or_none("charge_max_mah", 1e-9, CHARGE_MAX_MAH, "mAh"),
    )
    if safety.potential_min_v >= safety.potential_max_v:
        fields.refuse(
            f"potential_min_v {safety.potential_min_v:g} V is not below "
            f"potential_max_v {safety.potential_max_v:g} V"
        )
    return safety


def _record(top: Fields) -> RecordRule:
    fields = top.within("record", ("dv_v", "dt_s"), ("di_a",))
    return RecordRule(
        fields.number("dv_v", 5e-5, 20.0, "V"),
        fields.number("dt_s", 1e-3, 1e6, "s"),
        fields.number_or_none("di_a", 1e-9, CURRENT_MAX_A, "A"),
    )


def _cycle_starts(top: Fields, steps: tuple[Step, ...]) -> frozenset[int]:
    starts = top.integers("cycle_starts_at_step", 0, len(steps) - 1)
    for first in starts:
        _refuse_idle(top, "cycle_starts_at_step", first, steps)
    return frozenset(starts)


def _harvest(top: Fields, steps: tuple[Step, ...]) -> Harvest | None:
    if not top.has("harvest"):
        return None
    conditions = ("cycle_count", "throughput_mah", "lithiation_mah", "retention")
    fields = top.within("harvest", ("after_step",), (*conditions, "reference_cycle"))
    after = fields.integers("after_step", 0, len(steps) - 1)
    for step in after:
        _refuse_idle(fields, "after_step", step, steps)
    if not after:
        fields.refuse("after_step is missing; give the step, or a list of steps")
    if not any(fields.has(key) for key in conditions):
        fields.refuse(f"holds no condition; give one of {', '.join(conditions)}")
    return Harvest(
        frozenset(after),
        fields.integer("cycle_count", 1, CYCLES_MAX)
        if fields.has("cycle_count")
        else None,
        fields.number_or_none("throughput_mah", 1e-9, CHARGE_MAX_MAH, "mAh"),
        fields.number_or_none("lithiation_mah", 1e-9, CHARGE_MAX_MAH, "mAh"),
        fields.number_or_none("retention", 1e-3, 10.0, ""),
        fields.integer("reference_cycle", 1, CYCLES_MAX)
        if fields.has("reference_cycle")
        else 2,
    )


def _refuse_idle(fields: Fields, key: str, index: int, steps: tuple[Step, ...]) -> None:
    if isinstance(steps[index], (Loop, Tag)):
        fields.refuse(f"{key} {index} is a loop or tag, not a step")
