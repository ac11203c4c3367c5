"""What ophyd and pyepics raise when a server of PVs does not answer."""

from typing import Final

# isort: off
# ophyd first: it tells pyepics which Channel Access library to load.
from ophyd.utils.errors import DisconnectedError, UnknownStatusFailure
from epics.ca import ChannelAccessException, ChannelAccessGetFailure
# isort: on

__all__ = ["NO_ANSWER"]

NO_ANSWER: Final = (
    TimeoutError,  # a frozen server
    DisconnectedError,  # a dead one, and three more ways to say so
    UnknownStatusFailure,
    ChannelAccessException,
    ChannelAccessGetFailure,
)
"""For an ``except``: the exchange failed, and may work again later."""
