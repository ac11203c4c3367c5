"""A real measurement played back as if the potentiostat measured it now."""

import copy
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryoline.sim.errors import RecordedFileError
from cryoline.sim.measurement import range_for
from cryoline.sim.point_buffer import PointBuffer
from cryoline.sim.program import parse_uid
from cryoline.sim.source import Reading

__all__ = ["RecordedExecution", "RecordedSource", "read_recorded"]

_READERS: Final = "cryoline.readers"
_COLUMNS: Final = (
    "time_s",
    "potential_v",
    "current_a",
    "charge_mah",
    "cycle_number",
    "half_cycle",
)


def read_recorded(path: Path) -> "RecordedSource":
    """Read a measurement by the readers installed for the file's suffix, in turn.

    A reader's name ends with the suffix of its files.
    """
    if not path.is_file():
        raise RecordedFileError(
            f"recorded measurement {path}: no such file; check the path"
        )
    suffix = path.suffix.lstrip(".").lower()
    readers = {entry.name: entry for entry in entry_points(group=_READERS)}
    fitting = sorted(name for name in readers if name.rpartition(".")[2] == suffix)
    if not fitting:
        raise RecordedFileError(
            f"recorded measurement {path}: no reader for .{suffix} files; "
            f"known: {', '.join(sorted(readers)) or 'none'}"
        )
    refused: list[Exception] = []
    for name in fitting:
        try:
            read = readers[name].load()
        except ImportError as error:
            raise RecordedFileError(
                f"recorded measurement {path}: the reader {readers[name].value} can't "
                f"be loaded: {error}; install what it needs"
            ) from error
        try:
            return RecordedSource(read(path), name=str(path))
        except Exception as error:
            # A reader plugin has its own family of errors, unknown here: its text is
            # what the user should see. A programming error keeps its traceback.
            if isinstance(error, (TypeError, AttributeError, NameError, LookupError)):
                raise
            refused.append(error)
    raise RecordedFileError("; ".join(map(str, refused))) from refused[0]


class RecordedSource:
    """A measurement in place of a cell.

    table: anything with the arrays of _COLUMNS, e.g. what a reader plugin returns
    """

    def __init__(self, table: Any, *, name: str) -> None:
        columns = [np.asarray(getattr(table, c), dtype=float) for c in _COLUMNS]
        self._rows: NDArray[np.float64] = np.column_stack(columns)
        if not len(self._rows) or not np.isfinite(self._rows).all():
            raise RecordedFileError(
                f"recorded measurement {name}: needs at least one row and only "
                f"finite values in {', '.join(_COLUMNS)}"
            )
        self._rows[:, 0] -= self._rows[0, 0]
        if (np.diff(self._rows[:, 0]) < 0).any():
            raise RecordedFileError(f"recorded measurement {name}: time runs back")
        self._execution: RecordedExecution | None = None

    def fresh(self) -> "RecordedSource":
        """Return the same measurement, not yet played."""
        other = copy.copy(self)
        other.forget()
        return other

    def forget(self) -> None:
        """Go back to the state before any playback."""
        self._execution = None

    @property
    def rows(self) -> NDArray[np.float64]:
        """Time from the first row (s), V, A, mAh, cycle, half cycle."""
        return self._rows

    @property
    def potential_v(self) -> float:
        """The potential last played, V; before, that of the first row."""
        if self._execution is None:
            return float(self._rows[0, 1])
        return self._execution.reading().potential_v

    @property
    def charge_mah(self) -> float:
        """The counter last played, mAh."""
        return self._execution.reading().charge_mah if self._execution else 0.0

    @property
    def capacity_mah(self) -> float:
        """Not known of a recorded cell: 0."""
        return 0.0

    @property
    def silicon_lithium_mah(self) -> float:
        """Not known of a recorded cell: 0."""
        return 0.0

    def prepare(self, text: str) -> "RecordedProgram":
        """Accept any program: only its uid matters."""
        return RecordedProgram(self, parse_uid(text))

    def begin(self, start_s: float, points: PointBuffer) -> "RecordedExecution":
        """Play from the first row."""
        self._execution = RecordedExecution(self._rows, start_s, points)
        return self._execution

    def rest(self, duration_s: float) -> None:
        """Do nothing: a recorded cell does not relax."""


class RecordedProgram:
    """A playback that was accepted."""

    def __init__(self, source: RecordedSource, uid: str) -> None:
        self.uid = uid
        self._source = source

    def begin(
        self, start_s: float, points: PointBuffer, rng: np.random.Generator
    ) -> "RecordedExecution":
        """Play the measurement from this instrument time on; it has its own noise."""
        return self._source.begin(start_s, points)


class RecordedExecution:
    """A playback under way."""

    def __init__(
        self, rows: NDArray[np.float64], start_s: float, points: PointBuffer
    ) -> None:
        self.ended = False
        self.failure = ""
        self.elapsed_s = 0.0
        self._rows = rows
        self._start_s = start_s
        self._points = points
        self._range_a = range_for(float(np.abs(rows[:, 2]).max()))

    def advance(self, available_s: float, points_max: int) -> None:
        """Play up to `available_s`, or until the buffer holds `points_max`."""
        if self.ended:
            return
        played = len(self._points)
        due = int(np.searchsorted(self._rows[:, 0], available_s, side="right"))
        end = min(due, max(played, points_max))
        if end > played:
            block = self._rows[played:end]
            self._points.append(
                instrument_time_s=block[:, 0] + self._start_s,
                **{name: block[:, k] for k, name in enumerate(_COLUMNS) if k},
                range_a=self._range_a,
            )
            self.elapsed_s = float(block[-1, 0])
        self.ended = end == len(self._rows)

    def lose_contact(self) -> None:
        """End the playback."""
        self.ended = True
        self.failure = "potentiostat: the contact was lost while a file was played"

    def reading(self) -> Reading:
        """Return the display."""
        row = self._rows[max(0, len(self._points) - 1)]
        return Reading(
            potential_v=float(row[1]),
            current_a=float(row[2]),
            charge_mah=float(row[3]),
            range_a=self._range_a,
            cycle_number=int(row[4]),
            half_cycle=int(row[5]),
        )

    def progress_percent(self) -> float:
        """Return how much was played, 0..100."""
        return 100.0 * len(self._points) / len(self._rows)

    def remaining_s(self) -> float:
        """Return the time still to be played."""
        return 0.0 if self.ended else float(self._rows[-1, 0]) - self.elapsed_s

    def cycle_charges_mah(self) -> tuple[float, float]:
        """Return the negative and positive charge of the present cycle."""
        played = self._rows[: len(self._points)]
        if not len(played):
            return 0.0, 0.0
        of_cycle = played[played[:, 4] == played[-1, 4], 3]
        change = np.diff(of_cycle)
        return float(-change[change < 0].sum()), float(change[change > 0].sum())
