"""Ask a person to do a step, and record that it was done."""

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator, plan

from cryoline.acquisition.save_event import save_event
from cryoline.devices.interfaces import OperatorPanel

__all__ = ["confirm", "record_answer"]


@plan
def confirm(operator: OperatorPanel, instruction: str) -> MsgGenerator[None]:
    """Show an instruction, wait for the answer, and keep both as an event.

    Raises FailedStatus (from OperatorRefused) if the person refuses.
    """
    yield from bps.abs_set(operator, instruction, wait=True)
    yield from record_answer(operator)


@plan
def record_answer(operator: OperatorPanel) -> MsgGenerator[None]:
    """Keep a confirmed instruction as an event of the stream ``operator``."""

    def read() -> MsgGenerator[bool]:
        reading = yield from bps.read(operator)
        return reading is not None

    yield from save_event("operator", read)
