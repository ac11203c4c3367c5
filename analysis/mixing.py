"""How silicon and SEI are mixed: what a cycled wire's counts say, and don't.

Thresholds and votes voxel by voxel are biased by noise: on rare counts they measure the
noise. A mean over a volume's voxels is free of that, but not of what the missing wedge
and a few iterations smear from the shell into the core. So:

- Core radius: of the even disc whose mean squared radius silicon has. It is a ratio of
  sums, and stays what it is when SEI eats into the wire from outside and silicon fades.
- SEI thickness: from there to the steepest fall of the SEI's elements, in profiles
  about the wire's axis, only where the tilts resolve its surface; a symmetric blur
  does not move it.
- Core invasion: not from the volume. The wire is taken for rings about its axis, and
  these few numbers are fitted to the counts of all tilts (weighted least squares, no
  sign imposed): unbiased by noise, by blur and by the wedge, which can't hide a ring.
- Dead silicon: by threshold and connection, since nothing linear says it. The walls
  that cut silicon off are thinner than EDS tomography resolves: it is a lower bound,
  and is never trusted.

Uncertainty comes from the counts themselves: they are split at random in halves, which
are independent and hold half the dose each. How halves differ tells the error; how they
differ from the whole tells what noise adds. How the tilts to one side differ from those
to the other tells how far the wire is from rings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.tomography import project
from cryoline.analysis.tomography_input import (
    background_of,
    exposure_of,
    radians,
    with_element,
)

__all__ = ["Measure", "Mixing", "mixing", "volume_measures"]

Reconstruct = Callable[
    [NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], NDArray[Any]
]

_COVERED_DEG: Final = 60.0
_MARGIN_NM: Final = 8.0
"""[A] of the core's surface that is left out: what the shell's blur reaches."""
_THICK_ENOUGH_NM: Final = 8.0
"""[A] of a shell: below this no voxel of it is free of blur."""
_HALF: Final = 0.5
_NOISE_PART: Final = 2.0
"""Standard errors that noise may add before a value is no longer trusted."""

_CAVEATS: Final = {
    "core_radius_nm": "the blur of silicon's edge makes the core too large, by up to "
    "two voxels",
    "sei_thickness_nm": "the blur of silicon's edge makes the shell too thin, by up to "
    "two voxels: compare wires of one voxel size, not with other methods",
}


@dataclass(frozen=True)
class Mixing:
    """Measures of one set of volumes, as they come."""

    core_radius_nm: float
    sei_thickness_nm: float
    sei_in_core: float
    """Part of the core's inside, 8 nm below its surface and deeper, that is SEI."""
    dead_silicon: float
    """Part of the silicon that is not connected with its largest body."""


@dataclass(frozen=True)
class Measure:
    """A measure, how sure it is, and whether it can be trusted."""

    value: float
    sigma: float
    """Standard error: counting, and what rings and roundness leave open."""
    from_noise: float
    """What half the dose adds to the value; about what noise adds to it at this one."""
    trusted: bool
    why: str
    """Why not; empty if it is."""
    caveat: str = ""
    """What holds even of a trusted value; empty if nothing."""


def volume_measures(
    volumes: ArrayLike,
    voxel_nm: float,
    *,
    silicon: int = 0,
    sei: Sequence[int] = (2, 3),
) -> Mixing:
    """Return the measures of element volumes (element, z, x, y) of a wire along y.

    Right for a truth; what is said of the core is biased in reconstructed volumes.

    sei: elements that only the SEI has; by default F and C of (Si, O, F, C): the sum of
        both is nearly the same in inner and outer SEI, and an oxide has neither
    Raises KernelInputError if the volumes hold no wire.
    """
    volume = np.asarray(volumes, np.float32)
    if volume.ndim != 4 or not np.isfinite(volume).all():
        raise KernelInputError(
            f"volumes {volume.shape}: give finite values (element, z, x, y)"
        )
    core, shell = volume[silicon], volume[list(sei)].sum(axis=0)
    if core.sum() <= 0:
        raise KernelInputError("volumes: there is no silicon; a wire needs a core")
    radius, resolved = _polar(core, voxel_nm)
    profiles = [_profile(v, radius, resolved, voxel_nm) for v in (core, shell)]
    fall = _steepest(profiles[0], voxel_nm, beyond_nm=voxel_nm)
    outer = _steepest(profiles[1], voxel_nm, beyond_nm=fall + voxel_nm)
    inner = _round_as(profiles[0], voxel_nm, within_nm=outer)
    inside = radius < inner - _MARGIN_NM
    width = outer - inner
    between = resolved & (np.abs(radius - (inner + outer) / 2) < width / 6 + voxel_nm)
    brightest = float(np.percentile(_calm(core)[radius < inner], 90))
    level = float(shell[between].mean()) if between.any() else 0.0
    return Mixing(
        inner,
        width,
        _mean(shell, inside) / level if level > 0 else float("nan"),
        _unconnected(core, radius < inner, brightest),
    )


