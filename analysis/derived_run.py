"""One derived run in the making: its documents follow from those of the raw run.

Uids and times too, so that a second pass over the same run gives the same bytes.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

__all__ = ["FLAG", "INTEGER", "TIME", "Column", "DerivedRun", "Emit"]

Emit = Callable[[str, dict[str, Any]], None]

_KEPT: Final = ("specimen", "ancestors", "technique", "imported_file", "continues")
"""What a derived run says of its raw run beside its uid."""

_NAMESPACE: Final = uuid.UUID("a4bf0c5e-1b0c-5d0e-9a5c-0f5e7c1d2b36")


class Column(NamedTuple):
    """What is said of one column of a derived stream."""

    dtype: str
    dtype_numpy: str
    units: str | None = None
    precision: int | None = None


INTEGER: Final = Column("integer", "<i8")
FLAG: Final = Column("boolean", "|b1")
TIME: Final = Column("number", "<f8", "s", 3)


class DerivedRun:
    """Emits start at once, a descriptor before the first row of each stream, and stop.

    source: what computed it, said of each column
    streams: columns by stream
    """

    def __init__(
        self,
        emit: Emit,
        quantity: str,
        raw_start: Mapping[str, Any],
        original_key: str | None,
        *,
        version: str,
        parameters: Mapping[str, Any],
        streams: Mapping[str, Mapping[str, Column]],
        source: str,
    ) -> None:
        self._emit = emit
        self._name = f"{raw_start['uid']}/{quantity}"
        self.uid = self._make_uid("start")
        self._streams = streams
        self._source = source
        self._num_events: dict[str, int] = {}
        start = {
            "uid": self.uid,
            "time": raw_start["time"],
            "original_run_uid": raw_start["uid"],
            "quantity": quantity,
            "analysis_version": version,
            "parameters": dict(parameters),
            **{key: raw_start[key] for key in _KEPT if key in raw_start},
        }
        if original_key is not None:
            start["original_key"] = original_key
        emit("start", start)

    def event(
        self,
        stream: str,
        row: Mapping[str, Any],
        time: float,
        columns: Sequence[str] | None = None,
    ) -> None:
        """Add a row to a stream; ``columns`` are those known of this run, else all."""
        names = list(self._streams[stream] if columns is None else columns)
        self.begin(stream, time, names)
        self._num_events[stream] += 1
        number = self._num_events[stream]
        event = {
            "uid": self._make_uid(f"{stream}/{number}"),
            "descriptor": self._make_uid(stream),
            "seq_num": number,
            "time": time,
            "data": {name: row[name] for name in names},
            "timestamps": dict.fromkeys(names, time),
            "filled": {},
        }
        self._emit("event", event)

    def page(self, stream: str, rows: Mapping[str, Sequence[Any]], time: float) -> None:
        """Add many rows at once: ``rows`` has each of the stream's columns."""
        names = list(self._streams[stream])
        count = len(rows[names[0]])
        if not count:
            return
        self.begin(stream, time, names)
        first = self._num_events[stream] + 1
        self._num_events[stream] += count
        numbers = list(range(first, first + count))
        page = {
            "uid": [self._make_uid(f"{stream}/{number}") for number in numbers],
            "descriptor": self._make_uid(stream),
            "seq_num": numbers,
            "time": [time] * count,
            "data": {name: list(rows[name]) for name in names},
            "timestamps": {name: [time] * count for name in names},
            "filled": {},
        }
        self._emit("event_page", page)

    def begin(
        self, stream: str, time: float, columns: Sequence[str] | None = None
    ) -> None:
        """Describe a stream, unless it is; its first row does so else."""
        if stream not in self._num_events:
            names = list(self._streams[stream] if columns is None else columns)
            self._emit("descriptor", self._describe(stream, names, time))
            self._num_events[stream] = 0

    def end(self, raw_stop: Mapping[str, Any]) -> None:
        """End as the raw run ended."""
        stop = {
            "uid": self._make_uid("stop"),
            "run_start": self.uid,
            "time": raw_stop["time"],
            "exit_status": raw_stop["exit_status"],
            "num_events": dict(self._num_events),
        }
        if raw_stop.get("reason"):
            stop["reason"] = raw_stop["reason"]
        self._emit("stop", stop)

    def _describe(self, stream: str, columns: list[str], time: float) -> dict[str, Any]:
        known = self._streams[stream]
        keys = {name: self._data_key(known[name]) for name in columns}
        return {
            "uid": self._make_uid(stream),
            "run_start": self.uid,
            "time": time,
            "name": stream,
            "data_keys": keys,
            "object_keys": {stream: columns},
            "configuration": {stream: {"data": {}, "timestamps": {}, "data_keys": {}}},
            "hints": {stream: {"fields": columns}},
        }

    def _data_key(self, column: Column) -> dict[str, Any]:
        key: dict[str, Any] = {
            "source": self._source,
            "dtype": column.dtype,
            "dtype_numpy": column.dtype_numpy,
            "shape": [],
        }
        if column.units is not None:
            key["units"] = column.units
        if column.precision is not None:
            key["precision"] = column.precision
        return key

    def _make_uid(self, part: str) -> str:
        return str(uuid.uuid5(_NAMESPACE, f"{self._name}/{part}"))
