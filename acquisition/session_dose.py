"""What a session needs to expose: the ledger, its guard, and the beam's heartbeat."""

import logging
from dataclasses import dataclass
from typing import Any

from cryoline.acquisition.config import Config
from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.dose_config import open_ledger
from cryoline.acquisition.dose_guard import DoseGuard, install
from cryoline.devices.session_beat import SessionBeat

__all__ = ["SessionDose"]

_log = logging.getLogger("cryoline.session")


@dataclass(frozen=True)
class SessionDose:
    """The dose of a session that has a beam."""

    ledger: DoseLedger
    guard: DoseGuard
    beat: SessionBeat

    @classmethod
    def begin(
        cls, config: Config, engine: Any, devices: dict[str, Any]
    ) -> "SessionDose":
        """Teach the engine the messages of the dose, and settle what died unsettled.

        Raises LedgerError, or InstrumentUnreachable if the beam doesn't answer.
        """
        section = config.dose
        ledger = open_ledger(config, copies_in_background=True)
        beat = SessionBeat(
            config.devices[section.beam].prefix,
            loop=engine.loop,
            is_idle=lambda: str(engine.state) == "idle",
        )
        beat.loop_stall_s = section.loop_stall_s
        # A session that was frozen may not know that its lease has gone to another.
        devices[section.beam].session = beat.session
        guard = install(
            engine,
            ledger,
            devices[section.beam],
            holder=beat,
            current_margin=section.current_margin,
            current_age_max_s=section.current_age_max_s,
            calibrations=config.calibrations,
        )
        done = guard.reconcile()
        for uid in done.released:
            _log.info("ticket %s was never exposed; released", uid)
        beat.start()
        return cls(ledger, guard, beat)
