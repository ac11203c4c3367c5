"""What the files of all detectors have in common: slots, tickets, discarded re-takes.

A slot belongs to an exposure when its ticket stands in it, which is written last. So
an exposure whose writer died is simply not there, and may be written again. What is in
a slot that another ticket takes is first copied to /entry/discarded: it cost its dose.
"""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import h5py
import numpy as np

from cryoline.sim.durable_hdf5 import (
    close,
    commit,
    create,
    open_to_write,
    reserve,
)
from cryoline.sim.errors import DetectorFileError
from cryoline.sim.view import View

__all__ = ["TICKET", "DetectorFile", "append", "column", "resize"]

Record = TypeVar("Record")

_KIND: Final = "cryoline detector file"
_SPARE_BYTES: Final = 4 * 2**20
"""Room that is left for HDF5's own records, and for whoever logs that it got tight."""
TICKET: Final[Any] = h5py.string_dtype("utf-8", 64)


class DetectorFile(ABC, Generic[Record]):
    """One open file of one detector.

    The first exposure decides what the file looks like; before it, the file holds
    nothing but its kind.
    """

    detector: str

    def __init__(self, path: Path) -> None:
        """Create the file, or open the one that is there; it is never overwritten.

        Raises DetectorFileError if it is damaged, or of something else.
        """
        self.path = path
        self._file: Any = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                create(path, self._mark)
        except OSError as error:
            raise DetectorFileError(
                f"{path}: can't be made ({error.strerror or error}); free some space, "
                "or choose another FilePath"
            ) from error
        self._open()

    def _open(self) -> None:
        file = open_to_write(self.path)
        try:
            self._check(file)
        except BaseException:
            file.close()
            raise
        self._file = file

    def _check(self, file: Any) -> None:
        found = file.attrs.get("kind"), file.attrs.get("detector")
        if found != (_KIND, self.detector):
            raise DetectorFileError(
                f"{self.path}: is not a file of the {self.detector} detector; it is "
                "left as it is. Choose another FileName"
            )
        if "entry" in file:
            self.trim(file["entry"])

    def _mark(self, file: Any) -> None:
        file.attrs.update(kind=_KIND, detector=self.detector)

    @property
    def is_empty(self) -> bool:
        """Whether no exposure was written yet."""
        return "entry" not in self._file

    def write(
        self, slot: int, ticket: str, time_s: float, view: View, record: Record
    ) -> None:
        """Put an exposure into its slot; returns when it is on the disk.

        time_s: instrument time of its end
        Raises DetectorFileError if it does not fit or can't be written; what was in
        the file is still there, and the exposure may be written again.
        """
        try:
            if self.is_empty:
                self._lay_out(view)
            self._refuse_other_scan(view)
            reserve(self._file, self.size_bytes(record) + _SPARE_BYTES)
            self._write(slot, ticket, time_s, record)
        except (OSError, RuntimeError) as error:
            # The file stays open: HDF5 holds what it could not write, and writes it
            # when there is room.
            raise DetectorFileError(
                f"{self.path}: exposure {ticket} was not written ({_reason(error)}); "
                "free some space, then write Acquire again"
            ) from error

    def _write(self, slot: int, ticket: str, time_s: float, record: Record) -> None:
        entry = self._file["entry"]
        rows = self.rows(entry)
        tickets = rows["ticket"]
        before = tickets.asstr()[slot] if slot < len(tickets) else ""
        if before == ticket:
            # It is there, though nobody heard so; what failed may be the last flush.
            commit(self._file)
            return
        if before:
            self.discard(entry, slot)
        resize(rows, max(slot + 1, len(tickets)))
        tickets[slot] = ""
        self._file.flush()
        self.put(entry, slot, time_s, record)
        self._file.flush()
        tickets[slot] = ticket
        commit(self._file)

    def close(self) -> None:
        """Close the file; harmless if repeated."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            close(file)
        except (OSError, RuntimeError) as error:
            raise DetectorFileError(
                f"{self.path}: can't be closed ({_reason(error)}); every exposure that "
                "was counted is in it. Free some space, then open it again"
            ) from error

    # What each detector fills in ---------------------------------------------------

    @abstractmethod
    def rows(self, entry: Any) -> Any:
        """Return the group whose data sets have a row a slot, "ticket" among them."""

    @abstractmethod
    def lay_out(self, entry: Any, view: View) -> None:
        """Make every group and data set; none can be added later."""

    @abstractmethod
    def put(self, entry: Any, slot: int, time_s: float, record: Record) -> None:
        """Write all of an exposure but its ticket."""

    @abstractmethod
    def discard(self, entry: Any, slot: int) -> None:
        """Keep what is in a slot that is to be written anew."""

    @abstractmethod
    def size_bytes(self, record: Record) -> int:
        """Return the room that an exposure takes."""

    def trim(self, entry: Any) -> None:
        """Cut off what a killed writer began and no slot knows."""

    # Helpers -------------------------------------------------------------------------

    def _lay_out(self, view: View) -> None:
        """Put a file with every data set in the place of the empty one."""

        def fill(file: Any) -> None:
            self._mark(file)
            entry = file.create_group("entry")
            entry.attrs.update(_scan(view))
            self.lay_out(entry, view)

        create(self.path, fill)
        empty = self._file
        self._open()
        empty.close()

    def _refuse_other_scan(self, view: View) -> None:
        entry, wanted = self._file["entry"], _scan(view)
        found = {key: entry.attrs[key] for key in wanted}
        if found != wanted:
            raise DetectorFileError(
                f"{self.path}: holds frames of {found['width_px']}x"
                f"{found['height_px']} px at {found['pixel_nm']:g} nm, and this "
                f"exposure is {view.width_px}x{view.height_px} px at "
                f"{view.pixel_nm:g} nm; choose another FileName for it"
            )


def column(group: Any, name: str, dtype: Any, chunk: int, *row: int) -> None:
    """Make a data set that grows by rows."""
    group.create_dataset(
        name, shape=(0, *row), maxshape=(None, *row), chunks=(chunk, *row), dtype=dtype
    )


def append(data: Any, rows: Any) -> None:
    """Add rows to a data set."""
    rows = np.asarray(rows)
    first = len(data)
    data.resize(first + len(rows), axis=0)
    data[first:] = rows


def resize(group: Any, n_rows: int) -> None:
    """Give every data set directly in a group this many rows."""
    for member in group.values():
        if isinstance(member, h5py.Dataset) and len(member) != n_rows:
            member.resize(n_rows, axis=0)


def _scan(view: View) -> dict[str, Any]:
    return {
        "width_px": view.width_px,
        "height_px": view.height_px,
        "pixel_nm": view.pixel_nm,
    }


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error)
