"""Specimens made voxel by voxel: the nanowire, and a bead to test handedness.

Volumes are (z, x, y): y is the tilt axis and the wire's axis, z points against the
beam at tilt 0. The origin is the centre of the array. Lengths are in nm, densities in
atoms per nm3. The same seed gives the same specimen, bit for bit.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.spatial import cKDTree
from scipy.special import ndtri

from cryoline.sim.phantom_knobs import (
    ELEMENTS,
    OXIDE_NM,
    OXIDE_OXYGEN_PER_NM3,
    OXIDE_SILICON,
    SEI_INNER_PER_NM3,
    SEI_OUTER_PER_NM3,
    SILICON_PER_NM3,
    WireKnobs,
    wire_knobs,
)

__all__ = [
    "BEAD_CENTER_NM",
    "BEAD_DIAMETER_NM",
    "Phantom",
    "make_bead",
    "make_wire",
    "random_field",
]

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]

VOXEL_NM: Final = 2.0
WIRE_SHAPE: Final = (96, 96, 600)
"""(z, x, y): 192 nm across; 1200 nm along, longer than the 1093 nm field of [S1]."""
WIRE_DIAMETER_NM: Final = 75.0  # [S1] 60 to 90
_BEND_NM: Final = (3.0, 6.0)  # [A] amplitudes in z and x, one period a wire
_SURFACE_LENGTH_NM: Final = 14.0  # [A] correlation length of the roughness
_GRAIN_NM: Final = 15.0  # [A] size of the grains of a plum pudding
_BISECTIONS: Final = 9
_LARGE_BODY: Final = 0.05  # [A] part of all silicon

BEAD_CENTER_NM: Final = (20.0, 10.0)
"""Where the bead is, (x, z); y = 0."""
BEAD_DIAMETER_NM: Final = 20.0
_BEAD_PER_NM3: Final = {"Si": 500.0, "O": 500.0, "F": 500.0, "C": 500.0, "P": 5.0}
"""[A] ten times as dense as matter, so that few tilts find it in every element."""


@dataclass(frozen=True)
class Phantom:
    """A specimen.

    elements: element -> (z, x, y) atoms/nm3
    truth: what was made, as scalars
    """

    elements: dict[str, Volume]
    voxel_nm: float
    truth: dict[str, float]


def make_wire(
    n_cycles: int = 1,
    *,
    seed: int,
    shape: tuple[int, int, int] = WIRE_SHAPE,
    voxel_nm: float = VOXEL_NM,
    diameter_nm: float = WIRE_DIAMETER_NM,
) -> Phantom:
    """Make a delithiated silicon nanowire in its SEI, after this many cycles.

    1. A bent, rough cylinder. 2. Pores, from a thresholded random field; those that
    reach the surface fill with SEI to a depth. 3. If capacity was lost, grains whose
    walls fill with SEI from the surface inwards, so deep that the silicon cut off is
    the capacity lost. 4. The SEI around it, and an oxidised skin on the silicon.
    """
    knobs = wire_knobs(n_cycles)
    rng = np.random.default_rng([seed, n_cycles])
    depth = diameter_nm / 2 - _radius(shape, voxel_nm)
    depth -= knobs.roughness_nm * random_field(shape, _SURFACE_LENGTH_NM, voxel_nm, rng)
    core = depth > 0
    pore, open_pore = _pores(core, depth, knobs, rng, voxel_nm, diameter_nm)
    silicon = core & ~pore
    inner_sei = open_pore & (depth < knobs.invasion_nm)
    dead = 0.0
    if knobs.capacity_loss > 0:
        silicon, wall, dead = _cut_off(silicon, core, depth, knobs, rng, voxel_nm)
        inner_sei |= wall
    outer_sei = ~core & (depth > -knobs.sei_nm)
    elements = _fill(silicon, inner_sei, outer_sei, depth, knobs, voxel_nm)
    core_voxels = core.sum()
    truth = {
        "n_cycles": float(n_cycles),
        "silicon_of_core": silicon.sum() / core_voxels,
        "pores_of_core": pore.sum() / core_voxels,
        "sei_of_core": inner_sei.sum() / core_voxels,
        "dead_silicon": dead,
        "capacity_loss": knobs.capacity_loss,
        "sei_nm": knobs.sei_nm,
    }
    return Phantom(elements, voxel_nm, {k: float(v) for k, v in truth.items()})


def make_bead(
    *, shape: tuple[int, int, int] = (96, 96, 96), voxel_nm: float = VOXEL_NM
) -> Phantom:
    """Make one dense bead off the tilt axis: seen mirrored, it is elsewhere."""
    x_nm, z_nm = BEAD_CENTER_NM
    z, x, y = _coordinates(shape, voxel_nm)
    inside = (z - z_nm) ** 2 + (x - x_nm) ** 2 + y**2 < (BEAD_DIAMETER_NM / 2) ** 2
    elements = {e: (inside * _BEAD_PER_NM3[e]).astype(np.float32) for e in ELEMENTS}
    return Phantom(elements, voxel_nm, {"x_nm": x_nm, "y_nm": 0.0, "z_nm": z_nm})


def _coordinates(shape: tuple[int, int, int], voxel_nm: float) -> list[Volume]:
    grid = [((np.arange(n) - (n - 1) / 2) * voxel_nm).astype(np.float32) for n in shape]
    return list(np.meshgrid(*grid, indexing="ij", sparse=True))


def _radius(shape: tuple[int, int, int], voxel_nm: float) -> Volume:
    """Return the distance from the axis of a bent wire."""
    z, x, y = _coordinates(shape, voxel_nm)
    phase = np.float32(2 * np.pi / (shape[2] * voxel_nm)) * y
    bent_z = z - np.float32(_BEND_NM[0]) * np.cos(phase)
    bent_x = x - np.float32(_BEND_NM[1]) * np.sin(phase)
    radius: Volume = np.sqrt(bent_z**2 + bent_x**2)
    return radius


def random_field(
    shape: tuple[int, int, int],
    length_nm: float,
    voxel_nm: float,
    rng: np.random.Generator,
) -> Volume:
    """Return Gaussian noise smoothed to a correlation length; rms 1, periodic."""
    field = fft.rfftn(rng.standard_normal(shape, dtype=np.float32))
    spread = (length_nm / voxel_nm / 2) ** 2 / 2
    waves = (fft.fftfreq(shape[0]), fft.fftfreq(shape[1]), fft.rfftfreq(shape[2]))
    for axis, wave in enumerate(waves):
        damping = np.exp(-spread * (2 * np.pi * wave) ** 2).astype(np.float32)
        field *= damping.reshape([-1 if k == axis else 1 for k in range(3)])
    smooth: Volume = fft.irfftn(field, shape, overwrite_x=True)
    smooth /= smooth.std()
    return smooth


def _pores(
    core: Mask,
    depth: Volume,
    knobs: WireKnobs,
    rng: np.random.Generator,
    voxel_nm: float,
    diameter_nm: float,
) -> tuple[Mask, Mask]:
    """Return the pores, and those of them that reach the outside."""
    pore = np.zeros_like(core)
    if knobs.porosity == 0:
        return pore, pore
    field = random_field(core.shape, knobs.pore_length_nm, voxel_nm, rng)
    inward = np.clip(depth[core] / (diameter_nm / 2), 0, 1)
    fraction = np.clip(knobs.porosity * (1.15 - 0.5 * inward), 1e-6, 0.9)
    pore[core] = field[core] < ndtri(fraction)
    labels, _ = ndimage.label(pore | ~core)
    outside = labels[0, 0, 0]  # a corner of the box is never in the wire
    return pore, pore & (labels == outside)


def _cut_off(
    silicon: Mask,
    core: Mask,
    depth: Volume,
    knobs: WireKnobs,
    rng: np.random.Generator,
    voxel_nm: float,
) -> tuple[Mask, Mask, float]:
    """Return the silicon that is left, the walls that replace it, and its dead part.

    Walls lie between Voronoi grains.
    """
    places = np.argwhere(silicon).astype(np.float32)
    grains = int(core.sum() * (voxel_nm / _GRAIN_NM) ** 3) + 8
    centers = places[rng.choice(len(places), grains, replace=False)]
    distance, _ = cKDTree(centers).query(places, k=2)
    wall = np.zeros_like(silicon)
    wall[silicon] = (distance[:, 1] - distance[:, 0]) * voxel_nm < knobs.wall_nm
    shallow, deep = 0.0, float(depth.max())
    for _ in range(_BISECTIONS):
        middle = 0.5 * (shallow + deep)
        if _dead_part(silicon & ~(wall & (depth < middle))) < knobs.capacity_loss:
            shallow = middle
        else:
            deep = middle
    wall &= depth < deep
    left = silicon & ~wall
    return left, wall, _dead_part(left)


def _dead_part(silicon: Mask) -> float:
    """Return the part of the silicon that is no part of a large body.

    Electrons cross a neck of one voxel's face. A wire that is cut across has two
    large bodies: each may still hang on the current collector by its end.
    """
    labels, _ = ndimage.label(silicon)
    sizes = np.bincount(labels.ravel())[1:]
    return float(1 - sizes[sizes > _LARGE_BODY * sizes.sum()].sum() / sizes.sum())


def _fill(
    silicon: Mask,
    inner_sei: Mask,
    outer_sei: Mask,
    depth: Volume,
    knobs: WireKnobs,
    voxel_nm: float,
) -> dict[str, Volume]:
    """Return the densities of matter with these shapes."""
    sei = inner_sei | outer_sei
    outward = np.clip(-depth[sei] / max(knobs.sei_nm, 1e-3), 0, 1)
    skin = silicon & ndimage.binary_dilation(
        sei, iterations=max(1, round(OXIDE_NM / voxel_nm))
    )
    elements = {}
    for element in ELEMENTS:
        density = np.zeros(silicon.shape, np.float32)
        inner, outer = SEI_INNER_PER_NM3[element], SEI_OUTER_PER_NM3[element]
        density[sei] = inner + outward * (outer - inner)
        elements[element] = density
    elements["Si"][silicon] = SILICON_PER_NM3
    elements["Si"][skin] *= OXIDE_SILICON
    elements["O"][skin] += OXIDE_OXYGEN_PER_NM3
    return elements
