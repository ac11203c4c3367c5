"""One detector's frames on their way into Tiled: counted, looked for, registered.

A frame lies in a file that the detector wrote; the run's journal says that it is
there (``stream_datum``). Registered are only frames

1. whose event is in the journal too: a run killed between the two would else have
   more frames than rows, and could not be read as a whole;
2. that are in the file: Tiled takes the address of anything;
3. of which number n belongs to event n + 1. Indices with a gap, as a rewound plan
   leaves them, would show wrong frames without an error.
"""

import copy
import logging
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tiled.client.container import Container

from cryoline.acquisition.data_file import stored_array
from cryoline.acquisition.errors import (
    ConfigError,
    FileNotReadyError,
    PublishError,
)
from cryoline.acquisition.path_map import PathMap
from cryoline.acquisition.tiled_arrays import RegisteredArray, find_or_register

__all__ = ["FramePublication", "load"]

_HDF5: Final = "application/x-hdf5"

_log = logging.getLogger(__name__)


def load() -> Any:
    """Return what keeps account of files, loaded with dask and xarray: 1.3-2.4 s.

    Once in a publisher's life; asked for when a run begins, the first frame need not
    wait for it.
    """
    from bluesky_tiled_plugins.writing.consolidators import consolidator_factory

    return consolidator_factory


class FramePublication:
    """Makes the array node of one data key hold the frames that the journal names.

    ``data_keys`` are the stream's, as its node has them. Raises PublishError if the
    file or its frames do not fit the descriptor, FileNotReadyError if they are not
    there, and httpx errors if Tiled does not answer; after those, ``disconnect``.
    """

    def __init__(
        self,
        stream: str,
        resource: Mapping[str, Any],
        data_keys: Mapping[str, Any],
        paths: PathMap,
    ) -> None:
        self.key = str(resource["data_key"])
        self.name = f"{stream}/{self.key}"
        self.registered = 0
        """Frames that are, or are about to be, in Tiled."""
        if self.key not in data_keys:
            raise PublishError(
                f"{self.name}: a file is named for it, but the descriptor has no such "
                "key; the device describes less than it records"
            )
        self._resource = copy.deepcopy(dict(resource))
        self._data_key = _without_slot_axis(data_keys[self.key], resource)
        self._seen = 0
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._path = self._map(paths)
        self._consolidator: Any = None
        self._node: RegisteredArray | None = None
        self._shape: tuple[int, ...] = ()  # that Tiled has confirmed

    @property
    def waiting(self) -> int:
        """Frames in the journal that are not registered yet."""
        return self._seen - self.registered

    def add(self, datum: Mapping[str, Any]) -> None:
        """Take a stream_datum from the journal."""
        if datum["stream_resource"] != self._resource["uid"]:
            raise PublishError(
                f"{self.name}: a second file within one run; a detector keeps the "
                "file of a run open until the run ends"
            )
        first, last = datum["indices"]["start"], datum["indices"]["stop"]
        event = datum["seq_nums"]["start"]
        if event != first + 1 or (last > self._seen and first != self._seen):
            raise PublishError(
                f"{self.name}: frame {first} belongs to event {event}, after "
                f"{self._seen} frames; frames and events must count alike: "
                "a re-taken frame overwrites its slot"
            )
        if last > self._seen:
            self._seen = last
            self._waiting.append(datum)

    def disconnect(self) -> None:
        """Forget what was known of Tiled: after an error only Tiled knows."""
        self._node = None

    def send(self, stream: Container, rows: int | None) -> None:
        """Register the frames that are there, of the first ``rows`` events only."""
        due = self._due(rows)
        stored = self._stored_frames() if due else 0
        while due and due[0]["indices"]["stop"] <= stored:
            datum = due.pop(0)
            self._account().consume_stream_datum(dict(datum))
            self.registered = datum["indices"]["stop"]
            self._waiting.popleft()
        if self.registered:
            self._write(stream)
        if due:
            raise FileNotReadyError(
                f"{self._path}: {stored} frames of {self.name} in the file, "
                f"{due[-1]['indices']['stop']} in the run; a part of it is missing"
            )

    def verify(self, stream: Container, rows: int | None) -> None:
        """See that Tiled has each frame of the journal; mend it if not.

        Raises PublishError if there are fewer frames than events.
        """
        if rows is not None and self.registered != rows:
            raise PublishError(
                f"{self.name}: {self.registered} frames of {rows} events; the detector "
                "did not say that it recorded the others"
            )
        if self._waiting:
            _log.info("%s: %d frames without an event", self.name, self.waiting)
        if self.registered:
            if self._stored_frames() < self.registered:
                raise FileNotReadyError(
                    f"{self._path}: fewer frames of {self.name} than before; "
                    "what happened to the file?"
                )
            self._node = None  # ask Tiled, whatever was sent
            self._write(stream)

    def close(self) -> None:
        """Tell live readers that nothing more will come."""
        if self._node is not None:
            self._node.close_stream()

    def _due(self, rows: int | None) -> list[Mapping[str, Any]]:
        """Return the datums to register next."""
        return [
            datum
            for datum in self._waiting
            if rows is None or datum["seq_nums"]["stop"] - 1 <= rows
        ]

    def _write(self, stream: Container) -> None:
        source = self._account().get_data_source()
        if self._node is None:
            self._node = find_or_register(stream, self.key, source, {})
            self._shape = self._node.shape
        wanted = tuple(source.structure.shape)
        if self._shape != wanted:
            self._node.put(source, first=min(self._shape[0], wanted[0] - 1))
            self._shape = wanted

    def _account(self) -> Any:
        """Return bluesky-tiled-plugins' account of the file, as TiledWriter has it."""
        if self._consolidator is None:
            descriptor = {"data_keys": {self.key: self._data_key}}
            self._consolidator = load()(self._resource, descriptor)
        return self._consolidator

    def _map(self, paths: PathMap) -> Path:
        """Put the server's address into the resource; return the file on this host."""
        try:
            path = paths.local_path(self._resource["uri"])
            self._resource["uri"] = paths.server_uri(path)
        except ConfigError as error:
            raise PublishError(f"{self.name}: {error}") from error
        return path

    def _stored_frames(self) -> int:
        """Return how many frames of the described kind are in the file."""
        parameters = self._resource["parameters"]
        if self._resource["mimetype"] != _HDF5 or parameters.get("template"):
            return self._seen  # one file a frame, or what only the server can read
        found = stored_array(self._path, parameters["dataset"])
        account = self._account()
        frame = (account.data_type.to_numpy_dtype().str, tuple(account.datum_shape))
        if (found.dtype, found.shape[1:]) != frame:
            raise PublishError(
                f"{self._path}: a frame of {self.name} is {found.dtype} "
                f"{found.shape[1:]} in the file and {frame[0]} {frame[1]} in the "
                "descriptor; mend the device"
            )
        return found.shape[0]


def _without_slot_axis(
    data_key: Mapping[str, Any], resource: Mapping[str, Any]
) -> dict[str, Any]:
    """Take (1, y, x) for (y, x) if the file's chunks show that it has the 1 already."""
    key = dict(data_key)
    shape, chunks = list(key["shape"]), resource["parameters"].get("chunk_shape") or ()
    if len(shape) > 1 and shape[0] == 1 and len(chunks) == len(shape):
        key["shape"] = shape[1:]
        key["dims"] = list(key.get("dims") or ())[1:]
    return key
