"""The potentiostat's channels, and what is mounted on their terminals."""

from enum import IntEnum

from cryoline.sim.cell_parameters import nanowire, solid_state, wafer
from cryoline.sim.cell_source import CellSource
from cryoline.sim.errors import RefusedError
from cryoline.sim.potentiostat import Potentiostat
from cryoline.sim.recorded import RecordedSource
from cryoline.sim.source import Source

__all__ = ["CellKind", "MountedCells"]


class CellKind(IntEnum):
    """What is mounted on the potentiostat."""

    WAFER = 0
    NANOWIRE = 1
    RECORDED = 2
    SOLID_STATE = 3


class MountedCells:
    """Every channel of the potentiostat, with cells of one kind.

    channels: how many
    recorded: the measurement to play when the recorded cell is mounted
    """

    def __init__(
        self,
        kind: CellKind,
        *,
        seed: int,
        channels: int = 1,
        recorded: RecordedSource | None = None,
        time_s: float = 0.0,
    ) -> None:
        self._seed = seed
        self._channels = channels
        self._recorded = recorded
        self._mounted = 0
        self.kind = kind
        self.contact_lost = 0
        """The channel without contact, from 1; 0 if all have it."""
        self.channels = self._fresh(time_s)

    @property
    def running(self) -> list[Potentiostat]:
        """The channels that run a program."""
        return [device for device in self.channels if device.running]

    def channel(self, index: int) -> Potentiostat:
        """Return the channel of this index, from 0."""
        if not 0 <= index < len(self.channels):
            raise RefusedError(
                f"potentiostat: no channel {index + 1}; "
                f"there are 1..{len(self.channels)}"
            )
        return self.channels[index]

    def lose_contact(self, channel: int, time_s: float) -> None:
        """Take the cell off a channel's terminals, counted from 1; 0 mends all."""
        if channel:
            self.channel(channel - 1)  # it exists
        self.contact_lost = channel
        for number, device in enumerate(self.channels, start=1):
            device.set_contact(number != channel, time_s)

    def mount(self, kind: CellKind, time_s: float) -> None:
        """Put a fresh cell on every channel and forget programs and points."""
        if self.running:
            raise RefusedError(
                "laboratory: a cell can't be mounted while a program runs; "
                "wait for its end or write Stop"
            )
        self._source(kind)  # or it is refused
        self.kind = kind
        self._mounted += 1
        self.contact_lost = 0
        self.channels = self._fresh(time_s)

    def _fresh(self, time_s: float) -> list[Potentiostat]:
        return [
            Potentiostat(
                self._source(self.kind),
                seed=self._seed,
                mount=self._mounted,
                channel=channel,
                time_s=time_s,
            )
            for channel in range(self._channels)
        ]

    def _source(self, kind: CellKind) -> Source:
        if kind is CellKind.WAFER:
            return CellSource(wafer())
        if kind is CellKind.NANOWIRE:
            return CellSource(nanowire())
        if kind is CellKind.SOLID_STATE:
            return CellSource(solid_state())
        if self._recorded is None:
            raise RefusedError(
                "laboratory: no recorded measurement was given; start it with "
                "--recorded FILE to mount one"
            )
        return self._recorded.fresh()
