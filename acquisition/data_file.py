"""Looks into the HDF5 files of detectors, finished ones and those still written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryoline.acquisition.errors import FileNotReadyError

__all__ = ["StoredArray", "open_data_file", "stored_array"]


@dataclass(frozen=True)
class StoredArray:
    """What a data set in a file is like."""

    shape: tuple[int, ...]
    dtype: str
    """As numpy writes it, ``<u2``."""


def open_data_file(path: Path) -> Any:
    """Return an ``h5py.File`` to read from, whoever writes it or was killed writing it.

    In HDF5's mode of one writer and many readers: a file whose writer was killed
    can't be opened otherwise. Close it soon (``with``): it shows the file as it was
    when it was opened.

    Raises FileNotReadyError if it is missing, damaged or locked.
    """
    import h5py

    try:
        return h5py.File(path, "r", swmr=True, libver="latest")
    except FileNotFoundError:
        raise FileNotReadyError(
            f"{path}: no such file, though the run names it; bring it there, "
            "or correct [paths] in instrument.toml"
        ) from None
    except OSError as error:
        raise FileNotReadyError(
            f"{path}: can't be read as HDF5 ({error}); it is damaged, or its writer "
            "holds it without SWMR"
        ) from error


def stored_array(path: Path, dataset: str) -> StoredArray:
    """Return what the data set in a file is like now.

    Raises FileNotReadyError if the file can't be read or holds no such data set.
    """
    with open_data_file(path) as content:
        try:
            found = content[dataset]
            return StoredArray(tuple(found.shape), found.dtype.str)
        except (KeyError, AttributeError, RuntimeError) as error:
            raise FileNotReadyError(
                f"{path}: no data set {dataset!r} that can be read ({error})"
            ) from error
