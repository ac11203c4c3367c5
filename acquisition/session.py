"""A session: the RunEngine with its journal, devices and guards, ready to use."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING, Any

from cryoline.acquisition.config import Config
from cryoline.acquisition.connection import connect_devices, set_epics_environment
from cryoline.acquisition.journal import Journal, check_space
from cryoline.acquisition.journal_recovery import close_interrupted
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.live_table import LiveTable
from cryoline.acquisition.metadata import session_metadata
from cryoline.acquisition.progress import ProgressHook
from cryoline.acquisition.records import Records

if TYPE_CHECKING:
    # Not before the EPICS environment is set: some import Channel Access.
    from cryoline.acquisition.custody import CustodyRecord
    from cryoline.acquisition.dose import DoseLedger
    from cryoline.acquisition.session_dose import SessionDose

__all__ = ["Session", "open_session"]

_log = logging.getLogger("cryoline.session")


@dataclass(frozen=True)
class Session:
    """What one person at one instrument works with."""

    config: Config
    RE: Any
    """A bluesky RunEngine; a call returns a RunEngineResult."""
    devices: dict[str, Any]
    closed_runs: tuple[str, ...]
    """Keys of runs that an earlier, killed session left open; closed by this one."""
    custody: "CustodyRecord"
    """Where each specimen is, and how cold it stayed."""
    dose: "SessionDose | None" = None
    """The ledger with its guard and the beam's heartbeat, if there is a beam."""

    @property
    def ledger(self) -> "DoseLedger | None":
        """The dose ledger, if there is a beam."""
        return None if self.dose is None else self.dose.ledger


def open_session(
    config: Config,
    *,
    write: Callable[[str], None] | None = None,
    progress: bool = False,
) -> Session:
    """Connect the devices and make a RunEngine whose first subscriber is the journal.

    ``write`` takes the lines of a live table; ``progress`` shows bars while waiting.
    Raises a CryolineError before anything is changed if the disk is full, an IOC
    does not answer, or the configuration doesn't fit.
    """
    layout = config.layout
    check_space(layout.root, config.instrument.minimum_free_mb)
    set_epics_environment(config)
    _log_to_file(layout)
    devices = connect_devices(config)
    closed = tuple(path.stem for path in close_interrupted(layout.raw_journal))
    for key in closed:
        _log.warning("%s was left open by a killed session; closed as interrupted", key)

    from bluesky import RunEngine, SupplementalData

    from cryoline.acquisition import custody_guard, page_validation, unfinished
    from cryoline.acquisition.custody import CustodyRecord
    from cryoline.acquisition.session_dose import SessionDose

    page_validation.install()
    records = Records(layout.records)
    engine: Any = RunEngine(
        session_metadata(config),
        call_returns_result=True,
        scan_id_source=records.next_scan_id,
        md_validator=partial(_check_before_run, config),
    )
    # The journal comes first: a document is on disk before anyone else sees it,
    # and a subscriber that raises can't hide one from it.
    engine.subscribe(Journal(layout.raw_journal))
    if write is not None:
        engine.subscribe(_harmless(LiveTable(write)))
    if progress:
        engine.waiting_hook = ProgressHook()
    baseline = [devices[n] for n, d in config.devices.items() if d.baseline]
    engine.preprocessors.append(SupplementalData(baseline=baseline))
    _place_files(config, devices)
    custody = CustodyRecord(config.custody_record, backup=config.custody_backup)
    custody_guard.install(engine, custody)
    unfinished.install(engine, layout.raw_journal)
    dose = None
    if config.dose.beam in devices:
        dose = SessionDose.begin(config, engine, devices)
    return Session(config, engine, devices, closed, custody, dose)


def _place_files(config: Config, devices: dict[str, Any]) -> None:
    """Tell the detectors where files go, and what this host calls them.

    With [paths] in the configuration the instrument keeps the folder that it has set.
    """
    from cryoline.devices.file_detector import FileDetector

    for device in devices.values():
        if isinstance(device, FileDetector):
            device.to_session = config.path_map.to_session
            if not config.paths:
                folder = config.layout.raw_data.resolve()
                device.directory = config.path_map.to_instrument(folder)


def _check_before_run(config: Config, md: dict[str, Any]) -> None:
    """Refuse a run whose documents would not fit on the disk."""
    check_space(config.layout.root, config.instrument.minimum_free_mb)


def _harmless(callback: Callable[[str, Any], Any]) -> Callable[[str, Any], None]:
    """Return a subscriber whose failure is logged and never stops a run."""

    def safe(name: str, doc: Any) -> None:
        try:
            callback(name, doc)
        except Exception:
            _log.exception("%r failed at a %s; the run goes on", callback, name)

    return safe


def _log_to_file(layout: DataLayout) -> None:
    """Send the log of cryoline and bluesky to a rotating file, once a process."""
    path = layout.logs / "session.log"
    for name in ("cryoline", "bluesky"):
        logger = logging.getLogger(name)
        if any(
            isinstance(h, RotatingFileHandler) and h.baseFilename == str(path)
            for h in logger.handlers
        ):
            continue
        handler = RotatingFileHandler(path, maxBytes=10_000_000, backupCount=5)
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
        )
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