def mixing(
    reconstruct: Reconstruct,
    projections: ArrayLike,
    angles_deg: ArrayLike,
    voxel_nm: float,
    *,
    background: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
    silicon: int = 0,
    sei: Sequence[int] = (2, 3),
    rounds: int = 3,
    seed: int = 0,
) -> dict[str, Measure]:
    """Return each measure of `Mixing` with its uncertainty, of a wire along y.

    reconstruct: makes volumes of (projections, background, exposure)
    projections: (element, tilt, u, y), whole numbers as measured
    background, exposure: as those of `mlem`
    silicon, sei: as those of `volume_measures`
    rounds: random splits; each costs two reconstructions

    Raises KernelInputError if counts are no whole numbers, or there is no wire.
    """
    whole = with_element("projections", projections, ("tilt", "u", "y"))
    if (whole != np.rint(whole)).any():
        raise KernelInputError(
            "projections: not all are whole numbers; only counts can be split at random"
        )
    elements, tilts = whole.shape[:2]
    angles = np.rad2deg(radians(angles_deg, tilts=tilts))
    below = background_of(background, whole.shape, ("tilt", "u", "y"))
    gains = exposure_of(exposure, elements, tilts)

    def measured(
        counts: NDArray[np.float32], part: float
    ) -> tuple[Mixing, NDArray[np.float32]]:
        given = counts, below * np.float32(part), gains * np.float32(part)
        volumes = np.asarray(reconstruct(*given), np.float32)
        plain = volume_measures(volumes, voxel_nm, silicon=silicon, sei=sei)
        radius = _polar(volumes[silicon], voxel_nm)[0]
        part_of_core = _of_rings(given, angles, radius, plain, sei)
        return replace(plain, sei_in_core=part_of_core), radius

    def uneven(volume_radius: NDArray[np.float32], plain: Mixing) -> float:
        """Return half of how tilts to one side differ from those to the other."""
        seen = [
            _of_rings(
                (whole[:, side], below[:, side], gains[:, side]),
                angles[side],
                volume_radius,
                plain,
                sei,
            )
            for side in (angles <= np.median(angles), angles >= np.median(angles))
        ]
        return abs(seen[0] - seen[1]) / 2

    rng = np.random.default_rng(seed)
    value, radius = measured(whole, 1.0)
    pairs = []
    for _ in range(rounds):
        half = rng.binomial(whole.astype(np.int64), _HALF).astype(np.float32)
        pairs.append([measured(part, _HALF)[0] for part in (half, whole - half)])
    found = {}
    for field in fields(Mixing):
        name = field.name
        halves = np.array([[getattr(m, name) for m in pair] for pair in pairs])
        # Halves have twice the variance, their difference four times.
        sigma = float(np.sqrt(np.mean(np.diff(halves, axis=1) ** 2)) / 2)
        there = float(getattr(value, name))
        if name.endswith("_nm"):
            sigma = float(np.hypot(sigma, voxel_nm))  # of a ring, and about of the blur
        if name == "sei_in_core":
            # A wire that isn't round is seen differently from its two sides.
            sigma = float(np.hypot(sigma, uneven(radius, value)))
        noise = float(halves.mean() - there)
        why = _doubt(name, value, sigma, noise, voxel_nm)
        found[name] = Measure(there, sigma, noise, not why, why, _CAVEATS.get(name, ""))
    return found


