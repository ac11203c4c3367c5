"""An EDS exposure as a list of photons, drawn directly: no map is rendered.

Photons are drawn per source (each element's line, and the background of matter and of
everywhere), each with its place on the projected specimen, then put into frames, moved
by the frame's drift, and dropped if they fall outside the field or on a busy detector.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from cryoline.analysis.constants import ELEMENTARY_CHARGE_C
from cryoline.sim.eds_background import Background, background_of, brightness
from cryoline.sim.eds_lines import (
    CHANNEL_KEV,
    CHANNELS,
    LINE_KEV,
    QUADRANTS,
    counts_per_electron,
    line_sigma_kev,
)
from cryoline.sim.eds_shadow import quadrants_in_view
from cryoline.sim.phantom_knobs import ELEMENTS
from cryoline.sim.projection import Projection, project
from cryoline.sim.scan_frame import in_scan_frame
from cryoline.sim.specimen_voxels import SpecimenVoxels
from cryoline.sim.view import View

__all__ = ["EdsEvents", "EdsModel"]

Array = NDArray[np.float64]

_DETECTOR_ID: Final = 12  # of this instrument's random streams
_BUSY_S: Final = 5e-6  # [A] time that a quadrant's pulse processor needs a photon


@dataclass(frozen=True)
class EdsEvents:
    """Photons in the order of the scan: by frame, y, x.

    frame_offsets: (frame + 1,) index of each frame's first photon, and the end
    live_time_s, dead_time_s: (frame, quadrant)
    spectrum: (channel,) of all of them
    """

    frame: NDArray[np.uint32]
    y: NDArray[np.uint16]
    x: NDArray[np.uint16]
    channel: NDArray[np.uint16]
    quadrant: NDArray[np.uint8]
    frame_offsets: NDArray[np.uint64]
    live_time_s: Array
    dead_time_s: Array
    spectrum: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def n_frames(self) -> int:
        """Frames that were begun."""
        return len(self.live_time_s)


class EdsModel:
    """The four-quadrant detector looking at one specimen."""

    def __init__(self, voxels: SpecimenVoxels, *, n_cycles: int = 1) -> None:
        self._voxels = voxels
        self._background = background_of(voxels, n_cycles)

    def render(self, view: View) -> EdsEvents:
        """Return what the detector records of an exposure; the same view, the same."""
        rng = np.random.default_rng([*view.seed, _DETECTOR_ID])
        projection = project(
            self._voxels, view.tilt_deg, fluence=view.fluence, cell_nm=view.cell_nm
        )
        projection, view = in_scan_frame(projection, view)
        sources = _sources(projection, self._background, view)
        seen = quadrants_in_view(view.tilt_deg) / QUADRANTS
        # (frame,) electrons per nm2 of what was scanned, as if all of it had been.
        area_nm2 = view.width_px * view.height_px * view.pixel_nm**2
        scanned = np.maximum(view.frame_fraction, 1e-12)
        fluence = view.frame_charge_c / scanned / ELEMENTARY_CHARGE_C / area_nm2
        time_s = np.repeat(view.frame_time_s[:, None], QUADRANTS, axis=1)
        busy = _busy_part(sources, fluence, seen, view)
        counts_of = fluence[:, None] * seen * (1.0 - busy)  # (frame, quadrant)
        drawn = [source.draw(counts_of, view, rng) for source in sources]
        key, channel, quadrant = (
            np.concatenate([photons[k] for photons in drawn]) for k in range(3)
        )
        order = np.argsort(key, kind="stable")
        key, channel, quadrant = key[order], channel[order], quadrant[order]
        pixels = view.width_px * view.height_px
        frame, pixel = np.divmod(key, pixels)
        edges = np.arange(view.n_frames + 1)
        return EdsEvents(
            frame=frame.astype(np.uint32),
            y=(pixel // view.width_px).astype(np.uint16),
            x=(pixel % view.width_px).astype(np.uint16),
            channel=channel,
            quadrant=quadrant,
            frame_offsets=np.searchsorted(frame, edges).astype(np.uint64),
            live_time_s=time_s * (1.0 - busy),
            dead_time_s=time_s * busy,
            spectrum=np.bincount(channel, minlength=CHANNELS).astype(np.uint32),
        )


@dataclass(frozen=True)
class _Source:
    """Photons of one spectrum and one distribution in space.

    weight: (u, y) photons at 1 e/nm2 in each bin of the projection; None: everywhere
    total: all of them
    spectrum: (channel,) cumulative, up to 1
    """

    weight: Array | None
    total: float
    spectrum: Array
    corner_nm: tuple[float, float] = (0.0, 0.0)
    bin_nm: float = 1.0

    def draw(
        self, counts_of: Array, view: View, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint8]]:
        """Return scan position, channel and quadrant of photons, in any order."""
        numbers = rng.poisson(self.total * counts_of)
        number = int(numbers.sum())
        kind = np.repeat(np.arange(numbers.size), numbers.ravel())
        frame, quadrant = np.divmod(kind, QUADRANTS)
        x, y = self._places(number, frame, view, rng)
        channel = np.searchsorted(self.spectrum, rng.random(number), side="right")
        pixels = view.width_px * view.height_px
        pixel = y * view.width_px + x
        kept = (x >= 0) & (x < view.width_px) & (y >= 0) & (y < view.height_px)
        kept &= pixel < np.rint(view.frame_fraction * pixels)[frame]
        kept &= channel < CHANNELS
        return (
            (frame * pixels + pixel)[kept],
            channel[kept].astype(np.uint16),
            quadrant[kept].astype(np.uint8),
        )

    def _places(
        self, number: int, frame: NDArray[np.intp], view: View, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the pixels, which may lie outside the field."""
        if self.weight is None:
            return (
                rng.integers(view.width_px, size=number),
                rng.integers(view.height_px, size=number),
            )
        below = np.cumsum(self.weight)
        place = np.searchsorted(below, rng.random(number) * below[-1], side="right")
        place = np.minimum(place, self.weight.size - 1)
        pixels = []
        for axis, (index, offset_nm, size_px) in enumerate(
            zip(
                np.divmod(place, self.weight.shape[1]),
                (view.offset_x_nm, view.offset_y_nm),
                (view.width_px, view.height_px),
                strict=True,
            )
        ):
            position_nm = (index + rng.random(number)) * self.bin_nm
            position_nm += self.corner_nm[axis] + offset_nm[frame]
            position_px = np.floor(position_nm / view.pixel_nm + size_px / 2)
            pixels.append(position_px.astype(np.int64))
        return pixels[0], pixels[1]


