"""Routers that turn a raw run's documents into those of a derived run, as they come.

One class is one derived quantity. A router holds only what it needs, touches no
device and no server, and is deterministic: uids and times follow from the raw
documents, so a second pass over the same run gives the same bytes.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from event_model import DocumentRouter

from cryoline.analysis.cycling_results import (
    ANALYSIS_VERSION,
    OPTIONAL_COLUMNS,
    POINT_COLUMNS,
    CyclingResults,
)
from cryoline.analysis.cycling_tables import cycling_tables
from cryoline.analysis.errors import StreamError

__all__ = ["ANALYSIS_VERSION", "POINT_COLUMNS", "CyclingRouter", "warm_up"]


class CyclingRouter(DocumentRouter):  # type: ignore[misc,unused-ignore]
    """What is derived from a cycling run, as a second run.

    Takes one raw run at a time. From the moment its stream `points` is described,
    emits a run with the streams of `cycling_results`. A run without such a stream gives
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
        self._run: CyclingResults | None = None
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
            self._run = CyclingResults(
                self._emit, self.quantity, self._raw_start, self._original_key
            )

    def event_page(self, doc: Mapping[str, Any]) -> None:
        """Take the next points; a single event comes here too, as a page of one."""
        prefix = self._prefixes.get(doc["descriptor"])
        if prefix is not None and self._run is not None and doc["time"]:
            data = doc["data"]
            points = {
                name: data[prefix + name]
                for name in (*POINT_COLUMNS, *OPTIONAL_COLUMNS)
                if prefix + name in data
            }
            self._run.take(points, doc["time"][-1])

    def stop(self, doc: Mapping[str, Any]) -> None:
        """End the derived run as the raw run ended."""
        if self._run is not None:
            self._run.end(doc)
        self._raw_start = self._run = None


def warm_up() -> None:
    """Analyse a sweep with a peak: what is loaded at first use is loaded then."""
    down_v = np.linspace(2.0, 0.1, 400)
    current_a = -1e-5 * np.exp(-((down_v - 0.6) ** 2) / 0.02)
    seconds = np.arange(1.0, 401.0)
    cycling_tables(
        {
            "instrument_time_s": seconds,
            "potential_v": down_v,
            "current_a": current_a,
            "charge_mah": np.cumsum(current_a) / 3.6,
            "cycle_number": np.ones(400, int),
            "half_cycle": np.zeros(400, int),
        }
    )


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
