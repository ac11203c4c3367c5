"""What an exposure has cost, as part of its event."""

import time
from dataclasses import dataclass, field
from typing import Any, Final

from cryoline.acquisition.dose_records import Settlement

__all__ = ["DoseColumns"]

_MEANING: Final = {
    "prior_e_per_nm2": "before, at the cell that had most",
    "fluence_e_per_nm2": "of this exposure, mean over its field",
    "after_e_per_nm2": "after, at the cell that has most",
    "limit_e_per_nm2": "limit of the region",
}


@dataclass(frozen=True)
class DoseColumns:
    """One settlement as bluesky reads a device: before, of it, after, and the limit.

    Those of all exposures are the same device, whose readings differ.

    Example
    -------
    >>> columns = DoseColumns(Settlement("ticket", 10.0, 11.0, False, 5.0, 15.0))
    >>> columns.read()["dose_after_e_per_nm2"]["value"]
    15.0
    """

    settlement: Settlement = field(compare=False)
    name: str = "dose"
    parent: None = None

    def read(self) -> dict[str, Any]:
        """Return the columns, as bluesky reads a device."""
        now = time.time()
        return {
            f"{self.name}_{key}": {
                "value": float(getattr(self.settlement, key)),
                "timestamp": now,
            }
            for key in _MEANING
        }

    def describe(self) -> dict[str, Any]:
        """Describe them, with their unit."""
        return {
            f"{self.name}_{key}": {
                "source": f"dose ledger: {meaning}",
                "dtype": "number",
                "shape": [],
                "units": "e/nm2",
            }
            for key, meaning in _MEANING.items()
        }

    def read_configuration(self) -> dict[str, Any]:
        """Return nothing: all of it changes."""
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        """Describe nothing."""
        return {}
