"""Process variables of the operator's panel."""

from cryoline.sim.iocs.server import InstrumentServer
from cryoline.sim.operator import CONFIRM_AFTER_MAX_S

__all__ = ["declare"]

_PROMPT_LENGTH = 512


def declare(server: InstrumentServer) -> None:
    """Add the records."""
    panel = server.panels["operator"]

    async def ask(text: str) -> None:
        await server.request("operator", "operator.ask", text=text)

    async def answer(value: int) -> None:
        await server.request("operator", "operator.answer", answer=value)

    async def auto_confirm(value: int) -> None:
        await server.request("operator", "operator.auto_confirm", on=bool(value))

    async def confirm_after(delay_s: float) -> None:
        await server.request("operator", "operator.confirm_after", delay_s=delay_s)

    panel.set_text("Prompt", "What a person is asked to do", _PROMPT_LENGTH, ask)
    panel.set_choice(
        "Answer", "The person's answer", ("none", "confirmed", "refused"), answer
    )
    panel.choice(
        "State_RBV", "What the panel shows", "idle", "waiting", "confirmed", "refused"
    )
    panel.set_flag(
        "AutoConfirm", "A simulated person confirms", "off", "on", auto_confirm
    )
    panel.set_number(
        "ConfirmAfter",
        "Instrument time the person takes",
        "s",
        0,
        CONFIRM_AFTER_MAX_S,
        confirm_after,
    )
