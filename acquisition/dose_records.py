"""What the dose ledger answers: usage of a region, a settled exposure, open items."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoline.devices.exposure import Ticket

__all__ = [
    "FluenceMap",
    "Foreseen",
    "LedgerRow",
    "Neighbour",
    "OpenSeries",
    "OpenTicket",
    "Outline",
    "PurposeUsage",
    "Settlement",
    "Usage",
]


@dataclass(frozen=True)
class Usage:
    """What a region of a specimen has received and may yet receive.

    Beam-normal fluence in the map cell that has least left: one field's mean, unless
    fields of other tilts, places or regions share the cell.
    """

    specimen: str
    region: str
    settled_e_per_nm2: float
    """Charged by what the instrument counted."""
    reserved_e_per_nm2: float
    """Promised to exposures, their worst case: open series and open tickets."""
    unsettled_e_per_nm2: float
    """The part of it that open tickets hold: it may have hit the specimen."""
    limit_e_per_nm2: float
    left_e_per_nm2: float
    """What the next reservation may ask for; never negative."""
    blocked_by: tuple[str, ...] = ()
    """Tickets charged above their reservation that nobody has acknowledged."""
    mean_e_per_nm2: float = 0.0
    """Charged, as a mean over all cells of the field that has the cell."""

    @property
    def is_blocked(self) -> bool:
        """Whether every reservation is refused until somebody has looked."""
        return bool(self.blocked_by)


@dataclass(frozen=True)
class FluenceMap:
    """Where the dose of a specimen lies: cells of its untilted plane.

    Beam-normal fluence, (y, x) e/nm2.
    """

    x_nm: NDArray[np.float64]
    """Centres of the cells, from the specimen's origin."""
    y_nm: NDArray[np.float64]
    settled_e_per_nm2: NDArray[np.float64]
    reserved_e_per_nm2: NDArray[np.float64]
    cell_nm: float


class Outline(NamedTuple):
    """A field as it lies on the specimen, for a picture of it."""

    x_nm: float
    """Of its centre, from the specimen's origin."""
    y_nm: float
    width_nm: float
    height_nm: float
    rotation_deg: float


@dataclass(frozen=True)
class PurposeUsage:
    """What the exposures of one purpose have cost a region."""

    purpose: str
    n_exposures: int
    """Settled ones."""
    settled_e_per_nm2: float
    reserved_e_per_nm2: float


@dataclass(frozen=True)
class Foreseen:
    """What a series would ask of a region."""

    asked_e_per_nm2: float
    """Its worst case in the cell that would be full first."""
    n_exposures: int
    usage: Usage
    """The region before it."""
    refusal: str
    """Why the ledger would refuse it; empty if it would not."""
    worst_e_per_nm2: float
    """What the cell that would be full first would hold then, all reserved."""
    limit_e_per_nm2: float
    """Of that cell."""
    place_nm: tuple[float, float]
    """Of its centre, (x, y) from the specimen's origin."""


@dataclass(frozen=True)
class Neighbour:
    """A region that exposures of other regions would hit."""

    specimen: str
    region: str
    most_e_per_nm2: float
    """What they would give at most to one of its cells."""


@dataclass(frozen=True)
class Settlement:
    """An exposure as it was charged."""

    ticket_uid: str
    fluence_e_per_nm2: float
    """What this exposure has cost its region."""
    reserved_e_per_nm2: float
    """What it was allowed to."""
    over: bool
    """Whether it has cost more; its region is blocked then."""
    prior_e_per_nm2: float
    """What had been charged before it began, where that is most in its field."""
    after_e_per_nm2: float
    """The same, this exposure included."""
    limit_e_per_nm2: float = math.nan
    """Of the region that was named."""
    backup_problem: str = ""
    """Why the ledger's backup could not be renewed; the charge itself is safe."""

    def with_backup_problem(self, problem: str) -> "Settlement":
        """Return the same, with what came of the backup."""
        return replace(self, backup_problem=problem)


@dataclass(frozen=True)
class OpenTicket:
    """A ticket that counts in full, because nobody knows yet what came of it."""

    ticket: Ticket
    series: str | None
    time_s: float
    """Wall time of the reservation, Unix seconds."""
    source: str
    boot_id: str
    """The instrument's at the reservation."""
    counter: int
    """The instrument's exposure counter at the reservation."""
    owner: Mapping[str, Any]
    is_owner_alive: bool
    """Whether the process that reserved it may still expose by it."""
    reason: str = ""
    """Why it could not be settled, if somebody has tried."""


@dataclass(frozen=True)
class OpenSeries:
    """A series that still holds an envelope."""

    uid: str
    left_e_per_nm2: Mapping[tuple[str, str], float]
    """What it still holds of each specimen and region, without its tickets."""
    time_s: float
    owner: Mapping[str, Any]
    is_owner_alive: bool


@dataclass(frozen=True)
class LedgerRow:
    """One event of the ledger, as it was written."""

    id: int
    uid: str
    kind: str
    time_s: float
    specimen: str | None
    region: str | None
    series: str | None
    shape: int | None
    """Which of the series' declared exposures it is."""
    ticket: str | None
    source: str | None
    boot_id: str | None
    counter: int | None
    over: bool
    owner: Mapping[str, Any]
    body: Mapping[str, Any]
