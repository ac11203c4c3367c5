"""The derived run of a cycling run: its streams, and when each gets its rows.

Streams: `cycles` and `half_cycles`, which are described at once, so that whoever keeps
tables has them when the first row comes; `peaks`, `incremental_capacity`, `onsets` and
`alarms`, each only when it has a row. Columns per gram only when the electrode's mass
is known.
A half cycle's and a cycle's rows come as soon as the next one's first point shows that
it is over, or the run's end does; those still open then are `complete` only if the run
ended with success. An alarm comes with the point that raises it.

Each point is kept until its half cycle is over, looked at a fixed number of times, and
forgotten: the work grows with the points, however they are paged.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryoline.analysis.anomalies import (
    FALL_V,
    FALLS,
    POTENTIAL_MAX_V,
    POTENTIAL_MIN_V,
    Anomaly,
    AnomalyWatch,
    efficiency_anomaly,
)
from cryoline.analysis.capacity import RETENTION_CYCLE, CapacityTrend, ir_drop
from cryoline.analysis.derived_run import (
    FLAG,
    INTEGER,
    TIME,
    Column,
    DerivedRun,
    Emit,
)
from cryoline.analysis.errors import StreamError
from cryoline.analysis.half_cycle_rows import HalfCycleRows
from cryoline.analysis.incremental import (
    INCREMENT_V,
    incremental_capacity,
    reduction_onset,
)
from cryoline.analysis.voltammetry import (
    CE_FLAG_ABOVE,
    COUNTER_FLOOR_MAH,
    COUNTER_TOLERANCE,
    MINIMUM_PROMINENCE,
    SMOOTHING_V,
    Completed,
    CycleAccumulator,
    HalfCycle,
    scan_rate_mv_per_s,
    voltammogram_peaks,
)

__all__ = ["ANALYSIS_VERSION", "OPTIONAL_COLUMNS", "POINT_COLUMNS", "CyclingResults"]

ANALYSIS_VERSION: Final = "3"
"""Raised by one whenever the same raw run would give other derived documents."""

POINT_COLUMNS: Final = (
    "instrument_time_s",
    "potential_v",
    "current_a",
    "charge_mah",
    "cycle_number",
    "half_cycle",
)
"""What a stream `points` must have, after the device's own prefix."""

OPTIONAL_COLUMNS: Final = ("step_index", "contact", "range_a")
"""What helps to tell what is wrong, where the instrument says it."""

_SOURCE: Final = "cryoline.analysis.voltammetry"

_CHARGE: Final = Column("number", "<f8", "mAh", 7)
_SPECIFIC: Final = Column("number", "<f8", "mAh/g", 2)
_CURRENT: Final = Column("number", "<f8", "A", 9)
_POTENTIAL: Final = Column("number", "<f8", "V", 4)
_RATIO: Final = Column("number", "<f8", "", 5)

_AT_ONCE: Final = ("cycles", "half_cycles")

