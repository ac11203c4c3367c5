"""What may go wrong in the simulated microscope, on demand."""

from dataclasses import dataclass, fields
from typing import Final

from cryoline.sim.errors import RefusedError

__all__ = ["FAULTS", "Faults"]

FAULTS: Final = {
    "current_rise": ("CurrentRise", 0.0, 10.0),
    "current_scale": ("CurrentScale", 0.0, 10.0),
    "ln2_level": ("LN2Level", 0.0, 100.0),
    "stage_temp": ("StageTemp", -200.0, 30.0),
    "drift_burst": ("DriftBurst", 0.0, 1000.0),
    "stage_stuck": ("StageStuck", 0, 1),
    "disk_full": ("DiskFull", 0, 1),
    "stale_frame": ("StaleFrame", 0, 1),
}
"""PV name, lowest and highest value of each; 0 means that nothing is wrong."""


@dataclass
class Faults:
    """The faults that are set."""

    current_rise: float = 0.0
    """Factor of the probe current from half of the next exposure to its end."""
    current_scale: float = 0.0
    """Factor of the probe current."""
    ln2_level: float = 0.0
    """The dewar is that full, %, and nobody tops it up."""
    stage_temp: float = 0.0
    """The tip is that warm, degC."""
    drift_burst: float = 0.0
    """Further drift, nm/min."""
    stage_stuck: bool = False
    disk_full: bool = False
    """Detectors can't write their files."""
    stale_frame: bool = False
    """The HAADF detector delivers the last exposure's image."""

    def set(self, name: str, value: float) -> None:
        """Set one by name."""
        if name not in FAULTS:
            raise RefusedError(
                f"laboratory: no fault {name!r}; known: {', '.join(FAULTS)}"
            )
        pv_name, low, high = FAULTS[name]
        if not low <= value <= high:
            raise RefusedError(
                f"laboratory: {pv_name} {value:g} is outside {low:g}..{high:g}; "
                "choose a value in between"
            )
        kind = type(getattr(self, name))
        setattr(self, name, kind(value))

    def by_pv(self) -> dict[str, float | bool]:
        """Return all by the names of their process variables."""
        return {FAULTS[f.name][0]: getattr(self, f.name) for f in fields(self)}

    def of_detectors(self) -> dict[str, bool]:
        """Return what a detector's server must know."""
        return {"disk_full": self.disk_full, "stale_frame": self.stale_frame}
