"""What a potentiostat says of itself and its cell, before a protocol is run on it."""

from dataclasses import dataclass

from cryoline.acquisition.config import Config
from cryoline.acquisition.connection import connect_devices, set_epics_environment
from cryoline.acquisition.errors import ConfigError
from cryoline.acquisition.protocol_checks import InstrumentLimits

__all__ = ["Survey", "survey"]


@dataclass(frozen=True)
class Survey:
    """What was found; nothing was changed."""

    limits: InstrumentLimits
    potential_v: float
    faults: tuple[str, ...]
    """Why no program can be started now."""


def survey(config: Config, device: str) -> Survey:
    """Connect one potentiostat of a configuration, and read it.

    Raises ConfigError if there is none of this name, ConnectionFailed if its IOC does
    not answer.
    """
    if device not in config.devices:
        raise ConfigError(
            f"{config.path}: no device {device!r}; there are: "
            f"{', '.join(config.devices)}"
        )
    set_epics_environment(config)
    alone = config.model_copy(update={"devices": {device: config.devices[device]}})
    found = connect_devices(alone)[device]
    from cryoline.devices.cycling_protocol import ProgramState

    faults = []
    if found.state.get() == ProgramState.RUNNING:
        faults.append(f"{device}: a program is running ({found.program_uid.get()})")
    if not found.contact.get():
        faults.append(f"{device}: no cell is connected")
    return Survey(
        limits=InstrumentLimits(
            device,
            float(found.potential_min_v.get()),
            float(found.potential_max_v.get()),
            float(found.current_max_a.get()),
            float(found.scan_rate_max_mv_per_s.get()),
        ),
        potential_v=float(found.potential_v.get()),
        faults=tuple(faults),
    )
