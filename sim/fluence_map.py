"""What the specimen has truly received, on its own untilted plane.

The world's own account: nothing of the ledger's arithmetic is shared. Whatever the
beam covers is cut into lines across the tilt axis: each ends where the covered area
does, and is shared out exactly among the cells that it passes. The charge is kept to
rounding. An upright rectangle is exact; in a turned one, or a disc, a cell that is
covered in part is right to 0.5 % of a whole one.
"""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoline.analysis.constants import ELEMENTARY_CHARGE_C
from cryoline.sim.beam_disc import DISCS, disc_points

__all__ = ["CELL_NM", "FluenceMap"]

CELL_NM: Final = 8.0
"""About four scan pixels of the widest field."""
_SHAPE: Final = (300, 400)  # y, x; room for a field of 1.1 um at 60 deg
_LINES: Final = 16  # in a row of cells, where the covered area has slanting edges
_FEW_LINES: Final = 4  # where a wide beam is scanned, which blurs them
_POINTS: Final = 48  # of each disc of such a beam

_REST: Final = 1e-12

Array = NDArray[np.float64]


class Lines(NamedTuple):
    """Of an area as the beam sees it: arrays over line."""

    y_nm: Array
    thickness_nm: Array
    from_nm: Array
    to_nm: Array


class FluenceMap:
    """Beam-normal fluence by cell, (y, x) e/nm2, centred on the specimen's origin."""

    def __init__(self) -> None:
        self.cells: Array = np.zeros(_SHAPE)
        self._max: float | None = 0.0

    @property
    def max_e_per_nm2(self) -> float:
        """The fluence of the cell that got most."""
        if self._max is None:
            self._max = float(self.cells.max())
        return self._max

    def deposit(
        self,
        charge_c: float,
        *,
        tilt_deg: float,
        low_nm: tuple[float, float],
        high_nm: tuple[float, float],
        rotation_deg: float = 0.0,
        about_nm: tuple[float, float] = (0.0, 0.0),
        diameter_nm: float = 0.0,
    ) -> None:
        """Spread a charge evenly over a field, given by two corners (x, y) of it.

        The corners are where the beam sees them, from the specimen's origin, before
        the field is turned about a point; a beam with a diameter spreads beyond it,
        or is parked if the corners are one. On the specimen all is wider across the
        tilt axis, by 1 / cos of the tilt; what counts there is the fluence normal to
        the beam. Parts beyond the map are not recorded.
        """
        area_nm2 = (high_nm[0] - low_nm[0]) * (high_nm[1] - low_nm[1])
        if charge_c <= 0.0 or (area_nm2 <= 0.0 and diameter_nm <= 0.0):
            return
        stretch = 1.0 / math.cos(math.radians(tilt_deg))
        corners_nm = _turned(low_nm, high_nm, rotation_deg, about_nm)
        for part, lines in _covered(corners_nm, area_nm2, diameter_nm):
            length_nm = lines.to_nm - lines.from_nm
            covered_nm2 = float(np.sum(lines.thickness_nm * length_nm))
            fluence = part * charge_c / ELEMENTARY_CHARGE_C / covered_nm2
            self._add(
                np.floor(lines.y_nm / CELL_NM + _SHAPE[0] / 2).astype(np.intp),
                fluence * lines.thickness_nm / CELL_NM,
                lines.from_nm * stretch,
                lines.to_nm * stretch,
            )
        self._max = None

    def _add(
        self, row: NDArray[np.intp], fluence: Array, from_nm: Array, to_nm: Array
    ) -> None:
        """Add lines, each with what it gives to a cell that it passes wholly."""
        inside = (row >= 0) & (row < _SHAPE[0])
        row, fluence = row[inside], fluence[inside]
        # A line is what lies left of its end less what lies left of its start. Summed
        # up from the right: all of it in the cells before, a part in the last.
        width = _SHAPE[1] + 2
        steps = np.zeros(_SHAPE[0] * width)
        for end_nm, sign in ((to_nm[inside], 1.0), (from_nm[inside], -1.0)):
            place = np.clip(end_nm / CELL_NM + _SHAPE[1] / 2, 0.0, _SHAPE[1])
            cell = place.astype(np.intp)
            part = place - cell
            at = row * width + cell + 1
            for shift, weight in ((0, part), (-1, 1.0 - part)):
                steps += np.bincount(
                    at + shift, sign * fluence * weight, minlength=steps.size
                )
        hit = np.unique(row)
        by_row = steps.reshape(_SHAPE[0], width)[hit]
        summed = by_row[:, ::-1].cumsum(1)[:, -2:0:-1]
        # What cancels leaves a rest beside the field, where nothing was.
        summed[summed < _REST * summed.max(initial=0.0)] = 0.0
        self.cells[hit] += summed


