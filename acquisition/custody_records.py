"""What the custody record answers, and the file below it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryoline.acquisition.append_only import AppendOnlyFile, FileKind
from cryoline.acquisition.errors import CustodyError

__all__ = [
    "APPLICATION_ID",
    "CustodyFile",
    "CustodyRow",
    "CustodyState",
    "LegReport",
    "LegStart",
    "OpenLeg",
]

APPLICATION_ID: Final = 0x63727963
"""What SQLite's header says of the file: "cryc"."""

_SCHEMA: Final = """
CREATE TABLE rows (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN (
        'specimen', 'enter', 'leave', 'warning', 'flag', 'place')),
    specimen TEXT NOT NULL,
    leg TEXT,
    wall_s REAL NOT NULL,
    instrument_s REAL,
    run TEXT,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX rows_of_specimen ON rows (specimen, kind);
CREATE INDEX rows_of_leg ON rows (leg, kind);
CREATE UNIQUE INDEX one_specimen ON rows (specimen) WHERE kind = 'specimen';
CREATE UNIQUE INDEX one_end ON rows (leg) WHERE kind = 'leave';
CREATE TRIGGER rows_stay BEFORE UPDATE ON rows
    BEGIN SELECT RAISE(ABORT, 'a row of the custody record is never changed'); END;
CREATE TRIGGER rows_last BEFORE DELETE ON rows
    BEGIN SELECT RAISE(ABORT, 'a row of the custody record is never deleted'); END;
"""

_KIND: Final = FileKind(
    what="custody record",
    use="transfer",
    key="custody.record",
    network_advice="a custody record that survives; name a file on a local disk as "
    "custody.record in instrument.toml",
    schema=_SCHEMA,
    application_id=APPLICATION_ID,
    version=1,
    error=CustodyError,
)


class CustodyFile(AppendOnlyFile):
    """One connection to a custody record; what goes wrong is a CustodyError."""

    def __init__(self, path: Path, *, timeout_s: float = 10.0) -> None:
        super().__init__(path, _KIND, timeout_s=timeout_s)


@dataclass(frozen=True)
class LegStart:
    """A leg as it is entered."""

    uid: str
    """Given by who enters it, so that to enter it twice changes nothing."""
    specimen: str
    route: str
    leg: str
    from_state: str
    to_state: str
    from_place: str
    to_place: str
    instrument_time_s: float
    run: str = ""
    continues: str = ""
    """The leg that a killed session had left open."""


@dataclass(frozen=True)
class LegReport:
    """A leg as it was left."""

    uid: str
    outcome: str
    """done, stopped (by a limit, a refusal, an error, a person) or interrupted."""
    place: str
    """What the carrier says."""
    state: str
    """The route's state, empty if it is in none."""
    instrument_time_s: float
    worst: Mapping[str, float] = field(default_factory=dict)
    """The worst reading of each limited sensor."""
    air_s: float = 0.0
    """Time in air on this leg."""
    why: str = ""


@dataclass(frozen=True)
class OpenLeg:
    """A leg that was entered and not left."""

    start: LegStart
    wall_s: float
    owner: Mapping[str, Any]
    is_walked: bool
    """Whether another session that still runs is on it."""


@dataclass(frozen=True)
class CustodyState:
    """Where a specimen is and what it has suffered, its ancestors' fate included."""

    specimen: str
    place: str
    """Empty if nothing is known of it."""
    state: str
    """Of the route it went by; "on LEG" within a leg."""
    route: str
    t_max_degc: float | None
    """Warmest since it was cold; None if it never was, or nobody has measured it."""
    p_max_mbar: float | None
    """Worst pressure about it in vacuum."""
    air_s: float
    flags: tuple[str, ...]
    """For life: each limit that was passed."""
    as_of_s: float
    """Wall time of the last row, Unix seconds; 0 without one."""
    ancestors: tuple[str, ...]
    """Oldest first."""
    open_leg: OpenLeg | None = None
    unfinished: LegStart | None = None
    """The leg that it was last on, if that did not come to its end."""
    harvest: Mapping[str, Any] | None = None
    """In which state its electrode was taken from its cell; what is made of it
    inherits that."""

    def block(self) -> dict[str, Any]:
        """Return it as it stands in the metadata of runs."""
        harvest = {} if self.harvest is None else {"harvest": dict(self.harvest)}
        return {
            **harvest,
            "state": self.state,
            "place": self.place,
            "t_max_degc": self.t_max_degc,
            "p_max_mbar": self.p_max_mbar,
            "air_s": self.air_s,
            "flags": list(self.flags),
            "as_of": self.as_of_s,
        }


@dataclass(frozen=True)
class CustodyRow:
    """One row, as it was written."""

    id: int
    uid: str
    kind: str
    specimen: str
    leg: str | None
    wall_s: float
    instrument_time_s: float | None
    run: str | None
    body: Mapping[str, Any]
