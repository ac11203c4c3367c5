"""What a run can be found by in Tiled, which searches metadata and not columns.

Made of the run's own documents, so that a replay makes the same again.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryoline.acquisition.tiled_access import fit_json

__all__ = ["SearchBlock"]

_FROM_START: Final = ("specimen", "ancestors", "technique", "region", "quantity")
_CYCLE_NUMBER: Final = "cycle_number"
_TILT: Final = "target_deg"
_AFTER: Final = "dose_after_e_per_nm2"
_FLUENCE_MAX: Final = "fluence_max_e_per_nm2"


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
        for key, column in page["data"].items():
            if key.endswith(_CYCLE_NUMBER) and column and column[-1] is not None:
                self._block[_CYCLE_NUMBER] = int(column[-1])
            elif key.endswith(_TILT) and stream == "primary":
                self._tilts.update(page["seq_num"])
                self._block["tilts"] = len(self._tilts)
            elif key == _AFTER:
                self._note_fluence(column)

    def as_dict(self) -> dict[str, Any]:
        """Return the block."""
        return dict(fit_json(self._block))

    def _note_fluence(self, column: Sequence[float | None]) -> None:
        """Note the most that a cell had received after an exposure."""
        known = [v for v in column if v is not None and math.isfinite(v)]
        if known:
            before = self._block.get(_FLUENCE_MAX, 0.0)
            self._block[_FLUENCE_MAX] = max(before, *known)