def _covered(
    corners_nm: Array, area_nm2: float, diameter_nm: float
) -> Iterator[tuple[float, Lines]]:
    """Yield what is covered, as lines, each time with its part of the charge."""
    if diameter_nm <= 0.0:
        yield 1.0, _polygon(corners_nm)
        return
    for part, wider in DISCS:
        if area_nm2 <= 0.0:
            yield part, _disc(corners_nm.mean(0), wider * diameter_nm / 2)
            continue
        points = disc_points(wider * diameter_nm, _POINTS)
        fields = [_polygon(corners_nm + point, _FEW_LINES) for point in points]
        columns = zip(*fields, strict=True)
        yield part, Lines(*(np.concatenate(values) for values in columns))


def _turned(
    low_nm: tuple[float, float],
    high_nm: tuple[float, float],
    rotation_deg: float,
    about_nm: tuple[float, float],
) -> Array:
    """Return the corners of the turned field, (4, 2), one after the other."""
    (x0, y0), (x1, y1) = low_nm, high_nm
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)
    if rotation_deg == 0.0:
        return corners
    angle = math.radians(rotation_deg)
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = np.array([(cosine, sine), (-sine, cosine)])  # of rows, from the right
    return np.asarray((corners - about_nm) @ turn + about_nm)


def _polygon(corners_nm: Array, per_row: int = _LINES) -> Lines:
    """Return the lines of a convex polygon."""
    x, y = corners_nm.T
    is_upright = x[0] == x[3] and y[0] == y[1]
    line_y, thickness = _cut(y.min(), y.max(), 1 if is_upright else per_row)
    from_nm = np.full(len(line_y), np.inf)
    to_nm = -from_nm
    for k in range(len(x)):
        rise = y[k] - y[k - 1]
        if rise == 0.0:
            continue
        along = (line_y - y[k - 1]) / rise
        at = np.where(
            (along >= 0) & (along <= 1), x[k - 1] + along * (x[k] - x[k - 1]), np.nan
        )
        from_nm, to_nm = np.fmin(from_nm, at), np.fmax(to_nm, at)
    return Lines(line_y, thickness, from_nm, to_nm)


def _disc(center_nm: Array, radius_nm: float) -> Lines:
    """Return the lines of a disc."""
    x, y = center_nm
    line_y, thickness = _cut(y - radius_nm, y + radius_nm, _LINES)
    half = np.sqrt(np.maximum(radius_nm**2 - (line_y - y) ** 2, 0.0))
    return Lines(line_y, thickness, x - half, x + half)


def _cut(low_nm: float, high_nm: float, per_row: int) -> tuple[Array, Array]:
    """Cut an interval at the borders of rows, and so often within: middles, widths."""
    first, last = math.floor(low_nm / CELL_NM) + 1, math.ceil(high_nm / CELL_NM)
    borders = np.array([low_nm, *(np.arange(first, last) * CELL_NM), high_nm])
    within = (np.arange(per_row) + 0.5) / per_row
    width = np.diff(borders)
    middle = borders[:-1, None] + width[:, None] * within
    return middle.ravel(), np.repeat(width / per_row, per_row)
