"""What plans ask of a device, so that a vendor's own can take its place."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

from bluesky.protocols import (
    Flyable,
    HasName,
    Movable,
    Preparable,
    Readable,
    Status,
)
from event_model import PartialEventPage

__all__ = ["OperatorPanel", "ProgramRunner"]


class ProgramRunner(Preparable, Flyable, Protocol):
    """A cycler that runs a program by itself and hands its points over in pages."""

    @property
    def potential_min_v(self) -> Readable[Any]:
        """The lowest potential that the instrument can apply, V."""

    @property
    def potential_max_v(self) -> Readable[Any]:
        """The highest potential that the instrument can apply, V."""

    @property
    def current_max_a(self) -> Readable[Any]:
        """The largest current that the instrument can carry, A."""

    @property
    def scan_rate_max_mv_per_s(self) -> Readable[Any]:
        """The fastest sweep that the instrument can make, mV/s."""

    @property
    def state(self) -> Readable[Any]:
        """What the instrument does: idle, loaded, running, finished, ..."""

    @property
    def halt(self) -> Movable[Any]:
        """Setting it to 1 stops the program and opens the circuit."""

    def collect_pages(self) -> AsyncIterator[PartialEventPage]:
        """Yield the points that the instrument took since the last call."""

    def describe_collect(self) -> dict[str, Any]:
        """Describe the columns of the points, with units."""


class OperatorPanel(HasName, Protocol):
    """A person who is asked and answers."""

    def set(self, value: str) -> Status:
        """Show an instruction; done when the person has confirmed it."""
