"""A vendor's IOC proves itself: named checks, each with what was asked and seen.

A contract is a list of checks of one kind of instrument. A check asks the instrument
for something, returns what it saw, and raises `Breach` with what it saw if that is not
what was promised. One that needs the beam on the specimen, or current through a cell,
is made only with a person's leave.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from cryoline.acquisition.errors import ConfigError, ConnectionFailed
from cryoline.acquisition.model_errors import nearest

__all__ = [
    "CONTRACTS",
    "Breach",
    "Check",
    "Contract",
    "Result",
    "Verdict",
    "examine_contract",
    "load_contract",
]

CONTRACTS: Final = {
    "beam": "cryoline.acquisition.contract_beam",
    "potentiostat": "cryoline.acquisition.contract_potentiostat",
}
"""Modules by the kind of instrument; each has its `Contract` as CONTRACT."""


class Breach(Exception):
    """The instrument did not do what the contract says; the text is what was seen."""


class Verdict(StrEnum):
    """What came of a check."""

    KEPT = "kept"
    BROKEN = "broken"
    NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Check:
    """One promise, and how it is tried.

    asked: what is asked of the instrument, for a person to read
    run: tries it on what `Contract.connect` gave; returns what was seen, or raises
        Breach, or ConnectionFailed if nobody answered
    acts: whether it needs beam or current, and so a person's leave
    """

    name: str
    asked: str
    run: Callable[[Any], str]
    acts: bool = False


@dataclass(frozen=True)
class Contract:
    """All promises of a kind of instrument.

    connect: takes the prefix; raises ConnectionFailed that names what is missing
    rest: brings the instrument to rest, before each check and after the last; as `run`
    warning: what the checks that act will do, for a person to allow
    """

    kind: str
    connect: Callable[[str], Any]
    rest: Callable[[Any], str]
    checks: tuple[Check, ...]
    warning: str


@dataclass(frozen=True)
class Result:
    """What came of one check."""

    name: str
    asked: str
    seen: str
    verdict: Verdict

    def as_dict(self) -> dict[str, str]:
        """Return what a program may read (``cryoline doctor --contract --json``)."""
        return {
            "name": self.name,
            "asked": self.asked,
            "seen": self.seen,
            "verdict": str(self.verdict),
        }


def load_contract(kind: str) -> Contract:
    """Return the contract of a kind of instrument; raises ConfigError for another."""
    if kind not in CONTRACTS:
        raise ConfigError(
            f"doctor: no contract for {kind!r}{nearest(kind, sorted(CONTRACTS))} "
            f"(there are: {', '.join(sorted(CONTRACTS))})"
        )
    contract: Contract = importlib.import_module(CONTRACTS[kind]).CONTRACT
    return contract


def examine_contract(
    contract: Contract, prefix: str, *, may_act: bool = False
) -> Iterator[Result]:
    """Try every promise of a contract, and yield each result as it is known.

    may_act: a person allows beam or current. Raises ConnectionFailed if the instrument
    can't be tried at all.
    """
    rig = contract.connect(prefix)
    for check in contract.checks:
        if check.acts and not may_act:
            verdict, seen = Verdict.NOT_TRIED, "needs leave: --expose, or --act"
        else:
            verdict, seen = _try(contract, check, rig)
        yield Result(check.name, check.asked, seen, verdict)
    contract.rest(rig)


def _try(contract: Contract, check: Check, rig: Any) -> tuple[Verdict, str]:
    try:
        contract.rest(rig)
        return Verdict.KEPT, check.run(rig)
    except (Breach, ConnectionFailed) as error:
        return Verdict.BROKEN, str(error)
