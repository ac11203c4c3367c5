"""Reads a file by whichever installed reader knows it.

A reader's name in the group ``cryoline.readers`` ends with the suffix of its files,
after a vendor's name and a point where several write the same: ``mpt``,
``landt.csv``. Readers of one suffix are asked in turn; one that sees at the first look
that the file is none of its own raises ForeignFile, and the next is asked.
"""

from pathlib import Path
from typing import Final

from cryoline.plugins import registry
from cryoline.plugins.cycling_table import CyclingTable
from cryoline.plugins.errors import ForeignFile, ReaderError

__all__ = ["GROUP", "candidates", "read_cycling"]

GROUP: Final = "cryoline.readers"


def candidates(file_name: str) -> list[str]:
    """Return the readers for a file's suffix, those that fit more of its name first.

    >>> candidates("cell.bdf.csv")
    ['bdf.csv', 'landt.csv']
    """
    lower = file_name.lower()
    suffix = lower.rpartition(".")[2]
    names = [plugin.name for plugin in registry.available(GROUP)]
    fitting = {name for name in names if name.rpartition(".")[2].lower() == suffix}
    return sorted(fitting, key=lambda name: (not lower.endswith(f".{name}"), name))


def read_cycling(path: Path, reader: str | None = None) -> tuple[CyclingTable, str]:
    """Return a file's table, and the name of the reader that took it.

    reader: asks this one only, whatever the file's suffix

    Raises ReaderError that says what each reader found, if none takes the file.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise ReaderError(f"{path}: {what}; give the path of a measurement")
    if not path.stat().st_size:
        raise ReaderError(f"{path}: the file is empty; export it again")
    names = candidates(path.name) if reader is None else [reader]
    if not names:
        raise ReaderError(
            f"{path}: no reader for {path.suffix or 'a file without a suffix'}; "
            f"readable are {_readable()}; export the measurement as one of these"
        )
    foreign = []
    for name in names:
        try:
            return registry.load(GROUP, name)(path), name
        except ForeignFile as error:
            foreign.append(error)
    if len(foreign) == 1:
        raise foreign[0]
    said = "; ".join(str(error).removeprefix(f"{path}: ") for error in foreign)
    raise ForeignFile(f"{path}: none of its readers knows it: {said}")


def _readable() -> str:
    """Return the suffixes that there are readers for, and whose files those are."""
    vendors: dict[str, list[str]] = {}
    for plugin in registry.available(GROUP):
        vendor, _, suffix = plugin.name.rpartition(".")
        vendors.setdefault(suffix, []).append(vendor)
    return ", ".join(
        f".{suffix} ({', '.join(known)})"
        if (known := [v for v in names if v])
        else f".{suffix}"
        for suffix, names in sorted(vendors.items())
    )
