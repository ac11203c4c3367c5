"""The column's own record of every exposure, on disk before the counter shows it."""

import logging
import os
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import orjson

from cryoline.sim.errors import RefusedError

__all__ = ["ExposureLog", "ExposureRecord", "Outcome"]

_LOG = logging.getLogger("cryoline.sim.world")


class Outcome(IntEnum):
    """How an exposure ended."""

    NONE = 0
    COMPLETE = 1
    CUT = 2
    """Blanked by somebody before its end."""
    MAX_CHARGE = 3
    MAX_TIME = 4
    DEAD_MAN = 5
    INTERLOCK = 6


@dataclass(frozen=True)
class ExposureRecord:
    """What the hardware counted in one exposure."""

    boot_id: str
    counter: int
    ticket: str
    outcome: Outcome
    charge_c: float
    beam_on_s: float
    frames: int
    """Complete ones."""
    start_s: float
    """Instrument time, as the next."""
    end_s: float
    tilt_deg: float
    width_px: int
    height_px: int
    pixel_nm: float
    dwell_s: float
    n_frames: int
    flyback_s: float
    flyback_blanked: bool
    center_x_nm: float
    center_y_nm: float
    max_time_s: float
    max_charge_c: float
    rotation_deg: float
    beam_diameter_nm: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {**asdict(self), "outcome": int(self.outcome)}


class ExposureLog:
    """Records of this boot by counter, and every ticket that was ever exposed.

    path: a file of JSON lines that is only appended to; None keeps all in memory
    boot_id: counters start at 1 with each
    """

    def __init__(self, path: Path | None = None, *, boot_id: str = "") -> None:
        self._path = path
        self._records: dict[int, ExposureRecord] = {}
        self._tickets: dict[str, int] = {}
        self._unsaved = b""
        self.boot_id = boot_id
        if path is not None:
            self._recall(path)

    @property
    def counter(self) -> int:
        """Exposures ended since the world started."""
        return len(self._records)

    @property
    def first(self) -> int:
        """The first counter recorded; 0 if there is none."""
        return min(self._records, default=0)

    def get(self, counter: int) -> ExposureRecord | None:
        """Return a record of this boot."""
        return self._records.get(counter)

    def find(self, ticket: str) -> ExposureRecord | None:
        """Return the record of a ticket of this boot."""
        return self._records.get(self._tickets.get(ticket, 0))

    def knows(self, ticket: str) -> bool:
        """Whether this ticket was exposed, in this boot or an earlier one."""
        return ticket in self._tickets

    def append(self, record: ExposureRecord) -> None:
        """Write a record to disk, then count it.

        Hardware goes on if the disk is full: what could not be written is kept, and
        written with the next record.
        """
        line = orjson.dumps(record.as_dict(), option=orjson.OPT_APPEND_NEWLINE)
        self._unsaved += line
        if self._path is not None:
            try:
                self._save(self._path)
            except OSError as error:
                _LOG.error(
                    "exposure %s is not in the log yet: %s", record.ticket, error
                )
        self._records[record.counter] = record
        self._tickets[record.ticket] = record.counter

    def _save(self, path: Path) -> None:
        with path.open("ab") as file:
            end = file.tell()
            try:
                file.write(self._unsaved)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.truncate(path, end)  # a part of it may be there
                raise
        self._unsaved = b""

    def _recall(self, path: Path) -> None:
        """Learn the tickets of earlier boots; cut off a line that was not finished."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return
        whole, _, torn = content.rpartition(b"\n")
        if torn:
            os.truncate(path, len(content) - len(torn))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                self._tickets[orjson.loads(line)["ticket"]] = 0
            except (orjson.JSONDecodeError, KeyError, TypeError):
                raise RefusedError(
                    f"laboratory: {path}, line {number} is no exposure; move the file "
                    "away to start with a new log"
                ) from None
