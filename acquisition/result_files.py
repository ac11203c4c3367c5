"""Arrays that the analysis made, in files of their own: whole or not at all.

A file is written under another name, fsynced and renamed, so that a reader sees the
old array or the new one. It is one HDF5 chunk: of a file of several, overwritten in
mid-read, Tiled mixed two versions without an error. The same array gives the same
bytes, so that a second computation changes nothing.
"""

import hashlib
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryoline.acquisition.errors import JournalError
from cryoline.acquisition.journal import sync_directory
from cryoline.acquisition.layout import DataLayout

__all__ = ["DATASET", "RESULT_FILE", "ResultFiles", "node_key"]

RESULT_FILE: Final = "result_file"
"""The name of the lines that say so in a derived journal."""
DATASET: Final = "data"

_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_NAMESPACE: Final = uuid.UUID("5c0d6f1e-7a0b-5e53-8f0e-3b6f0a3c9d41")
_KINDS: Final = "biuf"


class ResultFiles:
    """Writes the arrays of one derived run below ``results/<uid of the run>``."""

    def __init__(self, layout: DataLayout, run_uid: str) -> None:
        self._root = layout.results
        self._run_uid = run_uid
        self._live: dict[str, tuple[tuple[int, ...], str]] = {}

    def write(
        self,
        key: str,
        array: NDArray[Any],
        *,
        version: int,
        time: float,
        dims: Sequence[str],
        units: str,
        scale_nm: float | Sequence[float] | None = None,
        live: bool = False,
        attributes: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Put an array on disk; return the document that says so.

        Live ones share a file, which is replaced; others get one each, for good.
        ``time`` is of the raw document that the array follows from, ``scale_nm`` the
        size of a pixel or voxel, one number or one for each axis.

        Raises ValueError for what can't be shown under this key, JournalError if the
        file can't be written.
        """
        array = np.ascontiguousarray(array)
        self._check(key, array, dims, live)
        scale = _plain(scale_nm)
        path = Path(self._run_uid) / f"{node_key(key, version, live)}.h5"
        content = _as_hdf5(array, dims, units, scale)
        self._replace(self._root / path, content)
        kind = "live" if live else "kept"
        return {
            "uid": str(
                uuid.uuid5(_NAMESPACE, f"{self._run_uid}/{key}/{kind}/{version}")
            ),
            "run_start": self._run_uid,
            "key": key,
            "version": version,
            "path": path.as_posix(),
            "dataset": DATASET,
            "shape": list(array.shape),
            "dtype": array.dtype.str,
            "dims": list(dims),
            "units": units,
            "scale_nm": scale,
            "live": live,
            "time": time,
            "sha256": hashlib.sha256(content).hexdigest(),
            "attributes": dict(attributes or {}),
        }

    def _check(
        self, key: str, array: NDArray[Any], dims: Sequence[str], live: bool
    ) -> None:
        if not _KEY.fullmatch(key):
            raise ValueError(
                f"array {key!r}: a key is of letters, digits, '.' and '-'; it names a "
                "file and a page"
            )
        if array.dtype.kind not in _KINDS or array.size == 0:
            raise ValueError(f"array {key}: {array.dtype} {array.shape} can't be shown")
        if len(set(dims)) != array.ndim:
            raise ValueError(
                f"array {key}: {array.ndim} axes, and these names: {', '.join(dims)}"
            )
        kind = (array.shape, array.dtype.str)
        if live and self._live.setdefault(key, kind) != kind:
            raise ValueError(
                f"array {key}: {kind[1]} {kind[0]} after {self._live[key][1]} "
                f"{self._live[key][0]}; a live array keeps its shape and type, or a "
                "page that is open on it breaks"
            )

    def _replace(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f"{path.name}.tmp")
        try:
            path.parent.mkdir(exist_ok=True)
            if path.exists() and path.read_bytes() == content:
                return
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_directory(path.parent)
        except OSError as error:
            raise JournalError(
                f"{path}: can't write this result ({len(content) / 1e6:.1f} MB): "
                f"{error.strerror}; free space or mend the rights of the directory, "
                "then restart the analysis worker"
            ) from error


def node_key(key: str, version: int, live: bool) -> str:
    """Return the name of an array's file and of its node in Tiled.

    >>> node_key("Si", 7, live=True), node_key("Si", 7, live=False)
    ('Si', 'Si_v0007')
    """
    return key if live else f"{key}_v{version:04d}"


def _as_hdf5(array: NDArray[Any], dims: Sequence[str], units: str, scale: Any) -> bytes:
    """Return the bytes of a file with this array, as one chunk."""
    import h5py

    with h5py.File("result", "w", driver="core", backing_store=False) as file:
        stored = file.create_dataset(DATASET, data=array, chunks=array.shape)
        for axis, name in enumerate(dims):
            stored.dims[axis].label = name
        stored.attrs["units"] = units
        if scale is not None:
            stored.attrs["scale_nm"] = scale
        file.flush()
        return bytes(file.id.get_file_image())


def _plain(scale_nm: float | Sequence[float] | None) -> float | list[float] | None:
    if scale_nm is None or isinstance(scale_nm, int | float):
        return scale_nm
    return [float(one) for one in np.atleast_1d(scale_nm)]
