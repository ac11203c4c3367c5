"""Wait for the first of several statuses, so that a pause can cut it short."""

import asyncio
import contextlib
from collections.abc import Sequence

from bluesky.protocols import Status

__all__ = ["first_done"]

_WAIT_S = 1.0
"""Wall time after which a wait is looked at again in any case."""


async def first_done(statuses: Sequence[Status]) -> None:
    """Return when one of them is done, or after a second; for ``wait_for`` messages.

    Who waits asks the statuses themselves afterwards.
    """
    loop = asyncio.get_running_loop()
    is_over = asyncio.Event()

    def end(_: Status) -> None:
        loop.call_soon_threadsafe(is_over.set)

    for status in statuses:
        status.add_callback(end)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(is_over.wait(), _WAIT_S)
