"""A simulated person in front of the operator's panel."""

from enum import IntEnum
from typing import Final

from cryoline.sim.errors import RefusedError

__all__ = ["Answer", "OperatorState", "SimulatedOperator"]

_PROMPT_MAX: Final = 511  # bytes of the panel's text field
CONFIRM_AFTER_S: Final = 30.0  # [A] a person walks over and looks
CONFIRM_AFTER_MAX_S: Final = 86_400.0


class Answer(IntEnum):
    """What the person answered."""

    NONE = 0
    CONFIRMED = 1
    REFUSED = 2


class OperatorState(IntEnum):
    """What the panel shows."""

    IDLE = 0
    WAITING = 1
    CONFIRMED = 2
    REFUSED = 3


class SimulatedOperator:
    """Reads a prompt and confirms it after a while, unless told to leave it alone."""

    def __init__(self) -> None:
        self.prompt = ""
        self.answer = Answer.NONE
        self.state = OperatorState.IDLE
        self.auto_confirm = True
        self.confirm_after_s = CONFIRM_AFTER_S
        self._asked_s = 0.0

    def ask(self, text: str, time_s: float) -> None:
        """Show a prompt and wait for an answer; an empty one clears the panel."""
        if len(text.encode()) > _PROMPT_MAX:
            raise RefusedError(
                f"operator: a prompt of {len(text.encode())} bytes exceeds "
                f"{_PROMPT_MAX}; say it shorter"
            )
        self.prompt = text
        self.answer = Answer.NONE
        self.state = OperatorState.WAITING if text else OperatorState.IDLE
        self._asked_s = time_s

    def give(self, answer: Answer) -> None:
        """Answer the open prompt by hand."""
        if answer is Answer.NONE:
            return
        if self.state is not OperatorState.WAITING:
            raise RefusedError(
                "operator: nothing is asked; write Prompt before an Answer"
            )
        self.answer = answer
        self.state = (
            OperatorState.CONFIRMED
            if answer is Answer.CONFIRMED
            else OperatorState.REFUSED
        )

    def set_confirm_after(self, delay_s: float) -> None:
        """Let the person take this long, in instrument time."""
        if not 0.0 <= delay_s <= CONFIRM_AFTER_MAX_S:
            raise RefusedError(
                f"operator: ConfirmAfter {delay_s:g} s is outside "
                f"0..{CONFIRM_AFTER_MAX_S:g} s; choose a value in between"
            )
        self.confirm_after_s = delay_s

    def answers_at_s(self) -> float | None:
        """Return when the person will confirm, None if no prompt waits for that."""
        if self.state is OperatorState.WAITING and self.auto_confirm:
            return self._asked_s + self.confirm_after_s
        return None

    def advance(self, time_s: float) -> None:
        """Let the person act if it is time."""
        due_s = self.answers_at_s()
        if due_s is not None and time_s >= due_s:
            self.give(Answer.CONFIRMED)
