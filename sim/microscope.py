"""Column and stage together: what the beam does to the specimen, and to its images."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryoline.sim.column import Column
from cryoline.sim.damage import warm_factor
from cryoline.sim.exposure_log import ExposureLog, Outcome
from cryoline.sim.exposure_timer import Frames
from cryoline.sim.faults import Faults
from cryoline.sim.fluence_map import CELL_NM, FluenceMap
from cryoline.sim.scan_order import ScanOrder
from cryoline.sim.stage import Stage
from cryoline.sim.stage_cold import REFILL_BELOW_PERCENT
from cryoline.sim.view import View, encode_view

__all__ = ["Microscope"]

_UNUSED_S: Final = 3600.0
"""[A] the dewar is topped up if the beam was not used for that long."""
_VIEWS_KEPT: Final = 4
"""Exposures that a detector may still render."""


@dataclass
class _Scene:
    """What an exposure met: the fluence before, and per frame the charge and place."""

    order: ScanOrder
    tilt_deg: float
    fluence: NDArray[np.float32]
    frames: list[Frames] = field(default_factory=list)
    offsets_nm: list[NDArray[np.float64]] = field(default_factory=list)

    def view(self, seed: tuple[int, ...]) -> View:
        """Return what a detector needs to render it."""
        offsets_nm = np.concatenate([np.empty((2, 0)), *self.offsets_nm], axis=1)
        charge_c, fraction = (
            np.concatenate([np.empty(0), *(getattr(f, name) for f in self.frames)])
            for name in ("charge_c", "fraction")
        )
        order = self.order
        return View(
            tilt_deg=self.tilt_deg,
            width_px=order.width_px,
            height_px=order.height_px,
            pixel_nm=order.pixel_nm,
            dwell_s=order.dwell_s,
            frame_charge_c=charge_c * (order.pixel_part / order.on_part),
            frame_fraction=fraction,
            offset_x_nm=offsets_nm[0],
            offset_y_nm=offsets_nm[1],
            fluence=self.fluence,
            cell_nm=CELL_NM,
            seed=seed,
            rotation_deg=order.rotation_deg,
            beam_diameter_nm=order.beam_diameter_nm,
        )


class Microscope:
    """The instrument with a specimen in its holder, and its faults.

    log: of the exposures; it outlives a reset
    """

    def __init__(self, *, seed: int, log: ExposureLog, time_s: float = 0.0) -> None:
        self.seed = seed
        self.log = log
        self._exposures_before = log.counter
        self.column = Column(seed=seed, log=log, time_s=time_s)
        self.stage = Stage(seed=seed, time_s=time_s)
        self.fluence = FluenceMap()
        self._warm_fluence = FluenceMap()  # what it counts more, for being warm
        self.faults = Faults()
        self._time_s = time_s
        self._scene: _Scene | None = None
        self._scenes: OrderedDict[str, _Scene] = OrderedDict()

    def advance(self, time_s: float) -> None:
        """Bring everything up to this instant."""
        self.column.advance(time_s)
        self._gather()
        self._top_up(time_s)
        self._time_s = time_s

    def start(self, time_s: float) -> None:
        """Expose what is armed."""
        self.advance(time_s)
        tilt_deg = self.stage.tilt_deg(time_s)
        self.column.start(time_s, tilt_deg=tilt_deg)
        order = self.column.order
        if order is None:
            raise RuntimeError("the column started, and exposes nothing")
        before = (self.fluence.cells + self._warm_fluence.cells).astype(np.float32)
        self._scene = _Scene(order, tilt_deg, before)
        self._scenes[order.ticket] = self._scene
        while len(self._scenes) > _VIEWS_KEPT:
            self._scenes.popitem(last=False)

    def blank(self, time_s: float, outcome: Outcome = Outcome.CUT) -> None:
        """Blank and disarm."""
        self.advance(time_s)
        self.column.blank(time_s, outcome)
        self._gather()

    def exposure(self, ticket: str) -> dict[str, Any]:
        """Return how far a ticket's exposure is, and its view once it ended."""
        answer: dict[str, Any] = dict.fromkeys(
            ("outcome", "counter", "start_s", "end_s", "view")
        )
        record = self.log.find(ticket) if ticket else None
        if record is not None:
            scene = self._scenes.get(ticket)
            # Counted from the reset on, so that the same seed gives the same noise.
            seed = (self.seed, record.counter - self._exposures_before)
            return {
                "state": "ended",
                "outcome": int(record.outcome),
                "counter": record.counter,
                "start_s": record.start_s,
                "end_s": record.end_s,
                "view": encode_view(scene.view(seed)) if scene else None,
            }
        if ticket and ticket == self.column.armed_ticket:
            exposing = self.column.is_exposing
            return {"state": "exposing" if exposing else "armed", **answer}
        return {"state": "unknown", **answer}

    def set_fault(self, name: str, value: float, time_s: float) -> None:
        """Let something go wrong, or be well again (0)."""
        self.advance(time_s)
        self.faults.set(name, value)
        if name == "current_rise":
            self.column.set_next_rise(value)
        elif name == "current_scale":
            self.column.set_scale(value or 1.0, time_s)
        elif name == "ln2_level":
            self.stage.cold.fill(value or 100.0, time_s)
        elif name == "stage_temp":
            self.stage.cold.hold(value or None)
        elif name == "drift_burst":
            self.stage.set_burst(value, time_s)
        elif name == "stage_stuck":
            self.stage.set_stuck(bool(value), time_s)

    def next_event_s(self) -> tuple[float, str] | None:
        """Return the next instant at which something ends, and what."""
        arrival_s = self.stage.next_event_s(self._time_s)
        events = [] if arrival_s is None else [(arrival_s, "stage")]
        if (ending := self.column.next_event_s()) is not None:
            events.append(ending)
        return min(events, default=None)

    def _gather(self) -> None:
        """Put the charge of the frames just scanned where it fell."""
        frames = self.column.take_frames()
        scene = self._scene
        if scene is None or not len(frames):
            self._close_scene()
            return
        middle_s = (frames.start_s + frames.end_s) / 2
        order = scene.order
        x_nm, y_nm = self.stage.offsets_nm(middle_s)
        offsets_nm = np.stack((x_nm - order.center_x_nm, y_nm - order.center_y_nm))
        scene.frames.append(frames)
        scene.offsets_nm.append(offsets_nm)
        # A disc that is parked is no wider for the pixel that it stands for.
        pixel_nm = 0.0 if order.is_parked and order.beam_diameter_nm else order.pixel_nm
        half_x_nm = order.width_px * pixel_nm / 2
        half_y_nm = order.height_px * pixel_nm / 2
        tilts_deg = self.stage.tilts_deg(middle_s)
        for k in range(len(frames)):
            center_nm = (-float(offsets_nm[0, k]), -float(offsets_nm[1, k]))
            low_nm = (center_nm[0] - half_x_nm, center_nm[1] - half_y_nm)
            scanned = float(frames.fraction[k])
            where: dict[str, Any] = {
                "tilt_deg": float(tilts_deg[k]),
                "low_nm": low_nm,
                "high_nm": (
                    low_nm[0] + 2 * half_x_nm,
                    low_nm[1] + 2 * half_y_nm * scanned,
                ),
                "rotation_deg": order.rotation_deg,
                "about_nm": center_nm,
                "diameter_nm": order.beam_diameter_nm,
            }
            charge_c = float(frames.charge_c[k])
            self.fluence.deposit(charge_c, **where)
            temperature_degc = self.stage.cold.temperature_degc(float(middle_s[k]))
            if (warm := warm_factor(temperature_degc) - 1.0) > 0.0:
                self._warm_fluence.deposit(charge_c * warm, **where)
        self._close_scene()

    def _close_scene(self) -> None:
        if not self.column.is_exposing:
            self._scene = None
            if self.faults.current_rise and self.column.rise_is_over:
                self.faults.current_rise = 0.0

    def _top_up(self, time_s: float) -> None:
        """Let somebody fill the dewar while nobody uses the microscope."""
        if self.faults.ln2_level:
            return
        cold = self.stage.cold
        while True:
            due_s = max(
                cold.reaches_level_at_s(REFILL_BELOW_PERCENT),
                self.column.idle_since_s + _UNUSED_S,
            )
            if due_s > time_s:
                return
            self.stage.refill(due_s)
