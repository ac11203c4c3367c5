"""What the demo reads back from Tiled, by tiled's own client, as anybody would."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryoline.acquisition.errors import DemoError
from cryoline.acquisition.journal_reader import count_rows
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.tiled_server import TiledServer

__all__ = ["Columns", "Results", "Tables", "cycling_points", "row_counts", "rows_of"]

_PUBLISHED_WITHIN_S: Final = 120.0
"""The volumes at full resolution are made after the last tilt: 10 s on a quiet machine
of two cores [A], many times that on a busy one."""

Columns = dict[str, list[Any]]
Tables = dict[str, Columns]
"""Columns by stream."""


class Results:
    """The runs of a demo, once the publisher has closed them.

    names: keys of runs by container, "raw" or "derived"
    Raises DemoError if one is not there in time.
    """

    def __init__(self, server: TiledServer, names: Mapping[str, Sequence[str]]) -> None:
        from tiled.client import from_uri

        self._names = {container: tuple(keys) for container, keys in names.items()}
        self._client = from_uri(server.url(), api_key=server.api_key())
        self._wait()
        self.tables = {
            container: {key: self._tables(container, key) for key in keys}
            for container, keys in self._names.items()
        }

    def close(self) -> None:
        """Let go of the server."""
        self._client.context.close()

    def frame_count(self, key: str, stream: str, name: str) -> int:
        """Return how many frames of a detector a raw run holds."""
        return int(self._client["raw", key, stream, name].shape[0])

    def frames(self, key: str, stream: str, name: str) -> NDArray[Any]:
        """Return all frames of a detector, in the order of the events."""
        return np.asarray(self._client["raw", key, stream, name].read())

    def array(self, key: str, name: str) -> tuple[NDArray[Any], dict[str, Any]]:
        """Return an array of a derived run, and its metadata."""
        node = self._client["derived", key, "arrays", name]
        return np.asarray(node.read()), dict(node.metadata)

    def kept(self, key: str, name: str) -> list[str]:
        """Return the names of the versions that are kept of an array."""
        names: list[str] = sorted(self._client["derived", key, "arrays"])
        return [n for n in names if n.startswith(f"{name}_v")]

    def _wait(self) -> None:
        deadline = time.monotonic() + _PUBLISHED_WITHIN_S
        tick = threading.Event()
        while True:
            missing = [
                f"{container}/{key}"
                for container, keys in self._names.items()
                for key in keys
                if not self._is_closed(container, key)
            ]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise DemoError(
                    f"{', '.join(missing)}: not in Tiled after "
                    f"{_PUBLISHED_WITHIN_S:g} s; what was measured is in the journal: "
                    "see cryoline status, then cryoline replay"
                )
            tick.wait(0.3)

    def _is_closed(self, container: str, key: str) -> bool:
        try:
            return bool(self._client[container, key].metadata.get("stop"))
        except KeyError:
            return False

    def _tables(self, container: str, key: str) -> Tables:
        run = self._client[container, key]
        return {stream: _columns(run[stream]) for stream in run if stream != "arrays"}


def _columns(stream: Any) -> Columns:
    frame = stream.base["internal"].read()
    return {str(name): frame[name].tolist() for name in frame.columns}


def rows_of(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return a table as one dictionary a row."""
    return [
        dict(zip(columns, values, strict=True))
        for values in zip(*columns.values(), strict=True)
    ]


def cycling_points(results: Results, key: str) -> Columns:
    """Return the potentiostat's points of a raw run, by their plain names."""
    return {
        column.removeprefix("potentiostat_"): values
        for column, values in results.tables["raw"][key]["points"].items()
        if column.startswith("potentiostat_")
    }


def row_counts(layout: DataLayout, results: Results) -> Iterator[tuple[str, int, int]]:
    """Yield each stream's name, its rows in the journal, and those in Tiled."""
    folders = {"raw": layout.raw_journal, "derived": layout.derived_journal}
    for container, runs in results.tables.items():
        for key, tables in runs.items():
            counted = count_rows(folders[container] / f"{key}.jsonl")
            for stream, count in counted.items():
                found = len(tables.get(stream, {}).get("seq_num", ()))
                yield f"{_short(key)} {stream}", count, found


def _short(key: str) -> str:
    """Return what a run is about, in a word: of its key, technique or quantity."""
    _, _, technique, _, *quantity = key.split("_")
    words = {"cyclic-voltammetry": "sweep", "tilt-eds": "tilts"}
    return words.get(technique, technique) if not quantity else quantity[0]
