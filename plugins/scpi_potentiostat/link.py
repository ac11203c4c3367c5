"""Lines of SCPI to a meter and back, over PyVISA."""

import contextlib
from typing import Any, Final, Self

import pyvisa
from pyvisa.errors import VisaIOError

from cryoline.plugins.scpi_potentiostat.errors import (
    MeterComplains,
    MeterGarbled,
    MeterGone,
)

__all__ = ["ScpiLink"]

_QUEUE_MAX: Final = 20


class ScpiLink:
    """One connection to a meter; every failure is a MeterError with its address.

    Used by one thread at a time.
    """

    def __init__(self, address: str, resource: Any) -> None:
        self.address = address
        self._resource = resource

    @classmethod
    def open(cls, address: str, *, timeout_s: float = 2.0) -> Self:
        """Connect to a VISA address, e.g. ``TCPIP::192.168.7.31::5025::SOCKET``."""
        try:
            # The pure Python library: a laboratory's computer may have no other.
            resource = pyvisa.ResourceManager("@py").open_resource(
                address,
                open_timeout=round(timeout_s * 1e3),
                timeout=round(timeout_s * 1e3),
                read_termination="\n",
                write_termination="\n",
            )
        except Exception as error:
            # pyvisa-py raises the bare class when it can't connect.
            raise MeterGone(
                f"{address}: can't be reached ({error}); check its power, its cable "
                "and the address"
            ) from error
        return cls(address, resource)

    def close(self) -> None:
        """Let go of the connection, whatever state it is in."""
        with contextlib.suppress(VisaIOError, OSError):
            self._resource.close()

    def write(self, *commands: str) -> None:
        """Send commands, one line each."""
        for command in commands:
            try:
                self._resource.write(command)
            except (VisaIOError, OSError) as error:
                raise self._gone(command, error) from error

    def query(self, command: str) -> str:
        """Send a query and return its answer."""
        try:
            answer: str = self._resource.query(command)
        except UnicodeDecodeError as error:
            raise self._garbled(command, "bytes that are no text", "a line") from error
        except (VisaIOError, OSError) as error:
            raise self._gone(command, error) from error
        return answer.strip()

    def numbers(self, command: str, count: int) -> list[float]:
        """Send a query and return the numbers of its answer."""
        answer = self.query(command)
        with contextlib.suppress(ValueError):
            values = [float(part) for part in answer.split(",")]
            if len(values) == count:
                return values
        wanted = "a number" if count == 1 else f"{count} numbers"
        raise self._garbled(command, repr(answer[:60]), wanted)

    def flag(self, command: str) -> bool:
        """Send a query that is answered by 0 or 1."""
        answer = self.query(command)
        if answer not in ("0", "1"):
            raise self._garbled(command, repr(answer[:60]), "0 or 1")
        return answer == "1"

    def check(self, doing: str) -> None:
        """Raise MeterComplains if the meter's error queue is not empty."""
        first = ""
        for _ in range(_QUEUE_MAX):
            answer = self.query(":SYST:ERR?")
            code, _, text = answer.partition(",")
            if not code.lstrip("+-").isdigit():
                raise self._garbled(
                    ":SYST:ERR?", repr(answer[:60]), "an error's number"
                )
            if int(code) == 0:
                break
            first = first or f"{code}, {text.strip(chr(34)).partition(';')[0]}"
        if first:
            raise MeterComplains(
                f"{self.address}: the meter's error is {first}, at {doing}; is it of "
                "the 2450 family, with the SCPI command set?"
            )

    def _gone(self, command: str, error: Exception) -> MeterGone:
        return MeterGone(
            f"{self.address}: no answer to {command} "
            f"({error or type(error).__name__}); check its power and its cable"
        )

    def _garbled(self, command: str, got: str, wanted: str) -> MeterGarbled:
        return MeterGarbled(
            f"{self.address}: the answer to {command} is {got}, not {wanted}; does "
            "another program talk to this meter?"
        )
