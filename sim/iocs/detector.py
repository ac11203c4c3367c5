"""A detector's server: it waits for a ticket's exposure, renders it, and writes it.

The event loop only asks and shows, so that heartbeats go on. Rendering and files have
a thread, and the specimen has another: making it takes seconds, and nobody who opens a
file should wait for that.
"""

import asyncio
import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from cryoline.sim.detector_file import DetectorFile
from cryoline.sim.errors import DetectorFileError
from cryoline.sim.iocs.server import InstrumentServer
from cryoline.sim.iocs.specimen_model import Model, SpecimenModel
from cryoline.sim.scan_order import TICKET_MAX
from cryoline.sim.specimen_voxels import SpecimenVoxels
from cryoline.sim.view import View, decode_view

__all__ = ["DetectorState", "FileDetectorServer"]

_LOG = logging.getLogger("cryoline.sim.ioc")
_LOOK_EVERY_S: Final = 0.02
_PATH_LENGTH: Final = 1024
_SLOT_MAX: Final = 1_000_000
_SUFFIX: Final = ".h5"

Record = TypeVar("Record")


class DetectorState(IntEnum):
    """What the detector does, as State_RBV counts."""

    IDLE = 0
    WAITING = 1
    READING_OUT = 2
    ERROR = 3


class FileDetectorServer(ABC, Generic[Record]):
    """The habits that all detectors have, after areaDetector's.

    server: declares the process variables below the prefix of `group`
    """

    group: str

    def __init__(self, server: InstrumentServer) -> None:
        self._server = server
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="read-out")
        self._model = SpecimenModel(self.make_model)
        self._file: DetectorFile[Record] | None = None
        self._path = ""
        self._name = ""
        self._expected = ""
        self._slot = 0
        self._state = DetectorState.IDLE
        self._message = ""
        self._counter = 0
        self._last: dict[str, Any] = {"LastTicket_RBV": "", "LastSlot_RBV": 0}
        self._declare()
        server.own_values = self._values
        server.beside.append(self._watch)

    # What each detector fills in -----------------------------------------------------

    @abstractmethod
    def make_model(self, voxels: SpecimenVoxels, n_cycles: int) -> Model[Record]:
        """Return the detector's model, looking at this specimen."""

    @abstractmethod
    def open_file(self, path: Path) -> DetectorFile[Record]:
        """Create or open the detector's file."""

    @abstractmethod
    def readings(self, view: View, record: Record, slot: int) -> dict[str, Any]:
        """Return what the PVs show of an exposure that has been written."""

    def spoil(self, record: Record, faults: dict[str, Any]) -> Record:
        """Return what the detector delivers instead, if something is wrong with it."""
        return record

    @property
    def file(self) -> DetectorFile[Record]:
        """The open file."""
        if self._file is None:
            raise RuntimeError("no file is open")
        return self._file

    # Process variables ---------------------------------------------------------------

    def _declare(self) -> None:
        panel = self._server.panels[self.group]
        panel.set_text("FilePath", "Directory of the files", _PATH_LENGTH, self._at)
        panel.set_text("FileName", "Name of the next file", 256, self._named)
        panel.long_text("FullFileName_RBV", "The open or last file", _PATH_LENGTH)
        panel.set_flag("Capture", "Open the file", "close", "open", self._capture)
        panel.flag("Capture_RBV", "The file is open", "closed", "open")
        panel.set_text("Expect", "Ticket to be recorded", TICKET_MAX + 1, self._expect)
        panel.set_number(
            "Slot", "Place in the file", "1", 0, _SLOT_MAX, self._placed, whole=True
        )
        panel.set_flag(
            "Acquire", "Wait for the exposure", "idle", "acquire", self._acquire
        )
        panel.set_flag("Cancel", "Wait no more", "idle", "cancel", self._cancel)
        panel.text("LastTicket_RBV", "Exposure recorded last")
        panel.count("LastSlot_RBV", "... its place in its file", "1")
        panel.count("Frames_RBV", "... its scan frames", "frames")
        panel.number("LiveTime_RBV", "... its live time", "s", 0, 1e6)
        panel.count("AcquireCounter_RBV", "Exposures on the disk", "exposures")
        panel.choice(
            "State_RBV",
            "What the detector does",
            *("idle", "waiting", "reading out", ("error", "MAJOR")),
        )

    def _values(self) -> dict[str, Any]:
        """Return the readings and settings; the counter and the state come last."""
        state = self._state
        return {
            "Message_RBV": self._message,
            "FilePath": self._path,
            "FileName": self._name,
            "FullFileName_RBV": self._full_name,
            "Capture": self._file is not None,
            "Capture_RBV": self._file is not None,
            "Expect": self._expected,
            "Slot": self._slot,
            "Acquire": state in (DetectorState.WAITING, DetectorState.READING_OUT),
            "Cancel": False,
            **self._last,
            "AcquireCounter_RBV": self._counter,
            "State_RBV": int(state),
        }

    @property
    def _full_name(self) -> str:
        return str(Path(self._path) / f"{self._name}{_SUFFIX}") if self._name else ""

    # Puts ----------------------------------------------------------------------------

    async def _at(self, text: str) -> None:
        path = Path(text)
        if self._file is not None:
            await self._refuse(
                f"FilePath can't change while {self._full_name} is open; write 0 to "
                "Capture first"
            )
        elif not path.is_absolute():
            await self._refuse(f"FilePath {text!r} does not begin with /")
        else:
            self._path = str(path)
            await self._accept()

    async def _named(self, text: str) -> None:
        name = text.removesuffix(_SUFFIX)
        if self._file is not None:
            await self._refuse(
                f"FileName can't change while {self._full_name} is open; write 0 to "
                "Capture first"
            )
        elif not name or "/" in name or name.startswith(".") or "\0" in name:
            await self._refuse(
                f"FileName {text!r} is no name of a file; choose one without / that "
                "does not begin with a dot"
            )
        else:
            self._name = name
            await self._accept()

    async def _capture(self, value: int) -> None:
        if value == (self._file is not None):
            await self._accept()
        elif self._state is DetectorState.READING_OUT:
            await self._refuse("Capture can't change in the middle of a read-out")
        elif not value:
            self._rest()
            await self._close()
        elif not self._name:
            await self._refuse("Capture needs a FileName")
        elif await self._disk_is_full():
            await self._refuse(
                f"{self._full_name}: can't be made (No space left on device); free "
                "some space, or choose another FilePath"
            )
        else:
            path = Path(self._full_name)
            try:
                self._file = await self._in_worker(lambda: self.open_file(path))
            except DetectorFileError as error:
                await self._refuse(str(error))
            else:
                await self._accept()

    async def _close(self) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                await self._in_worker(file.close)
        except DetectorFileError as error:
            await self._refuse(str(error))
        else:
            await self._accept()

    async def _expect(self, text: str) -> None:
        if self._is_busy:
            await self._refuse(self._why_busy("Expect"))
        else:
            self._expected = text
            await self._accept()

    async def _placed(self, slot: int) -> None:
        if self._is_busy:
            await self._refuse(self._why_busy("Slot"))
        else:
            self._slot = slot
            await self._accept()

    async def _acquire(self, value: int) -> None:
        if not value:
            await self._cancel(1)
        elif self._is_busy:
            await self._refuse(self._why_busy("Acquire"))
        elif not self._expected:
            await self._refuse(
                "Acquire needs a ticket in Expect: a detector records an exposure "
                "that was armed, and starts none"
            )
        elif self._file is None:
            await self._refuse("Acquire needs an open file; write 1 to Capture first")
        else:
            self._message = ""
            self._state = DetectorState.WAITING
            await self._accept()

    async def _cancel(self, value: int) -> None:
        if value and self._state is not DetectorState.READING_OUT:
            self._rest()
        await self._accept()

    @property
    def _is_busy(self) -> bool:
        return self._state in (DetectorState.WAITING, DetectorState.READING_OUT)

    def _why_busy(self, what: str) -> str:
        return (
            f"{what}: the detector waits for ticket {self._expected}; let it be "
            "recorded, or write Cancel"
        )

    def _rest(self) -> None:
        self._state = DetectorState.IDLE
        self._message = ""

    async def _refuse(self, why: str) -> None:
        await self._server.refuse(self.group, f"{self.group}: {why}")

    async def _accept(self) -> None:
        self._server.panels[self.group].accept()
        await self._server.refresh()

    # Exposures -----------------------------------------------------------------------

    async def _watch(self) -> None:
        """Wait for the expected exposure to end, and read it out; for ever."""
        answer = await self._situation()
        await self._model.get(answer["specimen"])
        while True:
            if self._state is DetectorState.WAITING:
                ticket = self._expected
                answer = await self._server.ask("beam.exposure", ticket=ticket)
                if (
                    answer["state"] == "ended"
                    and self._state is DetectorState.WAITING
                    and self._expected == ticket
                ):
                    await self._read_out(answer)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _read_out(self, answer: dict[str, Any]) -> None:
        """Render an exposure and write it; its counter rises when it is safe."""
        self._state = DetectorState.READING_OUT
        ticket, slot = self._expected, self._slot
        await self._server.refresh()
        try:
            model = await self._model.get(answer["specimen"])
            shown = await self._in_worker(
                lambda: self._record(model, ticket, slot, answer)
            )
        except DetectorFileError as error:
            self._message = f"{self.group}: {error}"
            self._state = DetectorState.ERROR
        except Exception as error:
            # The server must outlive a defect in one exposure; the client is told.
            _LOG.exception("exposure %s was not recorded", ticket)
            self._message = f"{self.group}: exposure {ticket} failed by a defect: "
            self._message += f"{type(error).__name__}: {error}"
            self._state = DetectorState.ERROR
        else:
            self._last = {"LastTicket_RBV": ticket, "LastSlot_RBV": slot, **shown}
            self._counter += 1
            self._expected = ""
            self._state = DetectorState.IDLE
        await self._server.refresh()

    def _record(
        self, model: Model[Record], ticket: str, slot: int, answer: dict[str, Any]
    ) -> dict[str, Any]:
        if answer["view"] is None:
            raise DetectorFileError(
                f"exposure {ticket} is over for too long to be recorded; it can't be "
                "had any more. Expose anew"
            )
        if answer["faults"]["disk_full"]:
            raise DetectorFileError(
                f"{self._full_name}: exposure {ticket} was not written (No space left "
                "on device); free some space, then write Acquire again"
            )
        view = decode_view(answer["view"])
        record = self.spoil(model.render(view), answer["faults"])
        self.file.write(slot, ticket, answer["end_s"], view, record)
        return self.readings(view, record, slot)

    async def _disk_is_full(self) -> bool:
        return bool((await self._situation())["faults"]["disk_full"])

    async def _situation(self) -> dict[str, Any]:
        """Return the world's answer when nothing is exposed; learn where files go."""
        answer: dict[str, Any] = await self._server.ask("beam.exposure", ticket="")
        if not self._path:
            directory = answer["specimen"]["directory"] or tempfile.gettempdir()
            self._path = str(Path(directory) / "frames")
        return answer

    async def _in_worker(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)
