"""A table of the last point, at most one row a second, however fast points come."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from event_model import DocumentRouter

__all__ = ["LiveTable"]

_NUMBER_WIDTH: Final = 10


class LiveTable(DocumentRouter):
    """Print the newest row of each stream of pages; rows in between are not lost.

    They are in the journal; this only shows that something happens, and what.
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

    def start(self, doc: Any) -> None:
        """Name the run."""
        self._columns.clear()
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

    def event(self, doc: Any) -> None:
        """Leave single events out: baseline and the like are no live data."""

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


def _aligned(columns: Mapping[str, str], cells: Sequence[str], row: str) -> str:
    """Return one line; a column is as wide as its head, a number at the least."""
    widths = [max(len(head), _NUMBER_WIDTH) for head in columns.values()]
    body = "  ".join(c.rjust(w) for c, w in zip(cells, widths, strict=True))
    return f"{row.rjust(_NUMBER_WIDTH - 3)}  {body}"


def _cell(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
