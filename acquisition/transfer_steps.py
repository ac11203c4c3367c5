"""Who takes part in a transfer, and single settings of its vessels."""

import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import bluesky.plan_stubs as bps
from bluesky.protocols import Status
from bluesky.utils import FailedStatus, Msg, MsgGenerator, short_uid

from cryoline.acquisition.first_done import first_done
from cryoline.acquisition.route_model import Leg, Route
from cryoline.acquisition.route_steps import Step
from cryoline.acquisition.transfer_log import TransferLog
from cryoline.devices.channel_access import NO_ANSWER
from cryoline.devices.errors import DeviceError

__all__ = ["Party", "insist", "make_safe", "raise_failure", "set_signal", "until_done"]

_THROWN_MAX: Final = 2
"""Failures of older statuses that a clean-up expects."""
_log = logging.getLogger("cryoline.transfer")


@dataclass(frozen=True)
class Party:
    """Who and what takes part in a transfer."""

    route: Route
    vessels: Mapping[str, Any]
    operator: Any
    clock: Any
    log: TransferLog
    accept: Collection[str]

    @property
    def carrier(self) -> Any:
        """What is brought from place to place."""
        return self.vessels["carrier"]


def set_signal(party: Party, step: Step) -> MsgGenerator[None]:
    """Make one setting, and wait until it is taken."""
    vessel, _, attribute = str(step.set).partition(".")
    signal = getattr(party.vessels[vessel], attribute)
    value: Any = step.to
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    status = yield Msg("set", signal, value, group=short_uid("set"))
    yield from until_done(status)


def make_safe(party: Party, leg: Leg) -> MsgGenerator[None]:
    """Make the settings of on_abort; one that fails does not keep the others."""
    for step in leg.on_abort:
        try:
            yield from insist(partial(set_signal, party, step))
        except (DeviceError, FailedStatus, *NO_ANSWER) as failure:
            _log.error("%s could not be set to %s: %s", step.set, step.to, failure)


def insist(make: Callable[[], MsgGenerator[Any]]) -> MsgGenerator[Any]:
    """Do something of a clean-up, again if an older failure is thrown into it.

    The RunEngine throws the failure of a status at whatever message comes next.
    """
    for _ in range(_THROWN_MAX):
        with contextlib.suppress(FailedStatus):
            return (yield from make())
    return (yield from make())


def until_done(status: Status) -> MsgGenerator[None]:
    """Wait for a status; raise what it has failed with."""
    try:
        while not status.done:
            yield from bps.wait_for([partial(first_done, [status])])
    except FailedStatus:
        if not status.done:
            raise  # of an older one
    raise_failure(status)


def raise_failure(status: Status) -> None:
    """Raise what a status that is done has failed with."""
    error = status.exception(timeout=0)
    if error is not None:
        raise error
