"""What the demo promises: every line a value with its written threshold.

Peaks are those of the papers' silicon anode in its first cycle at 0.2 mV/s (SEI at
0.8-1.2 V, delithiation near 0.3 and 0.5 V), as docs/reference/demo-thresholds.md lists
them, with the model's own band.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = [
    "Line",
    "charge_lines",
    "peak_lines",
    "point_lines",
    "recorded_lines",
    "row_lines",
]

PEAK_TOLERANCE_V: Final = 0.03
"""Half the width of a peak's band: the validation table of the cell's model."""

TRUTH_TOLERANCE: Final = 0.005
"""A measured charge against the true one; 16 bits and noise leave far less."""

COUNTER_TOLERANCE: Final = 0.001
"""A half cycle's charge in Tiled against a real instrument's own counter."""

SWEEP_TOLERANCE_S: Final = 10.0
"""Two record steps of 5 s: where the first and the last point fall in theirs."""


@dataclass(frozen=True)
class Line:
    """One line of the table: it holds if the value lies in its closed band."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    source: str

    @property
    def holds(self) -> bool:
        """Whether the value lies in the band; NaN never does."""
        return self.low <= self.value <= self.high


def row_lines(
    rows: Iterable[tuple[str, int, int]], *, prefix: str = "rows "
) -> list[Line]:
    """Return a line for each stream: rows in Tiled, exactly those of the journal."""
    return [
        Line(f"{prefix}{stream}", tiled, journal, journal, "", "journal")
        for stream, journal, tiled in rows
    ]


def point_lines(
    points: Mapping[str, Sequence[float]],
    *,
    low_v: float,
    high_v: float,
    rate_mv_per_s: float,
    record_dv_mv: float,
) -> list[Line]:
    """Return how many points came, and how long the sweep took.

    One point a record step on every sweep: the first begins at the cell's potential.
    """
    potential, times_s = points["potential_v"], points["instrument_time_s"]
    cycles = int(max(points["cycle_number"]))
    swept_v = (potential[0] - low_v) + (2 * cycles - 1) * (high_v - low_v)
    expected = swept_v / (record_dv_mv / 1e3)
    expected_s = swept_v / (rate_mv_per_s / 1e3)
    return [
        Line(
            "points",
            len(potential),
            math.floor(0.995 * expected),
            math.ceil(1.005 * expected),
            "",
            f"{swept_v:.2f}V/{record_dv_mv:g}mV",
        ),
        Line(
            "time of the sweep",
            times_s[-1] - times_s[0],
            expected_s - SWEEP_TOLERANCE_S,
            expected_s + SWEEP_TOLERANCE_S,
            "s",
            "volts / rate",
        ),
    ]


def charge_lines(
    cycles: Mapping[str, Sequence[float]],
    *,
    lithiation_mah: float,
    delithiation_mah: float,
) -> list[Line]:
    """Return the last cycle's charges against the laboratory's truth, and each CE."""
    number = int(cycles["cycle_number"][-1])
    truth = {"lithiation": lithiation_mah, "delithiation": delithiation_mah}
    lines = [
        Line(
            f"{name}, cycle {number}",
            1e3 * cycles[f"{name}_mah"][-1],
            1e3 * true_mah * (1 - TRUTH_TOLERANCE),
            1e3 * true_mah * (1 + TRUTH_TOLERANCE),
            "uAh",
            "cell's truth",
        )
        for name, true_mah in truth.items()
    ]
    expected = delithiation_mah / lithiation_mah
    lines.append(
        Line(
            f"CE, cycle {number}",
            cycles["coulombic_efficiency"][-1],
            expected - 0.005,
            min(expected + 0.005, 1.005),
            "",
            "cell's truth",
        )
    )
    return lines


def peak_lines(peaks: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Return the peaks of the first cycle against the validation figures."""
    expected = (
        ("cathodic", 0.900, "SEI peak"),
        ("anodic", 0.362, "delith. peak 1"),
        ("anodic", 0.531, "delith. peak 2"),
    )
    return [
        Line(
            f"{what}, cycle 1",
            _nearest(peaks, 1, direction, potential_v),
            potential_v - PEAK_TOLERANCE_V,
            potential_v + PEAK_TOLERANCE_V,
            "V",
            "cell model",
        )
        for direction, potential_v, what in expected
    ]


def recorded_lines(
    half_cycles: Mapping[str, Sequence[float]], counted_mah: Mapping[int, float]
) -> list[Line]:
    """Return each half cycle's charge in Tiled against the file's own counter."""
    found = dict(zip(half_cycles["half_cycle"], half_cycles["charge_mah"], strict=True))
    lines = [
        Line("half cycles", len(found), len(counted_mah), len(counted_mah), "", "file")
    ]
    for number, charge in sorted(counted_mah.items()):
        band = abs(charge) * COUNTER_TOLERANCE
        lines.append(
            Line(
                f"half cycle {number}",
                found.get(number, math.nan),
                charge - band,
                charge + band,
                "mAh",
                "file's counter",
            )
        )
    return lines


def _nearest(
    peaks: Sequence[Mapping[str, Any]], cycle: int, direction: str, potential_v: float
) -> float:
    """Return the potential of the nearest such peak, NaN if there is none."""
    candidates = [
        float(p["potential_v"])
        for p in peaks
        if p["cycle_number"] == cycle and p["direction"] == direction
    ]
    return min(candidates, key=lambda v: abs(v - potential_v), default=math.nan)
