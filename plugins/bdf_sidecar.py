"""What stands beside a BDF file: ``NAME.bdf.metadata.json``.

BDF has no column for half cycles, scan rate or vertices: they stand here, below the
key ``cryoline``, so that a file read again is the table that was written. Other
programs may keep keys of their own in the same file.
"""

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from cryoline.analysis.voltammogram import scan_rate_mv_per_s
from cryoline.plugins.cycling_table import CyclingTable
from cryoline.plugins.errors import ReaderError

__all__ = ["FORMAT", "describe", "read_sidecar", "sidecar_path", "started_of"]

FORMAT: Final = "BDF 1.3.0"
_KEY: Final = "cryoline"


def sidecar_path(path: Path) -> Path:
    """Return where the sidecar of a BDF file lies.

    >>> sidecar_path(Path("cell.bdf.csv")).name
    'cell.bdf.metadata.json'
    """
    return path.with_suffix(".metadata.json")


def describe(table: CyclingTable) -> dict[str, Any]:
    """Return a sidecar's content: the table's origin, and each half cycle.

    A half cycle that is a voltage scan has its rate, mV/s; else that is null.
    """
    first = np.flatnonzero(np.diff(table.half_cycle, prepend=table.half_cycle[0] - 1))
    half_cycles = []
    for begin, end in zip(first, [*first[1:], len(table)], strict=True):
        rows = slice(int(begin), int(end))
        rate = scan_rate_mv_per_s(table.time_s[rows], table.potential_v[rows])
        half_cycles.append(
            {
                "half_cycle": int(table.half_cycle[begin]),
                "first_row": int(begin),
                "scan_rate_mv_per_s": None if math.isnan(rate) else rate,
                "potential_first_v": float(table.potential_v[begin]),
                "potential_last_v": float(table.potential_v[end - 1]),
            }
        )
    started = None if table.started is None else table.started.isoformat()
    return {
        _KEY: {
            "format": FORMAT,
            "source": Path(table.source).name,
            "technique": table.technique,
            "started": started,
            "charge_is_counted": table.charge_is_counted,
            "rows": len(table),
            "vertices_v": _vertices(half_cycles),
            "half_cycles": half_cycles,
        }
    }


def read_sidecar(path: Path, rows: int) -> dict[str, Any]:
    """Return what stands beside a BDF file of so many rows; {} if nothing of ours does.

    Raises ReaderError if it is broken, or belongs to another file.
    """
    sidecar = sidecar_path(path)
    try:
        content = json.loads(sidecar.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ReaderError(
            f"{sidecar}: can't be read: {error}; restore it, or remove it: then half "
            "cycles follow from the steps and the sign of the current"
        ) from error
    ours = content.get(_KEY) if isinstance(content, dict) else None
    if ours is None:
        return {}
    try:
        counted, first = ours["rows"], [h["first_row"] for h in ours["half_cycles"]]
        fits = counted == rows and first[0] == 0 and first == sorted(set(first))
        fits = fits and first[-1] < rows
        ours["half_cycle"] = np.repeat(
            [int(h["half_cycle"]) for h in ours["half_cycles"]],
            np.diff([*first, max(rows, first[-1])]),
        )
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ReaderError(
            f"{sidecar}: {_KEY} lacks or garbles {error}; restore it, or remove it"
        ) from error
    if not fits:
        raise ReaderError(
            f"{sidecar}: describes {counted} rows, {path.name} has {rows}; one of the "
            "two was cut or belongs to another file: export both again"
        )
    return dict(ours)


def started_of(sidecar: dict[str, Any]) -> datetime | None:
    """Return when the acquisition started, if the sidecar says so."""
    text = sidecar.get("started")
    try:
        return None if text is None else datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None


def _vertices(half_cycles: list[dict[str, Any]]) -> list[float] | None:
    """Return the lowest and highest potential that a scan ended at, if any did."""
    ends = [
        half["potential_last_v"]
        for half in half_cycles
        if half["scan_rate_mv_per_s"] is not None
    ]
    return [min(ends), max(ends)] if ends else None
