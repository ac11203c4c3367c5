"""A probe current in pA, in whatever unit of current its instrument shows it."""

from typing import Any, Final

from ophyd import EpicsSignalRO

from cryoline.devices.errors import ExposureRefused

__all__ = ["CurrentSignalRO", "current_in_pa"]

_PA: Final = {"pA": 1.0, "nA": 1e3, "A": 1e12}


def current_in_pa(value: float, unit: str, name: str) -> float:
    """Return a current in pA; raises ExposureRefused for what is no unit of it.

    >>> current_in_pa(0.15, "nA", "beam")
    150.0
    """
    if unit not in _PA:
        raise ExposureRefused(
            f"{name}: its unit (EGU) is {unit!r}, not one of {', '.join(_PA)}; without "
            "a current no dose can be foreseen. Set EGU in the instrument's IOC"
        )
    return float(value) * _PA[unit]


class CurrentSignalRO(EpicsSignalRO):
    """A reading that is pA here, and pA, nA or A in the IOC.

    ``get``, ``read`` and ``describe`` convert; monitors pass on what the IOC shows.
    """

    def get(self, **options: Any) -> Any:
        """Return the value in pA; raises ExposureRefused for another unit."""
        # Its unit as of now: an IOC that was restarted may show another.
        value = super().get(form="ctrl", use_monitor=False, **options)
        return current_in_pa(value, str(self.metadata["units"]), self.pvname)

    def describe(self) -> dict[str, Any]:
        """Return the description, in pA."""
        described: dict[str, Any] = super().describe()
        described[self.name]["units"] = "pA"
        return described
