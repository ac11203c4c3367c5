"""The framework by which an IOC proves itself, on an instrument of three promises."""

from collections.abc import Callable
from typing import Any

import pytest

from cryoline.acquisition.contract import (
    Breach,
    Check,
    Contract,
    Verdict,
    examine_contract,
    load_contract,
)
from cryoline.acquisition.errors import ConfigError, ConnectionFailed


class Lamp:
    """What is tried: it says what was done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def does(self, what: str, error: Exception | None = None) -> Callable[[Any], str]:
        def run(lamp: Any) -> str:
            assert lamp is self
            self.done.append(what)
            if error is not None:
                raise error
            return f"it did {what}"

        return run

    def contract(self, *checks: Check) -> Contract:
        return Contract("lamp", lambda _: self, self.does("rest"), checks, "light")


def test_each_promise_is_tried_from_rest_and_reported() -> None:
    lamp = Lamp()
    contract = lamp.contract(
        Check("shines", "switch it on", lamp.does("shine")),
        Check("stays cool", "touch it", lamp.does("burn", Breach("60 degC"))),
        Check("answers", "ask it", lamp.does("die", ConnectionFailed("no answer"))),
        Check("is bright", "look into it", lamp.does("dazzle"), acts=True),
    )
    results = list(examine_contract(contract, "LAMP:"))

    assert [(r.verdict, r.seen) for r in results] == [
        (Verdict.KEPT, "it did shine"),
        (Verdict.BROKEN, "60 degC"),
        (Verdict.BROKEN, "no answer"),
        (Verdict.NOT_TRIED, "needs leave: --expose, or --act"),
    ]
    assert lamp.done == ["rest", "shine", "rest", "burn", "rest", "die", "rest"]


def test_what_acts_is_tried_with_leave() -> None:
    lamp = Lamp()
    contract = lamp.contract(Check("bright", "look", lamp.does("dazzle"), acts=True))
    (result,) = examine_contract(contract, "LAMP:", may_act=True)

    assert result.as_dict() == {
        "name": "bright",
        "asked": "look",
        "seen": "it did dazzle",
        "verdict": "kept",
    }
    assert lamp.done == ["rest", "dazzle", "rest"]


def test_defect_of_a_check_is_no_breach_of_the_instrument() -> None:
    lamp = Lamp()
    contract = lamp.contract(Check("bad", "x", lamp.does("x", KeyError("typo"))))
    with pytest.raises(KeyError):
        list(examine_contract(contract, "LAMP:"))


def test_unknown_contract_is_refused() -> None:
    with pytest.raises(ConfigError, match="no contract for 'lamp'"):
        load_contract("lamp")
