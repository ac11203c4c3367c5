"""What a plan would cost at most: dose, time, cold, disk; nothing is booked."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from cryoline.acquisition.config import ColdSection
from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.dose_records import Foreseen, Neighbour
from cryoline.acquisition.tilt_exposures import Tracking
from cryoline.acquisition.tilt_schemes import Scheme
from cryoline.devices.exposure import Exposure, Purpose

__all__ = ["ColdNeed", "DiskNeed", "Forecast", "forecast", "waits_of_tilt_series"]

_IMAGE_BYTES_PER_PX: Final = 4
"""An image is float32."""
_EVENT_BYTES: Final = 11
"""An X-ray count: frame, y, x, channel, quadrant."""
_SLOWEST_DEG_PER_S: Final = 1.0
"""Stages tilt by 1 to 5 deg/s."""


@dataclass(frozen=True)
class DiskNeed:
    """What the files of a plan may grow to, and what the disk has."""

    needed_bytes: float
    free_bytes: float
    minimum_free_bytes: float

    @property
    def is_enough(self) -> bool:
        """Whether what must stay free does."""
        return self.free_bytes - self.needed_bytes >= self.minimum_free_bytes


@dataclass(frozen=True)
class ColdNeed:
    """What the stage's dewar holds, and how much of it a plan uses up."""

    ln2_percent: float
    """Now."""
    lasts_s: float
    """Instrument time in which a full one empties."""
    reserve_percent: float
    """What must be left."""
    needed_s: float

    @property
    def at_end_percent(self) -> float:
        """What will be left."""
        return self.ln2_percent - 100.0 * self.needed_s / self.lasts_s

    @property
    def is_enough(self) -> bool:
        """Whether the specimen stays cold to the end."""
        return self.at_end_percent >= self.reserve_percent


@dataclass(frozen=True)
class Forecast:
    """The worst case of a plan."""

    n_exposures: int
    current_pa: float
    current_limit_pa: float
    beam_on_s: float
    """Instrument time with the beam on the specimen."""
    duration_s: float
    """Instrument time in all: exposures, flyback, moves and waits."""
    regions: Sequence[Foreseen]
    neighbours: Sequence[Neighbour]
    """Other regions that it would hit as well."""
    disk: DiskNeed
    cold: ColdNeed | None = None
    """None if nobody knows how long the dewar lasts."""

    @property
    def fits(self) -> bool:
        """Whether the ledger would grant it, and cold and disk last to its end."""
        needs = [need for need in (self.disk, self.cold) if need is not None]
        return all(need.is_enough for need in needs) and not any(
            region.refusal for region in self.regions
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what a program may read (``cryoline check --json``)."""
        return {
            **asdict(self),
            "disk": {**asdict(self.disk), "is_enough": self.disk.is_enough},
            "cold": self.cold
            and {
                **asdict(self.cold),
                "at_end_percent": self.cold.at_end_percent,
                "is_enough": self.cold.is_enough,
            },
            "fits": self.fits,
        }


def forecast(
    ledger: DoseLedger,
    exposures: Sequence[Exposure],
    *,
    folder: Path,
    minimum_free_mb: float,
    current_pa: float,
    current_margin: float,
    budget_e_per_nm2: float | None = None,
    waits_s: float = 0.0,
    ln2_percent: float | None = None,
    cold: ColdSection | None = None,
    eds_counts_per_s: float = 20_000.0,
) -> Forecast:
    """Return the worst case of a plan from what its twin declares.

    folder: where its files go
    waits_s: instrument time between the exposures
    ln2_percent: what the stage's dewar holds, judged by what is configured
    eds_counts_per_s: X-ray counts to expect at most; half the size of the files
        hangs on it, and the laboratory's detector counts a few thousand
    Raises DoseRefused for what is no series, no current or no budget.
    """
    current_limit_pa = current_pa * (1.0 + current_margin)
    regions = ledger.foresee(
        exposures,
        current_limit_pa=current_limit_pa,
        current_pa=current_pa,
        budget_e_per_nm2=budget_e_per_nm2,
    )
    maps_s = sum(e.beam_on_s for e in exposures if e.purpose is Purpose.RECORD)
    images = sum(e.width_px * e.height_px * _IMAGE_BYTES_PER_PX for e in exposures)
    duration_s = sum(exposure.duration_s for exposure in exposures) + waits_s
    return Forecast(
        len(exposures),
        current_pa,
        current_limit_pa,
        sum(exposure.beam_on_s for exposure in exposures),
        duration_s,
        regions,
        ledger.neighbours(exposures, current_limit_pa=current_limit_pa),
        DiskNeed(
            images + maps_s * eds_counts_per_s * _EVENT_BYTES,
            shutil.disk_usage(folder).free,
            minimum_free_mb * 1e6,
        ),
        _cold_need(duration_s, ln2_percent, cold),
    )


def _cold_need(
    needed_s: float, ln2_percent: float | None, cold: ColdSection | None
) -> ColdNeed | None:
    if ln2_percent is None or cold is None or cold.ln2_lasts_s is None:
        return None
    return ColdNeed(ln2_percent, cold.ln2_lasts_s, cold.ln2_reserve_percent, needed_s)


def waits_of_tilt_series(scheme: Scheme, tracking: Tracking) -> float:
    """Return the instrument time of a tilt series' moves and waits at most, s."""
    angles = (0.0, *scheme.angles_deg)
    path_deg = sum(abs(b - a) for a, b in pairwise(angles))
    looks_s = (1 + tracking.drift_retries) * tracking.drift_wait_s
    each_s = tracking.settle_s + looks_s
    return path_deg / _SLOWEST_DEG_PER_S + len(scheme.angles_deg) * each_s