def _of_rings(
    given: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    angles_deg: ArrayLike,
    radius: NDArray[np.float32],
    plain: Mixing,
    sei: Sequence[int],
) -> float:
    """Return the SEI elements well inside the core, as a part of those in the shell."""
    counts, background, exposure = given
    outer = plain.core_radius_nm + plain.sei_thickness_nm
    edges = _borders(plain.core_radius_nm, outer, float(radius.max()))
    rings = np.stack(
        [(radius >= low) & (radius < high) for low, high in pairwise(edges)]
    ).astype(np.float32)
    rays = project(rings, angles_deg)
    amounts = np.sum(
        [_fitted(rays, counts[e], background[e], exposure[e]) for e in sei], axis=0
    )
    voxels = rings.sum(axis=(1, 2, 3))
    middles = (np.array(edges[1:]) + edges[:-1]) / 2
    parts = (
        middles < plain.core_radius_nm - _MARGIN_NM,
        np.abs(middles - (plain.core_radius_nm + outer) / 2)
        < plain.sei_thickness_nm / 6,
    )
    inside, between = (
        float((amounts * voxels)[part].sum() / max(voxels[part].sum(), 1.0))
        for part in parts
    )
    return inside / between if between > 0 else float("nan")


def _borders(core_nm: float, outer_nm: float, last_nm: float) -> list[float]:
    """Return the borders of rings: one inside, the margin's, the shell's, outside."""
    inner = max(core_nm - _MARGIN_NM, core_nm / 2)
    shell = np.linspace(core_nm, outer_nm, 4).tolist()
    beyond = [outer_nm + k * _MARGIN_NM for k in (1, 2)]
    return [0.0, inner, *shell, *(b for b in beyond if b < last_nm), last_nm + 1.0]


