"""Check the columns that a kernel is given."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.errors import KernelInputError

__all__ = ["equal_columns"]


def equal_columns(kind: type, **columns: ArrayLike) -> tuple[NDArray[Any], ...]:
    """Return columns of one length as contiguous arrays of the kind asked for.

    Raises KernelInputError that names the column which does not fit.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, column in columns.items():
        try:
            arrays[name] = np.ascontiguousarray(column, dtype=kind)
        except (TypeError, ValueError) as error:
            raise KernelInputError(
                f"{name}: not {kind.__name__} values: {error}"
            ) from error
        if np.ndim(column) != 1:
            raise KernelInputError(
                f"{name} has {np.ndim(column)} dimensions; give one column, (row,)"
            )
    sizes = {name: array.size for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise KernelInputError(f"unequal rows: {listed}; give columns of one length")
    return tuple(arrays.values())
