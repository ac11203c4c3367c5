"""The demo's score: volumes from the documents against the specimen's own file.

Only scoring reads the truth. Volumes are (z, x, y); the truth is summed into their
voxels, and may be moved by whole voxels: where a tracked series puts its origin is a
matter of choice, how the specimen looks is not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

__all__ = ["Truth", "score_volumes"]

Volume = NDArray[np.float32]

_AROUND_VOXELS: Final = 3
"""The score looks at the specimen and this far around it, not at the empty field."""

_MOVED_VOXELS: Final = 8
"""How far the truth may be moved along each axis."""


class Truth:
    """What is in the simulated holder: atoms of each element, by voxel."""

    def __init__(self, elements: Mapping[str, Volume], voxel_nm: float) -> None:
        self._elements = dict(elements)
        self._voxel_nm = voxel_nm

    @classmethod
    def read(cls, path: Path) -> "Truth":
        """Read the laboratory's specimen file."""
        with h5py.File(path, "r") as file:
            elements = {
                name: np.asarray(data[...], np.float32)
                for name, data in file.items()
                if isinstance(data, h5py.Dataset) and data.ndim == 3
            }
            return cls(elements, float(file.attrs["voxel_nm"]))

    def atoms(self, element: str, shape: tuple[int, ...], size_nm: float) -> Volume:
        """Return the atoms of an element in voxels of another grid, centres matched."""
        volume = self._elements[element]
        for axis, size in enumerate(shape):
            volume = _summed(volume, axis, size, self._voxel_nm / size_nm)
        return volume * np.float32(self._voxel_nm**3)


def _summed(volume: Volume, axis: int, size: int, ratio: float) -> Volume:
    """Sum the slabs along an axis into ``size`` wider ones; cut what lies beyond.

    A slab that lies across an edge goes to both sides, by its parts.
    """
    count = volume.shape[axis]
    edges = (np.arange(count + 1) - count / 2) * ratio + size / 2
    low, high = edges[:-1], edges[1:]
    first = np.floor(low).astype(int)
    beyond = np.clip((high - (first + 1)) / ratio, 0.0, 1.0)
    moved = np.moveaxis(volume, axis, 0)
    out = np.zeros((size, *moved.shape[1:]), np.float32)
    for places, parts in ((first, 1.0 - beyond), (first + 1, beyond)):
        inside = (places >= 0) & (places < size)
        weights = parts[inside].astype(np.float32)[:, None, None]
        np.add.at(out, places[inside], moved[inside] * weights)
    return np.moveaxis(out, 0, axis)


def score_volumes(
    volumes: Mapping[str, NDArray[Any]], truth: Truth, *, voxel_nm: float
) -> dict[str, float]:
    """Return the correlation of each element with the truth, and the handedness.

    volumes: by element, all of one shape; Si among them, by which they are aligned
    "handedness": how the height of the silicon's middle along the tilt axis follows
    the truth's, 1 at best. A specimen seen mirrored gives about -1, however round it
    is otherwise.
    """
    shape = volumes["Si"].shape
    atoms = {name: truth.atoms(name, shape, voxel_nm) for name in volumes}
    move = _best_move(np.asarray(volumes["Si"], np.float32), atoms["Si"])
    moved = {name: np.roll(volume, move, (0, 1, 2)) for name, volume in atoms.items()}
    around = binary_dilation(
        np.sum(list(moved.values()), axis=0) > 0, iterations=_AROUND_VOXELS
    )
    scores = {
        name: _correlation(volumes[name][around], moved[name][around])
        for name in volumes
    }
    scores["handedness"] = _handedness(volumes["Si"] * around, moved["Si"])
    return scores


def _best_move(volume: Volume, atoms: Volume) -> tuple[int, ...]:
    """Return by how many voxels the truth is to be rolled to fit best."""
    spectrum = np.conj(np.fft.rfftn(atoms)) * np.fft.rfftn(volume - volume.mean())
    match = np.fft.irfftn(spectrum, volume.shape, axes=(0, 1, 2))
    reach = np.arange(-_MOVED_VOXELS, _MOVED_VOXELS + 1)
    near = match[np.ix_(*(reach % n for n in volume.shape))]
    best = np.unravel_index(np.argmax(near), near.shape)
    return tuple(int(reach[k]) for k in best)


def _correlation(one: NDArray[Any], two: NDArray[Any]) -> float:
    if one.std() == 0 or two.std() == 0:
        return 0.0
    return float(np.corrcoef(one, two)[0, 1])


def _handedness(volume: NDArray[Any], atoms: NDArray[Any]) -> float:
    """Return the slope of measured over true height of each slice's middle."""
    heights = []
    for array in (volume, atoms):
        mass = array.sum(axis=(0, 1))
        z = np.arange(array.shape[0]) - (array.shape[0] - 1) / 2
        heights.append(np.einsum("zxy,z->y", array, z) / np.where(mass > 0, mass, 1))
        heights[-1] = np.where(mass > 0.2 * mass.max(), heights[-1], np.nan)
    found, true = heights
    both = np.isfinite(found) & np.isfinite(true)
    true, found = true[both], found[both]
    if len(true) < 3 or true.std() == 0:
        return 0.0
    return float(np.polyfit(true, found, 1)[0])
