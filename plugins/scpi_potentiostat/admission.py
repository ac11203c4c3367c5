"""Which programs the bridge accepts: what it can't do is refused as a whole."""

from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from cryoline.devices.cycling_protocol import (
    ConstantCurrent,
    ConstantVoltage,
    ImpedanceSpectroscopy,
    Loop,
    OpenCircuitVoltage,
    Program,
    SafetyLimits,
    Step,
    Tag,
    VoltageScan,
)
from cryoline.ioc.potentiostat_panel import PotentiostatLimits
from cryoline.plugins.scpi_potentiostat.errors import RequestRefused
from cryoline.plugins.scpi_potentiostat.step_order import step_order

__all__ = ["admit"]

_UID_MAX: Final = 39  # characters of an EPICS string
_RUNS_MAX: Final = 100_000


def admit(text: str, limits: PotentiostatLimits, *, current_min_a: float) -> Program:
    """Return the program in `text`, lowered, or raise RequestRefused.

    current_min_a: the smallest current that the meter can hold, or limit to
    """
    try:
        program = Program.model_validate_json(text).lowered()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "program"
        raise _refusal(place, str(first["msg"])) from None
    if not 0 < len(program.uid.encode()) <= _UID_MAX:
        raise _refusal("uid", f"must be a text of 1..{_UID_MAX} bytes")
    _admit_safety(program.safety, limits, current_min_a)
    for index, step in enumerate(program.steps):
        place = f"step {index} ({step.type})"
        _admit_step(place, step, program.safety, limits)
        if isinstance(step, ConstantCurrent) and abs(step.current_a) < current_min_a:
            raise _refusal(
                place,
                f"current_a {step.current_a:g} A is below {current_min_a:g} A, the "
                "least that the meter can hold; choose more",
            )
    if all(isinstance(step, Loop | Tag) for step in program.steps):
        raise _refusal("steps", "no step does anything; add a voltage_scan or another")
    for count, _ in enumerate(step_order(program.steps), start=1):
        if count > _RUNS_MAX:
            raise _refusal(
                "steps",
                f"its loops run more than {_RUNS_MAX} steps; lower a cycle_count",
            )
    return program


@dataclass(frozen=True)
class _Window:
    """What a value may be, and who says so."""

    low: float
    high: float
    unit: str
    whose: str

    def admit(self, place: str, key: str, value: float) -> None:
        if not self.low <= value <= self.high:
            raise _refusal(
                place,
                f"{key} {value:g} {self.unit} is outside the {self.whose} "
                f"{self.low:g}..{self.high:g} {self.unit}; choose a value in between",
            )


def _admit_safety(
    safety: SafetyLimits, limits: PotentiostatLimits, current_min_a: float
) -> None:
    most_v, most_a = limits.potential_max_v, limits.current_max_a
    for key in ("potential_min_v", "potential_max_v"):
        _Window(-most_v, most_v, "V", "meter's").admit(
            "safety", key, getattr(safety, key)
        )
    _Window(current_min_a, most_a, "A", "meter's").admit(
        "safety", "current_max_a", safety.current_max_a
    )


def _admit_step(
    place: str, step: Step, safety: SafetyLimits, limits: PotentiostatLimits
) -> None:
    window = _Window(
        safety.potential_min_v, safety.potential_max_v, "V", "safety limits"
    )
    most_a, fastest = safety.current_max_a, limits.scan_rate_max_mv_per_s
    if isinstance(step, ImpedanceSpectroscopy):
        raise _refusal(
            place, "a source-meter measures no impedance; take this step out"
        )
    if isinstance(step, ConstantCurrent):
        _Window(-most_a, most_a, "A", "safety limits").admit(
            place, "current_a", step.current_a
        )
        if step.until_potential_v is not None:
            window.admit(place, "until_potential_v", step.until_potential_v)
    elif isinstance(step, ConstantVoltage):
        window.admit(place, "potential_v", step.potential_v)
    elif isinstance(step, VoltageScan):
        if step.start_v is not None:
            window.admit(place, "start_v", step.start_v)
        window.admit(place, "end_v", step.end_v)
        _Window(0.0, fastest, "mV/s", "bridge's").admit(
            place, "rate_mv_per_s", step.rate_mv_per_s
        )
    elif not isinstance(step, OpenCircuitVoltage | Loop | Tag):
        raise _refusal(place, "this bridge does not know it")


def _refusal(place: str, why: str) -> RequestRefused:
    return RequestRefused(f"potentiostat: program: {place}: {why}")
