"""Process variables of the beam: current, blanker, scan unit, exposure timer."""

from typing import Any, Final

import orjson

from cryoline.sim.column import CURRENT_MAX_PA, NEVER_MEASURED_S, ColumnState
from cryoline.sim.iocs.beam_guard import NEVER_S, BeamGuard
from cryoline.sim.iocs.server import InstrumentServer
from cryoline.sim.scan_order import TICKET_MAX

__all__ = ["declare"]

_ORDER_LENGTH: Final = 2048
_RECORD_LENGTH: Final = 2048
_OUTCOMES: Final = (
    "none",
    "complete",
    ("cut", "MINOR"),
    ("max charge", "MINOR"),
    ("max time", "MINOR"),
    ("dead-man", "MAJOR"),
    ("interlock", "MAJOR"),
)


def declare(server: InstrumentServer) -> None:
    """Add the records, and the guard that watches over the beam."""
    guard = BeamGuard(on_defect=lambda: server.end(2))
    server.at_start.append(guard.start)
    server.at_first.append(("beam.blank", {"cause": "blank"}))
    server.own_values = lambda: _guard_values(guard)
    server.hurries = _is_exposing
    _declare_current(server)
    _declare_exposure(server, guard)
    _declare_results(server)
    _declare_guard(server, guard)


def _guard_values(guard: BeamGuard) -> dict[str, Any]:
    return {
        "BeatAge_RBV": round(guard.beat_age_s, 2),
        "LeaseHolder_RBV": guard.holder,
        "Interlock_RBV": bool(guard.interlock),
        "InterlockReason_RBV": guard.interlock,
    }


def _is_exposing(values: dict[str, dict[str, Any]]) -> bool:
    return bool(values["beam"]["State_RBV"] == ColumnState.EXPOSING)


def _declare_current(server: InstrumentServer) -> None:
    panel = server.panels["beam"]

    async def measure(value: int) -> None:
        if value:
            await server.request("beam", "beam.measure")

    panel.number("Energy_RBV", "Energy of the electrons", "keV", 0, 300, precision=1)
    panel.number(
        "Current_RBV", "Probe current as measured", "pA", 0, CURRENT_MAX_PA, precision=3
    )
    panel.number(
        "CurrentAge_RBV", "... how long ago", "s", 0, NEVER_MEASURED_S, precision=1
    )
    panel.constant("CurrentMax_RBV", "Most the source can give", "pA", CURRENT_MAX_PA)
    panel.set_flag(
        "MeasureCurrent", "2 s in the Faraday cup", "idle", "measure", measure
    )


def _declare_exposure(server: InstrumentServer, guard: BeamGuard) -> None:
    panel = server.panels["beam"]

    async def arm(text: str) -> None:
        session, order = _parted(text)
        if refusal := guard.refusal("Arm", session):
            await server.refuse("beam", refusal)
            return
        await server.request("beam", "beam.arm", text=order)
        guard.armed()

    async def start(value: int) -> None:
        if not value:
            return
        if refusal := guard.refusal("Start"):
            await server.refuse("beam", refusal)
            return
        await server.request("beam", "beam.start")

    async def blank(value: int) -> None:
        if value:
            await server.request("beam", "beam.blank", cause="blank")

    async def disarm(value: int) -> None:
        if value:
            await server.request("beam", "beam.disarm")

    panel.set_text("Arm", "An exposure and its limits, JSON", _ORDER_LENGTH, arm)
    panel.set_flag("Start", "Expose what is armed", "idle", "start", start)
    panel.set_flag(
        "Blank",
        "Blank now; disarms",
        "idle",
        "blank",
        blank,
        notice=guard.want_blank,
    )
    panel.set_flag("Disarm", "Forget what is armed", "idle", "disarm", disarm)
    panel.choice(
        "State_RBV",
        "What the beam is doing",
        *("blanked", "armed", "exposing", "measuring"),
    )
    panel.flag("Blanked_RBV", "No beam on the specimen", "beam on", "blanked")
    panel.text("ArmedTicket_RBV", f"What is armed or exposes, {TICKET_MAX} bytes")


def _parted(text: str) -> tuple[str, str]:
    """Return the session that an order names, and the rest; the world reads that."""
    try:
        order = orjson.loads(text)
        session = order.pop("session", "")
    except (orjson.JSONDecodeError, AttributeError):
        return "", text  # the world says what is wrong with it
    return str(session), orjson.dumps(order).decode()


def _declare_results(server: InstrumentServer) -> None:
    panel = server.panels["beam"]

    async def send_record(counter: int) -> None:
        record = await server.request("beam", "beam.record", counter=counter)
        text = orjson.dumps(record).decode() if record else ""
        panel.show_value("Log_RBV", text, at_once=True)

    panel.text("LastTicket_RBV", "Ticket of the last exposure")
    panel.number(
        "LastCharge_RBV", "... its charge onto the specimen", "C", 0, 1, precision=15
    )
    panel.number("LastTime_RBV", "... its time of beam on", "s", 0, 1e6)
    panel.count("LastFrames_RBV", "... its complete frames", "frames")
    panel.choice("LastOutcome_RBV", "... how it ended", *_OUTCOMES)
    panel.count("ExposureCounter_RBV", "Exposures that ended", "exposures")
    panel.set_number(
        "LogRequest",
        "Counter of the record wanted",
        "exposures",
        *(0, 2**31 - 1),
        send_record,
        whole=True,
    )
    panel.long_text("Log_RBV", "That record, JSON; empty: none", _RECORD_LENGTH)
    panel.count("LogFirst_RBV", "First counter in the log", "exposures")


def _declare_guard(server: InstrumentServer, guard: BeamGuard) -> None:
    panel = server.panels["beam"]

    async def lease(session: str) -> None:
        refusal = guard.claim(session)
        if refusal:
            await server.refuse("beam", refusal)
        else:
            panel.accept()
            await server.refresh()

    panel.set_beat("SessionBeat", "A beat of the holder, each 0.1 s", guard.beat)
    panel.number("BeatAge_RBV", "Wall time since", "s", 0, NEVER_S, precision=2)
    panel.set_text("Lease", "Session that claims the beam", TICKET_MAX + 1, lease)
    panel.text("LeaseHolder_RBV", "Session that has the beam")
    panel.flag("Interlock_RBV", "Beam must be off", "ok", "tripped", OSV="MAJOR")
    panel.long_text("InterlockReason_RBV", "... because", 256)
