"""Ways to spoil the demo on purpose; each must be noticed by a line of its table.

angles      the stage is read with its tilt negated
windows     the counts are looked for 120 eV beside their lines
background  the background is looked for where there is none
dose        the ledger is told nine tenths of each charge
"""

from dataclasses import dataclass, field
from typing import Any, Final

from cryoline.devices.exposure import ExposureResult

__all__ = ["SABOTAGES", "Spoiled", "spoil"]

SABOTAGES: Final = ("angles", "windows", "background", "dose")

_BESIDE_EV: Final = 120.0
_NOTHING_EV: Final = ((9000.0, 9900.0),)


@dataclass(frozen=True)
class Spoiled:
    """What a spoiled session gives to its plans in place of the real thing."""

    stage: Any
    md: dict[str, Any] = field(default_factory=dict)


def spoil(name: str | None, session: Any) -> Spoiled:
    """Return the stage and the metadata of a session, spoiled; its ledger too."""
    stage = session.devices["stage"]
    if name == "angles":
        return Spoiled(_Mirrored(stage))
    if name == "windows":
        return Spoiled(stage, {"eds_windows": _shifted_windows()})
    if name == "background":
        return Spoiled(stage, {"eds_windows": _windows_without_background()})
    if name == "dose":
        _undercharge(session.ledger)
    return Spoiled(stage)


class _Mirrored:
    """A stage that reads its tilt with the other sign."""

    def __init__(self, stage: Any) -> None:
        self._stage = stage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)

    def read(self) -> dict[str, Any]:
        return {
            key: {**reading, "value": -reading["value"]} if "alpha" in key else reading
            for key, reading in self._stage.read().items()
        }


def _undercharge(ledger: Any) -> None:
    settle = ledger.settle

    def settle_less(ticket_uid: str, result: ExposureResult) -> Any:
        charge_c = 0.9 * result.charge_c
        return settle(ticket_uid, result.model_copy(update={"charge_c": charge_c}))

    ledger.settle = settle_less


def _shifted_windows() -> list[dict[str, Any]]:
    from cryoline.analysis.eds import HE_2021

    return [
        {
            **window._asdict(),
            "low_ev": window.low_ev + _BESIDE_EV,
            "high_ev": window.high_ev + _BESIDE_EV,
        }
        for window in HE_2021
    ]


def _windows_without_background() -> list[dict[str, Any]]:
    from cryoline.analysis.eds import HE_2021

    return [
        {**window._asdict(), "sides_ev": _NOTHING_EV, "degree": 0} for window in HE_2021
    ]
