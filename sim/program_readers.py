"""Reading the steps of a cycling program: each accepted, or refused with the reason."""

import math
from typing import Any, Final

from cryoline.sim.errors import ProgramError
from cryoline.sim.program_fields import Fields
from cryoline.sim.program_limits import (
    CHARGE_MAX_MAH,
    CYCLES_MAX,
    DURATION_MAX_S,
    FREQUENCY_MAX_HZ,
    FREQUENCY_MIN_HZ,
    SCAN_RATE_MAX_MV_PER_S,
)
from cryoline.sim.program_steps import (
    ConstantCurrent,
    ConstantVoltage,
    Ends,
    Impedance,
    Loop,
    OpenCircuit,
    Safety,
    Step,
    Tag,
    VoltageScan,
)

__all__ = ["read_step"]

_CHARGES: Final = ("until_charge_mah", "until_net_charge_mah")


def read_step(index: int, raw: object, safety: Safety) -> Step:
    """Return the step of this index, or raise ProgramError."""
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
    return OpenCircuit(fields.number("duration_s", 1e-3, DURATION_MAX_S, "s"))


def _constant_current(index: int, raw: dict[str, Any], safety: Safety) -> Step:
    fields = Fields.of_step(
        index, raw, ("current_a", "until_potential_v", "until_duration_s", *_CHARGES)
    )
    most = safety.current_max_a
    current_a = fields.number("current_a", -most, most, "A", of="the safety limits")
    if current_a == 0.0:
        fields.refuse("current_a is 0; use open_circuit_voltage to rest")
    ends = Ends(
        duration_s=_duration(fields),
        potential_v=_potential_or_none(fields, "until_potential_v", safety),
        **_charges(fields),
    )
    if ends.duration_s is ends.potential_v is ends.charge_mah is None:
        fields.refuse(
            "would never end; give until_potential_v, until_duration_s or "
            "until_charge_mah"
        )
    return ConstantCurrent(current_a, ends)


def _constant_voltage(index: int, raw: dict[str, Any], safety: Safety) -> Step:
    fields = Fields.of_step(
        index, raw, ("potential_v", "until_current_a", "until_duration_s", *_CHARGES)
    )
    ends = Ends(
        duration_s=_duration(fields),
        current_a=fields.number_or_none(
            "until_current_a", 1e-9, safety.current_max_a, "A", of="the safety limits"
        ),
        **_charges(fields),
    )
    if ends.duration_s is ends.current_a is None:
        fields.refuse("would never end; give until_current_a or until_duration_s")
    return ConstantVoltage(_potential(fields, "potential_v", safety), ends)


def _voltage_scan(index: int, raw: dict[str, Any], safety: Safety) -> Step:
    fields = Fields.of_step(
        index, raw, ("start_v", "end_v", "rate_mv_per_s", *_CHARGES)
    )
    start_v = _potential_or_none(fields, "start_v", safety)
    end_v = _potential(fields, "end_v", safety)
    rate = fields.number("rate_mv_per_s", 0.0, SCAN_RATE_MAX_MV_PER_S, "mV/s")
    if rate < 1e-6:
        fields.refuse(
            f"rate_mv_per_s {rate:g} mV/s would never end; "
            f"choose 1e-06..{SCAN_RATE_MAX_MV_PER_S:g} mV/s"
        )
    return VoltageScan(start_v, end_v, rate, Ends(**_charges(fields)))


def _impedance(index: int, raw: dict[str, Any], safety: Safety) -> Step:
    ends = ("start_frequency_hz", "end_frequency_hz")
    fields = Fields.of_step(index, raw, ("amplitude_v", *ends, "points_per_decade"))
    amplitude_v = fields.number("amplitude_v", 1e-4, 1.0, "V")
    first_hz, last_hz = (
        fields.number(key, FREQUENCY_MIN_HZ, FREQUENCY_MAX_HZ, "Hz") for key in ends
    )
    per_decade = fields.integer("points_per_decade", 1, 100)
    decades = math.log10(last_hz / first_hz)
    intervals = round(abs(decades) * per_decade)
    exponents = (decades * k / max(intervals, 1) for k in range(intervals + 1))
    return Impedance(amplitude_v, tuple(first_hz * 10**e for e in exponents))


def _loop(index: int, raw: dict[str, Any], safety: Safety) -> Step:
    fields = Fields.of_step(index, raw, ("goto_step", "cycle_count"))
    if index == 0:
        fields.refuse("a loop can't be the first step: there is nothing to repeat")
    return Loop(
        fields.integer("goto_step", 0, index - 1),
        fields.integer("cycle_count", 1, CYCLES_MAX),
    )


def _tag(index: int, raw: dict[str, Any], safety: Safety) -> Step:
    return Tag()


def _duration(fields: Fields) -> float | None:
    return fields.number_or_none("until_duration_s", 1e-3, DURATION_MAX_S, "s")


def _charges(fields: Fields) -> dict[str, float | None]:
    most = CHARGE_MAX_MAH
    return {
        "charge_mah": fields.number_or_none("until_charge_mah", 1e-9, most, "mAh"),
        "net_charge_mah": fields.number_or_none(
            "until_net_charge_mah", -most, most, "mAh"
        ),
    }


def _potential(fields: Fields, key: str, safety: Safety) -> float:
    return fields.number(
        key,
        safety.potential_min_v,
        safety.potential_max_v,
        "V",
        of="the safety limits",
    )


def _potential_or_none(fields: Fields, key: str, safety: Safety) -> float | None:
    return _potential(fields, key, safety) if fields.has(key) else None


_READERS: Final = {
    "open_circuit_voltage": _open_circuit,
    "constant_current": _constant_current,
    "constant_voltage": _constant_voltage,
    "voltage_scan": _voltage_scan,
    "impedance_spectroscopy": _impedance,
    "loop": _loop,
    "tag": _tag,
}
