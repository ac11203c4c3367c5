"""Reads spectra of microscopes, .bcf and .dm3, through RosettaSciIO (extra `emdata`).

RosettaSciIO is under the GPL, and so it is imported here and nowhere else.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from rsciio import bruker, digitalmicrograph

from cryoline.plugins.errors import ForeignFile, ReaderError
from cryoline.plugins.spectrum_image import SpectrumImage

__all__ = ["read_bcf", "read_dm3"]

_EV: Final = {"eV": 1.0, "keV": 1e3}
_NM: Final = {"nm": 1.0, "µm": 1e3, "μm": 1e3, "um": 1e3, "mm": 1e6, "Å": 0.1}
_BCF: Final = b"AAMVHFSS"
_DM3: Final = b"\x00\x00\x00\x03"


def read_bcf(path: Path) -> SpectrumImage:
    """Read the map of spectra of a Bruker composite file: (y, x, channel) counts.

    Raises ReaderError if RosettaSciIO can't take the file, or it holds no such map.

    Example
    -------
    >>> read_bcf(Path("tilt.bcf")).counts.shape  # doctest: +SKIP
    (256, 256, 2048)
    """
    return _read(path, _BCF, bruker.file_reader, dimensions=3)


def read_dm3(path: Path) -> SpectrumImage:
    """Read the spectrum or the spectrum image of a DigitalMicrograph 3 file.

    Counts are as the camera's software scaled them, which need not be electrons.

    Raises ReaderError if RosettaSciIO can't take the file, or it holds no spectrum.

    Example
    -------
    >>> read_dm3(Path("aluminium.dm3")).energy_ev[0]  # doctest: +SKIP
    -3.6
    """
    return _read(path, _DM3, digitalmicrograph.file_reader)


def _read(
    path: Path,
    magic: bytes,
    reader: Callable[[str], list[dict[str, Any]]],
    dimensions: int | None = None,
) -> SpectrumImage:
    if not path.is_file():
        raise ReaderError(f"{path}: no such file; give the path of a measurement")
    with path.open("rb") as content:
        begins = content.read(len(magic))
    if begins != magic:
        raise ForeignFile(
            f"{path}: begins with {begins!r}, not with {magic!r}: no {path.suffix}"
        )
    try:
        parts = reader(str(path))
        found = [
            image
            for part in parts
            if (image := _spectra(path, part)) is not None
            and dimensions in (None, image.counts.ndim)
        ]
    except Exception as error:
        # Whatever stumbles in a parser of an undocumented format.
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ReaderError(
            f"{path}: RosettaSciIO can't read it: {said}; export it again, or as .hspy"
        ) from error
    if not found:
        kinds = ", ".join(str(part["data"].shape) for part in parts)
        raise ReaderError(
            f"{path}: holds no spectra, only arrays {kinds}; export the map with them"
        )
    return found[0]


def _spectra(path: Path, part: dict[str, Any]) -> SpectrumImage | None:
    """Return one part of a file, None if it has no axis of energies."""
    data, axes = part["data"], part["axes"]
    if not axes or axes[-1]["units"] not in _EV:
        return None
    axis, unit = axes[-1], _EV[axes[-1]["units"]]
    channel = np.arange(axis["size"], dtype=float)
    pixel_nm = None
    if len(axes) > 1 and axes[-2]["units"] in _NM:
        pixel_nm = float(axes[-2]["scale"]) * _NM[axes[-2]["units"]]
    return SpectrumImage(
        np.asarray(data),
        unit * (float(axis["offset"]) + float(axis["scale"]) * channel),
        pixel_nm,
        str(path),
        part["metadata"],
    )
