"""The dose ledger of a configuration."""

from cryoline.acquisition.config import Config
from cryoline.acquisition.dose import DoseLedger

__all__ = ["open_ledger"]


def open_ledger(config: Config, *, copies_in_background: bool = False) -> DoseLedger:
    """Open the dose ledger that a configuration names; it is made if there is none.

    copies_in_background: a settlement does not wait for its copy
    Raises LedgerError if it can't be kept there, or has lost rows.
    """
    config.layout.root.mkdir(parents=True, exist_ok=True)
    return DoseLedger(
        config.dose_ledger,
        limit_e_per_nm2=config.dose.limit_e_per_nm2,
        backup=config.dose_backup,
        source=config.dose.beam,
        place_uncertainty_nm=config.dose.place_uncertainty_nm,
        probe_diameter_nm=config.dose.probe_diameter_nm,
        copies_in_background=copies_in_background,
    )
