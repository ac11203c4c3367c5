"""What a run can be found by in Tiled, which searches metadata and not columns.

Made of the run's own documents, so that a replay makes the same again.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from cryoline.acquisition.tiled_access import fit_json

__all__ = ["SearchBlock"]

_FROM_START: Final = ("specimen", "ancestors", "technique", "region", "quantity")
_CYCLE_NUMBER: Final = "cycle_number"
_TILT: Final = "target_deg"
_PRIOR: Final = "prior_e_per_nm2"
_FLUENCE: Final = "fluence_e_per_nm2"


class SearchBlock:
    """The block ``cryoline`` of a run's metadata, as far as its journal was read."""

    def __init__(self) -> None:
        self._block: dict[str, Any] = {}
        self._tilts: set[int] = set()

    def start(self, doc: Mapping[str, Any]) -> None:
        """Take what is known from the beginning."""
        self._block = {key: doc[key] for key in _FROM_START if key in doc}

    def page(self, stream: str, page: Mapping[str, Any]) -> None:
        """Take an event_page: the last cycle, the tilts, the highest fluence."""
        data = page["data"]
        for key, column in data.items():
            if key.endswith(_CYCLE_NUMBER) and column and column[-1] is not None:
                self._block[_CYCLE_NUMBER] = int(column[-1])
            elif key.endswith(_TILT) and stream == "primary":
                self._tilts.update(page["seq_num"])
                self._block["tilts"] = len(self._tilts)
            elif key.endswith(_PRIOR):
                costs = data.get(key.removesuffix(_PRIOR) + _FLUENCE, ())
                self._note_fluence(column, costs)

    def as_dict(self) -> dict[str, Any]:
        """Return the block."""
        return dict(fit_json(self._block))

    def _note_fluence(self, priors: Any, costs: Any) -> None:
        """Note what a region had received after its exposures, each with its cost."""
        key = "fluence_max_e_per_nm2"
        for prior, cost in zip(priors, costs, strict=False):
            if prior is None or cost is None or not math.isfinite(prior + cost):
                continue
            self._block[key] = max(self._block.get(key, 0.0), prior + cost)
