"""Watches a cell's points for what a person should hear of before the run ends.

A pure kernel: points in, anomalies out, each told once. It sees one row after the
other, so that the result does not depend on how the rows are paged.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from cryoline.analysis.voltammetry import CE_FLAG_ABOVE, Cycle

__all__ = [
    "FALLS",
    "FALL_V",
    "POTENTIAL_MAX_V",
    "POTENTIAL_MIN_V",
    "Anomaly",
    "AnomalyWatch",
    "Kind",
    "efficiency_anomaly",
]

Kind: TypeAlias = Literal["contact_loss", "soft_short", "efficiency_above_limit"]

POTENTIAL_MIN_V: Final = -1.5
POTENTIAL_MAX_V: Final = 4.8
"""[A] assumption: no cell of lithium stands beyond these; an open lead does."""

FALL_V: Final = 0.020
"""[A] assumption: at constant current, a potential that falls back by this much ..."""
FALLS: Final = 3
"""... so often within a half cycle tells of a soft short: lithium that grows through,
and burns away. Once is the nucleation of a new phase."""

_STEADY: Final = 0.05
"""[A] assumption: a current that moves by less than this part of it is constant."""
_STEADY_ROWS: Final = 3
_JUMP_V: Final = 0.5
_JUMP_S: Final = 60.0
"""[A] assumption: within a step, no cell's potential jumps so far so quickly."""
_NO_CURRENT: Final = 0.01
_NO_CURRENT_ROWS: Final = 3
"""[A] assumption: with this part of a step's constant current, the lead is open."""
_SET: Final = 1e-3
"""[A] assumption: nobody sets a current below this part of the range, or of the largest
current so far. What seems constant there is the converter's last digit: the tail of a
voltammogram, where the current is none."""


class Anomaly(NamedTuple):
    """One thing that is wrong."""

    kind: Kind
    severity: Literal["minor", "major"]
    instrument_time_s: float
    cycle_number: int
    half_cycle: int
    """-1 where it concerns a whole cycle."""
    value: float
    limit: float
    message: str


