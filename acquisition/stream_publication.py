"""One stream of a run: rows and frames counted in the journal, sent, checked."""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
from tiled.structures.core import Spec

from cryoline.acquisition.errors import FileNotReadyError
from cryoline.acquisition.frame_publication import FramePublication, load
from cryoline.acquisition.path_map import PathMap
from cryoline.acquisition.tiled_descriptor import (
    configuration_update,
    stream_metadata,
)
from cryoline.acquisition.tiled_tables import (
    PAGE_ROWS,
    TABLE_KEY,
    AppendableTable,
    RowBuffer,
    create_table,
    event_as_page,
    table_schema,
)

__all__ = ["StreamPublication"]

_SPECS: Final = (Spec("BlueskyEventStream", version="3.0"), Spec("composite"))

_log = logging.getLogger(__name__)


class StreamPublication:
    """Makes one stream's node, table and arrays in Tiled hold what the journal holds.

    Raises PublishError if rows or frames do not fit the descriptor, and httpx errors
    if Tiled does not answer; after those, ``disconnect``.
    """

    def __init__(self, descriptor: Mapping[str, Any], paths: PathMap) -> None:
        self.name = str(descriptor["name"])
        self.rows = 0
        """Different seq_nums in the journal so far."""
        self.problem = ""
        """Why frames can't be registered, as far as known; they may still come."""
        self._paths = paths
        self._descriptors = [dict(descriptor)]
        self._metadata = stream_metadata(descriptor)
        self._schema = table_schema(descriptor["data_keys"], self.name)
        self._buffer = RowBuffer(self._schema, self.name)
        self._frames: dict[str, FramePublication] = {}
        self._highest = 0
        # A rewound RunEngine emits a seq_num again: the later row counts, and the
        # table, which has the earlier one, is written anew at the end.
        self._retaken = False
        # Unknown until Tiled was asked, and again after every error:
        self._node: Any = None
        self._table: AppendableTable | None = None
        self._updates_sent = 0
        self._arrived = 0  # the highest seq_num that the table had when it was opened

    @property
    def waiting(self) -> int:
        """Rows that Tiled has not confirmed."""
        return len(self._buffer)

    @property
    def is_open(self) -> bool:
        """Whether its node is known."""
        return self._node is not None

    @property
    def frames(self) -> dict[str, int]:
        """Frames that are registered, by ``stream/data key``."""
        return {frames.name: frames.registered for frames in self._frames.values()}

    def update(self, descriptor: Mapping[str, Any]) -> None:
        """Take a further descriptor: the configuration changed within the run."""
        self._descriptors.append(dict(descriptor))

    def add(self, page: Mapping[str, Any]) -> None:
        """Take the rows of an event_page from the journal."""
        numbers = np.asarray(page["seq_num"], dtype=np.int64)
        before = np.maximum.accumulate(np.concatenate([[self._highest], numbers]))[:-1]
        fresh = numbers > before
        self._retaken = self._retaken or not fresh.all()
        self._buffer.add(page, None if fresh.all() else np.flatnonzero(fresh).tolist())
        self.rows += int(fresh.sum())
        self._highest = max([self._highest, *numbers.tolist()[-1:], *before.tolist()])

    def add_frames(self, datum: Mapping[str, Any], resource: Mapping[str, Any]) -> None:
        """Take a stream_datum from the journal, and the resource that it belongs to."""
        key = resource["data_key"]
        if key not in self._frames:
            keys = self._metadata["data_keys"]
            self._frames[key] = FramePublication(self.name, resource, keys, self._paths)
        self._frames[key].add(datum)

    def disconnect(self) -> None:
        """Forget what was known of Tiled: after an error only Tiled knows."""
        self._node = self._table = None
        self._updates_sent = 0
        for frames in self._frames.values():
            frames.disconnect()

    def open(self, run: Any, *, is_new: bool = False) -> None:
        """Find or make the stream's node below the run's, and its table.

        is_new: the run's node was made by this publisher, and what was not opened
        yet is not there. The table is made at once: its first row waits for nothing.
        """
        if self._node is None and not is_new:
            self._node = run.get(self.name)
        if self._node is None:
            self._node = run.create_container(
                key=self.name, metadata=self._metadata, specs=list(_SPECS)
            )
            if self._has_columns:
                self._table, self._arrived = self._create_table(), 0
            if self._has_files:
                load()
        later = self._descriptors[1:]
        if len(later) > self._updates_sent:
            updates = [configuration_update(descriptor) for descriptor in later]
            self._node.update_metadata({"_config_updates": updates}, drop_revision=True)
            self._updates_sent = len(later)

    def send(self, go_on: Callable[[], bool]) -> None:
        """Append the waiting rows, then frames; ends early if ``go_on`` says no."""
        while self._buffer and go_on():
            # May find that the table has some of the rows already.
            table = self._open_table()
            self._buffer.drop_up_to(self._arrived)
            if self._buffer:
                table.append(self._buffer.page())
                self._buffer.discard_page()
        problem = ""
        for frames in self._frames.values():
            try:
                frames.send(self._node, self._frame_limit)
            except FileNotReadyError as error:
                problem = str(error)
        if problem and not self.problem:
            _log.warning("stream %s waits: %s", self.name, problem)
        self.problem = problem

    def verify_frames(self) -> None:
        """See that every frame is registered, and mend what isn't.

        Raises FileNotReadyError if a file does not hold its frames.
        """
        for frames in self._frames.values():
            frames.send(self._node, self._frame_limit)
            frames.verify(self._node, self._frame_limit)

    def verify(self, journal: Callable[[], Iterable[tuple[str, Any]]]) -> bool:
        """Return whether the table holds every row of the journal exactly once.

        A stream with re-takes is written anew first.
        """
        if self._retaken:
            self.rebuild(journal)
            self._retaken = False
        if self._table is None and TABLE_KEY not in self._node:
            return self.rows == 0
        numbers = self._open_table().seq_nums()
        if len(numbers) != self.rows or len(np.unique(numbers)) != self.rows:
            _log.warning(
                "stream %s: %d rows in Tiled (%d different, highest %d), %d (%d) in "
                "the journal",
                *(self.name, len(numbers), len(np.unique(numbers))),
                *(numbers.max(initial=0), self.rows, self._highest),
            )
            return False
        return bool(numbers.max(initial=0) == self._highest)

    def rebuild(self, journal: Callable[[], Iterable[tuple[str, Any]]]) -> None:
        """Delete the table and write it again, the last row of every seq_num."""
        _log.warning("stream %s: writing its table again", self.name)
        if TABLE_KEY in self._node:
            self._node.delete_contents(TABLE_KEY, recursive=True, external_only=False)
        table = self._table = self._create_table()
        last = {
            number: row
            for row, number in enumerate(
                n for page in self._pages(journal()) for n in page["seq_num"]
            )
        }
        buffer = RowBuffer(self._schema, self.name)
        row = 0
        for page in self._pages(journal()):
            numbers = page["seq_num"]
            keep = [i for i, n in enumerate(numbers) if last[n] == row + i]
            row += len(numbers)
            buffer.add(page, keep)
            while len(buffer) >= PAGE_ROWS:
                table.append(buffer.page())
                buffer.discard_page()
        while buffer:
            table.append(buffer.page())
            buffer.discard_page()
        self.rows = len(last)
        self._arrived = max(last, default=0)

    def close(self) -> None:
        """Tell live readers that nothing more will come."""
        if self._table is not None:
            self._table.close_stream()
        for frames in self._frames.values():
            frames.close()
        self._node.close_stream()

    @property
    def _frame_limit(self) -> int | None:
        """The events that frames belong to; None for a stream that has frames only."""
        return self.rows if self.rows or self._has_columns else None

    @property
    def _has_files(self) -> bool:
        """Whether frames will come."""
        keys = self._metadata["data_keys"].values()
        return any("external" in key for key in keys)

    @property
    def _has_columns(self) -> bool:
        """Whether it has data beside external files."""
        keys = self._metadata["data_keys"].values()
        return any("external" not in key for key in keys)

    def _open_table(self) -> AppendableTable:
        if self._table is None:
            self._table = self._node.get(TABLE_KEY) or self._create_table()
            self._arrived = int(self._table.seq_nums().max(initial=0))
        return self._table

    def _create_table(self) -> AppendableTable:
        return create_table(self._node, self._schema, self._metadata["data_keys"])

    def _pages(self, documents: Iterable[tuple[str, Any]]) -> Iterable[dict[str, Any]]:
        uids = {descriptor["uid"] for descriptor in self._descriptors}
        for name, doc in documents:
            if name == "event" and doc["descriptor"] in uids:
                yield event_as_page(doc)
            elif name == "event_page" and doc["descriptor"] in uids:
                yield doc
