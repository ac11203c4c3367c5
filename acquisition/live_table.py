"""What a run does, a line at a time: the last point, or what was exposed."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from event_model import DocumentRouter

__all__ = ["LiveTable"]

_NUMBER_WIDTH: Final = 10


class LiveTable(DocumentRouter):
    """Print the newest row of each stream of pages, and a line for each exposure.

    Rows come at most once a second; those in between are in the journal. Images to
    track by have no line of their own: what they found is in that of their tilt.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        every_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._write = write
        self._every_s = every_s
        self._clock = clock
        self._columns: dict[str, dict[str, str]] = {}
        self._last_s: dict[str, float] = {}
        self._rows: dict[str, int] = {}
        self._is_tracking: dict[str, bool] = {}
        self._tilts = 0

    def start(self, doc: Any) -> None:
        """Name the run."""
        self._columns.clear()
        self._tilts = len(doc.get("angles_deg", ()))
        self._write(
            f"scan {doc.get('scan_id')}  {doc.get('plan_name')}  "
            f"{doc.get('specimen', '')}  uid {doc['uid'][:8]}"
        )

    def descriptor(self, doc: Any) -> None:
        """Remember the columns; the header waits for the first row."""
        heads = {
            key: key.removeprefix(f"{device}_")
            for device, keys in doc["object_keys"].items()
            for key in keys
            if doc["data_keys"][key]["dtype"] != "array"
        }
        self._columns[doc["uid"]] = heads
        self._rows[doc["uid"]] = 0
        self._is_tracking[doc["uid"]] = doc.get("name") == "tracking"

    def event(self, doc: Any) -> None:
        """Show what was exposed, and what for; baseline and the like are left out."""
        data = doc["data"]
        if "dose_after_e_per_nm2" not in data or self._is_tracking[doc["descriptor"]]:
            return
        parts = []
        if "tilt_index" in data:
            parts.append(_tilt(data, self._tilts))
        parts.append(_dose(data))
        self._write("  ".join(parts))

    def event_page(self, doc: Any) -> None:
        """Show the last row of a page."""
        uid = doc["descriptor"]
        if uid not in self._columns or not doc["seq_num"]:
            return
        now = self._clock()
        if self._rows[uid] and now - self._last_s[uid] < self._every_s:
            return
        columns = self._columns[uid]
        if self._rows[uid] % 20 == 0:
            self._write(_aligned(columns, list(columns.values()), "row"))
        self._rows[uid] += 1
        self._last_s[uid] = now
        cells = [_cell(doc["data"][column][-1]) for column in columns]
        self._write(_aligned(columns, cells, str(doc["seq_num"][-1])))

    def stop(self, doc: Any) -> None:
        """Say how the run ended."""
        counts = ", ".join(f"{n} {s}" for s, n in doc.get("num_events", {}).items())
        reason = f": {doc['reason']}" if doc.get("reason") else ""
        self._write(f"{doc['exit_status']}{reason} ({counts})")


def _tilt(data: Mapping[str, Any], tilts: int) -> str:
    """Return which tilt was mapped, and how still the specimen was."""
    text = f"tilt {data['tilt_index'] + 1:.0f}/{tilts} {data['tilt_target_deg']:+g} deg"
    drift = data.get("tilt_drift_nm_per_min", math.nan)
    if not math.isfinite(drift):
        return f"{text}  no image"
    is_at_rest = data.get("tilt_at_rest") == 1.0
    return f"{text}  drift {drift:.2g} nm/min{'' if is_at_rest else ', NOT AT REST'}"


def _dose(data: Mapping[str, Any]) -> str:
    after = data["dose_after_e_per_nm2"]
    left = max(0.0, data["dose_limit_e_per_nm2"] - after)
    return (
        f"+{data['dose_fluence_e_per_nm2']:.3g} e/nm2: {after:.3g} received, "
        f"{left:.3g} left"
    )


def _aligned(columns: Mapping[str, str], cells: Sequence[str], row: str) -> str:
    """Return one line; a column is as wide as its head, a number at the least."""
    widths = [max(len(head), _NUMBER_WIDTH) for head in columns.values()]
    body = "  ".join(c.rjust(w) for c, w in zip(cells, widths, strict=True))
    return f"{row.rjust(_NUMBER_WIDTH - 3)}  {body}"


def _cell(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
