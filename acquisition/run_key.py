"""Readable keys of runs: the journal's file stem and the key in Tiled."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["derived_key", "run_key"]

_NOT_ALLOWED: Final = re.compile(r"[^A-Za-z0-9.-]")


def run_key(start: Mapping[str, Any]) -> str:
    """Return the key of a raw run from its start document.

    The parts are the UTC date of ``start["time"]``, the specimen, the technique
    (the plan's name if none was given) and the scan_id, joined by underscores, so
    that a key can be taken apart again: no part contains one.

    >>> run_key({"time": 0, "specimen": "Si wafer_3", "technique": "cyclic-voltammetry",
    ...          "scan_id": 7})
    '1970-01-01_Si-wafer-3_cyclic-voltammetry_000007'
    >>> run_key({"time": 0, "plan_name": "count", "scan_id": 12})
    '1970-01-01_no-specimen_count_000012'
    """
    day = datetime.fromtimestamp(start["time"], tz=UTC).strftime("%Y-%m-%d")
    specimen = _clean(start.get("specimen") or "no-specimen")
    technique = _clean(start.get("technique") or start.get("plan_name") or "run")
    return f"{day}_{specimen}_{technique}_{int(start.get('scan_id') or 0):06d}"


def derived_key(raw_key: str, quantity: str) -> str:
    """Return the key of a derived run, whose quantity is the last part.

    >>> derived_key("1970-01-01_Si_cyclic-voltammetry_000007", "cycling")
    '1970-01-01_Si_cyclic-voltammetry_000007_cycling'
    """
    return f"{raw_key}_{_clean(quantity)}"


def _clean(part: object) -> str:
    return _NOT_ALLOWED.sub("-", str(part))
