"""Routers that turn a raw run's documents into those of a derived run, as they come.

One class is one derived quantity. A router holds only what it needs, touches no
device and no server, and is deterministic: uids and times follow from the raw
documents, so a second pass over the same run gives the same bytes.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from event_model import DocumentRouter
from numpy.typing import NDArray

from cryoline.analysis.derived_run import (
    FLAG,
    INTEGER,
    TIME,
    Column,
    DerivedRun,
    Emit,
)
from cryoline.analysis.errors import StreamError
from cryoline.analysis.voltammetry import (
    CE_FLAG_ABOVE,
    COUNTER_FLOOR_MAH,
    COUNTER_TOLERANCE,
    MINIMUM_PROMINENCE,
    SMOOTHING_V,
    Completed,
    CycleAccumulator,
    scan_rate_mv_per_s,
    voltammogram_peaks,
)

__all__ = ["ANALYSIS_VERSION", "POINT_COLUMNS", "CyclingRouter"]

ANALYSIS_VERSION: Final = "1"
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

_SOURCE: Final = "cryoline.analysis.voltammetry"


_CHARGE: Final = Column("number", "<f8", "mAh", 7)
_SPECIFIC: Final = Column("number", "<f8", "mAh/g", 2)
_CURRENT: Final = Column("number", "<f8", "A", 9)

_STREAMS: Final[dict[str, dict[str, Column]]] = {
    "half_cycles": {
        "half_cycle": INTEGER,
        "cycle_number": INTEGER,
        "charge_mah": _CHARGE,
        "integral_mah": _CHARGE,
        "counter_disagrees": FLAG,
        "charge_mah_per_g": _SPECIFIC,
        "scan_rate_mv_per_s": Column("number", "<f8", "mV/s", 4),
        "points": INTEGER,
        "duration_s": TIME,
        "instrument_time_end_s": TIME,
        "complete": FLAG,
    },
    "cycles": {
        "cycle_number": INTEGER,
        "lithiation_mah": _CHARGE,
        "delithiation_mah": _CHARGE,
        "coulombic_efficiency": Column("number", "<f8", "", 5),
        "ce_flag": FLAG,
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
        "potential_v": Column("number", "<f8", "V", 4),
        "current_a": _CURRENT,
        "prominence_a": _CURRENT,
    },
}
_PER_GRAM: Final = "_mah_per_g"


class CyclingRouter(DocumentRouter):  # type: ignore[misc,unused-ignore]
    """Charges, coulombic efficiencies and peaks of a cycling run, as a second run.

    Takes one raw run at a time. From the moment its stream `points` is described,
    emits a run with the streams `half_cycles`, `cycles` and `peaks` (each only when
    it has a row; columns per gram only when the electrode's mass is known). Rows come
    as soon as their half cycle or cycle is over; those still open when the run ends
    are `complete` only if it ended with success. A run without such a stream gives
    nothing.

    emit: takes (name, document)
    original_key: the readable key of the raw run, for the derived start document
    """

    quantity: Final = "cycling"

    def __init__(
        self,
        emit: Callable[[str, dict[str, Any]], None],
        *,
        original_key: str | None = None,
    ) -> None:
        super().__init__()
        self._emit = emit
        self._original_key = original_key
        self._run: _Derived | None = None
        self._raw_start: Mapping[str, Any] | None = None
        self._prefixes: dict[str, str] = {}

    def start(self, doc: Mapping[str, Any]) -> None:
        """Remember the run; whether it is a cycling run shows later."""
        if self._raw_start is not None:
            raise StreamError(
                f"run {doc['uid']} begins within run {self._raw_start['uid']}; "
                "give each run a router of its own"
            )
        self._raw_start = doc
        self._run = None
        self._prefixes = {}

    def descriptor(self, doc: Mapping[str, Any]) -> None:
        """Begin the derived run when the stream of points is described."""
        prefix = _prefix_of_points(doc)
        if prefix is None:
            return
        self._prefixes[doc["uid"]] = prefix
        if self._run is None:
            if self._raw_start is None:
                raise StreamError(f"descriptor {doc['uid']} came before any start")
            self._run = _Derived(
                self._emit, self.quantity, self._raw_start, self._original_key
            )

    def event_page(self, doc: Mapping[str, Any]) -> None:
        """Take the next points; a single event comes here too, as a page of one."""
        prefix = self._prefixes.get(doc["descriptor"])
        if prefix is not None and self._run is not None and doc["time"]:
            data = doc["data"]
            points = {name: data[prefix + name] for name in POINT_COLUMNS}
            self._run.take(points, doc["time"][-1])

    def stop(self, doc: Mapping[str, Any]) -> None:
        """End the derived run as the raw run ended."""
        if self._run is not None:
            self._run.end(doc)
        self._raw_start = self._run = None


class _Derived:
    """The derived run of one cycling run."""

    def __init__(
        self,
        emit: Emit,
        quantity: str,
        raw_start: Mapping[str, Any],
        original_key: str | None,
    ) -> None:
        mass_mg = (raw_start.get("electrode") or {}).get("mass_mg")
        self._mass_known = mass_mg is not None
        self._accumulator = CycleAccumulator(electrode_mass_mg=mass_mg)
        self._sweep: NDArray[np.float64] = np.empty((3, 0))
        self._run = DerivedRun(
            emit,
            quantity,
            raw_start,
            original_key,
            version=ANALYSIS_VERSION,
            parameters={
                "ce_flag_above": CE_FLAG_ABOVE,
                "counter_floor_mah": COUNTER_FLOOR_MAH,
                "counter_tolerance": COUNTER_TOLERANCE,
                "electrode_mass_mg": mass_mg,
                "minimum_prominence": MINIMUM_PROMINENCE,
                "smoothing_v": SMOOTHING_V,
            },
            streams=_STREAMS,
            source=_SOURCE,
        )

    def take(self, points: Mapping[str, Any], time: float) -> None:
        """Add a page of points, and emit what ended within it."""
        charges = {
            name: points[name] for name in POINT_COLUMNS if name != "potential_v"
        }
        ended = self._accumulator.add(**charges)
        sweep = [points[n] for n in ("instrument_time_s", "potential_v", "current_a")]
        self._sweep = np.hstack([self._sweep, np.array(sweep, dtype=float)])
        self._emit_rows(ended, time)

    def end(self, raw_stop: Mapping[str, Any]) -> None:
        """Emit what is still open, and the stop document."""
        complete = raw_stop["exit_status"] == "success"
        self._emit_rows(self._accumulator.finish(complete=complete), raw_stop["time"])
        self._run.end(raw_stop)

    def _emit_rows(self, ended: Completed, time: float) -> None:
        for half in ended.half_cycles:
            seconds, potential_v, current_a = self._sweep[:, : half.points]
            self._sweep = self._sweep[:, half.points :]
            rate = scan_rate_mv_per_s(seconds, potential_v)
            extra = {
                "scan_rate_mv_per_s": rate,
                "duration_s": half.time_end_s - half.time_start_s,
                "instrument_time_end_s": half.time_end_s,
            }
            self._event("half_cycles", half._asdict() | extra, time)
            if math.isnan(rate):
                continue
            where = {"cycle_number": half.cycle_number, "half_cycle": half.half_cycle}
            for peak in voltammogram_peaks(potential_v, current_a):
                self._event("peaks", where | peak._asdict(), time)
        for cycle in ended.cycles:
            extra = {"instrument_time_end_s": cycle.time_end_s}
            self._event("cycles", cycle._asdict() | extra, time)

    def _event(self, stream: str, row: Mapping[str, Any], time: float) -> None:
        columns = [
            name
            for name in _STREAMS[stream]
            if self._mass_known or not name.endswith(_PER_GRAM)
        ]
        self._run.event(stream, row, time, columns)


def _prefix_of_points(descriptor: Mapping[str, Any]) -> str | None:
    """Return the device's prefix if this is a cycler's stream of points.

    Raises StreamError if columns of two devices fit.
    """
    if descriptor.get("name") != "points":
        return None
    keys = descriptor["data_keys"]
    ends = [key.removesuffix(POINT_COLUMNS[0]) for key in keys]
    prefixes = [
        prefix
        for key, prefix in zip(keys, ends, strict=True)
        if key != prefix and all(prefix + name in keys for name in POINT_COLUMNS)
    ]
    if len(prefixes) > 1:
        raise StreamError(
            f"stream 'points' holds the columns of {len(prefixes)} cyclers "
            f"({', '.join(prefixes)}); record each in a run of its own"
        )
    return prefixes[0] if prefixes else None
