"""The derived tables of a whole cycling record at once, without any run or server."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from numpy.typing import ArrayLike

from cryoline.analysis.capacity import RETENTION_CYCLE
from cryoline.analysis.cycling_results import CyclingResults

__all__ = ["Table", "cycling_tables"]

Table: TypeAlias = dict[str, list[Any]]
"""A stream's columns."""


def cycling_tables(
    points: Mapping[str, ArrayLike],
    *,
    electrode_mass_mg: float | None = None,
    retention_cycle: int = RETENTION_CYCLE,
    ended: bool = True,
) -> dict[str, Table]:
    """Return the streams that the live analysis makes of these points, by name.

    It is the same code, given one page: what comes live is this to the last bit.

    points: the columns that `cycling_results` needs, without a device's prefix
    ended: whether the record is whole; else its last cycle is not `complete`
    """
    names: dict[str, str] = {}
    tables: dict[str, Table] = {}

    def take(name: str, doc: dict[str, Any]) -> None:
        if name == "descriptor":
            names[doc["uid"]] = doc["name"]
            tables[doc["name"]] = {key: [] for key in doc["data_keys"]}
        elif name in ("event", "event_page"):
            for key, column in tables[names[doc["descriptor"]]].items():
                value = doc["data"][key]
                column.extend(value if name == "event_page" else [value])

    start = {
        "uid": "record",
        "time": 0.0,
        "electrode": {"mass_mg": electrode_mass_mg},
        "retention_cycle": retention_cycle,
    }
    results = CyclingResults(take, "cycling", start, None)
    results.take(points, 0.0)
    results.end({"exit_status": "success" if ended else "abort", "time": 0.0})
    return tables
