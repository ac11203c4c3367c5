"""The laboratory's one truth: the clock, the models and the hardware, in one thread.

Whoever asks for anything first brings everything up to the present, so that no
result depends on who asks how often.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cryoline.sim.clock import ClockMode, SimClock
from cryoline.sim.errors import RefusedError
from cryoline.sim.exposure_log import ExposureLog
from cryoline.sim.limits import ADVANCE_MAX_S, SEED_MAX
from cryoline.sim.microscope import Microscope
from cryoline.sim.mounted_cells import CellKind, MountedCells
from cryoline.sim.operator import SimulatedOperator
from cryoline.sim.point_buffer import PAGE_ROWS, POINTS_MAX
from cryoline.sim.potentiostat import Potentiostat
from cryoline.sim.recorded import RecordedSource
from cryoline.sim.transfer import TransferChain
from cryoline.sim.vessels import Glovebox

__all__ = ["World"]

_CATCH_UP_S: Final = 50_000.0
"""Most instrument time computed at once (about 50 ms); beyond it the clock waits."""
_SPECIMEN_CYCLES: Final = 1


class World:
    """Everything of the laboratory that is not a server.

    recorded: the measurement to play when the recorded cell is mounted
    specimen: what is in the microscope's holder, "wire" or "bead"
    directory: where the exposure log and the truth are kept; None keeps no files
    boot_id: tells this world from those before it
    channels: how many cells the potentiostat cycles at once
    """

    def __init__(
        self,
        *,
        seed: int,
        cell: CellKind = CellKind.WAFER,
        clock: SimClock | None = None,
        recorded: RecordedSource | None = None,
        specimen: str = "wire",
        directory: Path | None = None,
        boot_id: str = "",
        channels: int = 1,
    ) -> None:
        self.clock = clock or SimClock()
        self._recorded = recorded
        self._first_cell = cell
        self._channels = channels
        self.generation = 0
        self._told: dict[str, int] = {}
        self._aware: dict[str, int] = {}
        self._polled_wall_s: dict[str, float] = {}
        self.directory = directory
        self._specimen_seed = seed
        self._specimen_kind = specimen
        log = directory / "exposures.jsonl" if directory else None
        self._exposures = ExposureLog(log, boot_id=boot_id)
        self._build(seed, cell)

    def _build(self, seed: int, cell: CellKind) -> None:
        _check_seed(seed)
        time_s = self.clock.now()
        self.seed = seed
        self.time_s = time_s
        self.cells = MountedCells(
            cell,
            seed=seed,
            channels=self._channels,
            recorded=self._recorded,
            time_s=time_s,
        )
        self.glovebox = Glovebox(seed=seed, time_s=time_s)
        self.operator = SimulatedOperator()
        self.microscope = Microscope(seed=seed, log=self._exposures, time_s=time_s)
        stage = self.microscope.stage
        self.transfer = TransferChain(
            self.glovebox,
            time_s=time_s,
            stage_degc=lambda: stage.cold.temperature_degc(self.time_s),
            on_insert=stage.insert,
        )
        self._wake_at_s: float | None = None

    @property
    def potentiostats(self) -> list[Potentiostat]:
        """Every channel."""
        return self.cells.channels

    @property
    def potentiostat(self) -> Potentiostat:
        """The first channel."""
        return self.potentiostats[0]

    def reset(self, seed: int) -> None:
        """Make everything as after the start, but let the clock go on.

        The specimen is whole again. The exposure log and its counter go on, as in
        hardware that nobody can turn back.
        """
        _check_seed(seed)
        self.catch_up()
        self.microscope.blank(self.time_s)
        self._build(seed, self._first_cell)
        self.generation += 1

    def tell(self, instrument: str) -> int:
        """Return the generation to a server that polls.

        By polling again it shows that it has taken what it was told before.
        """
        self._aware[instrument] = self._told.get(instrument, self.generation)
        self._told[instrument] = self.generation
        self._polled_wall_s[instrument] = time.monotonic()
        return self.generation

    def poll_age_s(self, instrument: str) -> float:
        """Return the wall time since a server last polled."""
        return time.monotonic() - self._polled_wall_s.get(instrument, -math.inf)

    def specimen(self) -> dict[str, Any]:
        """Return what a detector's server must know to make the specimen.

        It keeps its shape over resets: only the first seed counts.
        """
        return {
            "directory": str(self.directory) if self.directory else None,
            "kind": self._specimen_kind,
            "seed": self._specimen_seed,
            "n_cycles": _SPECIMEN_CYCLES,
        }

    def unaware(self) -> list[str]:
        """Return the servers that may still show what was before the last change."""
        return [name for name, seen in self._aware.items() if seen < self.generation]

    def mount(self, cell: CellKind) -> None:
        """Put a fresh cell on every channel and forget programs and points."""
        self.catch_up()
        self.cells.mount(cell, self.time_s)
        self.generation += 1

    def catch_up(self) -> None:
        """Bring every model to the present; the clock waits if that is too far."""
        now_s = self.clock.now()
        # As many cells as run take as many times as long.
        most_s = _CATCH_UP_S / max(1, len(self.cells.running))
        if now_s - self.time_s > most_s and self.clock.mode is ClockMode.FREE:
            now_s = self.time_s + most_s
            self.clock.rebase(now_s)
        self._advance_to(now_s)

    def _advance_to(self, time_s: float) -> None:
        for device in self.potentiostats:
            device.advance(time_s)
        self.glovebox.advance(time_s)
        self.operator.advance(time_s)
        self.microscope.advance(time_s)
        self.transfer.advance(time_s)
        self.time_s = time_s
        if self._wake_at_s is not None and time_s >= self._wake_at_s:
            self._wake_at_s = None

    def advance(self, duration_s: float) -> None:
        """Let this much instrument time pass; stepped mode only."""
        if not 0.0 <= duration_s <= ADVANCE_MAX_S:
            raise RefusedError(
                f"laboratory: Advance {duration_s:g} s is outside "
                f"0..{ADVANCE_MAX_S:g} s; choose a value in between"
            )
        self.clock.advance_to(self.clock.now() + duration_s)
        self._advance_to(self.clock.now())

    def set_wake_at(self, time_s: float) -> None:
        """Make this instrument time an event for `step`; a past one is none."""
        self.catch_up()
        self._wake_at_s = time_s if time_s > self.time_s else None

    @property
    def wake_at_s(self) -> float:
        """The time waited for; 0 if there is none."""
        return self._wake_at_s or 0.0

    def step(self) -> str:
        """Run to the next event, and return which one it was; stepped mode only.

        Events: the program's end; a page of unread points; the time of WakeAt; the
        operator's answer; an exposure's or a current measurement's end; an axis of the
        stage at rest; the specimen carrier where it is brought.
        """
        if self.clock.mode is not ClockMode.STEPPED:
            raise RefusedError(
                "laboratory: Step needs the stepped mode; write Mode first"
            )
        running = self.cells.running
        if any(device.unread >= PAGE_ROWS for device in running):
            return "points"  # nobody read them since the last step
        events: list[tuple[float, str]] = []
        if self._wake_at_s is not None:
            events.append((self._wake_at_s, "wake"))
        answers_at_s = self.operator.answers_at_s()
        if answers_at_s is not None:
            events.append((answers_at_s, "operator"))
        arrives_at_s = self.transfer.arrives_at_s()
        if arrives_at_s is not None:
            events.append((arrives_at_s, "transfer"))
        if (at_microscope := self.microscope.next_event_s()) is not None:
            events.append(at_microscope)
        limit_s, reason = min(events, default=(float("inf"), ""))
        # One that was computed further than another's event stays ahead: it waits.
        for device in running:
            reached_s = device.advance(
                limit_s, min(device.points_until_full, POINTS_MAX)
            )
            if not device.running and reached_s <= limit_s:
                limit_s, reason = reached_s, "program"
            elif reached_s < limit_s:
                limit_s, reason = reached_s, "points"
        if not reason:
            raise RefusedError(
                "laboratory: Step has nothing to wait for: no program or exposure "
                "runs, no axis moves, WakeAt is not set and no prompt waits; start one "
                "of them, or use Advance"
            )
        limit_s = max(limit_s, self.clock.now())
        self.clock.advance_to(limit_s)
        self._advance_to(limit_s)
        return reason

    def at_present(self, action: Callable[[float], None]) -> None:
        """Do something with a model at the present instrument time."""
        self.catch_up()
        action(self.time_s)


def _check_seed(seed: int) -> None:
    if not 0 <= seed <= SEED_MAX:
        raise RefusedError(
            f"laboratory: seed {seed} is outside 0..{SEED_MAX}; choose another"
        )
