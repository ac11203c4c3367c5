"""The language SCPI as an instrument hears it: headers, parameters, error queue.

Short and long forms, optional nodes, several commands in a line. What a meter can do
is a table of headers; this knows none.
"""

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = [
    "Command",
    "ScpiError",
    "ScpiInterpreter",
    "boolean",
    "choice",
    "number",
]

Handler = Callable[[list[str]], str | None]

_QUEUE_MAX: Final = 1000


class ScpiError(Exception):
    """An error of the standard's list, which goes into the queue."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}, {text}")
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Command:
    """A header, as manuals print it: ``SOURce[1]:VOLTage[:LEVel]``.

    set, ask: what a command or a query with it does; None if there is no such form
    """

    header: str
    set: Handler | None = None
    ask: Handler | None = None


class ScpiInterpreter:
    """Takes lines and gives answers; what it can't do goes into its error queue."""

    def __init__(self, commands: list[Command]) -> None:
        self._commands = [(_pattern(c.header), c) for c in commands]
        self._errors: deque[tuple[ScpiError, float]] = deque(maxlen=_QUEUE_MAX)

    def handle(self, line: str) -> str | None:
        """Do what a line says; returns the answers of its queries, None if none."""
        answers = []
        path = ""
        for unit in _split(line, ";"):
            header, _, rest = unit.strip().partition(" ")
            if not header:
                continue
            if header.startswith("*"):
                whole = header
            else:
                # Without a colon it goes on where the command before it was.
                whole = header[1:] if header.startswith(":") else path + header
                path = whole.rpartition(":")[0] + ":" if ":" in whole else ""
            try:
                answer = self._perform(whole, _parameters(rest))
            except ScpiError as error:
                self.queue(error)
                continue
            if answer is not None:
                answers.append(answer)
        return ";".join(answers) if answers else None

    def queue(self, error: ScpiError) -> None:
        """Add an error to the queue."""
        self._errors.append((error, time.time()))

    def next_error(self) -> str:
        """Return the oldest error and forget it."""
        if not self._errors:
            return '0,"No error;0;0 0"'
        error, when_s = self._errors.popleft()
        stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(when_s))
        return f'{error.code},"{error.text};1;{stamp}.{int(when_s % 1 * 1e3):03d}"'

    def clear_errors(self) -> None:
        """Forget all errors."""
        self._errors.clear()

    def _perform(self, header: str, parameters: list[str]) -> str | None:
        is_query = header.endswith("?")
        for pattern, command in self._commands:
            if not pattern.fullmatch(header.removesuffix("?")):
                continue
            handler = command.ask if is_query else command.set
            if handler is None:
                break
            return handler(parameters)
        raise ScpiError(-113, "Undefined header")


def _parameters(text: str) -> list[str]:
    """Return the parameters of a command, without the quotes of strings."""
    parts = (part.strip() for part in _split(text, ","))
    return [part.strip("\"'") for part in parts if part]


def number(parameters: list[str], low: float, high: float) -> float:
    """Return the one parameter, a number between limits."""
    text = _only(parameters)
    try:
        value = float(text)
    except ValueError:
        raise ScpiError(-104, "Data type error") from None
    if not low <= value <= high:
        raise ScpiError(-222, "Parameter data out of range")
    return value


def boolean(parameters: list[str]) -> bool:
    """Return the one parameter, ON or OFF."""
    text = _only(parameters).upper()
    if text not in ("ON", "OFF", "0", "1"):
        raise ScpiError(-224, "Illegal parameter value")
    return text in ("ON", "1")


def choice(parameters: list[str], names: tuple[str, ...]) -> str:
    """Return the short form of the name that was given."""
    text = _only(parameters).upper().removesuffix(":DC")
    for name in names:
        name = name.removesuffix("[:DC]")
        short = "".join(c for c in name if c.isupper() or c.isdigit())
        if text in (short, name.upper()):
            return short
    raise ScpiError(-224, "Illegal parameter value")


def _only(parameters: list[str]) -> str:
    if not parameters:
        raise ScpiError(-109, "Missing parameter")
    if len(parameters) > 1:
        raise ScpiError(-108, "Parameter not allowed")
    return parameters[0]


def _split(text: str, separator: str) -> list[str]:
    """Split where no quotes are open."""
    return re.split(rf"""{separator}(?=(?:[^"']*["'][^"']*["'])*[^"']*$)""", text)


def _pattern(header: str) -> re.Pattern[str]:
    """Return what matches every form of a header that the standard allows."""
    expression = ""
    for token in re.findall(r"\[|\]|:|\*|[A-Za-z]+|\d+", header):
        if token == "[":
            expression += "(?:"
        elif token == "]":
            expression += ")?"
        elif token.isalpha():
            short = "".join(c for c in token if c.isupper())
            expression += f"(?:{short}|{token.upper()})"
        else:
            expression += re.escape(token)
    return re.compile(expression, re.IGNORECASE)
