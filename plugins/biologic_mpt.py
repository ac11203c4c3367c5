"""Reads EC-Lab's text export (.mpt) of BioLogic potentiostats.

A file is: a first line that says so, the count of header lines, the header, the line
of column names (the last of the header), and rows parted by tabs. Numbers have a
point or a comma, lines end in LF or CRLF, and the encoding is the exporting
computer's. Signs are BioLogic's, which are ours: oxidation is positive.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.plugins.biologic_columns import TIME, BiologicColumns, table_of
from cryoline.plugins.cycling_table import CyclingTable
from cryoline.plugins.errors import ForeignFile, ReaderError

__all__ = ["read_mpt"]

_FIRST_LINE: Final = re.compile(r"(EC-Lab|BT-Lab) ASCII FILE", re.IGNORECASE)
_HEADER_COUNT: Final = re.compile(r"Nb header lines\s*:\s*(\d+)\s*$")
_STARTED: Final = re.compile(r"^Acquisition started on : (.+)$", re.MULTILINE)
_STARTED_FORMATS: Final = ("%m/%d/%Y %H:%M:%S.%f", "%m/%d/%Y %H:%M:%S")
_TECHNIQUES: Final = {
    "Galvanostatic Cycling with Potential Limitation": "galvanostatic-cycling",
    "Cyclic Voltammetry": "cyclic-voltammetry",
    "Cyclic Voltammetry Advanced": "cyclic-voltammetry",
}

_EXPONENT: Final = re.compile(r"E[+-]\d{3}$")


def read_mpt(path: Path) -> CyclingTable:
    """Read one EC-Lab text export of cycling or voltammetry.

    What its columns mean is in `biologic_columns`. Raises ReaderError with file, line
    and column if it is foreign or incomplete.

    Example
    -------
    >>> table = read_mpt(Path("cell.mpt"))  # doctest: +SKIP
    >>> len(table), table.technique  # doctest: +SKIP
    (2767, 'galvanostatic-cycling')
    """
    return table_of(_parse(path))


def _parse(path: Path) -> BiologicColumns:
    try:
        content = _decode(path.read_bytes())
    except OSError as error:
        raise ReaderError(f"{path}: can't be read: {error.strerror}") from error
    # Only LF ends a line: a comment may hold what else str.splitlines takes for one.
    lines = [line.removesuffix("\r") for line in content.split("\n")]
    if not _FIRST_LINE.match(lines[0]):
        raise ForeignFile(
            f"{path}: not an EC-Lab text export: line 1 is {lines[0][:40]!r}, not "
            "'EC-Lab ASCII FILE'; export it from EC-Lab: Experiment, Export as text"
        )
    count = _header_count(path, lines)
    names = [name for name in lines[count - 1].split("\t") if name]
    rows = lines[count:]
    while rows and not rows[-1].strip():
        rows.pop()
    if not rows:
        raise ReaderError(
            f"{path}: ends after its header of {count} lines, without a row; "
            "export the file again, when the measurement has begun"
        )
    table = _numbers(path, names, rows, first_line=count + 1)
    columns = {name: table[:, k].copy() for k, name in enumerate(names)}
    header = "\n".join(lines[: count - 1])
    return BiologicColumns(
        source=str(path),
        columns=columns,
        technique=_technique(header),
        started=_started(header),
        where=f"{path}, line {count}",
        remedy="add it to the variables of EC-Lab's text export",
    )


def _decode(content: bytes) -> str:
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")  # gives a character to every byte


def _header_count(path: Path, lines: Sequence[str]) -> int:
    match = _HEADER_COUNT.match(lines[1]) if len(lines) > 1 else None
    if match is None:
        raise ReaderError(
            f"{path}, line 2: no 'Nb header lines : N' that says where the rows begin; "
            "export the file again, with its header"
        )
    count = int(match[1])
    last = lines[count - 1] if 3 <= count <= len(lines) else ""
    if "\t" not in last or not any(name in last.split("\t") for name in TIME):
        raise ReaderError(
            f"{path}, line 2: says {count} header lines, but line {count} of "
            f"{len(lines)} holds no column names (with 'time/s'); "
            "the header was cut or edited: export the file again"
        )
    return count


def _numbers(
    path: Path, names: Sequence[str], rows: Sequence[str], *, first_line: int
) -> NDArray[np.float64]:
    """Return the rows as (row, column); a comma is a decimal point."""
    table = np.empty((len(rows), len(names)))
    for k, row in enumerate(rows):
        # A tab may end the line of names and not the rows, or the other way round.
        cells = row.removesuffix("\t").split("\t")
        if len(cells) != len(names):
            cut = " (the last: the file was cut)" if k == len(rows) - 1 else ""
            raise ReaderError(
                f"{path}, line {first_line + k}{cut}: {len(cells)} columns, the header "
                f"names {len(names)}; export the file again, or remove the line"
            )
        try:
            table[k] = [float(cell.replace(",", ".")) for cell in cells]
        except ValueError:
            name, cell = _not_a_number(names, cells)
            raise ReaderError(
                f"{path}, line {first_line + k}, column {name!r}: {cell!r} is not a "
                "number; export the file again, or remove the line"
            ) from None
    _check_last_cell(path, rows, first_line + len(rows) - 1)
    return table


def _check_last_cell(path: Path, rows: Sequence[str], line: int) -> None:
    """Raise ReaderError if the last number lost its end and so means another."""
    cells = [row.removesuffix("\t").rpartition("\t")[2] for row in rows[-2:]]
    whole = [_EXPONENT.search(cell) is not None for cell in cells]
    if whole == [True, False]:
        raise ReaderError(
            f"{path}, line {line} (the last: the file was cut): ends with "
            f"{cells[1]!r}, the line before with {cells[0]!r}; "
            "export the file again, or remove the line"
        )


def _not_a_number(names: Sequence[str], cells: Sequence[str]) -> tuple[str, str]:
    for name, cell in zip(names, cells, strict=True):
        try:
            float(cell.replace(",", "."))
        except ValueError:
            return name, cell
    raise AssertionError("every cell is a number")


def _technique(header: str) -> str:
    """Return our word for the technique, or EC-Lab's own where we have none."""
    lines = [line.strip() for line in header.split("\n")[2:]]
    name = next((line for line in lines if line), "unknown")
    return _TECHNIQUES.get(name, name)


def _started(header: str) -> datetime | None:
    match = _STARTED.search(header)
    if match is None:
        return None
    for form in _STARTED_FORMATS:
        try:
            return datetime.strptime(match[1].strip(), form)
        except ValueError:
            continue
    return None
