"""The potentiostat as hardware: it runs a program whoever is watching.

Nothing here knows of EPICS or of wall time. The points depend only on the seed, the
program and the cell, never on how often `advance` is called.
"""

from dataclasses import replace
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.sim.errors import RefusedError
from cryoline.sim.measurement import CURRENT_RANGES_A
from cryoline.sim.point_buffer import PAGE_ROWS, POINTS_MAX, PointBuffer
from cryoline.sim.source import Execution, PreparedProgram, Reading, Source

__all__ = ["Potentiostat", "PotentiostatState"]

_DEVICE_ID: Final = 1  # of this instrument's random streams
_REST_GRID_S: Final = 10.0


class PotentiostatState(IntEnum):
    """What the instrument is doing."""

    IDLE = 0
    LOADED = 1
    RUNNING = 2
    FINISHED = 3
    STOPPED = 4
    FAILED = 5


class Potentiostat:
    """One channel with a cell (or a playback) on its terminals.

    seed: of the measurement noise, together with the next two
    mount: how many cells were mounted before since the seed was set
    channel: of the instrument, from 0
    """

    def __init__(
        self,
        source: Source,
        *,
        seed: int,
        mount: int = 0,
        channel: int = 0,
        time_s: float = 0.0,
    ) -> None:
        self._source = source
        self._seed = seed
        self._mount = mount
        self._channel = channel
        self._time_s = time_s
        self._start_s = time_s
        self._program: PreparedProgram | None = None
        self._program_number = 0
        self._execution: Execution | None = None
        self._delivered = 0
        self.points = PointBuffer()
        self.state = PotentiostatState.IDLE
        self.message = ""
        self.has_contact = True

    @property
    def source(self) -> Source:
        """What is on the terminals."""
        return self._source

    @property
    def running(self) -> bool:
        """Whether a program runs."""
        return self.state is PotentiostatState.RUNNING

    @property
    def program_uid(self) -> str:
        """Uid of the accepted program, "" if there is none."""
        return self._program.uid if self._program else ""

    @property
    def unread(self) -> int:
        """Points not yet handed out by `read_page`."""
        return len(self.points) - self._delivered

    @property
    def points_until_full(self) -> int:
        """How many points the buffer holds when a page's worth is unread."""
        return self._delivered + PAGE_ROWS

    def load(self, text: str) -> None:
        """Accept a program and clear the points of the last, or refuse it."""
        self._refuse_while_running("a program can't be loaded")
        self._program = self._source.prepare(text)
        self._program_number += 1
        self._execution = None
        self._delivered = 0
        self.points = PointBuffer()
        self.state = PotentiostatState.LOADED
        self.message = ""

    def start(self, time_s: float) -> None:
        """Start the loaded program at this instrument time."""
        self._refuse_while_running("it can't be started")
        if self.state is not PotentiostatState.LOADED or self._program is None:
            raise RefusedError(
                f"potentiostat: no program is loaded (state {self.state.name.lower()})"
                "; write one to Program before Start"
            )
        if not self.has_contact:
            raise RefusedError(
                "potentiostat: no cell is connected; connect it before Start"
            )
        self.advance(time_s)
        self._source.rest(time_s - self._time_s)
        self._time_s = self._start_s = time_s
        stream = [self._seed, _DEVICE_ID, self._mount, self._program_number]
        if self._channel:
            stream.append(self._channel)
        rng = np.random.default_rng(stream)
        self._execution = self._program.begin(time_s, self.points, rng)
        self.state = PotentiostatState.RUNNING

    def set_contact(self, has_contact: bool, time_s: float) -> None:
        """Connect the cell, or take it off: a running program then ends."""
        self.advance(time_s)
        if self.has_contact and not has_contact and self._execution is not None:
            self._execution.lose_contact()
            self.advance(time_s)
        self.has_contact = has_contact

    def stop(self, time_s: float) -> None:
        """End the program here and leave the cell at open circuit; no-op if idle."""
        if not self.running:
            return
        self.advance(time_s)
        if self.running:
            self.state = PotentiostatState.STOPPED

    def advance(self, time_s: float, points_max: int = POINTS_MAX) -> float:
        """Compute up to `time_s`, or until the buffer holds `points_max`.

        Returns the instrument time reached: that of the program's end if it ended,
        or of the last point if the buffer got full, else `time_s`.
        """
        if self._execution is not None and self.running:
            self._execution.advance(time_s - self._start_s, points_max)
            self._time_s = self._start_s + self._execution.elapsed_s
            if self._execution.ended:
                self.message = self._execution.failure
                self.state = (
                    PotentiostatState.FAILED
                    if self.message
                    else PotentiostatState.FINISHED
                )
                return self._time_s
            return self._time_s if len(self.points) >= points_max else time_s
        grid_steps = max(0.0, (time_s - self._time_s) // _REST_GRID_S)
        self._source.rest(grid_steps * _REST_GRID_S)
        self._time_s += grid_steps * _REST_GRID_S
        return time_s

    def read_page(self, first: int) -> NDArray[np.float64]:
        """Hand out up to a page of points from index `first` on."""
        if not 0 <= first <= len(self.points):
            raise RefusedError(
                f"potentiostat: point {first} is not recorded; "
                f"ask for 0..{len(self.points)}"
            )
        page = self.points.page(first)
        self._delivered = max(self._delivered, first + len(page))
        return page

    def reading(self) -> Reading:
        """Return the display: of the program, or of the cell at open circuit."""
        if self._execution is None:
            return Reading(
                self._source.potential_v, 0.0, 0.0, float(CURRENT_RANGES_A[0])
            )
        reading = self._execution.reading()
        return reading if self.running else replace(reading, current_a=0.0)

    def progress_percent(self) -> float:
        """Return how much of the program is done, 0..100."""
        return self._execution.progress_percent() if self._execution else 0.0

    def remaining_s(self) -> float:
        """Return the instrument time the program still needs, s."""
        return self._execution.remaining_s() if self._execution and self.running else 0

    def cycle_charges_mah(self) -> tuple[float, float]:
        """Return the true lithiation and delithiation of the present cycle, mAh."""
        if self._execution is None:
            return 0.0, 0.0
        return self._execution.cycle_charges_mah()

    def _refuse_while_running(self, what: str) -> None:
        if self.running:
            raise RefusedError(
                f"potentiostat: {what} while program {self.program_uid} runs; "
                "wait for its end or write Stop"
            )
