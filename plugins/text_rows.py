"""The lines and cells of a text export, with errors that name file, line and column."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryoline.plugins.errors import ReaderError

__all__ = ["TextRows", "read_lines"]


def read_lines(path: Path) -> list[str]:
    """Return the lines without their ends, LF or CRLF.

    The last element is what stands behind the last line end: "" in a whole file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReaderError(f"{path}: can't be read: {error.strerror}") from error
    # Only LF ends a line: a comment may hold what else str.splitlines takes for one.
    text = content.decode("utf-8-sig", errors="replace")
    return [line.removesuffix("\r") for line in text.split("\n")]


@dataclass(frozen=True)
class TextRows:
    """The cells below a line of column names.

    Raises ReaderError if a row has too few or too many cells, or there is none. A last
    row without a line end may lack digits that nobody would miss: it is refused too.
    """

    path: Path
    names: Sequence[str]
    rows: Sequence[Sequence[str]]
    first_line: int
    """Of the first row in the file, from 1."""

    @classmethod
    def below(
        cls, path: Path, lines: Sequence[str], names_at: int, separator: str
    ) -> "TextRows":
        """Take what stands below the names, which are ``lines[names_at]``."""
        names = [name.strip() for name in lines[names_at].split(separator)]
        while names and not names[-1]:
            names.pop()
        body = list(lines[names_at + 1 :])
        first_line = names_at + 2
        cut = bool(body) and body[-1].strip() != ""
        while body and not body[-1].strip():
            body.pop()
        if not body:
            raise ReaderError(
                f"{path}: ends after its line {names_at + 1} of column names, without "
                "a row; export the file again, when the measurement has begun"
            )
        last = first_line + len(body) - 1
        if cut:
            raise ReaderError(
                f"{path}, line {last} (the last): has no line end: the file was cut; "
                "export the file again, or remove the line"
            )
        rows = [line.split(separator) for line in body]
        # Some exports end every row with one separator more: every row, or none. A row
        # that lacks a cell would else pass for one, its numbers under the wrong names.
        ends_empty = len(rows[0]) == len(names) + 1 and not rows[0][-1]
        for k, cells in enumerate(rows):
            if ends_empty and not cells[-1]:
                cells.pop()
            if len(cells) != len(names):
                raise ReaderError(
                    f"{path}, line {first_line + k}: {len(cells)} columns, the header "
                    f"names {len(names)}; export the file again, or remove the line"
                )
        return cls(path, names, rows, first_line)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def texts(self, name: str) -> list[str]:
        """Return a column's cells; the first of that name."""
        k = self.names.index(name)
        return [cells[k].strip() for cells in self.rows]

    def values(
        self,
        name: str,
        convert: Callable[[str], float] = float,
        *,
        empty: float | None = None,
    ) -> NDArray[np.float64]:
        """Return a column of numbers; ``empty`` stands for an empty cell."""
        texts = self.texts(name)
        values = np.empty(len(texts))
        for k, text in enumerate(texts):
            try:
                values[k] = empty if empty is not None and not text else convert(text)
            except ValueError:
                raise ReaderError(
                    f"{self.path}, line {self.first_line + k}, column {name!r}: "
                    f"{text!r} is not a number; export the file again, or remove the "
                    "line"
                ) from None
        return values

    def integers(self, name: str) -> NDArray[np.int64]:
        """Return a column of whole numbers."""
        values = self.values(name)
        wrong = np.flatnonzero(~(np.rint(values) == values))
        if wrong.size:
            raise ReaderError(
                f"{self.path}, line {self.first_line + int(wrong[0])}, column "
                f"{name!r}: {values[wrong[0]]} is not a whole number; "
                "export the file again"
            )
        return values.astype(np.int64)

    def first_of(self, choices: Mapping[str, Any], what: str) -> tuple[str, Any]:
        """Return the first of the names that there is, and what it stands for."""
        for name, meaning in choices.items():
            if name in self.names:
                return name, meaning
        raise ReaderError(
            f"{self.path}, line {self.first_line - 1}: no column "
            f"{' or '.join(repr(name) for name in choices)} ({what}); "
            "export the file again, with that column"
        )
