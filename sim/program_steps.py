"""The steps a cycling program is made of, as the instrument understands them."""

from dataclasses import dataclass

__all__ = [
    "ConstantCurrent",
    "ConstantVoltage",
    "Ends",
    "Harvest",
    "Impedance",
    "Loop",
    "OpenCircuit",
    "Program",
    "RecordRule",
    "Safety",
    "Step",
    "Tag",
    "VoltageScan",
]


@dataclass(frozen=True)
class Ends:
    """What ends a step; whichever comes first, None for what doesn't."""

    duration_s: float | None = None
    potential_v: float | None = None
    current_a: float | None = None
    """Magnitude that the current falls to."""
    charge_mah: float | None = None
    """Magnitude since the step's start."""
    net_charge_mah: float | None = None
    """Reading of the program's coulomb counter."""


@dataclass(frozen=True)
class OpenCircuit:
    """Rest without current."""

    duration_s: float


@dataclass(frozen=True)
class ConstantCurrent:
    """Hold a current."""

    current_a: float
    ends: Ends


@dataclass(frozen=True)
class ConstantVoltage:
    """Hold a potential."""

    potential_v: float
    ends: Ends


@dataclass(frozen=True)
class VoltageScan:
    """Sweep the potential; a start of None is the potential found."""

    start_v: float | None
    end_v: float
    rate_mv_per_s: float
    ends: Ends = Ends()


@dataclass(frozen=True)
class Impedance:
    """Measure the impedance at open circuit."""

    amplitude_v: float
    frequencies_hz: tuple[float, ...]


@dataclass(frozen=True)
class Loop:
    """Go back to a step until its passes add up to `cycle_count`."""

    goto_step: int
    cycle_count: int


@dataclass(frozen=True)
class Tag:
    """A mark without effect."""


Step = (
    OpenCircuit
    | ConstantCurrent
    | ConstantVoltage
    | VoltageScan
    | Impedance
    | Loop
    | Tag
)


@dataclass(frozen=True)
class Safety:
    """Limits that end the whole program."""

    potential_min_v: float
    potential_max_v: float
    current_max_a: float
    charge_max_mah: float | None = None
    """Magnitude of the coulomb counter."""


@dataclass(frozen=True)
class RecordRule:
    """A point is recorded when any change is reached."""

    dv_v: float
    dt_s: float
    di_a: float | None = None


@dataclass(frozen=True)
class Harvest:
    """Finish at the end of one of `after_steps` when any of the rest holds."""

    after_steps: frozenset[int]
    cycle_count: int | None = None
    throughput_mah: float | None = None
    lithiation_mah: float | None = None
    retention: float | None = None
    reference_cycle: int = 2


@dataclass(frozen=True)
class Program:
    """A validated program."""

    uid: str
    safety: Safety
    record: RecordRule
    steps: tuple[Step, ...]
    cycle_starts: frozenset[int] = frozenset()
    harvest: Harvest | None = None