def _sources(
    projection: Projection, background: Background, view: View
) -> list[_Source]:
    areal, corner_nm = _in_field(projection, view)
    bin_nm = projection.bin_nm
    area_nm2 = bin_nm**2
    found = []
    for element, density, per_electron in zip(
        ELEMENTS, areal, counts_per_electron(), strict=True
    ):
        weight = density * (per_electron * area_nm2)
        found.append((weight, _peak(element)))
    per_brightness = float(background.per_brightness.sum())
    found.append(
        (
            brightness(areal) * (per_brightness * area_nm2),
            _cumulative(background.per_brightness),
        )
    )
    sources = [
        _Source(weight, total, spectrum, corner_nm, bin_nm)
        for weight, spectrum in found
        if (total := float(weight.sum())) > 0
    ]
    field_nm2 = view.width_px * view.height_px * view.pixel_nm**2
    everywhere = float(background.per_electron.sum()) * field_nm2
    if everywhere > 0:
        sources.append(_Source(None, everywhere, _cumulative(background.per_electron)))
    return sources


def _in_field(projection: Projection, view: View) -> tuple[Array, tuple[float, float]]:
    """Return the part of the projection that any frame may show, and its corner."""
    areal, bin_nm = projection.atoms_per_nm2, projection.bin_nm
    slices, corner_nm = [], []
    for n_bins, size_px, offset_nm in (
        (areal.shape[1], view.width_px, view.offset_x_nm),
        (areal.shape[2], view.height_px, view.offset_y_nm),
    ):
        half_nm = size_px * view.pixel_nm / 2
        nearest, farthest = offset_nm.min(initial=0.0), offset_nm.max(initial=0.0)
        first = int((-half_nm - farthest) / bin_nm + n_bins / 2) - 1
        last = int((half_nm - nearest) / bin_nm + n_bins / 2) + 2
        first = min(max(first, 0), n_bins)
        slices.append(slice(first, max(min(last, n_bins), first)))
        corner_nm.append((first - n_bins / 2) * bin_nm)
    return areal[:, slices[0], slices[1]], (corner_nm[0], corner_nm[1])


def _busy_part(
    sources: list[_Source], fluence: Array, seen: Array, view: View
) -> Array:
    """Return the dead part of the time: (frame, quadrant), non-paralysable."""
    total = sum(source.total for source in sources)
    frame_s = view.width_px * view.height_px * view.dwell_s
    rate_hz = fluence[:, None] * seen * (total / frame_s)
    busy: Array = rate_hz * _BUSY_S / (1.0 + rate_hz * _BUSY_S)
    return busy


def _peak(element: str) -> Array:
    """Return the cumulative Gaussian of a line over the channels."""
    line_kev = LINE_KEV[element]
    upper_kev = np.arange(1, CHANNELS + 1) * CHANNEL_KEV
    peak: Array = ndtr((upper_kev - line_kev) / line_sigma_kev(line_kev))
    return peak


def _cumulative(spectrum: Array) -> Array:
    below: Array = np.cumsum(spectrum) / spectrum.sum()
    below[-1] = 1.0
    return below
