"""The steps a cycling program is made of, as the instrument understands them."""

from dataclasses import dataclass

__all__ = [
    "ConstantCurrent",
    "Loop",
    "OpenCircuit",
    "Program",
    "RecordRule",
    "Safety",
    "Step",
    "VoltageScan",
]


@dataclass(frozen=True)
class OpenCircuit:
    """Rest without current."""

    duration_s: float


@dataclass(frozen=True)
class ConstantCurrent:
    """Hold a current until a potential or a time is reached."""

    current_a: float
    until_potential_v: float | None
    until_duration_s: float | None


@dataclass(frozen=True)
class VoltageScan:
    """Sweep the potential; a start of None is the potential found."""

    start_v: float | None
    end_v: float
    rate_mv_per_s: float


@dataclass(frozen=True)
class Loop:
    """Go back to a step until its passes add up to `cycle_count`."""

    goto_step: int
    cycle_count: int


@dataclass(frozen=True)
class Tag:
    """A mark without effect."""


Step = OpenCircuit | ConstantCurrent | VoltageScan | Loop | Tag


@dataclass(frozen=True)
class Safety:
    """Limits that end the whole program."""

    potential_min_v: float
    potential_max_v: float
    current_max_a: float


@dataclass(frozen=True)
class RecordRule:
    """A point is recorded when either change is reached."""

    dv_v: float
    dt_s: float


@dataclass(frozen=True)
class Program:
    """A validated program."""

    uid: str
    safety: Safety
    record: RecordRule
    steps: tuple[Step, ...]
    cycle_starts_at_step: int | None
