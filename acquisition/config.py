"""The instrument's configuration: one TOML file, checked before anything starts.

Nothing is read at import. ``sim/instrument.toml`` is the complete example.
"""

import hashlib
import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cryoline.acquisition.alarm_config import AlarmsSection
from cryoline.acquisition.calibrations import CalibrationsSection
from cryoline.acquisition.errors import ConfigError
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.model_errors import explain, nearest
from cryoline.acquisition.path_map import Folder, PathMap
from cryoline.plugins import registry

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "AlarmsSection",
    "ColdSection",
    "Config",
    "CustodySection",
    "DeviceSection",
    "DoseSection",
    "EpicsSection",
    "InstrumentSection",
    "PathSection",
    "TiledSection",
    "find_config",
    "load_config",
]

ENVIRONMENT_VARIABLE: Final = "CRYOLINE_CONFIG"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InstrumentSection(_Section):
    """What this instrument is called and where its data goes."""

    name: Annotated[str, Field(min_length=1)]
    data_directory: Path = Path("data")
    minimum_free_mb: Annotated[float, Field(ge=0)] = 500.0
    """A run is refused below this much free space on the data directory's disk."""


class EpicsSection(_Section):
    """Where the IOCs answer. Empty means the EPICS_CA_* environment decides."""

    addresses: tuple[str, ...] = ()
    addresses_from: Path | None = None
    """A laboratory's ``lab.json``, which lists the addresses of its IOCs."""
    connection_timeout_s: Annotated[float, Field(gt=0)] = 5.0


class DeviceSection(_Section):
    """A device by the name of its plugin and the prefix of its PVs."""

    plugin: str
    prefix: Annotated[str, Field(pattern=r"^\S+:$")]
    baseline: bool = False
    """Whether it is read before and after every run."""


class TiledSection(_Section):
    """The Tiled server that the publisher writes to."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """0 picks a free port at the first start and keeps it."""
    api_key_file: Path = Path("tiled/api_key")
    """Relative to the data directory; mode 0600. CRYOLINE_TILED_API_KEY wins."""


class DoseSection(_Section):
    """What a region of a specimen may receive, and where that is kept."""

    limit_e_per_nm2: Annotated[float, Field(gt=0, le=1e11)] = 1e7
    """Of each region; the ledger may set a lower one."""
    ledger: Path = Path("dose.sqlite")
    """Relative to the data directory; on a local disk."""
    backup: Path = Path("dose-backup.sqlite")
    """Renewed after each charge; relative to the data directory. Best elsewhere."""
    beam: str = "beam"
    """Name of the device whose exposures are counted."""
    place_uncertainty_nm: Annotated[float, Field(gt=0, le=1e4)] = 8.0
    """How well the place of a field is known: the cells that the limit holds for are
    at least so wide."""
    probe_diameter_nm: Annotated[float, Field(gt=0, le=1e4)] | None = None
    """If it is known, the fluence under the probe is recorded with each charge."""
    current_margin: Annotated[float, Field(ge=0, le=1)] = 0.10
    """How much the current may rise after its measurement, relative."""
    current_age_max_s: Annotated[float, Field(gt=0)] = 1800.0
    """Instrument time after which the current is measured again."""
    loop_stall_s: Annotated[float, Field(gt=0)] = 5.0
    """Wall time that a session may hang with an armed beam before it is blanked."""


class ColdSection(_Section):
    """How long the microscope's stage stays cold on one filling."""

    stage: str = "stage"
    """Name of the device whose ``ln2_percent`` is asked."""
    ln2_lasts_s: Annotated[float, Field(gt=0)] | None = None
    """Instrument time in which a full dewar empties, as measured."""
    ln2_reserve_percent: Annotated[float, Field(ge=0, lt=100)] = 10.0
    """What must be left at the end of a plan."""


class CustodySection(_Section):
    """Where it is kept how cold each specimen stayed, and where it is."""

    record: Path = Path("custody.sqlite")
    """Relative to the data directory; on a local disk."""
    backup: Path = Path("custody-backup.sqlite")
    """Renewed after each row; relative to the data directory. Best elsewhere."""


class PathSection(_Section):
    """A folder of detector files that other computers know by other names."""

    session: Path
    """On this host; relative to this file."""
    instrument: Annotated[str, Field(min_length=1)] | None = None
    """On the computer that writes the files; the session's name if left out."""
    server: Path | None = None
    """On the computer of the Tiled server; the session's name if left out."""


