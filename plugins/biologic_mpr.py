"""Reads EC-Lab's binary files (.mpr), through galvani (the extra `biologic`).

galvani is under the GPL, and so it is imported here and nowhere else.
"""

from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from galvani import BioLogic
from numpy.typing import NDArray

from cryoline.plugins.biologic_columns import TIME, BiologicColumns, table_of
from cryoline.plugins.cycling_table import CyclingTable
from cryoline.plugins.errors import ForeignFile, ReaderError

__all__ = ["read_mpr"]

_MAGIC: Final = b"BIO-LOGIC MODULAR FILE"
_SETTINGS: Final = b"VMP Set   "
_TECHNIQUES: Final = {4: "galvanostatic-cycling", 6: "cyclic-voltammetry"}
"""The first byte of the settings, of the techniques that a real file was seen of."""
_INCREMENT: Final = "dq/mA.h"
_CURRENT: Final = "<I>/mA"


def read_mpr(path: Path) -> CyclingTable:
    """Read one binary file of EC-Lab.

    The same columns as in EC-Lab's text export of it, by `biologic_columns`. A file
    that keeps charges only has EC-Lab's mean current: each row's increment over the
    time since the row before, so that its integral can't disagree with the counter.

    Raises ReaderError if galvani can't take the file.

    Example
    -------
    >>> len(read_mpr(Path("cell.mpr")))  # doctest: +SKIP
    2767
    """
    content = path.read_bytes()
    if not content.startswith(_MAGIC):
        raise ForeignFile(
            f"{path}: not a binary file of EC-Lab: begins with {content[:22]!r}"
        )
    try:
        file = BioLogic.MPRfile(BytesIO(content))
        columns = _columns(file)
    except Exception as error:
        # Whatever stumbles in a parser of an undocumented format.
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ReaderError(
            f"{path}: galvani can't read it: {said}; "
            "export it from EC-Lab as text (Experiment, Export as text) and import "
            "the .mpt, or export it again if it was cut"
        ) from error
    return table_of(
        BiologicColumns(
            source=str(path),
            columns=columns,
            technique=_technique(file.modules),
            started=getattr(file, "timestamp", None),
            where=str(path),
            remedy="export it from EC-Lab as text, with that variable",
        )
    )


def _columns(file: Any) -> dict[str, NDArray[np.float64]]:
    """Return the columns as numbers, with those that galvani packs into flags."""
    columns = {
        name: np.asarray(file.data[name], dtype=float)
        for name in file.data.dtype.names
        if name != "flags"
    }
    if "flags" in file.data.dtype.names and "ox/red" in file.flags_dict:
        columns["ox/red"] = np.asarray(file.get_flag("ox/red"), dtype=float)
    if _INCREMENT in columns and not {_CURRENT, "I/mA"} & columns.keys():
        (time,) = TIME
        lapse_h = np.diff(columns[time], prepend=-np.inf) / 3600
        # The first row, and two of one moment, have no interval: no current.
        columns[_CURRENT] = np.divide(
            columns[_INCREMENT],
            lapse_h,
            out=np.zeros_like(lapse_h),
            where=lapse_h > 0,
        )
    return columns


def _technique(modules: list[Any]) -> str:
    """Return our word for the technique, or EC-Lab's number of it."""
    number = next(m["data"][0] for m in modules if m["shortname"] == _SETTINGS)
    return _TECHNIQUES.get(number, f"EC-Lab technique {number}")
