"""Where a scanned field lies on a specimen, and which part of each map cell it covers.

A point (x, y) of the untilted specimen plane is hit when its projection (x cos t, y)
lies in the field; so on the specimen a field is wider across the tilt axis (y) by
1 / cos t. What counts there is the fluence normal to the beam. Areas are exact: a
field is a polygon, a beam's disc one of 48 sides and the disc's own area.
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoline.analysis.coverage import add_polygons

__all__ = ["BEAM_PARTS", "CELLS_MAX", "Footprint", "Grid", "deposit"]

BEAM_PARTS: Final = ((0.95, 1.0), (0.05, 2.0))
"""[A] assumption: a beam that is a disc has so much of its charge evenly in a disc of
so many times its diameter: 5 % are tails."""
CELLS_MAX: Final = 128
"""Of a field's own grid, an axis."""
_SIDES: Final = 48
"""Of the polygon that stands for a disc: its edge is right to 0.2 % of the radius."""
_STEPS: Final = 16
"""Across a beam: by so many steps the smaller of field and beam is moved over the
larger one where both have a size."""
_STEPS_MAX: Final = 256
_RINGS: Final = 6

Array = NDArray[np.float64]


class Footprint(NamedTuple):
    """A field on the untilted specimen plane, and the beam that scans it."""

    x_nm: float
    """Of the centre, on the specimen plane."""
    y_nm: float
    width_nm: float
    """Of the field, normal to the beam; across the tilt axis if it is not rotated."""
    height_nm: float
    rotation_deg: float = 0.0
    """From x toward y, as the beam sees it."""
    tilt_deg: float = 0.0
    beam_nm: float = 0.0
    """Diameter of a defocused or parked beam; 0 if it is focused."""
    pixel_nm: float = 0.0

    @property
    def reach_nm(self) -> float:
        """The distance from its centre beyond which it hits nothing."""
        half = math.hypot(self.width_nm, self.height_nm) / 2 + self.beyond_nm
        return half / math.cos(math.radians(self.tilt_deg))

    @property
    def spread_nm2(self) -> float:
        """The area, normal to the beam, that is covered by 1: the field or the disc."""
        disc_nm2 = math.pi * (self.beam_nm / 2) ** 2
        return max(self.width_nm * self.height_nm, disc_nm2)

    @property
    def beyond_nm(self) -> float:
        """How far beyond its field the beam reaches, normal to it."""
        return self.beam_nm / 2 * max(wider for _, wider in BEAM_PARTS)


class Grid(NamedTuple):
    """A parallelogram on the specimen plane, cut into cells."""

    x_nm: float
    """Of its centre."""
    y_nm: float
    across_nm: tuple[float, float]
    """(x, y) along one row of cells, from end to end."""
    along_nm: tuple[float, float]
    """(x, y) along one column of cells."""
    columns: int
    rows: int

    @classmethod
    def on(cls, footprint: Footprint, cell_nm: float) -> "Grid":
        """Return a grid laid over a footprint, which covers each of its cells wholly.

        cell_nm: least width of a cell, as the beam sees it; at most `CELLS_MAX` fit.
        A beam that is a disc has no sharp edge: its grid ends with its tails.
        """
        beyond = 2 * footprint.beyond_nm
        width, height = footprint.width_nm + beyond, footprint.height_nm + beyond
        turn = math.radians(footprint.rotation_deg)
        stretch = 1.0 / math.cos(math.radians(footprint.tilt_deg))
        return cls(
            footprint.x_nm,
            footprint.y_nm,
            (width * math.cos(turn) * stretch, width * math.sin(turn)),
            (-height * math.sin(turn) * stretch, height * math.cos(turn)),
            _cells(width, cell_nm),
            _cells(height, cell_nm),
        )

    @classmethod
    def upright(
        cls, low_nm: tuple[float, float], cell_nm: float, columns: int, rows: int
    ) -> "Grid":
        """Return a grid of square cells along x and y; ``low_nm`` is its corner."""
        width, height = columns * cell_nm, rows * cell_nm
        x, y = low_nm[0] + width / 2, low_nm[1] + height / 2
        return cls(x, y, (width, 0.0), (0.0, height), columns, rows)

    def cell(self, row: int, column: int) -> "Grid":
        """Return one of its cells, as a grid."""
        x, y = self.center_nm(row, column)
        (ax, ay), (bx, by) = self.across_nm, self.along_nm
        return Grid(
            x,
            y,
            (ax / self.columns, ay / self.columns),
            (bx / self.rows, by / self.rows),
            1,
            1,
        )

    def cell_at(self, x_nm: float, y_nm: float) -> tuple[int, int] | None:
        """Return the cell that a point lies in, (row, column), None beyond the grid."""
        x, y = x_nm - self.x_nm, y_nm - self.y_nm
        (ax, ay), (bx, by) = self.across_nm, self.along_nm
        area = ax * by - ay * bx
        column = math.floor(((x * by - y * bx) / area + 0.5) * self.columns)
        row = math.floor(((y * ax - x * ay) / area + 0.5) * self.rows)
        is_inside = 0 <= row < self.rows and 0 <= column < self.columns
        return (row, column) if is_inside else None

    def center_nm(self, row: int, column: int) -> tuple[float, float]:
        """Return where a cell's centre lies on the specimen plane, (x, y)."""
        a = (column + 0.5) / self.columns - 0.5
        b = (row + 0.5) / self.rows - 0.5
        (ax, ay), (bx, by) = self.across_nm, self.along_nm
        return self.x_nm + a * ax + b * bx, self.y_nm + a * ay + b * by

    @property
    def reach_nm(self) -> float:
        """The distance from its centre beyond which it has no cell."""
        (ax, ay), (bx, by) = self.across_nm, self.along_nm
        return (math.hypot(ax, ay) + math.hypot(bx, by)) / 2

    @property
    def cell_nm2(self) -> float:
        """The area of a cell on the specimen plane."""
        (ax, ay), (bx, by) = self.across_nm, self.along_nm
        return (ax * by - ay * bx) / (self.columns * self.rows)


