"""Steps of a leg: ask a person, set a vessel, move the carrier, wait."""

import re
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from cryoline.acquisition.route_limits import SENSOR, RouteModel, check_sensor

__all__ = ["Step"]

_PLACEHOLDER: Final = re.compile(r"\{(.*?)\}")
_PROMPT_BYTES: Final = 511
_LONGEST_NAME: Final = "x" * 60

_Text = Annotated[str, Field(min_length=1)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Step(RouteModel):
    """One thing to do; exactly one of ask, set, move, wait_s and until."""

    ask: _Text | None = None
    """An instruction that a person confirms; {specimen} is its name."""
    set: str | None = None
    """A signal to write `to`."""
    to: str | float | None = None
    move: _Text | None = None
    """The place that the carrier is brought to."""
    wait_s: _Positive | None = None
    until: str | None = None
    """A sensor that must come `below` or `above` a value."""
    below: _Number | None = None
    above: _Number | None = None
    within_s: _Positive | None = None
    """Else the leg is stopped; required by until."""
    takes_s: _Positive | None = None
    """How long an ask or a move takes as a rule, for the forecast."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        kinds = ("ask", "set", "move", "wait_s", "until")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a step is one of {', '.join(kinds)}; this one has "
                f"{' and '.join(given) or 'none of them'}"
            )
        _allow(self, given[0])
        if self.ask is not None:
            _check_instruction(self.ask)
        if self.set is not None and not SENSOR.match(self.set):
            raise ValueError(f"set = {self.set!r}; write VESSEL.SIGNAL")
        if self.until is not None:
            check_sensor(self.until)
            if (self.below is None) == (self.above is None):
                raise ValueError(f"until {self.until}: give either below or above")
        return self

    def is_reached(self, value: float) -> bool:
        """Return whether a reading is where `until` wants it."""
        if self.below is not None:
            return value < self.below
        return self.above is not None and value > self.above

    @property
    def expected_s(self) -> float:
        """Instrument time that it takes as a rule."""
        if self.wait_s is not None:
            return self.wait_s
        if self.takes_s is not None:
            return self.takes_s
        return {"ask": 30.0, "move": 15.0}.get(self.kind, 0.0)

    @property
    def kind(self) -> str:
        """Which of the five it is."""
        kinds = ("ask", "set", "move", "wait_s", "until")
        return next(kind for kind in kinds if getattr(self, kind) is not None)


def _allow(step: Step, kind: str) -> None:
    """Refuse what a step of this kind doesn't use, and want what it needs."""
    allowed = {
        "ask": {"takes_s", "within_s"},
        "set": {"to"},
        "move": {"takes_s", "within_s"},
        "wait_s": set(),
        "until": {"below", "above", "within_s", "takes_s"},
    }[kind]
    options = ("to", "below", "above", "within_s", "takes_s")
    for name in options:
        if getattr(step, name) is not None and name not in allowed:
            raise ValueError(f"a step with {kind} has no {name}; remove it")
    for name in {"set": ("to",), "until": ("within_s",)}.get(kind, ()):
        if getattr(step, name) is None:
            raise ValueError(f"{kind} = {getattr(step, kind)!r} needs {name}")


def _check_instruction(text: str) -> None:
    for word in _PLACEHOLDER.findall(text):
        if word != "specimen":
            raise ValueError(
                f"{{{word}}} in an instruction; only {{specimen}} is filled in"
            )
    longest = len(text.replace("{specimen}", _LONGEST_NAME).encode())
    if longest > _PROMPT_BYTES:
        raise ValueError(
            f"an instruction of up to {longest} bytes; the panel shows {_PROMPT_BYTES}"
        )
