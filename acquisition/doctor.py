"""Look at everything that a session will need, and say what is wrong with it."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from cryoline.acquisition.config import Config, load_config
from cryoline.acquisition.connection import connect_devices, set_epics_environment
from cryoline.acquisition.dose_config import open_ledger
from cryoline.acquisition.dose_report import report_on
from cryoline.acquisition.errors import CryolineError, LedgerError
from cryoline.acquisition.journal import check_space
from cryoline.acquisition.services import Services
from cryoline.plugins.errors import PluginError

__all__ = ["Finding", "examine"]

_REMEDIES: Final = {
    "running": "",
    # What hangs has to be ended first: up leaves alone what is there.
    "not answering": "cryoline down, then cryoline up",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    is_well: bool
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return what a program may read (``cryoline doctor --json``)."""
        return asdict(self)


def examine(path: Path) -> list[Finding]:
    """Return a finding for machine, configuration, disk, each device, each service."""
    findings = [Finding("Python", True, sys.version.split()[0])]
    try:
        config = load_config(path)
    except CryolineError as error:
        return [*findings, Finding("configuration", False, str(error), "mend the file")]
    findings.append(Finding("configuration", True, str(path)))
    findings += _look("disk", partial(_disk, config))
    if config.dose.beam in config.devices:
        findings += _look("dose ledger", partial(_ledger, config))
    findings += _look("Channel Access", partial(_addresses, config))
    if findings[-1].is_well:
        for name in config.devices:
            findings += _look(f"device {name}", partial(_device, config, name))
    return [*findings, *_services(config)]


def _look(what: str, look: Callable[[], str]) -> list[Finding]:
    try:
        return [Finding(what, True, look())]
    except (CryolineError, PluginError) as error:
        found, _, remedy = str(error).partition("; ")
        return [Finding(what, False, found, remedy)]


def _disk(config: Config) -> str:
    root = config.layout.root
    root.mkdir(parents=True, exist_ok=True)
    check_space(root, config.instrument.minimum_free_mb)
    return f"{shutil.disk_usage(root).free / 1e9:.1f} GB free at {root}"


def _ledger(config: Config) -> str:
    """Open the ledger if there is one, and see whether anything waits for a person."""
    if not config.dose_ledger.exists() and not config.dose_backup.exists():
        return "none yet"
    with open_ledger(config) as ledger:
        report = report_on(ledger, ledger.specimens())
    blocked = [r.usage for r in report.regions if r.usage.is_blocked]
    if blocked:
        raise LedgerError(
            f"{blocked[0].specimen}, {blocked[0].region} is blocked; cryoline dose show"
        )
    gone = [t for t in report.tickets if not t.is_owner_alive]
    if gone:
        raise LedgerError(
            f"{len(gone)} tickets of sessions that are gone; cryoline dose reconcile"
        )
    if not report.is_backup_current:
        raise LedgerError(f"the backup {report.backup} is behind; see its disk")
    return f"{len(report.regions)} regions in {report.ledger}"


def _addresses(config: Config) -> str:
    set_epics_environment(config)
    return " ".join(config.epics_addresses()) or "EPICS_CA_ADDR_LIST as it is"


def _device(config: Config, name: str) -> str:
    """Connect one device alone, and see that its PVs say their units."""
    only = config.model_copy(update={"devices": {name: config.devices[name]}})
    device = connect_devices(only)[name]
    described = device.describe()
    units = {key.get("units") for key in described.values()} - {None, "", "1"}
    count = "1 reading" if len(described) == 1 else f"{len(described)} readings"
    return f"{count} in {', '.join(sorted(units)) or 'no units'}"


def _services(config: Config) -> Iterator[Finding]:
    for service in Services(config).status():
        yield Finding(
            f"service {service.name}",
            service.is_well,
            ", ".join(filter(None, (service.state, service.detail))),
            _REMEDIES.get(service.state, "cryoline up"),
        )