class AnomalyWatch:
    """Looks at each row for a lost contact and for a soft short.

    Both are told at most once a half cycle. What it can't tell: a short within a
    voltage scan (there, look at the coulombic efficiency), and a contact lost at rest.
    """

    def __init__(self) -> None:
        self._half: int | None = None
        self._told: set[Kind] = set()
        self._step: int | None = None
        self._before: tuple[float, float, float] | None = None
        self._scale_a = 0.0
        self._steady_a = 0.0
        self._steady_rows = 0
        self._idle_rows = 0
        self._furthest_v = 0.0
        self._falls = 0

    def add(
        self,
        instrument_time_s: Sequence[float],
        potential_v: Sequence[float],
        current_a: Sequence[float],
        cycle_number: Sequence[int],
        half_cycle: Sequence[int],
        *,
        step_index: Sequence[int] | None = None,
        contact: Sequence[float] | None = None,
        range_a: Sequence[float] | None = None,
    ) -> list[Anomaly]:
        """Take the next rows; return what is wrong in them.

        step_index, contact, range_a: as far as the instrument tells; contact is 0
            without one
        """
        found: list[Anomaly] = []
        for k, half in enumerate(half_cycle):
            step = None if step_index is None else step_index[k]
            time_s, e_v, i_a = instrument_time_s[k], potential_v[k], current_a[k]
            if half != self._half:
                self._half, self._told, self._falls = half, set(), 0
                self._new_step()
            elif step != self._step:
                self._new_step()
            self._step = step
            if not (math.isfinite(e_v) and math.isfinite(i_a)):
                continue
            largest_a = abs(i_a) if range_a is None else max(abs(i_a), range_a[k])
            self._scale_a = max(self._scale_a, largest_a)
            lost = contact is not None and not contact[k]
            told = self._contact(time_s, e_v, i_a, lost) or self._short(e_v, i_a)
            self._before = (time_s, e_v, i_a)
            if told is None or told[0] in self._told:
                continue
            kind, value, limit, message = told
            self._told.add(kind)
            where = f"in half cycle {half} (cycle {cycle_number[k]})"
            found.append(
                Anomaly(
                    kind=kind,
                    severity="major",
                    instrument_time_s=float(time_s),
                    cycle_number=int(cycle_number[k]),
                    half_cycle=int(half),
                    value=value,
                    limit=limit,
                    message=f"{message} {where}",
                )
            )
        return found

    def _new_step(self) -> None:
        self._before = None
        self._steady_rows = self._idle_rows = 0

    def _contact(
        self, time_s: float, e_v: float, i_a: float, lost: bool
    ) -> tuple[Kind, float, float, str] | None:
        """Return what tells of an open lead in this row."""
        if lost:
            return (
                *("contact_loss", 0.0, 1.0),
                f"contact to the cell lost, says the instrument, at {e_v:.3f} V",
            )
        if not POTENTIAL_MIN_V <= e_v <= POTENTIAL_MAX_V:
            limit_v = POTENTIAL_MIN_V if e_v < POTENTIAL_MIN_V else POTENTIAL_MAX_V
            return (
                *("contact_loss", e_v, limit_v),
                f"contact to the cell lost? {e_v:.3f} V is beyond {limit_v:g} V",
            )
        if self._before is None or self._steady_rows < _STEADY_ROWS:
            return None
        before_s, before_v, _ = self._before
        jump_v = abs(e_v - before_v)
        if jump_v > _JUMP_V and time_s - before_s < _JUMP_S and self._is_steady(i_a):
            return (
                *("contact_loss", jump_v, _JUMP_V),
                f"contact to the cell lost? {before_v:.3f} V jumped to {e_v:.3f} V "
                f"within {time_s - before_s:.3g} s",
            )
        # Without the program's steps, a rest would look the same.
        is_set = abs(self._steady_a) > _SET * self._scale_a and self._step is not None
        if not is_set or abs(i_a) >= _NO_CURRENT * abs(self._steady_a):
            self._idle_rows = 0
            return None
        self._idle_rows += 1
        if self._idle_rows < _NO_CURRENT_ROWS:
            return None
        return (
            *("contact_loss", i_a, self._steady_a),
            f"contact to the cell lost? {i_a:.3g} A flow where {self._steady_a:.3g} A "
            "are asked",
        )

    def _short(self, e_v: float, i_a: float) -> tuple[Kind, float, float, str] | None:
        """Return what tells of a soft short; follows what the constant current is."""
        if not self._is_steady(i_a):
            if not self._idle_rows:
                self._steady_a, self._steady_rows = i_a, 0
            return None
        self._steady_rows += 1
        sense = 1.0 if i_a > 0 else -1.0
        if self._steady_rows <= _STEADY_ROWS:
            self._furthest_v = e_v
            return None
        if sense * (self._furthest_v - e_v) < FALL_V:
            if sense * (e_v - self._furthest_v) > 0:
                self._furthest_v = e_v
            return None
        fall_v = sense * (self._furthest_v - e_v)
        self._furthest_v = e_v
        self._falls += 1
        if self._falls < FALLS:
            return None
        return (
            *("soft_short", fall_v, FALL_V),
            f"soft short? at {i_a:.3g} A the potential fell back {self._falls} times "
            f"by more than {1e3 * FALL_V:g} mV",
        )

    def _is_steady(self, i_a: float) -> bool:
        return i_a != 0 and abs(i_a - self._steady_a) <= _STEADY * abs(self._steady_a)


def efficiency_anomaly(cycle: Cycle) -> Anomaly | None:
    """Return an anomaly if more came out of a cycle than went in."""
    if not (cycle.ce_flag and cycle.complete):
        return None
    efficiency = cycle.coulombic_efficiency
    return Anomaly(
        kind="efficiency_above_limit",
        severity="minor",
        instrument_time_s=cycle.time_end_s,
        cycle_number=cycle.cycle_number,
        half_cycle=-1,
        value=efficiency,
        limit=CE_FLAG_ABOVE,
        message=(
            f"coulombic efficiency {efficiency:.4f} of cycle {cycle.cycle_number} is "
            f"above {CE_FLAG_ABOVE}: a short, a side reaction, or a cell that was not "
            "empty before"
        ),
    )
