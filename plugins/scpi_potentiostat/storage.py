"""The bridge's memory on disk: the program, its state, and every point, for good.

A point counts once it is fsynced. A row that a killed process left half written is cut
off: nobody was told of it.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from cryoline.devices.cycling_protocol import ProgramState
from cryoline.ioc.points import COLUMNS, PAGE_ROWS
from cryoline.plugins.scpi_potentiostat.errors import BridgeError, StorageFailed

__all__ = ["POINTS_MAX", "PointFile", "ProgramRecord", "Storage"]

POINTS_MAX: Final = 2_000_000
_ROW_B: Final = 8 * len(COLUMNS)
_FREE_MIN_B: Final = 1.2 * POINTS_MAX * _ROW_B
"""Room for a full memory of points."""


@dataclass(frozen=True)
class ProgramRecord:
    """The program that is loaded, and how far it came."""

    text: str
    uid: str
    state: ProgramState
    message: str = ""
    columns: tuple[str, ...] = COLUMNS
    """Of its points' file."""


class PointFile:
    """Rows of COLUMNS that are only appended; one file a program.

    ``numpy.fromfile(path).reshape(-1, len(COLUMNS))`` reads it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a+b")
        whole = path.stat().st_size // _ROW_B
        self._file.truncate(whole * _ROW_B)
        self._count = self._durable = whole

    def __len__(self) -> int:
        """Return how many points are safe on the disk."""
        return self._durable

    def append(self, point: dict[str, float]) -> None:
        """Add a point by its columns; one that is not given is 0, its index is new."""
        if self._count >= POINTS_MAX:
            raise StorageFailed(
                f"potentiostat: the point memory ({POINTS_MAX} points) is full; record "
                "fewer (record.dv_v, record.dt_s)"
            )
        row = np.array([point.get(column, 0.0) for column in COLUMNS])
        row[0] = self._count
        with _disk_errors(self.path):
            self._file.write(row.tobytes())
        self._count += 1

    def flush(self) -> None:
        """Make what was appended last."""
        if self._durable < self._count:
            with _disk_errors(self.path):
                self._file.flush()
                os.fdatasync(self._file.fileno())
            self._durable = self._count

    def page(self, first: int) -> NDArray[np.float64]:
        """Return up to PAGE_ROWS points from an index on."""
        count = min(PAGE_ROWS, self._durable - first)
        offset = first * _ROW_B
        rows = np.fromfile(self.path, np.float64, count * len(COLUMNS), offset=offset)
        return rows.reshape(-1, len(COLUMNS))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class Storage:
    """The directory of one bridge; a second bridge on it is refused."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = (directory / "lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.record = self._read()
        except BlockingIOError:
            self._lock.close()
            raise BridgeError(
                f"{directory}: another bridge works here; end it, or give this one "
                "another --directory"
            ) from None
        except BridgeError:
            self._lock.close()
            raise
        self.points = (
            PointFile(self._points_path(self.record.uid)) if self.record else None
        )

    def load(self, record: ProgramRecord) -> None:
        """Begin the memory of another program; the last one's points stay."""
        free_b = os.statvfs(self.directory)
        if free_b.f_bavail * free_b.f_frsize < _FREE_MIN_B:
            raise StorageFailed(
                f"potentiostat: less than {_FREE_MIN_B / 1e6:.0f} MB are free in "
                f"{self.directory}; free some, then load the program again"
            )
        path = self._points_path(record.uid)
        with _disk_errors(path):
            path.unlink(missing_ok=True)  # the same program, loaded anew
            points = PointFile(path)
        self.save(record)
        if self.points is not None:
            self.points.close()
            if not len(self.points) and self.points.path != path:
                self.points.path.unlink()
        self.points = points

    def save(self, record: ProgramRecord) -> None:
        """Make the program's state last, whole or not at all."""
        path = self.directory / "program.json"
        temporary = path.with_suffix(".new")
        with _disk_errors(path):
            with temporary.open("wb") as file:
                file.write(orjson.dumps(asdict(record)))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            directory = os.open(self.directory, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        self.record = record

    def close(self) -> None:
        """Let go of the directory."""
        if self.points is not None:
            self.points.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _points_path(self, uid: str) -> Path:
        safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in uid)
        return self.directory / f"points-{safe}.f64"

    def _read(self) -> ProgramRecord | None:
        path = self.directory / "program.json"
        if not path.exists():
            return None
        try:
            fields = orjson.loads(path.read_bytes())
            if tuple(fields.pop("columns")) != COLUMNS:
                raise ValueError("its points have other columns")
            return ProgramRecord(**fields | {"state": ProgramState(fields["state"])})
        except (ValueError, TypeError, KeyError) as error:
            raise BridgeError(
                f"{path}: can't be used ({error}); move the directory away, to begin "
                "without a program"
            ) from error


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            f"potentiostat: {path} can't be written ({error.strerror}); free the disk, "
            "then load a program again"
        ) from error
