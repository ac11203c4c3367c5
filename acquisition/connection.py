"""Make the devices that the configuration names, and see that their IOCs answer."""

import os
import sys
from typing import Any

from cryoline.acquisition.config import Config, DeviceSection
from cryoline.acquisition.errors import ConfigError, ConnectionFailed
from cryoline.plugins import registry

__all__ = ["connect_devices", "set_epics_environment"]


def set_epics_environment(config: Config) -> None:
    """Tell Channel Access where to search; it listens only to its first context.

    Raises ConfigError if this process already searches elsewhere.
    """
    addresses = config.epics_addresses()
    if not addresses:
        return
    # Asked of what is imported already: importing it here would be too early.
    channel_access = sys.modules.get("epics.ca")
    if channel_access is not None and channel_access.libca is not None:
        searched = os.environ.get("EPICS_CA_ADDR_LIST", "")
        if not set(addresses) <= set(searched.split()):
            raise ConfigError(
                f"{config.path}: this process already searches for PVs at "
                f"{searched or 'the default addresses'}; "
                "a second laboratory needs a second process"
            )
        return
    os.environ["EPICS_CA_ADDR_LIST"] = " ".join(addresses)
    os.environ["EPICS_CA_AUTO_ADDR_LIST"] = "NO"


def connect_devices(config: Config) -> dict[str, Any]:
    """Return every device of the configuration by its name, connected.

    Raises ConnectionFailed that lists each device whose IOC does not answer.
    """
    devices = {
        name: registry.load("cryoline.devices", section.plugin)(
            section.prefix, name=name
        )
        for name, section in config.devices.items()
    }
    silent = [
        _complaint(name, section, device)
        for (name, section), device in zip(
            config.devices.items(), devices.values(), strict=True
        )
        if not _answers(device, config.epics.connection_timeout_s)
    ]
    if silent:
        where = " ".join(config.epics_addresses()) or "the EPICS_CA_ADDR_LIST"
        raise ConnectionFailed(
            "\n".join(silent)
            + f"\nsearched at {where} for {config.epics.connection_timeout_s:g} s; "
            "is the laboratory up? cryoline sim status, cryoline doctor"
        )
    return devices


def _answers(device: Any, timeout_s: float) -> bool:
    try:
        device.wait_for_connection(timeout=timeout_s)
    except TimeoutError:
        return False
    return True


def _complaint(name: str, section: DeviceSection, device: Any) -> str:
    signals = [walk.item for walk in device.walk_signals()]
    missing = [s.pvname for s in signals if not s.connected]
    if len(missing) == len(signals):
        return f"{name} ({section.prefix}): no IOC answers"
    return f"{name} ({section.prefix}): these PVs are missing: {', '.join(missing)}"
