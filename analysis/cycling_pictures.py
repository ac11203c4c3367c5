"""The pictures of a cycling record: what was swept, what was kept, dQ/dV."""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cryoline.analysis.capacity import RETENTION_CYCLE
from cryoline.analysis.capacity_figures import capacity_figure, incremental_figure
from cryoline.analysis.cycling_tables import cycling_tables
from cryoline.analysis.figures import charge_curve_figure, voltammogram_figure

__all__ = ["FORMATS", "Picture", "Pictures", "cycling_pictures"]

FORMATS: Final = ("png", "svg")
_DPI: Final = 150


@dataclass(frozen=True)
class Picture:
    """A figure with a name, which a notebook shows."""

    name: str
    figure: Figure

    def encode(self, file_format: str) -> bytes:
        """Return the figure as a file's bytes."""
        out = BytesIO()
        self.figure.savefig(out, format=file_format, dpi=_DPI)
        return out.getvalue()

    def save(self, folder: Path) -> tuple[Path, ...]:
        """Write ``NAME.png`` and ``NAME.svg`` into a folder; return both."""
        paths = tuple(folder / f"{self.name}.{form}" for form in FORMATS)
        for path, form in zip(paths, FORMATS, strict=True):
            path.write_bytes(self.encode(form))
        return paths

    def _repr_png_(self) -> bytes:
        return self.encode("png")


class Pictures(tuple[Picture, ...]):
    """Some pictures, which a notebook shows below each other."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return "".join(
            f'<img alt="{picture.name}" src="data:image/png;base64,'
            f'{base64.b64encode(picture.encode("png")).decode()}"/><br/>'
            for picture in self
        )

    def __repr__(self) -> str:
        """Name them, as a terminal can't show them."""
        names = ", ".join(picture.name for picture in self)
        return f"<pictures: {names}; save each by .save(folder)>"


def cycling_pictures(
    points: Mapping[str, ArrayLike],
    *,
    specimen: str | None = None,
    electrode_mass_mg: float | None = None,
    retention_cycle: int = RETENTION_CYCLE,
    reference: str = "reference",
    ended: bool = True,
) -> Pictures:
    """Return the pictures of one record; parameters as in `cycling_tables`.

    `voltammogram` where something was swept, else `charge-curves`; `capacity`;
    `incremental-capacity`.
    """
    tables = cycling_tables(
        points,
        electrode_mass_mg=electrode_mass_mg,
        retention_cycle=retention_cycle,
        ended=ended,
    )
    pictures = [_curves(points, tables, specimen, reference)]
    cycles = tables["cycles"]
    pictures.append(
        Picture(
            "capacity",
            capacity_figure(
                cycles,
                specimen=specimen,
                per_gram=electrode_mass_mg is not None,
                retention_cycle=retention_cycle,
            ),
        )
    )
    if "incremental_capacity" in tables:
        increments = tables["incremental_capacity"]
        figure = incremental_figure(increments, specimen=specimen, reference=reference)
        pictures.append(Picture("incremental-capacity", figure))
    return Pictures(pictures)


def _curves(
    points: Mapping[str, ArrayLike],
    tables: Mapping[str, Mapping[str, Any]],
    specimen: str | None,
    reference: str,
) -> Picture:
    rates = tables["half_cycles"]["scan_rate_mv_per_s"]
    if any(math.isfinite(rate) for rate in rates):
        figure = voltammogram_figure(
            points, tables.get("peaks"), specimen=specimen, reference=reference
        )
        return Picture("voltammogram", figure)
    figure = charge_curve_figure(points, specimen=specimen, reference=reference)
    return Picture("charge-curves", figure)
