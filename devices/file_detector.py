"""What detectors of a scanned beam have in common: the habits of areaDetector.

A detector waits for the exposure of one ticket and writes it into its place in an
HDF5 file. An exposure counts as recorded when it is flushed and fsynced.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Final

from ophyd import DeviceStatus, EpicsSignalRO
from ophyd.status import Status

from cryoline.devices.detector_panel import DetectorPanel, DetectorState
from cryoline.devices.errors import ExposureFailed, ExposureRefused
from cryoline.devices.exchange import in_thread, read, write
from cryoline.devices.exposure import Ticket
from cryoline.devices.stream_file import StreamAsset, StreamFile

__all__ = ["FileDetector", "RecordingStatus"]

_LOOK_EVERY_S: Final = 0.25
"""Wall time between two looks, should no monitor of the counter arrive."""


@dataclass(frozen=True)
class _Expected:
    """The exposure that is waited for, and where the detector stood before."""

    ticket: Ticket
    file: StreamFile
    counter: int
    serial: int


class FileDetector(DetectorPanel):
    """A detector that writes each exposure into a file of its own.

    Staging begins a new set of files, one a stream of events. ``directory`` is where
    the instrument writes them, by its own name, if not the one that it has set;
    ``to_session`` gives the path by which this host knows a file.
    """

    answer_timeout_s = 5.0
    read_out_timeout_s = 30.0
    image: ClassVar[str]
    """Name of the external data, without that of the device."""
    dataset: ClassVar[str]
    """Where the file keeps it."""

    def __init__(self, prefix: str, *, name: str, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self.directory: str | None = None
        self.to_session: Callable[[str], Path] = Path
        self._stem: str | None = None
        self._files: dict[str, StreamFile] = {}
        self._current: StreamFile | None = None
        self._expected: _Expected | None = None
        self._serial = 0
        """Counts what ends a waiting: who waits for an older one has lost it."""
        self._preparing = threading.Lock()

    def frame_shape(self, ticket: Ticket) -> tuple[int, ...]:
        """Return the shape of one exposure's external data."""
        raise NotImplementedError

    def frame_key(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return dtype_numpy, dims and units of the external data."""
        raise NotImplementedError

    # Files -------------------------------------------------------------------------

    def stage(self) -> list[object]:
        """Begin a new set of files; the first is made by the first exposure."""
        staged: list[object] = super().stage()
        day = datetime.now(UTC).strftime("%Y-%m-%d")
        self._stem = f"{day}_{self.name}_{uuid.uuid4().hex[:8]}"
        self._files = {}
        self._current = None
        self._expected = None
        return staged

    def unstage(self) -> list[object]:
        """End the waiting and close the file."""
        try:
            if self._stem is not None:
                self.stop()
                self._give_up_what_was()
                write(self.capture, 0, timeout_s=self.answer_timeout_s)
        finally:
            self._stem = None
            unstaged: list[object] = super().unstage()
        return unstaged

    def collect_asset_docs(self, index: int | None = None) -> Iterator[StreamAsset]:
        """Yield the documents of the frame that was recorded since the last call."""
        if self._current is not None:
            path = self.to_session(self._get(self.full_file_name))
            key = f"{self.name}_{self.image}"
            yield from self._current.documents(path, key, self.dataset)

    def get_index(self) -> int:
        """Return how many frames of the present stream have been told of."""
        return self._current.index if self._current is not None else 0

    def describe(self) -> dict[str, Any]:
        """Describe the readings, and the frames that are in the file."""
        described: dict[str, Any] = super().describe()
        if self._current is not None:
            shape = (1, *self._current.shape)
            described[f"{self.name}_{self.image}"] = {
                "source": f"PV:{self.prefix}FullFileName_RBV",
                "dtype": "array",
                "shape": list(shape),
                "external": "STREAM:",
                **self.frame_key(shape),
            }
        return described

    # Exposing ----------------------------------------------------------------------

    def prepare(self, value: Ticket, *, stream: str = "primary") -> Status:
        """Wait for the exposure of a ticket; done when the detector does wait.

        A re-take takes the place of the exposure before it, unless its event was
        saved. Raises ExposureRefused if the detector is not staged; the status fails
        with it, and the instrument's reason.
        """
        if self._stem is None:
            raise ExposureRefused(
                f"{self.name}: not staged, so it has no file to write to; stage it in "
                f"the plan: @bpp.stage_decorator([{self.name}])"
            )
        stem = self._stem
        self._serial += 1
        serial = self._serial
        # A plan that fails clears up by itself; a late stop would hit the next one.
        status = DeviceStatus(self, call_stop_on_failure=False)

        def prepare() -> None:
            # Who stops waits for this: the detector waits for nothing afterwards.
            with self._preparing:
                self._give_up_what_was()
                file = self._open(stem, stream, self.frame_shape(value))
                counter = int(self._get(self.acquire_counter))
                for signal, wanted in (
                    (self.expect, value.uid),
                    (self.slot, file.index),
                    (self.acquire, 1),
                ):
                    if self._serial != serial:
                        return  # stopped: nothing is expected, as trigger() will say
                    write(signal, wanted, timeout_s=self.answer_timeout_s)
                if self._get(self.state) != DetectorState.WAITING:
                    raise ExposureRefused(
                        f"{self.name} does not wait for ticket {value.uid}: "
                        f"{self._why()}"
                    )
                for key in ("width_px", "height_px", "pixel_nm", "dwell_s"):
                    getattr(self, key).put(getattr(value.exposure, key))
                self._expected = _Expected(value, file, counter, serial)

        in_thread(status, prepare, f"prepare {self.name}")
        return status

    def trigger(self) -> "RecordingStatus":
        """Return a status that is done when the expected exposure is safely on disk.

        Raises ExposureRefused if none is expected: a detector never starts a beam.
        """
        expected, self._expected = self._expected, None
        if expected is None:
            raise ExposureRefused(
                f"{self.name}.trigger(): no exposure with a ticket of the dose ledger "
                "is expected; a detector records, and does not expose. Use expose() "
                f"in a plan, or RE(expose_once(beam, [{self.name}], Exposure(...)))"
            )
        status = RecordingStatus(self, call_stop_on_failure=False)

        def follow() -> None:
            status.is_recorded = self._follow(expected)

        in_thread(status, follow, f"follow {self.name}")
        return status

    def stop(self, *, success: bool = False) -> None:
        """End the waiting; what is being read out is still written."""
        self._serial += 1
        with self._preparing:
            write(self.cancel, 1, timeout_s=self.answer_timeout_s)

    def _follow(self, expected: _Expected) -> bool:
        """Return whether the exposure was recorded, or the waiting ended before."""
        news = threading.Event()
        token = self.acquire_counter.subscribe(lambda **_: news.set(), run=False)
        try:
            while self._serial == expected.serial:
                state = self._get(self.state)
                if self._get(self.acquire_counter) > expected.counter:
                    return self._check(expected)
                if state == DetectorState.ERROR:
                    raise ExposureFailed(
                        f"{self.name} could not record ticket {expected.ticket.uid}: "
                        f"{self._why()}; its dose is charged. Mend it, then repeat"
                    )
                if state == DetectorState.IDLE:
                    # Its PVs change one after the other: the counter may be behind.
                    news.wait(_LOOK_EVERY_S)
                    is_counted = self._get(self.acquire_counter) > expected.counter
                    return (
                        is_counted
                        and self._serial == expected.serial
                        and self._check(expected)
                    )
                news.wait(_LOOK_EVERY_S)
                news.clear()
            return False
        finally:
            self.acquire_counter.unsubscribe(token)

    def _check(self, expected: _Expected) -> bool:
        ticket, slot = self._get(self.ticket_uid), self._get(self.slot_index)
        if (ticket, slot) != (expected.ticket.uid, expected.file.index):
            raise ExposureFailed(
                f"{self.name} recorded ticket {ticket} in place {slot}; expected was "
                f"{expected.ticket.uid} in place {expected.file.index}. Does a second "
                "session use this detector? End it, then repeat"
            )
        expected.file.recorded()
        return True

    def _open(self, stem: str, stream: str, shape: tuple[int, ...]) -> StreamFile:
        """Return the stream's file, open; close that of another stream first."""
        file = self._files.get(stream)
        if file is None:
            file = self._files[stream] = StreamFile(f"{stem}_{stream}", shape)
        elif file.shape != shape:
            raise ExposureRefused(
                f"{self.name}: the frames of stream {stream!r} are {file.shape}, now "
                f"{shape} is asked for; use another stream for it"
            )
        if self._current is file and self._get(self.capturing):
            return file
        write(self.capture, 0, timeout_s=self.answer_timeout_s)
        if self.directory is not None:
            write(self.file_path, self.directory, timeout_s=self.answer_timeout_s)
        write(self.file_name, file.name, timeout_s=self.answer_timeout_s)
        write(self.capture, 1, timeout_s=self.answer_timeout_s)
        if not self._get(self.capturing):
            raise ExposureRefused(
                f"{self.name} did not open {file.name}: {self._why()}"
            )
        self._current = file
        return file

    def _give_up_what_was(self) -> None:
        """Let an exposure before this one be written, or wait for it no more.

        Who holds the beam may: what is still waited for is of a session that died.
        """
        pause = threading.Event()  # never set: a wait without sleep
        deadline_s = time.monotonic() + self.read_out_timeout_s
        while self._get(self.state) == DetectorState.READING_OUT:
            if time.monotonic() > deadline_s:
                raise ExposureRefused(
                    f"{self.name} has been reading out for {self.read_out_timeout_s:g}"
                    " s; look at its IOC and its disk"
                )
            pause.wait(_LOOK_EVERY_S / 10)
        if self._get(self.state) == DetectorState.WAITING:
            write(self.cancel, 1, timeout_s=self.answer_timeout_s)

    def _why(self) -> str:
        return str(self._get(self.message)) or "it gives no reason"

    def _get(self, signal: EpicsSignalRO) -> Any:
        return read(signal, timeout_s=self.answer_timeout_s)


class RecordingStatus(DeviceStatus):
    """Done when an exposure is on disk, or is not waited for any more."""

    is_recorded: bool = False
