"""A potentiostat channel that runs its program by itself.

The program, its safety limits and the points live in the instrument. The device
uploads, starts, watches, and hands the points over in pages while they come; it
may die at any time without an effect on the cell.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from event_model import PartialEventPage
from ophyd import DeviceStatus, EpicsSignalRO
from ophyd.status import Status

from cryoline.devices.channel_access import NO_ANSWER
from cryoline.devices.cycling_protocol import Program, ProgramState
from cryoline.devices.errors import InstrumentUnreachable, ProgramRefused
from cryoline.devices.point_columns import IMPEDANCE_COLUMNS, POINT_COLUMNS, convert
from cryoline.devices.potentiostat_panel import PotentiostatPanel
from cryoline.devices.program_status import ProgramStatus

__all__ = ["POINT_COLUMNS", "Attachment", "Potentiostat"]

_STARTED: Final = (ProgramState.RUNNING, ProgramState.FINISHED)
_HEADER: Final = 4  # first index, points, columns, boot serial


@dataclass(frozen=True)
class Attachment:
    """A program that is in the instrument already, to go on with; see `prepare`."""

    program: Program
    next_point: int
    """The first point that nobody has kept."""


class Potentiostat(PotentiostatPanel):
    """One channel of a potentiostat with a cell behind it.

    It is prepared with a `Program`, kicked off, and completes when the instrument
    has ended the program. ``answer_timeout_s`` bounds every single exchange with
    the IOC, ``reconnect_timeout_s`` how long collecting waits for a lost one: the
    points meanwhile stay in the instrument.
    """

    answer_timeout_s = 5.0
    reconnect_timeout_s = 60.0

    def __init__(self, prefix: str, *, name: str, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self._next_point = 0
        self._columns = dict(POINT_COLUMNS)
        self._unreachable_since: float | None = None

    def prepare(self, value: Program | Attachment) -> Status:
        """Load a program; done when the instrument has accepted it.

        An `Attachment` loads nothing: collecting goes on behind the points that an
        earlier session has kept. The status fails with ProgramRefused and the
        instrument's own reason.
        """
        status = DeviceStatus(self, timeout=2 * self.answer_timeout_s)
        attachment = value if isinstance(value, Attachment) else None
        program = value if isinstance(value, Program) else value.program

        def accepted(_: Status) -> None:
            held = self._get(self.program_uid)
            if held != program.uid:
                raise ProgramRefused(
                    f"{self.name} refused the program: {self._get(self.message)}"
                    if attachment is None
                    else f"{self.name} holds program {held or 'none'}, not "
                    f"{program.uid}: it was loaded with another, or restarted"
                )
            first = 0 if attachment is None else attachment.next_point
            if (count := self._get(self.point_count)) < first:
                raise ProgramRefused(
                    f"{self.name} has {count} points of program {program.uid}, fewer "
                    f"than the {first} that were kept; was it restarted?"
                )
            self._next_point = first
            self._columns = {
                **POINT_COLUMNS,
                **(IMPEDANCE_COLUMNS if _has_impedance(program) else {}),
            }

        if attachment is None:
            asked = self.program.set(program.to_json())
        else:
            asked = self.point_request.set(attachment.next_point)
        self._then(asked, accepted, status)
        return status

    def kickoff(self) -> Status:
        """Start the loaded program; done when the instrument says that it runs."""
        status = DeviceStatus(self, timeout=2 * self.answer_timeout_s)

        def started(_: Status) -> None:
            if self._get(self.state) not in _STARTED:
                raise ProgramRefused(
                    f"{self.name} did not start the program: {self._get(self.message)}"
                )

        self._then(self.start.set(1), started, status)
        return status

    def complete(self) -> "ProgramStatus":
        """Return a status that is done when the program has ended."""
        return ProgramStatus(self)

    def describe_collect(self) -> dict[str, Any]:
        """Describe the columns of a point; see `POINT_COLUMNS`."""
        return {
            f"{self.name}_{column}": {
                "source": f"PV:{self.prefix}Points_RBV",
                "dtype": kind,
                "shape": [],
                "units": unit,
            }
            for column, (kind, unit) in self._columns.items()
        }

    async def collect_pages(self) -> AsyncIterator[PartialEventPage]:
        """Yield every point since the last call, in pages, oldest first.

        The RunEngine's loop stays free: the exchange runs in a thread. An IOC
        that is away for less than ``reconnect_timeout_s`` yields nothing now and
        everything later; then InstrumentUnreachable is raised.
        """
        while True:
            try:
                rows = await asyncio.to_thread(self._fetch_page, self._next_point)
            except NO_ANSWER as error:
                self._count_outage(error)
                return
            self._unreachable_since = None
            if len(rows) == 0:
                return
            self._next_point += len(rows)
            yield self._page(rows)

    def stop(self, *, success: bool = False) -> None:
        """Stop the program and open the circuit; what was measured stays."""
        self.halt.set(1).wait(self.answer_timeout_s)

    def _fetch_page(self, first: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return (points, columns) from the first index on, as many as fit."""
        columns = self._get(self.point_columns).split(",")
        self.point_request.set(first).wait(self.answer_timeout_s)
        page = np.asarray(self._get(self.points), dtype=float)
        got, n_points, n_columns = (int(x) for x in page[: _HEADER - 1])
        if got != first or n_columns != len(columns):
            raise InstrumentUnreachable(
                f"{self.name}: asked for points from {first} in {len(columns)} "
                f"columns, got points from {got} in {n_columns}; does a second "
                "session read this channel? End it, then resume"
            )
        body = page[_HEADER : _HEADER + n_points * n_columns]
        rows = body.reshape(n_points, n_columns)
        return rows[:, [columns.index(column) for column in self._columns]]

    def _page(self, rows: np.ndarray[Any, np.dtype[np.float64]]) -> PartialEventPage:
        now = [time.time()] * len(rows)
        data = {
            f"{self.name}_{column}": convert(kind, rows[:, k])
            for k, (column, (kind, _)) in enumerate(self._columns.items())
        }
        return {"data": data, "timestamps": dict.fromkeys(data, now), "time": now}

    def _count_outage(self, error: Exception) -> None:
        now = time.monotonic()
        if self._unreachable_since is None:
            self._unreachable_since = now
        if now - self._unreachable_since > self.reconnect_timeout_s:
            raise InstrumentUnreachable(
                f"{self.name} ({self.prefix}): no answer from its IOC for "
                f"{self.reconnect_timeout_s:g} s ({error}); the program goes on in "
                f"the instrument, which keeps the points from {self._next_point} on"
            ) from error

    def _get(self, signal: EpicsSignalRO) -> Any:
        return signal.get(
            timeout=self.answer_timeout_s, connection_timeout=self.answer_timeout_s
        )

    def _then(
        self, first: Status, check: Callable[[Status], None], outcome: DeviceStatus
    ) -> None:
        """Settle the outcome by a check of the instrument, once first is done."""

        def settle(done: Status) -> None:
            error = done.exception(timeout=0)
            if error is None:
                try:
                    check(done)
                except (ProgramRefused, *NO_ANSWER) as refusal:
                    error = refusal
            if error is None:
                outcome.set_finished()
            else:
                outcome.set_exception(error)

        first.add_callback(settle)


def _has_impedance(program: Program) -> bool:
    return any(step.type == "impedance_spectroscopy" for step in program.steps)
