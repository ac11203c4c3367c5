"""The specimen's file: made once in a laboratory, shared by all that need it.

LAB/truth/specimen.h5 holds a data set per element, (z, x, y) in atoms/nm3, float32,
with the attributes voxel_nm, kind, seed and n_cycles, and the scalars of the truth.
It is written under another name and renamed, so it is whole whenever it is there.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import h5py
import numpy as np

from cryoline.sim.phantom import Phantom, make_bead, make_wire
from cryoline.sim.phantom_knobs import ELEMENTS

__all__ = ["SPECIMEN_KINDS", "SpecimenKey", "load_or_make", "specimen_path"]

SPECIMEN_KINDS: Final = ("wire", "bead")
_FORMAT: Final = 1


@dataclass(frozen=True)
class SpecimenKey:
    """What is in the holder."""

    kind: str = "wire"
    seed: int = 0
    n_cycles: int = 1

    def __post_init__(self) -> None:
        if self.kind not in SPECIMEN_KINDS:
            raise ValueError(
                f"specimen {self.kind!r} is unknown; choose one of "
                f"{', '.join(SPECIMEN_KINDS)}"
            )

    def make(self) -> Phantom:
        """Make it."""
        if self.kind == "bead":
            return make_bead()
        return make_wire(self.n_cycles, seed=self.seed)

    @property
    def attributes(self) -> dict[str, str | int]:
        """What identifies it in its file."""
        return {
            "format": _FORMAT,
            "kind": self.kind,
            "seed": self.seed,
            "n_cycles": self.n_cycles,
        }


def specimen_path(directory: Path) -> Path:
    """Return where a laboratory in this directory keeps its specimen."""
    return directory / "truth" / "specimen.h5"


def load_or_make(directory: Path, key: SpecimenKey) -> Phantom:
    """Return the laboratory's specimen; make it if the file is of another, or absent.

    Whoever comes second waits for the first.
    """
    path = specimen_path(directory)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        phantom = _load(path, key)
        if phantom is None:
            phantom = key.make()
            _save(path, key, phantom)
    return phantom


def _load(path: Path, key: SpecimenKey) -> Phantom | None:
    if not path.exists():
        return None
    try:
        with h5py.File(path, "r") as file:
            if any(file.attrs.get(k) != v for k, v in key.attributes.items()):
                return None
            elements = {e: np.asarray(file[e][...]) for e in ELEMENTS}
            truth = {k: float(v) for k, v in file["truth"].attrs.items()}
            return Phantom(elements, float(file.attrs["voxel_nm"]), truth)
    except (OSError, KeyError):
        return None  # damaged: it is made anew, the same


def _save(path: Path, key: SpecimenKey, phantom: Phantom) -> None:
    partial = path.with_suffix(".new")
    with h5py.File(partial, "w") as file:
        file.attrs.update(key.attributes)
        file.attrs.update(voxel_nm=phantom.voxel_nm, axes="z x y", units="atoms/nm3")
        file.create_group("truth").attrs.update(phantom.truth)
        for element, density in phantom.elements.items():
            file.create_dataset(
                element,
                data=density,
                chunks=(1, *density.shape[1:]),
                compression="lzf",
                shuffle=True,
            )
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(path)
