"""Specimens and measurements of the dose score: made by the simulator, not by us.

The specimen has half the voxel of the reconstruction, and is projected by the
simulator's own voxel-driven projector, which shares no formula with that of
`cryoline.analysis`. What varies with the seed is unknown to every method.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryoline.sim.eds_lines import ATOMIC_NUMBER, counts_per_electron, part_in_window
from cryoline.sim.haadf_image import scattering_nm2
from cryoline.sim.phantom import Phantom, make_wire, random_field
from cryoline.sim.phantom_knobs import ELEMENTS
from cryoline.sim.projection import project
from cryoline.sim.specimen_voxels import list_voxels

ANGLES_DEG = np.arange(-60.0, 61.0, 5.0)
CHOSEN = ("Si", "O", "F", "C")
DOSE_E_PER_NM2 = {1: 1.97e6, 36: 4.3e6, 100: 7.7e6}
"""He et al. 2021: of the whole series, by cycles."""
TRACKING_SHARE = 1 / 109
"""Of the full series: one frame of 4 us before each map, however short the map is."""
_PEAK_TO_BACKGROUND = {
    1: (62.4, 75.0, 2.9, 11.6),
    36: (51.3, 51.5, 4.6, 37.7),
    100: (73.5, 288.0, 25.2, 195.0),
}
_SPECIMEN_PART = 0.7
_GAIN, _SCATTER, _MISALIGNED_PX, _PB_SCATTER = 0.02, 0.02, 0.15, 0.10

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Specimen:
    """What the beam sees, and the truth for the scorer."""

    n_cycles: int
    seed: int
    voxel_nm: float
    areal: Array
    """(element, tilt, u, y), atoms/nm2 of all elements."""
    bright: Array
    """(tilt, u, y), HAADF in silicon atoms/nm2."""
    bright_without: Array
    """The same without the ghosts."""
    truth: Array
    """(element, z, x, y), atoms/nm3 of those chosen."""
    sei: NDArray[np.bool_]
    islands: NDArray[np.bool_]
    ghosts: NDArray[np.bool_]


@dataclass(frozen=True)
class Measurement:
    """What a method is given."""

    counts: Array
    background: Array
    exposure: Array
    haadf: Array
    haadf_without: Array
    """For the scorer: the same noise, but no ghosts."""
    voxel_nm: float


def make_specimen(
    n_cycles: int,
    seed: int,
    *,
    trap: bool,
    across: int = 96,
    along: int = 32,
    voxel_nm: float = 2.0,
) -> Specimen:
    """Make a wire; as a trap with islands in its SEI, and ghosts that only HAADF sees.

    The islands swap O against F at equal brightness. One trap in five has no islands,
    one in five no ghosts; sign, contrast and place are the seed's.
    """
    rng = np.random.default_rng([seed, n_cycles, 99])
    fine, shape = voxel_nm / 2, (2 * across, 2 * across, 2 * along)
    made = make_wire(
        n_cycles,
        seed=seed,
        shape=shape,
        voxel_nm=fine,
        diameter_nm=75.0 * (1 + 0.06 * rng.uniform(-1, 1)),
    )
    matter = {e: v.copy() for e, v in made.elements.items()}
    exponent = rng.uniform(1.6, 1.9)
    matter["Si"] *= rng.uniform(0.9, 1.0)
    for element in matter:  # partial volume
        ndimage.gaussian_filter(matter[element], 0.6, output=matter[element])
    sei = matter["C"] > 3
    islands, ghosts = np.zeros(shape, bool), np.zeros(shape, bool)
    ghost = np.zeros(shape, np.float32)
    if trap:
        wanted = rng.random(2) > 0.2
        islands = sei & (random_field(shape, 12.0, fine, rng) > 0.6) & wanted[0]
        weight = (ATOMIC_NUMBER["F"] / ATOMIC_NUMBER["O"]) ** exponent
        part = rng.uniform(0.5, 0.9)
        if rng.random() < 0.5:
            moved = part * matter["F"] * islands
            matter["F"] -= moved
            matter["O"] += moved * weight
        else:
            moved = 0.5 * part * matter["O"] * islands
            matter["O"] -= moved
            matter["F"] += moved / weight
        ghosts = sei & (random_field(shape, 10.0, fine, rng) > 1.2) & ~islands
        ghosts &= wanted[1]
        sign = 1.0 if rng.random() < 0.7 else -0.6
        ghost[ghosts] = sign * rng.uniform(4, 9)
    areal = _projections(matter, fine, 2 * across)
    relative = np.array([(ATOMIC_NUMBER[e] / 14) ** exponent for e in ELEMENTS])
    bright = np.tensordot(relative, areal, axes=1)
    unseen = np.zeros_like(bright)
    if ghosts.any():
        shadow = {e: np.zeros_like(ghost) for e in ELEMENTS} | {"Si": np.abs(ghost)}
        unseen = np.sign(ghost.sum()) * _projections(shadow, fine, 2 * across)[0]
    return Specimen(
        n_cycles,
        seed,
        voxel_nm,
        areal.astype(np.float32),
        np.maximum(bright + unseen, 0).astype(np.float32),
        bright.astype(np.float32),
        np.stack([_halved(matter[e]) for e in CHOSEN]).astype(np.float32),
        _halved(sei) > 0.5,
        _halved(islands) > 0.5,
        _halved(ghosts) > 0.5,
    )


def measure(specimen: Specimen, dose: float) -> Measurement:
    """Map a specimen at a part of the paper's dose.

    The background's expectation comes from side windows as wide as the line's twice,
    smoothed; the share of the detector that the holder shadows is known from them.
    """
    n = specimen.n_cycles
    rng = np.random.default_rng([specimen.seed, n, round(1e5 * dose), 7])
    electrons = DOSE_E_PER_NM2[n] / ANGLES_DEG.size * specimen.voxel_nm**2 * dose
    seen = np.where(ANGLES_DEG < -40, rng.uniform(0.5, 1.0), 1.0)
    rates = dict(zip(ELEMENTS, counts_per_electron(), strict=True))
    mass = sum(specimen.areal[ELEMENTS.index(e)] * ATOMIC_NUMBER[e] for e in CHOSEN)
    spread = _SPECIMEN_PART * mass / mass.sum() + (1 - _SPECIMEN_PART) / mass.size
    counts, sides, exposure = [], [], []
    for element, ratio in zip(CHOSEN, _PEAK_TO_BACKGROUND[n], strict=True):
        per_atom = rates[element] * part_in_window(element) * electrons * seen
        net = specimen.areal[ELEMENTS.index(element)] * per_atom[:, None, None]
        below = spread * net.sum() / (ratio * np.exp(rng.normal(0, _PB_SCATTER)))
        counts.append(rng.poisson(net + below))
        sides.append(rng.poisson(2 * below) / 2)
        exposure.append(per_atom * specimen.voxel_nm)
    background = ndimage.gaussian_filter(np.stack(sides), (0, 0, 4, 4), mode="nearest")
    strays = _MISALIGNED_PX * rng.standard_normal(ANGLES_DEG.size)
    gains = 1 + _GAIN * rng.standard_normal(ANGLES_DEG.size)
    per_atom = scattering_nm2()[0] * electrons
    clean, moved = (
        np.stack(
            [ndimage.shift(a, (s, 0), order=1) for a, s in zip(b, strays, strict=True)]
        )
        for b in (specimen.bright_without, specimen.bright)
    )
    noisy = rng.poisson(np.maximum(moved, 0) * per_atom * gains[:, None, None])
    noisy = noisy * (1 + _SCATTER * rng.standard_normal(moved.shape)) / per_atom
    without = np.where(moved > 1, noisy * clean / np.maximum(moved, 1e-3), noisy)
    return Measurement(
        np.stack(counts).astype(np.float32),
        np.maximum(background, 1e-5).astype(np.float32),
        np.array(exposure, np.float32),
        np.maximum(noisy, 0).astype(np.float32),
        np.maximum(without, 0).astype(np.float32),
        specimen.voxel_nm,
    )


def _projections(
    matter: dict[str, NDArray[np.float32]], fine_nm: float, width: int
) -> NDArray[np.float64]:
    """Return (element, tilt, u, y) atoms/nm2 on pixels of two fine voxels."""
    voxels = list_voxels(Phantom(matter, fine_nm, {}))
    tilts = []
    for angle_deg in ANGLES_DEG:
        areal = project(voxels, float(angle_deg)).atoms_per_nm2
        left = areal.shape[1] // 2 - width // 2
        tilts.append(_binned(areal[:, left : left + width]))
    return np.stack(tilts, axis=1)


def _binned(areal: NDArray[np.float64]) -> NDArray[np.float64]:
    e, u, y = areal.shape
    return areal.reshape(e, u // 2, 2, y // 2, 2).mean(axis=(2, 4))


def _halved(volume: NDArray[Any]) -> NDArray[Any]:
    z, x, y = (n // 2 for n in volume.shape)
    return volume.reshape(z, 2, x, 2, y, 2).mean(axis=(1, 3, 5))