def deposit(grid: Grid, booked: Iterable[tuple[Footprint, float]]) -> Array:
    """Return what a grid's cells receive, (row, column): amounts x covered parts.

    An amount is what the middle of the footprint gets: charge / e / spread_nm2 for a
    field that is larger than the beam.
    """
    cells = np.zeros((grid.rows, grid.columns))
    for footprint, amount in booked:
        apart = math.hypot(footprint.x_nm - grid.x_nm, footprint.y_nm - grid.y_nm)
        if apart > footprint.reach_nm + grid.reach_nm:
            continue
        polygons, weights = _parts(*footprint[2:5], footprint.beam_nm)
        add_polygons(cells, _in_cells(polygons, footprint, grid), amount * weights)
    return cells


def _cells(length_nm: float, cell_nm: float) -> int:
    return max(1, min(CELLS_MAX, math.floor(length_nm / cell_nm + 1e-9)))


def _in_cells(polygons: Array, footprint: Footprint, grid: Grid) -> Array:
    """Return polygons around a footprint's centre in the coordinates of a grid."""
    # Centres first: two footprints of one centre then have it exactly in common.
    x = polygons[..., 0] / math.cos(math.radians(footprint.tilt_deg))
    x += footprint.x_nm - grid.x_nm
    y = polygons[..., 1] + (footprint.y_nm - grid.y_nm)
    (ax, ay), (bx, by) = grid.across_nm, grid.along_nm
    area = ax * by - ay * bx
    placed = np.empty_like(polygons)
    placed[..., 0] = (x * by - y * bx) * (grid.columns / area) + grid.columns / 2
    placed[..., 1] = (y * ax - x * ay) * (grid.rows / area) + grid.rows / 2
    return placed


@lru_cache(maxsize=1024)
def _parts(
    width_nm: float, height_nm: float, rotation_deg: float, beam_nm: float
) -> tuple[Array, Array]:
    """Return polygons (part, corner, 2), as the beam sees them, and their weights.

    Field and disc are convolved: the larger one is an exact polygon that takes each
    of some places within the smaller one. Where all of them overlap it is exact.
    """
    turn = math.radians(rotation_deg)
    axes = np.array(
        [(math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))]
    )
    signs = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
    field = signs * (width_nm / 2, height_nm / 2) @ axes
    if beam_nm == 0.0:
        return field[None], np.ones(1)
    field_nm2 = width_nm * height_nm
    spread_nm2 = Footprint(0, 0, width_nm, height_nm, beam_nm=beam_nm).spread_nm2
    polygons, weights = [], []
    for part, wider in BEAM_PARTS:
        diameter = wider * beam_nm
        disc_nm2 = math.pi * diameter**2 / 4
        is_disc_larger = disc_nm2 >= field_nm2
        if is_disc_larger:
            places = _within_field(width_nm, height_nm, diameter / _STEPS) @ axes
            shape = _disc(diameter)
        else:
            places = _within_disc(diameter)
            # As many corners as a disc has: the last one stands there many times.
            shape = np.vstack([field, np.repeat(field[-1:], _SIDES - 4, axis=0)])
        polygons.append(places[:, None] + shape)
        share = part * spread_nm2 / max(disc_nm2, field_nm2) / len(places)
        weights.append(np.full(len(places), share))
    return np.concatenate(polygons), np.concatenate(weights)


def _disc(diameter_nm: float) -> Array:
    """Return a polygon of the area of a disc."""
    angle = 2 * math.pi / _SIDES
    radius = diameter_nm / 2 * math.sqrt(angle / math.sin(angle))
    at = angle * (np.arange(_SIDES) + 0.5)
    return radius * np.stack([np.cos(at), np.sin(at)], axis=1)


def _within_field(width_nm: float, height_nm: float, step_nm: float) -> Array:
    """Return points evenly within a field, (point, 2)."""

    def row(length: float) -> Array:
        n = max(1, min(_STEPS_MAX, math.ceil(length / step_nm)))
        return ((np.arange(n) + 0.5) / n - 0.5) * length

    x, y = np.meshgrid(row(width_nm), row(height_nm))
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _within_disc(diameter_nm: float) -> Array:
    """Return points evenly within a disc, (point, 2): rings of equal areas."""
    radius = diameter_nm / 2 * np.sqrt((np.arange(_RINGS) + 0.5) / _RINGS)
    angle = 2 * math.pi / _STEPS * (np.arange(_STEPS) + 0.5)
    x = radius[:, None] * np.cos(angle)
    y = radius[:, None] * np.sin(angle)
    return np.stack([x.ravel(), y.ravel()], axis=1)
