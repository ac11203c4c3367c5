"""Which part of each cell of a grid a convex polygon covers: exact areas."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryoline.analysis.errors import KernelInputError

__all__ = ["add_polygons", "cover"]

Array = NDArray[np.float64]


def cover(polygon_cells: Array, rows: int, columns: int) -> Array:
    """Return which part of each cell a convex polygon covers, (row, column) 0..1.

    polygon_cells: (corner, (x, y)) in cells: the first one is from 0 to 1
    Raises KernelInputError unless it has three corners or more, all finite.

    >>> square = np.array([(0.5, 0.0), (2.0, 0.0), (2.0, 1.0), (0.5, 1.0)])
    >>> cover(square, 1, 3).tolist()
    [[0.5, 1.0, 0.0]]
    """
    polygon = np.ascontiguousarray(polygon_cells, dtype=np.float64)
    if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
        raise KernelInputError(
            f"polygon of shape {polygon.shape}; give (corner, 2) with 3 corners or more"
        )
    if not np.isfinite(polygon).all():
        raise KernelInputError("polygon: a corner is not finite; check its sizes")
    cells = np.zeros((rows, columns))
    add_polygons(cells, polygon[None], np.ones(1))
    return cells


_SNAP = 1e-11
"""A cell that lacks less than this is covered: it is the rounding of its corners."""

# With its types given it is compiled, or read from its cache, when this is imported:
# never in the middle of a plan.


@njit("f8(f8[::1], f8, f8, f8, i8[::1])", cache=True, nogil=True, error_model="numpy")
def _edge(row, x0, x1, height, touched):  # type: ignore[no-untyped-def]
    """Note a piece of an edge within one row of cells.

    row: what each cell has more than the one before, of which an edge gives the cells
    to its right ``height``, and those that it crosses their part of it
    """
    last = len(row) - 2
    low, high = min(x0, x1), max(x0, x1)
    if high <= 0.0 or low >= last or high - low < 1e-12:
        at = min(max((low + high) / 2, 0.0), float(last))
        cell = min(int(at), last)
        row[cell] += height * (cell + 1 - at)
        row[cell + 1] += height * (at - cell)
        touched[0] = min(touched[0], cell)
        touched[1] = max(touched[1], cell + 1)
        return height
    slope = height / (high - low)
    if low < 0.0:
        row[0] -= slope * low
        touched[0] = 0
        touched[1] = max(touched[1], 1)
        low = 0.0
    end = min(high, float(last))
    cell = int(low)
    touched[0] = min(touched[0], cell)
    while low < end:
        stop = min(end, cell + 1.0)
        middle = (low + stop) / 2 - cell
        part = slope * (stop - low)
        row[cell] += part * (1.0 - middle)
        row[cell + 1] += part * middle
        low = stop
        cell += 1
    touched[1] = max(touched[1], cell)
    return height


@njit(
    "f8(f8[::1], f8[::1], i8, i8, f8, f8)", cache=True, nogil=True, error_model="numpy"
)
def _run(cells, row, first, last, covered, weight):  # type: ignore[no-untyped-def]
    """Sum a row up over some cells, add it to them, and clear it."""
    for c in range(first, last + 1):
        covered += row[c]
        row[c] = 0.0
        if c < len(cells):
            part = 1.0 if covered > 1.0 - _SNAP else max(covered, 0.0)
            cells[c] += weight * part
    return covered


@njit(
    "void(f8[:,::1], f8[:,:,::1], f8[::1])",
    cache=True,
    nogil=True,
    error_model="numpy",
)
def add_polygons(cells, polygons, weights):  # type: ignore[no-untyped-def]
    """Add weighted convex polygons, in cells, to the parts of cells they cover.

    Row by row: cells that the left or the right edge crosses get what they are left,
    those in between the whole row at once.
    """
    rows, columns = cells.shape
    corners = polygons.shape[1]
    row = np.zeros(columns + 2)
    left = np.empty(2, np.int64)
    right = np.empty(2, np.int64)
    for p in range(len(polygons)):
        polygon, weight = polygons[p], weights[p]
        low, high, area = polygon[0, 1], polygon[0, 1], 0.0
        for k in range(corners):
            x0, y0 = polygon[k - 1]
            x1, y1 = polygon[k]
            low, high = min(low, y1), max(high, y1)
            area += x0 * y1 - x1 * y0
        sign = 1.0 if area >= 0.0 else -1.0
        for r in range(max(0, int(low)), min(rows, math.ceil(high))):
            left[0], left[1], right[0], right[1] = columns, -1, columns, -1
            for k in range(corners):
                x0, y0 = polygon[k - 1]
                x1, y1 = polygon[k]
                start, stop = max(min(y0, y1), r), min(max(y0, y1), r + 1)
                if not start < stop:
                    continue
                slope = (x1 - x0) / (y1 - y0)
                from_x, to_x = x0 + (start - y0) * slope, x0 + (stop - y0) * slope
                if sign * (y1 - y0) < 0.0:
                    _edge(row, from_x, to_x, stop - start, left)
                else:
                    _edge(row, from_x, to_x, start - stop, right)
            if left[1] < right[0]:
                covered = _run(cells[r], row, left[0], left[1], 0.0, weight)
                whole = weight if covered > 1.0 - _SNAP else weight * covered
                for c in range(left[1] + 1, min(right[0], columns)):
                    cells[r, c] += whole
                _run(cells[r], row, right[0], right[1], covered, weight)
            else:
                first, end = min(left[0], right[0]), max(left[1], right[1])
                _run(cells[r], row, first, end, 0.0, weight)
