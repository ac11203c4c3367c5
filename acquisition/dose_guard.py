"""The dose ledger as messages of the RunEngine: no exposure without its leave.

A message, because its plan's clean-up is done if it refuses, and because it sees the
re-takes too. Each command either has done its work, or has not begun, when a pause
cuts it: whatever changes the ledger runs without giving way to the loop.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from bluesky.utils import Msg

from cryoline.acquisition.calibrations import NO_RULES, CalibrationsSection, refuse_old
from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.dose_reconcile import BeamLog, Reconciliation, reconcile
from cryoline.acquisition.dose_records import Settlement
from cryoline.acquisition.errors import DoseRefused
from cryoline.devices.exposure import (
    ExposureResult,
    Outcome,
    ProbeCurrent,
    Ticket,
)
from cryoline.devices.interfaces import ExposingBeam

__all__ = ["BeamHolder", "DoseGuard", "install"]

_log = logging.getLogger("cryoline.dose")


class BeamHolder(Protocol):
    """What holds the beam for this session; a `SessionBeat`."""

    def claim(self) -> None:
        """Take the beam; raises if another session has it."""


class DoseGuard:
    """Between a RunEngine, its ledger, and the beam.

    current_margin: how much the current may rise after it was measured, relative
    current_age_max_s: instrument time after which it is measured again
    calibrations: what a series is paid with; one that is too old opens none
    """

    def __init__(
        self,
        ledger: DoseLedger,
        beam: ExposingBeam,
        *,
        holder: BeamHolder | None = None,
        current_margin: float = 0.10,
        current_age_max_s: float = 1800.0,
        calibrations: CalibrationsSection = NO_RULES,
    ) -> None:
        self.ledger = ledger
        self.beam = beam
        self.series: str | None = None
        """The series that exposures draw on, if one is open."""
        self._holder = holder
        self._margin = current_margin
        self._calibrations = calibrations
        self._age_max_s = current_age_max_s
        self._position: dict[str, tuple[str, int]] = {}
        self._distrusts_current = False

    @property
    def commands(self) -> dict[str, Callable[[Msg], Any]]:
        """The messages that it answers."""
        return {
            "probe_current": self._current,
            "preflight": self._preflight,
            "reserve_dose": self._reserve,
            "exposure_result": self._result,
            "settle_dose": self._settle,
            "release_dose": self._release,
            "clear_exposure": self._clear,
            "close_series": self._close_series,
        }

    def reconcile(self) -> Reconciliation:
        """Settle what a halt or a killed session left open; between two plans only."""
        done = reconcile(self.ledger, BeamLog(self.beam), release_own=True)
        for settlement in done.settled:
            self._warn_if_over(settlement)
        for uid, reason in done.kept.items():
            _log.warning("ticket %s goes on to count in full: %s", uid, reason)
        return done

    async def _current(self, msg: Msg) -> ProbeCurrent:
        """Msg("probe_current", beam): answer the current, measured anew if old."""
        self._refuse_other_beam(msg)
        await self._claim()
        return await self._fresh_current()

    async def _preflight(self, msg: Msg) -> str:
        """Msg("preflight", None, exposures, budget_e_per_nm2=None, ancestors=()).

        Open a series, and answer its UID. ``ancestors`` are what its specimen was
        made from, oldest first: their limits hold for it. Raises DoseRefused, or
        LedgerError, before anything has moved.
        """
        exposures = tuple(msg.args[0])
        budget = msg.kwargs.get("budget_e_per_nm2")
        ancestors = tuple(msg.kwargs.get("ancestors", ()))
        self._refuse_other_beam(msg)
        refuse_old(self._calibrations)
        await self._claim()
        current = await self._fresh_current()
        # From here on nothing gives way to the loop: it is done, or was not begun.
        self._end_series("a new series begins")
        self.reconcile()
        for specimen in {exposure.specimen for exposure in exposures}:
            self.ledger.register(specimen, ancestors)
        self.series = self.ledger.open_series(
            exposures,
            current_pa=current.current_pa,
            current_limit_pa=self._limit_pa(current),
            budget_e_per_nm2=budget,
        )
        self.ledger.note_calibrations(
            self.series,
            [calibration.as_dict() for calibration in self._calibrations.as_of()],
            measured=current,
        )
        return self.series

    async def _reserve(self, msg: Msg) -> Ticket:
        """Msg("reserve_dose", beam, exposure): answer a ticket, which is on disk."""
        (exposure,) = msg.args
        self._refuse_other_beam(msg)
        await self._claim()
        current = await self._fresh_current()
        if self._position:  # a halt left its ticket behind
            self.reconcile()
            self._position.clear()
        boot_id, counter = self.beam.position()
        ticket = self.ledger.reserve(
            exposure,
            current_pa=current.current_pa,
            current_limit_pa=self._limit_pa(current),
            boot_id=boot_id,
            counter=counter,
            series=self.series,
        )
        self._position[ticket.uid] = boot_id, counter
        return ticket

    async def _result(self, msg: Msg) -> ExposureResult | None:
        """Msg("exposure_result", beam, ticket): None until the instrument has it."""
        (ticket,) = msg.args
        return self.beam.outcome_of(ticket.uid, *self._position[ticket.uid])

    async def _settle(self, msg: Msg) -> Settlement:
        """Msg("settle_dose", None, ticket, result): charge what was counted."""
        ticket, result = msg.args
        settlement = self.ledger.settle(ticket.uid, result)
        self._position.pop(ticket.uid, None)
        self._warn_if_over(settlement)
        if result.outcome is Outcome.MAX_CHARGE:
            # The current has risen by more than the margin since it was measured.
            self._distrusts_current = True
            _log.warning(
                "%s blanked at the maximum charge, %g C, after %g of %g s: its current "
                "has risen; it is measured again before the next exposure",
                self.beam.name,
                ticket.max_charge_c,
                result.beam_on_s,
                ticket.exposure.beam_on_s,
            )
        return settlement

    async def _release(self, msg: Msg) -> None:
        """Msg("release_dose", None, ticket, reason): nothing was exposed by it."""
        ticket, reason = msg.args
        boot_id, counter = self.beam.position()
        self.ledger.release(ticket.uid, reason=reason, boot_id=boot_id, counter=counter)
        self._position.pop(ticket.uid, None)

    async def _clear(self, msg: Msg) -> None:
        """Msg("clear_exposure", beam, *detectors): blank, and leave nothing open.

        One message, because a plan that is being ended may get no second one. It
        raises nothing: what can't be settled now goes on to count in full.
        """
        for device in (self.beam, *msg.args):
            try:
                device.stop()
            except Exception as error:
                _log.error("%s could not be stopped: %s", device.name, error)
        try:
            self.reconcile()
            self._position.clear()
        except Exception:
            _log.exception("the dose could not be settled; it counts in full")

    async def _close_series(self, msg: Msg) -> None:
        """Msg("close_series"): give back what the series has not used."""
        self._end_series(str(msg.kwargs.get("reason", "ended")))

    # -------------------------------------------------------------------------------

    def _end_series(self, reason: str) -> None:
        if self.series is not None:
            self.ledger.close_series(self.series, reason=reason)
            self.series = None

    def _refuse_other_beam(self, msg: Msg) -> None:
        if msg.obj is not None and msg.obj is not self.beam:
            raise DoseRefused(
                f"dose: {msg.obj.name} is not {self.beam.name}, whose exposures this "
                "ledger counts; expose with that, or set dose.beam in instrument.toml"
            )

    async def _claim(self) -> None:
        if self._holder is not None:
            await asyncio.to_thread(self._holder.claim)

    async def _fresh_current(self) -> ProbeCurrent:
        """Return a current that is young enough to plan with."""
        current = self.beam.probe_current()
        if self._distrusts_current or current.age_s > self._age_max_s:
            await _done(self.beam.measure_current())
            self._distrusts_current = False
            current = self.beam.probe_current()
        if current.current_pa <= 0:
            raise DoseRefused(
                f"dose: {self.beam.name} measured {current.current_pa:g} pA; without "
                "a current no dose can be foreseen. Is the gun on, the valve open?"
            )
        return current

    def _limit_pa(self, current: ProbeCurrent) -> float:
        """Return the largest current that a reservation must expect."""
        limit_pa = current.current_pa * (1.0 + self._margin)
        return max(current.current_pa, min(limit_pa, current.current_max_pa))

    def _warn_if_over(self, settlement: Settlement) -> None:
        if settlement.over:
            _log.error(
                "ticket %s cost %.4g e/nm2, %.4g were reserved: its region is blocked "
                "until somebody has looked: cryoline dose acknowledge",
                settlement.ticket_uid,
                settlement.fluence_e_per_nm2,
                settlement.reserved_e_per_nm2,
            )
        if settlement.backup_problem:
            _log.warning("dose ledger: %s", settlement.backup_problem)


def install(
    engine: Any,
    ledger: DoseLedger,
    beam: ExposingBeam,
    *,
    holder: BeamHolder | None = None,
    current_margin: float = 0.10,
    current_age_max_s: float = 1800.0,
    calibrations: CalibrationsSection = NO_RULES,
) -> DoseGuard:
    """Teach a RunEngine the messages of the guard; see `DoseGuard.commands`."""
    guard = DoseGuard(
        ledger,
        beam,
        holder=holder,
        current_margin=current_margin,
        current_age_max_s=current_age_max_s,
        calibrations=calibrations,
    )
    for name, command in guard.commands.items():
        engine.register_command(name, command)
    return guard


async def _done(status: Any) -> None:
    """Wait for a status without holding up the loop; raises what it failed with."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not future.done():
            error = status.exception(timeout=0)
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    status.add_callback(lambda _: loop.call_soon_threadsafe(settle))
    await future
