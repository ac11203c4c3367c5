"""The arrays of a derived run on their way into Tiled: one node each, by file.

They lie in a node ``arrays`` of the run, which looks like a stream of bluesky's whose
keys are files, and so can be read and exported like one. (Arrays directly below the
run break the export of its documents.)

A live array has one node: its file is replaced, and a PUT tells those who look at it.
A kept one has a node of its own for each version.
"""

import hashlib
import logging
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from tiled.client.container import Container
from tiled.structures.array import ArrayStructure, BuiltinDtype
from tiled.structures.core import Spec, StructureFamily
from tiled.structures.data_source import Asset, DataSource, Management

from cryoline.acquisition.data_file import StoredArray, stored_array
from cryoline.acquisition.errors import FileNotReadyError
from cryoline.acquisition.path_map import PathMap
from cryoline.acquisition.result_files import node_key
from cryoline.acquisition.tiled_access import fit_json
from cryoline.acquisition.tiled_arrays import RegisteredArray, find_or_register

__all__ = ["ARRAYS_KEY", "ResultPublication"]

ARRAYS_KEY: Final = "arrays"

_SPECS: Final = (Spec("BlueskyEventStream", version="3.0"), Spec("composite"))
_IN_METADATA: Final = ("key", "version", "units", "scale_nm", "live", "time", "sha256")
_NAMESPACE: Final = uuid.UUID("0d9b7d0e-2f55-5c0b-9f0d-8a8d6c1f7f52")

_log = logging.getLogger(__name__)


class ResultPublication:
    """Makes the arrays of one run in Tiled be those that its journal names.

    Raises PublishError if a line can't be understood, FileNotReadyError if a file is
    missing or is not what the analysis wrote, and httpx errors if Tiled does not
    answer; after those, ``disconnect``.
    """

    def __init__(self, results: Path, paths: PathMap) -> None:
        self._start: Mapping[str, Any] = {}
        self._results = results
        self._paths = paths
        self._docs: dict[str, Mapping[str, Any]] = {}  # the latest, by node key
        self._due: set[str] = set()
        self.problem = ""
        """Why an array can't be registered, as far as known."""
        # Unknown until Tiled was asked, and again after every error:
        self._parent: Container | None = None
        self._described: set[str] = set()
        self._nodes: dict[str, RegisteredArray] = {}

    @property
    def count(self) -> int:
        """Arrays that the journal names."""
        return len(self._docs)

    def start(self, doc: Mapping[str, Any]) -> None:
        """Take the run's start document."""
        self._start = doc

    def add(self, doc: Mapping[str, Any]) -> None:
        """Take a line of the derived journal that tells of a file."""
        key = node_key(doc["key"], doc["version"], doc["live"])
        self._docs[key] = doc
        self._due.add(key)

    def disconnect(self) -> None:
        """Forget what was known of Tiled: after an error only Tiled knows."""
        self._parent = None
        self._described.clear()
        self._nodes.clear()

    def send(self, run: Container) -> None:
        """Register what is new; what can't be is left for later."""
        problem = ""
        for key in sorted(self._due):
            try:
                self._write(run, key)
            except FileNotReadyError as error:
                problem = str(error)
        if problem and not self.problem:
            _log.warning("%s", problem)
        self.problem = problem

    def verify(self, run: Container) -> None:
        """See that Tiled has the last version of each array, and mend what it hasn't.

        Raises FileNotReadyError if a file is not what the analysis wrote.
        """
        self.disconnect()
        for key in sorted(self._docs):
            self._write(run, key, final=True)

    def close(self) -> None:
        """Tell live readers that nothing more will come."""
        for node in self._nodes.values():
            node.close_stream()
        if self._parent is not None:
            self._parent.close_stream()

    def _write(self, run: Container, key: str, *, final: bool = False) -> None:
        doc = self._docs[key]
        path = self._results / doc["path"]
        _check(path, doc, to_the_byte=final or not doc["live"])
        source = _source(self._paths.server_uri(path), doc)
        metadata = {name: doc[name] for name in _IN_METADATA} | doc["attributes"]
        parent = self._open(run, key)
        node = self._nodes.get(key)
        if node is None:
            node = find_or_register(parent, key, source, fit_json(metadata))
            self._nodes[key] = node
        # In this order: killed in between, the next one does it again.
        if (
            node.shape != tuple(doc["shape"])
            or node.metadata.get("sha256") != (doc["sha256"])
        ):
            node.put(source)
            node.update_metadata(fit_json(metadata), drop_revision=True)
        self._due.discard(key)

    def _open(self, run: Container, key: str) -> Container:
        """Find or make the node of all arrays, and describe this one in it."""
        if self._parent is None:
            self._parent = run.get(ARRAYS_KEY)
        if self._parent is None:
            self._parent = run.create_container(
                key=ARRAYS_KEY, metadata=self._descriptor(key), specs=list(_SPECS)
            )
        elif key not in self._described:
            known = self._parent.metadata["data_keys"]
            if known.get(key) != self._descriptor(key)["data_keys"][key]:
                self._parent.update_metadata(self._descriptor(key), drop_revision=True)
        self._described.add(key)
        return self._parent

    def _descriptor(self, key: str) -> dict[str, Any]:
        """Return the metadata of a stream whose only data key is this array."""
        doc = self._docs[key]
        data_key = {
            "source": "cryoline.analysis",
            "dtype": "array",
            "dtype_numpy": doc["dtype"],
            "shape": list(doc["shape"]),
            "dims": list(doc["dims"]),
            "units": doc["units"],
            "external": "STREAM:",
            "object_name": ARRAYS_KEY,
        }
        return {
            "uid": str(uuid.uuid5(_NAMESPACE, self._start["uid"])),
            "time": self._start["time"],
            "data_keys": {key: data_key},
            "configuration": {},
            "hints": {},
        }


def _source(uri: str, doc: Mapping[str, Any]) -> DataSource:
    shape = tuple(doc["shape"])
    structure = ArrayStructure(
        data_type=BuiltinDtype.from_numpy_dtype(np.dtype(doc["dtype"])),
        shape=shape,
        chunks=tuple((length,) for length in shape),
        dims=tuple(doc["dims"]),
    )
    return DataSource(
        structure_family=StructureFamily.array,
        structure=structure,
        mimetype="application/x-hdf5",
        parameters={"dataset": doc["dataset"]},
        management=Management.external,
        # A single data_uri, without a number, can't be parsed by live clients.
        assets=[Asset(uri, is_directory=False, parameter="data_uris", num=0)],
    )


def _check(path: Path, doc: Mapping[str, Any], *, to_the_byte: bool) -> None:
    """See that a file is what the analysis wrote; of a live one, that it could be."""
    found = stored_array(path, doc["dataset"])
    is_same = found == StoredArray(tuple(doc["shape"]), doc["dtype"])
    if is_same and to_the_byte:
        is_same = hashlib.sha256(path.read_bytes()).hexdigest() == doc["sha256"]
    if not is_same:
        raise FileNotReadyError(
            f"{path}: not the array that the analysis wrote (sha256 {doc['sha256']}); "
            "to have it computed again, remove the run's derived journal and restart "
            "the analysis worker"
        )
