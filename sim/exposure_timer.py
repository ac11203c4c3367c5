"""One exposure in hardware: its frames, its charge, and when it will end by itself.

Its end is known when it starts: after its frames, or at its maximum time or charge.
Nothing depends on who asks how often.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.sim.exposure_log import Outcome
from cryoline.sim.probe import ProbeCurrent
from cryoline.sim.scan_order import ScanOrder

__all__ = ["ExposureTimer", "Frames"]

_SAME: Final = 1e-9  # of a duration: limits that close to the end don't cut it

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Frames:
    """Frames of an exposure, or a part of them: arrays over frame."""

    start_s: Array
    end_s: Array
    fraction: Array
    """Part that was scanned, from the top."""
    charge_c: Array
    """Onto the specimen, flyback included."""

    def __len__(self) -> int:
        return len(self.start_s)


class ExposureTimer:
    """An exposure from its first pixel on.

    probe: the true current, which is integrated
    """

    def __init__(
        self, order: ScanOrder, probe: ProbeCurrent, start_s: float, tilt_deg: float
    ) -> None:
        self.order = order
        self.start_s = start_s
        self.tilt_deg = tilt_deg
        self.end_s = start_s
        self.outcome = Outcome.NONE
        self._probe = probe
        self._charges_c: Array = np.empty(0)  # of each frame, should it be whole
        self._taken = 0
        self.foresee()

    def foresee(self) -> None:
        """Compute what each frame will carry, and when and why all will end."""
        order = self.order
        edges_s = self.start_s + order.frame_s * np.arange(
            order.n_frames + 1, dtype=np.float64
        )
        charges_c = self._probe.charge_c(edges_s[:-1], edges_s[1:])
        self._charges_c = order.on_part * charges_c
        self.end_s = self.start_s + order.duration_s
        self.outcome = Outcome.COMPLETE
        time_limit_s = order.max_time_s / order.on_part
        if time_limit_s < order.duration_s * (1 - _SAME):
            self.end_s = self.start_s + time_limit_s
            self.outcome = Outcome.MAX_TIME
        if self.charge_c(self.end_s) > order.max_charge_c:
            self.end_s = self._reaches_max_charge_s()
            self.outcome = Outcome.MAX_CHARGE

    def cut(self, time_s: float, outcome: Outcome) -> None:
        """End it here."""
        self.end_s = time_s
        self.outcome = outcome

    @property
    def beam_on_s(self) -> float:
        """Time that the beam is on the specimen until the end."""
        if self.outcome is Outcome.COMPLETE:
            return self.order.beam_on_s
        return self.order.on_part * (self.end_s - self.start_s)

    def charge_c(self, until_s: float) -> float:
        """Return the charge onto the specimen up to an instant before the end."""
        whole = self.whole_frames(until_s)
        part_c = 0.0
        if whole < self.order.n_frames:
            frame_start_s = self.start_s + whole * self.order.frame_s
            if until_s > frame_start_s:
                span_c = self._probe.charge_c(
                    np.array(frame_start_s), np.array(until_s)
                )
                part_c = self.order.on_part * float(span_c)
        return math.fsum(self._charges_c[:whole]) + part_c

    def whole_frames(self, until_s: float) -> int:
        """Return how many frames are complete at an instant."""
        if until_s >= self.end_s and self.outcome is Outcome.COMPLETE:
            return self.order.n_frames
        return min(self.order.n_frames, int(self._elapsed_frames(until_s)))

    def take_frames(self, until_s: float) -> Frames:
        """Hand out the whole frames that were not handed out yet."""
        first, last = self._taken, max(self._taken, self.whole_frames(until_s))
        self._taken = last
        start_s = self.start_s + self.order.frame_s * np.arange(
            first, last, dtype=np.float64
        )
        return Frames(
            start_s,
            start_s + self.order.frame_s,
            np.ones(last - first),
            self._charges_c[first:last],
        )

    def last_part(self) -> Frames:
        """Return the frame that the end cut; none if it fell between two."""
        whole = self.whole_frames(self.end_s)
        fraction = self._elapsed_frames(self.end_s) - whole
        if whole >= self.order.n_frames or fraction <= 0.0:
            return Frames(*(np.empty(0) for _ in range(4)))
        charge_c = self.charge_c(self.end_s) - math.fsum(self._charges_c[:whole])
        start_s = self.start_s + whole * self.order.frame_s
        return Frames(
            *(np.array([v]) for v in (start_s, self.end_s, fraction, charge_c))
        )

    def _elapsed_frames(self, until_s: float) -> float:
        elapsed = (until_s - self.start_s) / self.order.frame_s
        nearest = round(elapsed)
        return float(nearest) if abs(elapsed - nearest) < _SAME else elapsed

    def _reaches_max_charge_s(self) -> float:
        low_s, high_s = self.start_s, self.end_s
        while True:
            middle_s = (low_s + high_s) / 2
            if not low_s < middle_s < high_s:
                return low_s  # the last instant at which the limit still holds
            if self.charge_c(middle_s) <= self.order.max_charge_c:
                low_s = middle_s
            else:
                high_s = middle_s
