"""Save an event whole, whatever a pause does to the reading of its parts."""

from collections.abc import Callable

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator, plan

__all__ = ["save_event"]


@plan
def save_event(
    stream: str, read: Callable[[], MsgGenerator[bool]]
) -> MsgGenerator[None]:
    """Open an event, have it read, and save it; for what is not rewound.

    read: reads the devices; False if one gave no answer

    A hard pause that cuts a ``read`` short gives the plan None in the place of its
    answer, and leaves the device out of the event. So the event is dropped then and
    read again.
    """
    while True:
        yield from bps.create(name=stream)
        try:
            is_whole = yield from read()
        except Exception:
            # Else the next event could not be opened, the last readings not be taken.
            yield from bps.drop()
            raise
        if is_whole:
            break
        yield from bps.drop()
    yield from bps.save()
