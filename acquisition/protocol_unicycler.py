"""The step vocabulary of aurora-unicycler, read and written.

Its signs and step names are ours. What only one of the two can say is refused, with
the step: a protocol must not come to mean something else on its way.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from cryoline.acquisition.errors import ProtocolError
from cryoline.acquisition.protocol import Protocol
from cryoline.devices.cycling_protocol import Program

__all__ = ["from_unicycler", "is_unicycler", "to_unicycler"]

_KEYS: Final[Mapping[str, Mapping[str, tuple[str, float]]]] = {
    "open_circuit_voltage": {"until_time_s": ("duration_s", 1)},
    "constant_current": {
        "rate_C": ("rate_c", 1),
        "current_mA": ("current_a", 1e-3),
        "until_time_s": ("until_duration_s", 1),
        "until_voltage_V": ("until_potential_v", 1),
    },
    "constant_voltage": {
        "voltage_V": ("potential_v", 1),
        "until_time_s": ("until_duration_s", 1),
        "until_rate_C": ("until_rate_c", 1),
        "until_current_mA": ("until_current_a", 1e-3),
    },
    "voltage_scan": {
        "start_voltage_V": ("start_v", 1),
        "end_voltage_V": ("end_v", 1),
        "scan_rate_mV_per_s": ("rate_mv_per_s", 1),
    },
    "impedance_spectroscopy": {
        "amplitude_V": ("amplitude_v", 1),
        "start_frequency_Hz": ("start_frequency_hz", 1),
        "end_frequency_Hz": ("end_frequency_hz", 1),
        "points_per_decade": ("points_per_decade", 1),
    },
}
"""Of each step: its keys there, ours, and the factor from there to here."""

_IGNORED: Final = {"measures_per_point": 1, "drift_correction": False, "id": None}
"""Values that change nothing."""


def is_unicycler(values: Mapping[str, Any]) -> bool:
    """Return whether a JSON document is a protocol of aurora-unicycler."""
    return "method" in values


def from_unicycler(values: Mapping[str, Any], name: str) -> Protocol:
    """Return the protocol in a document; ``name`` is the file's, for errors.

    Safety limits must be given: cryoline runs no cell without them.
    """
    sample = values.get("sample") or {}
    record = values.get("record") or values.get("measurement") or {}
    content: dict[str, Any] = {
        "name": _plain_name(name),
        "capacity_mah": _number(sample.get("capacity_mAh")),
        "record": {
            "dt_s": _number(record.get("time_s")),
            "dv_v": _number(record.get("voltage_V")),
            "di_a": _scaled(record.get("current_mA"), 1e-3),
        },
        "safety": _safety(values.get("safety") or {}, name),
        "steps": [
            _step(index, step, name) for index, step in enumerate(values["method"])
        ],
    }
    content["record"] = {k: v for k, v in content["record"].items() if v is not None}
    try:
        return Protocol.model_validate(content)
    except ValidationError as error:
        lines = (
            f"{name}: {'.'.join(map(str, e['loc']))}: "
            f"{str(e['msg']).removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise ProtocolError("\n".join(lines)) from error


def to_unicycler(
    program: Program, *, name: str = "$NAME", capacity_mah: float | None = None
) -> dict[str, Any]:
    """Return a program as a document of aurora-unicycler, sweeps without a jump.

    Raises ProtocolError for an end or step that it has no words for.
    """
    lowered = program.lowered()
    if lowered.harvest is not None:
        raise ProtocolError(
            "aurora-unicycler has no word for a harvest; export without"
        )
    safety, record = lowered.safety, lowered.record
    method: list[dict[str, Any]] = []
    last_v: float | None = None
    for index, step in enumerate(lowered.steps):
        content = step.model_dump(exclude_none=True)
        kind = content.pop("type")
        if kind == "loop":
            content["loop_to"] = content.pop("goto_step") + 1  # counted from 1 there
        elif kind != "tag":
            content = _exported(index, kind, content, last_v)
        method.append({"step": kind, **content})
        ends = ("end_v", "potential_v", "until_potential_v")
        last_v = next(
            (v for e in ends if (v := getattr(step, e, None)) is not None), None
        )
    current_ma = safety.current_max_a * 1e3
    return {
        "unicycler": {},
        "sample": {"name": name, "capacity_mAh": capacity_mah},
        "record": {
            "time_s": record.dt_s,
            "voltage_V": record.dv_v,
            "current_mA": None if record.di_a is None else record.di_a * 1e3,
        },
        "safety": {
            "min_voltage_V": safety.potential_min_v,
            "max_voltage_V": safety.potential_max_v,
            "min_current_mA": -current_ma,
            "max_current_mA": current_ma,
            "max_capacity_mAh": safety.charge_max_mah,
        },
        "method": method,
    }


def _exported(
    index: int, kind: str, content: dict[str, Any], last_v: float | None
) -> dict[str, Any]:
    if kind == "voltage_scan" and "start_v" not in content:
        if last_v is None:
            raise ProtocolError(
                f"steps.{index} (voltage_scan): aurora-unicycler needs a start, and "
                "where the cell will be is not known; give start_v"
            )
        content["start_v"] = last_v
    theirs = {ours: (key, factor) for key, (ours, factor) in _KEYS[kind].items()}
    without = sorted(set(content) - set(theirs))
    if without:
        raise ProtocolError(
            f"steps.{index} ({kind}): aurora-unicycler has no word for {without[0]}"
        )
    return {theirs[k][0]: value / theirs[k][1] for k, value in content.items()}


def _step(index: int, step: Any, name: str) -> dict[str, Any]:
    """Return a step in our keys, numbers still as they are written."""
    kind = step.get("step") if isinstance(step, dict) else None
    place = f"{name}: method.{index} ({kind})"
    if kind == "tag":
        return {"type": "tag", "tag": step.get("tag", "")}
    if kind == "loop":
        goto = step.get("loop_to", step.get("start_step", 1))
        counted = str(goto).strip().isdigit()
        return {
            "type": "loop",
            "goto_step": int(goto) - 1 if counted else goto,
            "cycle_count": int(step.get("cycle_count", 0)),
        }
    keys = _KEYS.get(str(kind))
    if keys is None:
        raise ProtocolError(f"{place}: unknown step; known: {', '.join(_KEYS)}")
    found: dict[str, Any] = {"type": kind}
    for key, value in step.items():
        if key == "step" or _is_empty(value) or value == _IGNORED.get(key, ...):
            continue
        if key == "id":
            continue
        if key not in keys:
            raise ProtocolError(f"{place}: {key} can't be taken over; remove it")
        ours, factor = keys[key]
        found[ours] = _scaled(value, factor)
    if "rate_c" in found:
        found.pop("current_a", None)  # there the C-rate wins
    if "until_rate_c" in found:
        found.pop("until_current_a", None)
    return found


def _safety(limits: Mapping[str, Any], name: str) -> dict[str, Any]:
    for key in ("min_voltage_V", "max_voltage_V", "max_current_mA"):
        if _is_empty(limits.get(key)):
            raise ProtocolError(
                f"{name}: safety.{key} is missing; cryoline runs no cell without limits"
            )
    currents = [limits[k] for k in ("max_current_mA", "min_current_mA") if k in limits]
    magnitudes = [abs(float(c)) for c in currents if not _is_empty(c)]
    return {
        "potential_min_v": _number(limits["min_voltage_V"]),
        "potential_max_v": _number(limits["max_voltage_V"]),
        # One limit holds both ways here: the stricter.
        "current_max_a": min(magnitudes) * 1e-3,
        "charge_max_mah": _number(limits.get("max_capacity_mAh")),
    }


def _plain_name(name: str) -> str:
    stem = name.rpartition("/")[2].rpartition(".")[0] or "protocol"
    plain = "".join(c if c.isalnum() or c in "._-" else "-" for c in stem)[:60]
    return plain.lstrip("._-") or "protocol"


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _number(value: Any) -> Any:
    return _scaled(value, 1)


def _scaled(value: Any, factor: float) -> Any:
    """Return a number times a factor; what is no number goes to the model as it is."""
    if _is_empty(value):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value
    return int(value) if factor == 1 and isinstance(value, int) else number * factor