class Config(_Section):
    """One instrument.toml, checked; ``path`` is the file that it came from."""

    path: Path
    instrument: InstrumentSection
    epics: EpicsSection = EpicsSection()
    tiled: TiledSection = TiledSection()
    dose: DoseSection = DoseSection()
    cold: ColdSection = ColdSection()
    calibrations: CalibrationsSection = CalibrationsSection()
    custody: CustodySection = CustodySection()
    alarms: AlarmsSection = AlarmsSection()
    devices: dict[str, DeviceSection] = {}
    paths: dict[str, PathSection] = {}

    @property
    def layout(self) -> DataLayout:
        """The folders below the data directory."""
        return DataLayout(self._resolve(self.instrument.data_directory))

    @property
    def dose_ledger(self) -> Path:
        """The file of the dose ledger."""
        return self.layout.root / self.dose.ledger

    @property
    def dose_backup(self) -> Path:
        """The copy of the dose ledger."""
        return self.layout.root / self.dose.backup

    @property
    def custody_record(self) -> Path:
        """The file of the custody record."""
        return self.layout.root / self.custody.record

    @property
    def custody_backup(self) -> Path:
        """The copy of the custody record."""
        return self.layout.root / self.custody.backup

    @property
    def path_map(self) -> PathMap:
        """Where detector files may lie, and what each computer calls them."""
        others = (
            Folder(self._resolve(path.session), path.instrument, path.server)
            for path in self.paths.values()
        )
        return PathMap.of(self.layout, others)

    @property
    def fingerprint(self) -> str:
        """A SHA-256 over the file's bytes, for the metadata of every run."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def epics_addresses(self) -> tuple[str, ...]:
        """Return every host:port to search, those of a laboratory file included.

        Raises ConfigError if the laboratory file is missing or unreadable.
        """
        if self.epics.addresses_from is None:
            return self.epics.addresses
        path = self._resolve(self.epics.addresses_from)
        try:
            listed = json.loads(path.read_bytes())["addresses"]
        except FileNotFoundError:
            raise ConfigError(
                f"{self.path}: epics.addresses_from names {path}, which does not "
                f"exist; start the laboratory: cryoline sim up --dir {path.parent}"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path}: not a laboratory file ({error!r}); "
                "restart the laboratory, or list epics.addresses by hand"
            ) from error
        return (*self.epics.addresses, *listed)

    def _resolve(self, path: Path) -> Path:
        return (self.path.parent / path).resolve()


def find_config(path: Path | None) -> Path:
    """Return the configuration file: that given, CRYOLINE_CONFIG's, or the local one.

    Raises ConfigError if there is none.
    """
    named = path or Path(os.environ.get(ENVIRONMENT_VARIABLE, "instrument.toml"))
    if not named.is_file():
        raise ConfigError(
            f"{named}: no such configuration file; give one with --config FILE or "
            f"{ENVIRONMENT_VARIABLE}, or make one: cryoline sim up --dir DIR"
        )
    return named.resolve()


def load_config(path: Path) -> Config:
    """Read and check an instrument.toml.

    Raises ConfigError that names the file, the key, and the nearest valid key.
    """
    path = path.resolve()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from error
    if "path" in content:
        raise ConfigError(f"{path}: unknown key 'path'; remove it")
    try:
        config = Config(path=path, **content)
    except ValidationError as error:
        lines = "\n".join(
            f"{path}: {explain(e, Config, 'sim/instrument.toml')}"
            for e in error.errors()
        )
        raise ConfigError(lines) from error
    _check_plugins(config)
    _check_beam(config)
    return config


def _check_beam(config: Config) -> None:
    """Refuse a beam that is named and isn't there; without any there is no ledger."""
    name = config.dose.beam
    if "beam" in config.dose.model_fields_set and name not in config.devices:
        raise ConfigError(
            f"{config.path}: dose.beam: no device {name!r}"
            f"{nearest(name, sorted(config.devices))}"
        )


def _check_plugins(config: Config) -> None:
    offered = sorted(p.name for p in registry.available("cryoline.devices"))
    for name, device in config.devices.items():
        if device.plugin not in offered:
            raise ConfigError(
                f"{config.path}: devices.{name}.plugin: no plugin {device.plugin!r}"
                f"{nearest(device.plugin, offered)} (offered: {', '.join(offered)})"
            )
