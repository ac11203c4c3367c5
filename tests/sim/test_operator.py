import pytest

from cryoline.sim.errors import RefusedError
from cryoline.sim.operator import Answer, OperatorState, SimulatedOperator


def test_simulated_person_confirms_after_a_while() -> None:
    person = SimulatedOperator()
    person.ask("Mount the cell", 100.0)
    person.advance(129.9)
    early = person.state
    person.advance(130.0)
    assert early is OperatorState.WAITING
    assert person.state is OperatorState.CONFIRMED
    assert person.answer is Answer.CONFIRMED


def test_nobody_confirms_when_the_simulated_person_is_off() -> None:
    person = SimulatedOperator()
    person.auto_confirm = False
    person.ask("Mount the cell", 0.0)
    person.advance(1e6)
    unanswered = person.state
    person.give(Answer.REFUSED)
    assert unanswered is OperatorState.WAITING
    assert person.state is OperatorState.REFUSED


def test_empty_prompt_clears_the_panel() -> None:
    person = SimulatedOperator()
    person.ask("Mount the cell", 0.0)
    person.ask("", 1.0)
    assert person.state is OperatorState.IDLE


def test_answer_without_a_prompt_is_refused() -> None:
    with pytest.raises(RefusedError) as refusal:
        SimulatedOperator().give(Answer.CONFIRMED)
    assert str(refusal.value) == (
        "operator: nothing is asked; write Prompt before an Answer"
    )


def test_impossible_delay_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"ConfirmAfter -1 s is outside 0..86400 s"):
        SimulatedOperator().set_confirm_after(-1.0)