_STREAMS: Final[dict[str, dict[str, Column]]] = {
    "half_cycles": {
        "half_cycle": INTEGER,
        "cycle_number": INTEGER,
        "charge_mah": _CHARGE,
        "integral_mah": _CHARGE,
        "counter_disagrees": FLAG,
        "charge_mah_per_g": _SPECIFIC,
        "scan_rate_mv_per_s": Column("number", "<f8", "mV/s", 4),
        "ir_drop_v": _POTENTIAL,
        "resistance_ohm": Column("number", "<f8", "Ohm", 3),
        "ir_lapse_s": TIME,
        "points": INTEGER,
        "duration_s": TIME,
        "instrument_time_end_s": TIME,
        "complete": FLAG,
    },
    "cycles": {
        "cycle_number": INTEGER,
        "lithiation_mah": _CHARGE,
        "delithiation_mah": _CHARGE,
        "coulombic_efficiency": _RATIO,
        "ce_flag": FLAG,
        "retention": _RATIO,
        "ce_sum": _RATIO,
        "lost_mah": _CHARGE,
        "counter_disagrees": FLAG,
        "lithiation_mah_per_g": _SPECIFIC,
        "delithiation_mah_per_g": _SPECIFIC,
        "points": INTEGER,
        "instrument_time_end_s": TIME,
        "complete": FLAG,
    },
    "peaks": {
        "cycle_number": INTEGER,
        "half_cycle": INTEGER,
        "direction": Column("string", "<U8"),
        "potential_v": _POTENTIAL,
        "current_a": _CURRENT,
        "prominence_a": _CURRENT,
        "baseline_a": _CURRENT,
        "height_a": _CURRENT,
    },
    "incremental_capacity": {
        "cycle_number": INTEGER,
        "half_cycle": INTEGER,
        "potential_v": _POTENTIAL,
        "dq_dv_mah_per_v": Column("number", "<f8", "mAh/V", 7),
    },
    "onsets": {
        "cycle_number": INTEGER,
        "half_cycle": INTEGER,
        "onset_v": _POTENTIAL,
        "peak_v": _POTENTIAL,
        "flank_v": _POTENTIAL,
    },
    "alarms": {
        "kind": Column("string", "<U32"),
        "severity": Column("string", "<U8"),
        "cycle_number": INTEGER,
        "half_cycle": INTEGER,
        "instrument_time_s": TIME,
        "value": Column("number", "<f8", "", 6),
        "limit": Column("number", "<f8", "", 6),
        "message": Column("string", "<U256"),
    },
}
_PER_GRAM: Final = "_mah_per_g"


