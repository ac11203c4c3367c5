"""One journaled run on its way into Tiled: resumable, idempotent, verified.

The nodes are those that bluesky-tiled-plugins' TiledWriter makes (run, streams,
``internal`` tables), so that its clients read them; but TiledWriter can't be
resumed, unpacks pages row by row, and writes at least once. Here, in this order:

1. Rows go to the table in pages; after any error, and at the start, the table's
   own ``seq_num`` says what has arrived.
2. At stop the table must hold each journaled row once. An append that was in
   flight when this process or the server died can have doubled a page.
3. If it does not, the table is deleted and written again from the journal.
4. Frames are registered where detectors wrote them, when the file has them and the
   journal their event.
5. Then, and only then, the run gets its stop document and counts as published.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
from tiled.structures.core import Spec

from cryoline.acquisition.errors import PublishError
from cryoline.acquisition.journal_reader import JournalTail, read_documents
from cryoline.acquisition.path_map import PathMap
from cryoline.acquisition.publication_markers import Held
from cryoline.acquisition.result_files import RESULT_FILE
from cryoline.acquisition.result_publication import ResultPublication
from cryoline.acquisition.search_block import SearchBlock
from cryoline.acquisition.stream_publication import StreamPublication
from cryoline.acquisition.tiled_access import fit_json
from cryoline.acquisition.tiled_tables import PAGE_ROWS, event_as_page

__all__ = ["RunPublication"]

_BUFFER_ROWS: Final = 20 * PAGE_ROWS
"""Rows held in memory while Tiled is away (about 60 MB) [A]; the rest waits on disk."""

_OLD_KIND: Final = ("resource", "datum", "datum_page")

_log = logging.getLogger(__name__)


class RunPublication:
    """Reads one journal as it grows and makes Tiled hold the same.

    Errors of the network come out as httpx errors: ``disconnect`` and try again.
    PublishError and JournalLineError are final for this run.

    ``replaceable`` says that what Tiled holds of another run under this key may be
    deleted: derived runs can be computed again, raw ones can't. ``anew`` deletes it
    in any case, because the journal is known to be another than the published one.
    ``results`` is where the files of a derived run lie; ``custody_of`` tells what a
    specimen has suffered.
    """

    def __init__(
        self,
        path: Path,
        paths: PathMap,
        results: Path,
        *,
        custody_of: Callable[[str | None], dict[str, Any]] | None = None,
        replaceable: bool = False,
        anew: bool = False,
    ) -> None:
        self.path = path
        self._custody_of = custody_of
        self._paths = paths
        self._replaceable = replaceable
        self._anew = anew
        self.key = path.stem
        self.stopped = False
        """Whether the stop document was read: all rows are known."""
        self._rebuilt: list[str] = []
        self._tail = JournalTail(path)
        self._start: dict[str, Any] = {}
        self._stop: dict[str, Any] = {}
        self._streams: dict[str, StreamPublication] = {}
        self._by_descriptor: dict[str, StreamPublication] = {}
        self._resources: dict[str, dict[str, Any]] = {}
        self._results = ResultPublication(results, paths)
        self._block = SearchBlock()
        self._unsent = False
        # Unknown until Tiled was asked, and again after every error:
        self._node: Any = None
        self._is_new = False  # made here: it holds nothing that is not known

    @property
    def waiting(self) -> int:
        """Rows read from the journal that Tiled has not confirmed."""
        return sum(stream.waiting for stream in self._streams.values())

    @property
    def pending(self) -> bool:
        """Whether something was read that Tiled has not confirmed."""
        return bool(self._unsent or self.stopped or self.waiting > 0 or self.problem)

    @property
    def problem(self) -> str:
        """What the run waits for, beside Tiled: files that are not there."""
        problems = [stream.problem for stream in self._streams.values()]
        return "; ".join(filter(None, [*problems, self._results.problem]))

    @property
    def journal_rows(self) -> dict[str, int]:
        """Rows in the journal, by stream, as far as it was read."""
        return {stream.name: stream.rows for stream in self._streams.values()}

    @property
    def unread_bytes(self) -> int:
        """How much of the journal was not looked at yet."""
        return 0 if self.stopped else self._tail.unread_bytes()

    def read(self) -> bool:
        """Take in what is new in the journal, while there is room; return if so.

        Raises JournalLineError or PublishError if the journal can't be published.
        """
        if self.stopped or self.waiting >= _BUFFER_ROWS:
            return False
        documents = self._tail.read()
        for name, doc in documents:
            try:
                self._take(name, doc)
            except (KeyError, TypeError, AttributeError) as error:
                raise PublishError(
                    f"{self.path}: a {name} document does not follow event-model: "
                    f"{error!r}"
                ) from error
        self._unsent = self._unsent or bool(documents)
        return bool(documents)

    def disconnect(self) -> None:
        """Forget what was known of Tiled: after an error only Tiled knows."""
        self._node = None
        self._is_new = False
        for stream in self._streams.values():
            stream.disconnect()
        self._results.disconnect()

    def write(self, container: Any, go_on: Callable[[], bool] = lambda: True) -> bool:
        """Send what was read; return whether that was all.

        It is not if a further stream has no node yet: making one takes several
        requests, and rows of those that have one may have come meanwhile. Ends early
        between two pages if ``go_on`` says no.
        """
        if not self._start:
            return True
        self._open(container)
        self._results.send(self._node)  # pictures before rows: they are looked at
        streams = sorted(self._streams.values(), key=lambda stream: not stream.is_open)
        made = 0
        for stream in streams:
            if made and not stream.is_open:
                return False
            made += not stream.is_open
            stream.open(self._node, is_new=self._is_new)
            stream.send(go_on)
        self._unsent = False
        return True

    def finish(self) -> Held:
        """Verify every row and frame, rebuild what is not exact, add the stop document.

        Returns what Tiled holds. Raises PublishError if a table is not exact even
        after it was written again, FileNotReadyError if a file is not what it was.
        """
        for stream in self._streams.values():
            if not stream.verify(self._documents):
                stream.rebuild(self._documents)
                self._rebuilt.append(stream.name)
                if not stream.verify(self._documents):
                    raise PublishError(
                        f"{self.path}: stream {stream.name} has {stream.rows} rows "
                        "here and others in Tiled, even after it was written again; "
                        "does another program write to this catalog?"
                    )
            stream.verify_frames()
        self._results.verify(self._node)
        block = self._found_by()
        metadata = {"stop": fit_json(self._stop), "cryoline": block}
        self._node.update_metadata(metadata, drop_revision=True)
        self._close_streams()
        frames = {
            name: count
            for stream in self._streams.values()
            for name, count in stream.frames.items()
        }
        return Held(
            self.journal_rows, frames, self._results.count, self._rebuilt, block
        )

    def _documents(self) -> Any:
        return read_documents(self.path)

    def _take(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            self._start = doc
            self._block.start(doc)
            self._results.start(doc)
        elif name == "descriptor":
            if stream := self._streams.get(doc["name"]):
                stream.update(doc)
            else:
                stream = StreamPublication(doc, self._paths)
                self._streams[doc["name"]] = stream
            self._by_descriptor[doc["uid"]] = stream
        elif name in ("event", "event_page"):
            page = doc if name == "event_page" else event_as_page(doc)
            stream = self._by_descriptor[page["descriptor"]]
            stream.add(page)
            self._block.page(stream.name, page)
        elif name == "stop":
            self._stop = doc
            self.stopped = True
        elif name == "stream_resource":
            self._resources[doc["uid"]] = doc
        elif name == "stream_datum":
            resource = self._resources[doc["stream_resource"]]
            self._by_descriptor[doc["descriptor"]].add_frames(doc, resource)
        elif name == RESULT_FILE:
            self._results.add(doc)
        elif name in _OLD_KIND:
            raise PublishError(
                f"{self.path}: {name} documents can't be published; let the device "
                "name its files by stream_resource and stream_datum"
            )

    def _found_by(self) -> dict[str, Any]:
        """Return the block of metadata that searches look at."""
        block = self._block.as_dict()
        if self._custody_of and (custody := self._custody_of(block.get("specimen"))):
            block["custody"] = fit_json(custody)
        return block

    def _open(self, container: Any) -> None:
        """Find or make the run's node."""
        if self._node is not None:
            return
        node = container.get(self.key)
        if node is not None and self._is_outdated(node):
            _log.info("%s: superseded; deleted in Tiled, published anew", self.key)
            container.delete_contents(self.key, recursive=True, external_only=False)
            node = None
        self._is_new = node is None
        if node is None:
            node = container.create_container(
                key=self.key,
                metadata={
                    "start": fit_json(self._start),
                    "cryoline": self._block.as_dict(),
                },
                specs=[Spec("BlueskyRun", version="3.0")],
            )
        self._anew = False
        self._node = node

    def _is_outdated(self, node: Any) -> bool:
        start = node.metadata.get("start", {})
        if start.get("uid") == self._start["uid"] and not self._replaceable:
            return self._anew
        if self._replaceable:
            # Through JSON, as Tiled sent it: NaN has become None there.
            return self._anew or orjson.loads(orjson.dumps(start)) != orjson.loads(
                orjson.dumps(fit_json(self._start))
            )
        raise PublishError(
            f"{self.path}: Tiled holds another run ({start.get('uid')}) under this "
            "key; rename the journal of one of them, or give the data directory its "
            "own catalog"
        )

    def _close_streams(self) -> None:
        try:
            for stream in self._streams.values():
                stream.close()
            self._results.close()
            self._node.close_stream()
        except httpx.HTTPStatusError as error:
            # Live readers wait in vain; the data is complete all the same.
            _log.warning("%s: can't close the live streams: %s", self.key, error)
