"""Reading a cycling program: accepted as a whole, or refused with the reason."""

from typing import Any, Final

import orjson

from cryoline.sim.errors import ProgramError
from cryoline.sim.program_fields import Fields
from cryoline.sim.program_steps import (
    ConstantCurrent,
    Loop,
    OpenCircuit,
    Program,
    RecordRule,
    Safety,
    Step,
    Tag,
    VoltageScan,
)

__all__ = [
    "COMPLIANCE_V",
    "CURRENT_MAX_A",
    "SCAN_RATE_MAX_MV_PER_S",
    "parse_program",
    "parse_uid",
]

# [A] limits of the instrument; no data sheet of the papers' model was found.
COMPLIANCE_V: Final = 10.0
CURRENT_MAX_A: Final = 0.1
SCAN_RATE_MAX_MV_PER_S: Final = 1000.0
_DURATION_MAX_S: Final = 1e8  # three years
_CYCLES_MAX: Final = 100_000
_STEPS_MAX: Final = 1000
_UID_MAX: Final = 39  # characters of an EPICS string


def parse_program(text: str) -> Program:
    """Return the program in `text`, or raise ProgramError saying what is wrong."""
    document = _document(text)
    top = Fields(
        "program",
        document,
        ("uid", "safety", "record", "steps", "cycle_starts_at_step"),
    )
    safety = _safety(top)
    record = _record(top)
    raw_steps = document.get("steps")
    if not isinstance(raw_steps, list) or not 0 < len(raw_steps) <= _STEPS_MAX:
        top.refuse(f"steps must be a list of 1..{_STEPS_MAX} steps")
    steps = tuple(_step(i, raw, safety) for i, raw in enumerate(raw_steps or ()))
    if all(isinstance(step, (Loop, Tag)) for step in steps):
        top.refuse("no step does anything; add a voltage_scan or another step")
    first = document.get("cycle_starts_at_step")
    if first is not None:
        first = top.integer("cycle_starts_at_step", 0, len(steps) - 1)
        if isinstance(steps[first], (Loop, Tag)):
            top.refuse(f"cycle_starts_at_step {first} is a loop or tag, not a step")
    return Program(parse_uid(text), safety, record, steps, first)


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
        "safety", ("potential_min_v", "potential_max_v", "current_max_a")
    )
    safety = Safety(
        fields.number("potential_min_v", -COMPLIANCE_V, COMPLIANCE_V, "V"),
        fields.number("potential_max_v", -COMPLIANCE_V, COMPLIANCE_V, "V"),
        fields.number("current_max_a", 1e-9, CURRENT_MAX_A, "A"),
    )
    if safety.potential_min_v >= safety.potential_max_v:
        fields.refuse(
            f"potential_min_v {safety.potential_min_v:g} V is not below "
            f"potential_max_v {safety.potential_max_v:g} V"
        )
    return safety


def _record(top: Fields) -> RecordRule:
    fields = top.within("record", ("dv_v", "dt_s"))
    return RecordRule(
        fields.number("dv_v", 5e-5, 20.0, "V"), fields.number("dt_s", 1e-3, 1e6, "s")
    )


def _step(index: int, raw: object, safety: Safety) -> Step:
    kind = raw.get("type") if isinstance(raw, dict) else None
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None or not isinstance(raw, dict):
        raise ProgramError(
            f"potentiostat: step {index}: unknown type {kind!r}; "
            f"known: {', '.join(_READERS)}"
        )
    return reader(index, raw, safety)


def _open_circuit(index: int, raw: dict[str, Any], safety: Safety) -> Step:
    fields = Fields.of_step(index, raw, ("duration_s",))
    return OpenCircuit(fields.number("duration_s", 1e-3, _DURATION_MAX_S, "s"))


def _constant_current(index: int, raw: dict[str, Any], safety: Safety) -> Step:
    fields = Fields.of_step(
        index, raw, ("current_a", "until_potential_v", "until_duration_s")
    )
    most = safety.current_max_a
    current_a = fields.number("current_a", -most, most, "A", of="the safety limits")
    if current_a == 0.0:
        fields.refuse("current_a is 0; use open_circuit_voltage to rest")
    until_v = until_s = None
    if raw.get("until_potential_v") is not None:
        until_v = _potential(fields, "until_potential_v", safety)
    if raw.get("until_duration_s") is not None:
        until_s = fields.number("until_duration_s", 1e-3, _DURATION_MAX_S, "s")
    if until_v is None and until_s is None:
        fields.refuse(
            "would never end; give until_potential_v or until_duration_s (or both)"
        )
    return ConstantCurrent(current_a, until_v, until_s)


def _voltage_scan(index: int, raw: dict[str, Any], safety: Safety) -> Step:
    fields = Fields.of_step(index, raw, ("start_v", "end_v", "rate_mv_per_s"))
    start_v = None
    if raw.get("start_v") is not None:
        start_v = _potential(fields, "start_v", safety)
    end_v = _potential(fields, "end_v", safety)
    rate = fields.number("rate_mv_per_s", 0.0, SCAN_RATE_MAX_MV_PER_S, "mV/s")
    if rate < 1e-6:
        fields.refuse(
            f"rate_mv_per_s {rate:g} mV/s would never end; "
            f"choose 1e-06..{SCAN_RATE_MAX_MV_PER_S:g} mV/s"
        )
    return VoltageScan(start_v, end_v, rate)


def _loop(index: int, raw: dict[str, Any], safety: Safety) -> Step:
    fields = Fields.of_step(index, raw, ("goto_step", "cycle_count"))
    if index == 0:
        fields.refuse("a loop can't be the first step: there is nothing to repeat")
    return Loop(
        fields.integer("goto_step", 0, index - 1),
        fields.integer("cycle_count", 1, _CYCLES_MAX),
    )


def _tag(index: int, raw: dict[str, Any], safety: Safety) -> Step:
    return Tag()


def _potential(fields: Fields, key: str, safety: Safety) -> float:
    return fields.number(
        key,
        safety.potential_min_v,
        safety.potential_max_v,
        "V",
        of="the safety limits",
    )


_READERS: Final = {
    "open_circuit_voltage": _open_circuit,
    "constant_current": _constant_current,
    "voltage_scan": _voltage_scan,
    "loop": _loop,
    "tag": _tag,
}