class CyclingResults:
    """The derived run of one cycling run; its documents go to ``emit``."""

    def __init__(
        self,
        emit: Emit,
        quantity: str,
        raw_start: Mapping[str, Any],
        original_key: str | None,
    ) -> None:
        mass_mg = (raw_start.get("electrode") or {}).get("mass_mg")
        retention_cycle = _retention_cycle(raw_start)
        self._mass_known = mass_mg is not None
        self._accumulator = CycleAccumulator(electrode_mass_mg=mass_mg)
        self._trend = CapacityTrend(retention_cycle)
        self._watch = AnomalyWatch()
        self._rows = HalfCycleRows()
        self._first_half: int | None = None
        self._run = DerivedRun(
            emit,
            quantity,
            raw_start,
            original_key,
            version=ANALYSIS_VERSION,
            parameters={
                "ce_flag_above": CE_FLAG_ABOVE,
                "contact_potential_max_v": POTENTIAL_MAX_V,
                "contact_potential_min_v": POTENTIAL_MIN_V,
                "counter_floor_mah": COUNTER_FLOOR_MAH,
                "counter_tolerance": COUNTER_TOLERANCE,
                "electrode_mass_mg": mass_mg,
                "increment_v": INCREMENT_V,
                "minimum_prominence": MINIMUM_PROMINENCE,
                "retention_cycle": retention_cycle,
                "smoothing_v": SMOOTHING_V,
                "soft_short_fall_v": FALL_V,
                "soft_short_falls": FALLS,
            },
            streams=_STREAMS,
            source=_SOURCE,
        )
        for stream in _AT_ONCE:
            self._run.begin(stream, raw_start["time"], self._columns(stream))

    def take(self, points: Mapping[str, Any], time: float) -> None:
        """Add a page of points, and emit what ended, or went wrong, within it."""
        charges = {
            name: points[name] for name in POINT_COLUMNS if name != "potential_v"
        }
        ended = self._accumulator.add(**charges)
        self._rows.add(points)
        wrong = self._watch.add(
            *(points[name] for name in POINT_COLUMNS if name != "charge_mah"),
            **{name: points[name] for name in OPTIONAL_COLUMNS if name in points},
        )
        self._emit_rows(ended, time)
        for anomaly in wrong:
            self._alarm(anomaly, time)

    def end(self, raw_stop: Mapping[str, Any]) -> None:
        """Emit what is still open, and the stop document."""
        complete = raw_stop["exit_status"] == "success"
        self._emit_rows(self._accumulator.finish(complete=complete), raw_stop["time"])
        self._run.end(raw_stop)

    def _emit_rows(self, ended: Completed, time: float) -> None:
        for half in ended.half_cycles:
            self._half_cycle(half, time)
        for cycle in ended.cycles:
            extra = {"instrument_time_end_s": cycle.time_end_s}
            row = cycle._asdict() | self._trend.add(cycle)._asdict() | extra
            self._event("cycles", row, time)
            anomaly = efficiency_anomaly(cycle)
            if anomaly is not None:
                self._alarm(anomaly, time)

    def _half_cycle(self, half: HalfCycle, time: float) -> None:
        before, rows = self._rows.take(half.points)
        seconds, potential_v, current_a, charge_mah = rows
        rate = scan_rate_mv_per_s(seconds, potential_v)
        # Within a scan the current is never switched.
        switching = np.hstack([before, rows]) if math.isnan(rate) else rows[:, :0]
        drop = ir_drop(*switching[:3])
        extra = {
            "scan_rate_mv_per_s": rate,
            "ir_drop_v": drop.drop_v,
            "resistance_ohm": drop.resistance_ohm,
            "ir_lapse_s": drop.lapse_s,
            "duration_s": half.time_end_s - half.time_start_s,
            "instrument_time_end_s": half.time_end_s,
        }
        self._event("half_cycles", half._asdict() | extra, time)
        where = {"cycle_number": half.cycle_number, "half_cycle": half.half_cycle}
        increments = incremental_capacity(
            potential_v, charge_mah, charge_before_mah=charge_mah[-1] - half.charge_mah
        )
        count = increments.potential_v.size
        columns = {
            **{name: [number] * count for name, number in where.items()},
            **{name: column.tolist() for name, column in increments._asdict().items()},
        }
        self._run.page("incremental_capacity", columns, time)
        if math.isnan(rate):
            swept, signal = increments.potential_v[::-1], increments.dq_dv_mah_per_v
            self._onset(half, swept, signal[::-1], time)
            return
        for peak in voltammogram_peaks(potential_v, current_a):
            self._event("peaks", where | peak._asdict(), time)
        self._onset(half, potential_v, current_a, time)

    def _onset(
        self,
        half: HalfCycle,
        potential_v: NDArray[np.float64],
        current: NDArray[np.float64],
        time: float,
    ) -> None:
        """Emit where the first reduction of the run's first half cycle begins."""
        if self._first_half is None:
            self._first_half = half.half_cycle
        if half.half_cycle != self._first_half or not half.charge_mah < 0:
            return
        if potential_v.size < 2 or potential_v[-1] >= potential_v[0]:
            return
        onset = reduction_onset(potential_v, current)
        if onset is not None:
            where = {"cycle_number": half.cycle_number, "half_cycle": half.half_cycle}
            self._event("onsets", where | onset._asdict(), time)

    def _alarm(self, anomaly: Anomaly, time: float) -> None:
        self._event("alarms", anomaly._asdict(), time)

    def _event(self, stream: str, row: Mapping[str, Any], time: float) -> None:
        self._run.event(stream, row, time, self._columns(stream))

    def _columns(self, stream: str) -> list[str]:
        return [
            name
            for name in _STREAMS[stream]
            if self._mass_known or not name.endswith(_PER_GRAM)
        ]


def _retention_cycle(raw_start: Mapping[str, Any]) -> int:
    """Return the cycle that the run's metadata chose; raises StreamError if wrong."""
    number = raw_start.get("retention_cycle", RETENTION_CYCLE)
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise StreamError(
            f"run {raw_start['uid']}: retention_cycle {number!r} is no cycle's number; "
            "give a whole number, 0 or more, in the plan's md"
        )
    return number
