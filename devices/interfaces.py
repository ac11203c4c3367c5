"""What plans ask of a device, so that a vendor's own can take its place."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

from bluesky.protocols import (
    Flyable,
    HasName,
    Movable,
    Pausable,
    Preparable,
    Readable,
    Status,
    Stoppable,
    Triggerable,
)
from event_model import PartialEventPage
from numpy.typing import NDArray

from cryoline.devices.exposure import ExposureResult, ProbeCurrent

__all__ = [
    "EndedExposure",
    "ExposingBeam",
    "ExposureRecorder",
    "ImageRecorder",
    "InstrumentTimer",
    "OperatorPanel",
    "ProgramRunner",
    "Recording",
    "TiltStage",
]


class ProgramRunner(Preparable, Flyable, Protocol):
    """A cycler that runs a program by itself and hands its points over in pages.

    Preparing it loads a `Program`, or attaches to one that is in it already.
    """

    @property
    def potential_v(self) -> Readable[Any]:
        """The potential of the cell, V."""

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
    def charge_mah(self) -> Readable[Any]:
        """The coulomb counter since the program's start, mAh."""

    @property
    def cycle_number(self) -> Readable[Any]:
        """The cycle of the program, from 1."""

    @property
    def contact(self) -> Readable[Any]:
        """Whether a cell is connected."""

    @property
    def point_count(self) -> Readable[Any]:
        """How many points of it the instrument has taken."""

    @property
    def program_uid(self) -> Readable[Any]:
        """The program that the instrument holds."""

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


class InstrumentTimer(Readable[Any], Protocol):
    """The instrument's clock; setting it to a duration waits that long."""

    @property
    def instrument_time_s(self) -> Readable[Any]:
        """The instrument time, s."""

    def set(self, value: float) -> Status:
        """Return a status that is done so many seconds of instrument time later."""


class OperatorPanel(HasName, Protocol):
    """A person who is asked and answers."""

    def set(self, value: str) -> Status:
        """Show an instruction; done when the person has confirmed it."""


class EndedExposure(Status, Protocol):
    """The status of an exposure: done when it has ended, or can't happen any more."""

    @property
    def result(self) -> ExposureResult | None:
        """How it ended; outcome NONE if it never began."""

    @property
    def cut_here(self) -> bool:
        """Whether this session has blanked the beam since it was armed."""


class ExposingBeam(
    Movable[Any], Triggerable, Readable[Any], Pausable, Stoppable, Protocol
):
    """A beam that exposes by a ticket, times and counts it, and logs how it ended.

    Setting it to a `Ticket` arms, triggering exposes, stopping and pausing blank.
    """

    @property
    def armed_ticket_uid(self) -> Any:
        """The ticket of what is armed or exposing."""

    def trigger(self) -> EndedExposure:
        """Expose what is armed."""

    def outcome_of(
        self, ticket_uid: str, boot_id: str, counter: int
    ) -> ExposureResult | None:
        """Return how the exposure of a ticket ended; None while it is under way."""

    def position(self) -> tuple[str, int]:
        """Return boot id and exposure counter of now."""

    def logged(self, counter: int) -> ExposureResult | None:
        """Return the record of one exposure of this boot."""

    def why(self) -> str:
        """Return the instrument's reason for refusing."""

    def probe_current(self) -> ProbeCurrent:
        """Return what is known of the current."""

    def measure_current(self) -> Status:
        """Measure the current with the specimen blanked."""


class Recording(Status, Protocol):
    """The status of a recording: done when it is on disk, or nothing came."""

    @property
    def is_recorded(self) -> bool:
        """Whether the exposure is safely on disk."""


class ExposureRecorder(Preparable, Triggerable, Readable[Any], Stoppable, Protocol):
    """A detector that records the exposure of the ticket that it was prepared with."""

    def trigger(self) -> Recording:
        """Return a status that is done when the exposure is on disk."""


class ImageRecorder(ExposureRecorder, Protocol):
    """A detector whose last image a plan may look at."""

    def last_frame(self) -> NDArray[Any]:
        """Return the image that was recorded last, (y, x)."""


class TiltStage(Readable[Any], Stoppable, Protocol):
    """A stage that tilts about y."""

    @property
    def alpha_deg(self) -> Any:
        """The tilt: a positioner with limits, whose moves end at rest where sent."""
