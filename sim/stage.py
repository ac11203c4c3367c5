"""The cryo stage: where it is, how cold, and where that puts the specimen's image.

Eccentricity, backlash, the wobble of a tilt and drift move the image, not the
encoders' readings.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cryoline.sim.stage_axis import AXES, Axis
from cryoline.sim.stage_cold import ColdStage

__all__ = ["Stage"]

_DEVICE_ID: Final = 3  # of this instrument's random streams
_HEIGHT_ERROR_NM: Final = 100.0  # [A] rms that the eucentric routine leaves
_AXIS_ERROR_NM: Final = 100.0  # [A] rms, tilt axis from the optical axis
_WOBBLE_NM: Final = 30.0  # [A] rms of each direction, anew with each tilt
# Drift after the holder came in, and what goes on for ever: all [A].
_DRIFT_NM_PER_MIN: Final = 8.0
_DRIFT_MEMORY_S: Final = 1800.0
_DRIFT_REST_NM_PER_MIN: Final = 0.02
_SETTLED_S: Final = 3 * 3600.0  # the holder has been in that long at the start
_BUBBLING_NM_PER_MIN: Final = 25.0
_BUBBLING_S: Final = 60.0


class Stage:
    """Four axes, a cold tip, and a specimen that does not quite stay where it is.

    A point of the specimen at (x, z) from its origin is seen at x cos t + z sin t, plus
    `offsets_nm`, from the optical axis; the tilt axis is y.
    """

    def __init__(self, *, seed: int, time_s: float = 0.0) -> None:
        rng = np.random.default_rng([seed, _DEVICE_ID])
        self._seed = seed
        self.axes = {name: Axis(name, time_s=time_s) for name in AXES}
        self.cold = ColdStage(time_s=time_s)
        self._height_nm = _HEIGHT_ERROR_NM * rng.standard_normal()
        self._axis_nm = _AXIS_ERROR_NM * rng.standard_normal()
        direction = rng.uniform(0.0, 2 * np.pi)
        self._drift_direction = np.array([np.cos(direction), np.sin(direction)])
        self._inserted_s = time_s - _SETTLED_S
        self._centred_s = time_s
        self._bursts: list[tuple[float, float, float]] = []  # from, to, nm/min
        self._wobble_nm = (np.zeros(2), np.zeros(2))  # before and after the last tilt

    def position(self, axis: str, time_s: float) -> float:
        """Return an encoder's reading."""
        return self.axes[axis].position(time_s)

    def tilt_deg(self, time_s: float) -> float:
        """Return the true tilt."""
        return float(self.tilts_deg(np.array(time_s)))

    def tilts_deg(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the true tilt at instants since the last command."""
        axis = self.axes["Alpha"]
        return axis.positions(time_s) + axis.lag

    def offsets_nm(
        self, time_s: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where the specimen's origin is seen, (x, y) from the optical axis."""
        tilt = np.radians(self.tilts_deg(time_s))
        x_nm, y_nm, z_nm = (
            self.axes[name].positions(time_s) + self.axes[name].lag for name in "XYZ"
        )
        part = self.axes["Alpha"].part(time_s)
        before, after = self._wobble_nm
        drift_nm = self._drift_nm(time_s) - self._drift_nm(np.array(self._centred_s))
        across_nm = (
            x_nm * np.cos(tilt)
            - self._axis_nm * (1.0 - np.cos(tilt))
            + (self._height_nm + z_nm) * np.sin(tilt)
            + before[0]
            + part * (after[0] - before[0])
            + drift_nm * self._drift_direction[0]
        )
        along_nm = (
            y_nm
            + before[1]
            + part * (after[1] - before[1])
            + drift_nm * self._drift_direction[1]
        )
        return across_nm, along_nm

    def next_event_s(self, time_s: float) -> float | None:
        """Return when the next axis will be at rest."""
        moving = [a.done_at_s for a in self.axes.values() if not a.is_done(time_s)]
        return min((t for t in moving if np.isfinite(t)), default=None)

    def move(self, axis: str, target: float, time_s: float) -> None:
        """Send an axis to a position, or refuse."""
        moved = self.axes[axis]
        part = float(moved.part(np.array(time_s)))
        moves = moved.moves
        moved.move(target, time_s)
        if axis == "Alpha" and moved.moves > moves:
            before, after = self._wobble_nm
            rng = np.random.default_rng([self._seed, _DEVICE_ID, moved.moves])
            here = before + part * (after - before)
            self._wobble_nm = (here, _WOBBLE_NM * rng.standard_normal(2))

    def stop(self, axis: str, time_s: float) -> None:
        """Stop an axis where it is."""
        moved = self.axes[axis]
        if axis == "Alpha":
            before, after = self._wobble_nm
            here = before + float(moved.part(np.array(time_s))) * (after - before)
            self._wobble_nm = (here, here)
        moved.stop(time_s)

    def set_stuck(self, stuck: bool, time_s: float) -> None:
        """Hold every axis where it is, or let them go on (a fault)."""
        part = float(self.axes["Alpha"].part(np.array(time_s)))
        before, after = self._wobble_nm
        self._wobble_nm = (before + part * (after - before), after)
        for axis in self.axes.values():
            axis.set_stuck(stuck, time_s)

    def insert(self, time_s: float) -> None:
        """Put the holder in: it drifts for hours; the specimen is centred."""
        self._inserted_s = time_s
        self._centred_s = time_s
        self._bursts = []

    def refill(self, time_s: float) -> None:
        """Fill the dewar; it bubbles for a while, and then somebody centres again."""
        self.cold.fill(100.0, time_s)
        self._bursts.append((time_s, time_s + _BUBBLING_S, _BUBBLING_NM_PER_MIN))
        self._centred_s = time_s + _BUBBLING_S

    def set_burst(self, nm_per_min: float, time_s: float) -> None:
        """Let it drift faster from now on; 0 ends that (a fault)."""
        self._bursts = [
            (start_s, min(end_s, time_s) if end_s == np.inf else end_s, rate)
            for start_s, end_s, rate in self._bursts
        ]
        if nm_per_min:
            self._bursts.append((time_s, np.inf, nm_per_min))

    def _drift_nm(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        since_s = np.maximum(0.0, time_s - self._inserted_s)
        way_nm = (
            _DRIFT_NM_PER_MIN
            * _DRIFT_MEMORY_S
            / 60.0
            * (1.0 - np.exp(-since_s / _DRIFT_MEMORY_S))
        )
        way_nm = way_nm + _DRIFT_REST_NM_PER_MIN / 60.0 * since_s
        for start_s, end_s, rate in self._bursts:
            way_nm = way_nm + rate / 60.0 * (np.clip(time_s, start_s, end_s) - start_s)
        return np.asarray(way_nm)