def _fitted(
    rays: NDArray[np.float32],
    counts: NDArray[np.float32],
    background: NDArray[np.float32],
    exposure: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return the amount in each ring, by weighted least squares without bounds.

    Weights come from the fit before, never from single counts, which would bias it.
    """
    seen = (rays * exposure[:, None, None]).reshape(len(rays), -1).astype(float)
    above = (counts - background).ravel().astype(float)
    floor = background.ravel() + 1e-3 * max(float(counts.mean()), 1e-9)
    expected = np.full(above.size, max(float(counts.mean()), 1e-9))
    amounts = np.zeros(len(rays))
    for _ in range(3):
        weighted = seen / expected
        amounts = np.linalg.lstsq(weighted @ seen.T, weighted @ above, rcond=1e-9)[0]
        expected = np.maximum(amounts @ seen + background.ravel(), floor)
    return amounts


def _doubt(
    name: str, value: Mixing, sigma: float, noise: float, voxel_nm: float
) -> str:
    """Return why a measure can't be trusted; empty if it can."""
    there = getattr(value, name)
    if not np.isfinite([there, sigma, noise]).all():
        return "it can't be found at all in these volumes, or in their halves"
    if name == "dead_silicon":
        return (
            "SEI walls of about 3 nm are thinner than the volume resolves, so that "
            "silicon seems connected across them: a lower bound"
        )
    if name == "sei_in_core" and value.core_radius_nm < 2 * _MARGIN_NM + voxel_nm:
        return (
            f"the core, {value.core_radius_nm:.1f} nm, has no inside that is "
            f"{_MARGIN_NM:g} nm below its surface"
        )
    if name == "sei_in_core" and there < -_NOISE_PART * sigma:
        return (
            f"{there:+.2g} is no part, and further below 0 than {_NOISE_PART:g} "
            f"standard errors of {sigma:.2g}: rings or background don't fit"
        )
    least_nm = max(_THICK_ENOUGH_NM, 4 * voxel_nm)
    if name != "core_radius_nm" and value.sei_thickness_nm < least_nm:
        return (
            f"the shell, {value.sei_thickness_nm:.1f} nm, is thinner than the "
            f"{least_nm:g} nm that its level needs"
        )
    least = 0.02 * abs(there)
    if abs(noise) > max(_NOISE_PART * sigma, least):
        return (
            f"half the dose changes it by {noise:+.3g}, more than {_NOISE_PART:g} "
            f"standard errors of {sigma:.2g}: noise is part of it"
        )
    return ""


def _polar(
    core: NDArray[np.float32], voxel_nm: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the distance from the wire's bent axis, nm, and where it is resolved.

    A surface is seen edge-on by some tilt if its normal is within the tilts' range.
    """
    nz, nx = core.shape[:2]
    mass = np.maximum(core.sum(axis=(0, 1), dtype=float), 1e-12)
    centers = []
    for axis, size in ((1, nz), (0, nx)):
        places = np.arange(size)[:, None]
        line = (core.sum(axis=axis, dtype=float) * places).sum(axis=0) / mass
        weighted = ndimage.gaussian_filter1d(line * mass, 4.0, mode="nearest")
        centers.append(weighted / ndimage.gaussian_filter1d(mass, 4.0, mode="nearest"))
    z = (np.arange(nz)[:, None, None] - centers[0]) * voxel_nm
    x = (np.arange(nx)[None, :, None] - centers[1]) * voxel_nm
    radius = np.hypot(z, x).astype(np.float32)
    resolved = np.abs(z) <= np.tan(np.deg2rad(_COVERED_DEG)) * np.abs(x)
    return radius, np.asarray(np.broadcast_to(resolved, radius.shape))


def _profile(
    volume: NDArray[np.float32],
    radius: NDArray[np.float32],
    resolved: NDArray[np.bool_],
    voxel_nm: float,
) -> NDArray[np.float64]:
    """Return the mean over rings of one voxel's width, from the axis outwards."""
    ring = (radius[resolved] / voxel_nm).astype(int)
    voxels = np.bincount(ring)
    sums = np.bincount(ring, volume[resolved])
    means: NDArray[np.float64] = sums / np.maximum(voxels, 1)
    return means[: min(volume.shape[:2]) // 2]


def _round_as(
    profile: NDArray[np.float64], voxel_nm: float, *, within_nm: float
) -> float:
    """Return the radius of the even disc whose mean squared radius is a profile's."""
    radius = (np.arange(profile.size) + _HALF) * voxel_nm
    mass = np.where(radius < within_nm, profile, 0) * radius
    return float(np.sqrt(2 * (mass * radius**2).sum() / max(mass.sum(), 1e-12)))


def _steepest(
    profile: NDArray[np.float64], voxel_nm: float, *, beyond_nm: float
) -> float:
    """Return the radius at which a profile falls most steeply, nm, to a part of a ring.

    Between rings it is where the fall's parabola has its top.
    """
    fall = -np.diff(ndimage.gaussian_filter1d(profile, 1.5, mode="nearest"))
    # fall[k] is at the border of the rings k and k + 1, (k + 1) voxels from the axis
    first = min(max(int(np.ceil(beyond_nm / voxel_nm)) - 1, 1), fall.size - 2)
    top = first + int(np.argmax(fall[first : fall.size - 1]))
    before, here, after = fall[top - 1 : top + 2]
    bend = before - 2 * here + after
    part = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float((top + 1 + np.clip(part, -1, 1)) * voxel_nm)


def _calm(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(ndimage.gaussian_filter(volume, 1.0), np.float32)


def _mean(volume: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    return float(volume[where].mean(dtype=float)) if where.any() else float("nan")


def _unconnected(
    core: NDArray[np.float32], inside: NDArray[np.bool_], level: float
) -> float:
    """Return the part of silicon, by half its level, beside the largest body."""
    silicon = (core > _HALF * level) & inside
    labels, bodies = ndimage.label(silicon)
    if bodies == 0:
        return float("nan")
    sizes = np.bincount(labels.ravel())[1:]
    return float(1 - sizes.max() / sizes.sum())
