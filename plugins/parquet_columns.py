"""The columns of a parquet file, with errors that name file and column."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryoline.plugins.errors import ReaderError

__all__ = ["numbers", "read_parquet"]


def read_parquet(path: Path) -> Any:
    """Return a parquet file as a ``pyarrow.Table``; raises ReaderError."""
    # Takes a tenth of a second, which only these files need.
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_table(BytesIO(path.read_bytes()))
    except (OSError, pyarrow.ArrowException) as error:
        raise ReaderError(
            f"{path}: can't be read as parquet: {error}; the file was cut, or is no "
            "parquet: export it again"
        ) from error


def numbers(path: Path, content: Any, position: int) -> NDArray[np.float64]:
    """Return a column as numbers, NaN where it is empty; raises ReaderError."""
    import pyarrow

    try:
        column = content.column(position).cast("double").to_numpy()
    except pyarrow.ArrowException as error:
        raise ReaderError(
            f"{path}: column {content.column_names[position]!r} is no column of "
            f"numbers: {error}; export the file again"
        ) from error
    return np.array(column, dtype=float)
