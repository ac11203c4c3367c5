"""When a point is recorded, and what it holds: the mean since the last one."""

from dataclasses import replace

from cryoline.devices.cycling_protocol import Record
from cryoline.plugins.scpi_potentiostat.meter import Reading

__all__ = ["PointRule"]


class PointRule:
    """Means of potential and current since the last point of the step."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._start_v = 0.0
        self._last: Reading | None = None
        self._elapsed_s = self._sum_vs = self._sum_as = 0.0
        self._overload = False

    def restart(self, potential_v: float) -> None:
        """Begin a step, at the potential that the cell has."""
        self._start_v, self._last = potential_v, None
        self._clear()

    def take(self, reading: Reading, duration_s: float) -> bool:
        """Add a reading and the time it stands for; returns whether a point is due."""
        # A reading without duration must still have a mean.
        weight_s = max(duration_s, 1e-9)
        self._elapsed_s += weight_s
        self._sum_vs += reading.potential_v * weight_s
        self._sum_as += reading.current_a * weight_s
        self._overload |= reading.overload
        if self._last is None:
            self._last = replace(reading, potential_v=self._start_v)
        last, record = self._last, self._record
        return (
            abs(reading.potential_v - last.potential_v) >= record.dv_v
            or self._elapsed_s >= record.dt_s
            or (
                record.di_a is not None
                and abs(reading.current_a - last.current_a) >= record.di_a
            )
        )

    def point(self, reading: Reading) -> Reading:
        """Return the mean, and begin the next one at this reading."""
        mean = Reading(
            self._sum_vs / self._elapsed_s,
            self._sum_as / self._elapsed_s,
            reading.range_a,
            self._overload,
        )
        self._last = reading
        self._clear()
        return mean

    def _clear(self) -> None:
        self._elapsed_s = self._sum_vs = self._sum_as = 0.0
        self._overload = False
