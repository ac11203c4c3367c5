"""What the bridge to a source-meter raises.

::

    BridgeError                the bridge can't be started as it was asked
    +-- MeterError             something is wrong with the meter
    |   +-- MeterGone          it does not answer
    |   +-- MeterGarbled       it answers what nobody asked
    |   +-- MeterComplains     it has put an error into its queue
    +-- RequestRefused         a put that the bridge does not do; all stays as it was
    +-- StorageFailed          a point or a state can't be made to last
"""

from cryoline.plugins.errors import PluginError

__all__ = [
    "BridgeError",
    "MeterComplains",
    "MeterError",
    "MeterGarbled",
    "MeterGone",
    "RequestRefused",
    "StorageFailed",
]


class BridgeError(PluginError):
    """The root: says which meter, what was asked, and what to do."""


class MeterError(BridgeError):
    """The meter can't be used; the program must not go on."""


class MeterGone(MeterError):
    """The meter does not answer: its connection is lost, or it hangs."""


class MeterGarbled(MeterError):
    """The meter's answer is not of the kind that was asked for."""


class MeterComplains(MeterError):
    """The meter's error queue holds an error about what it was told."""


class RequestRefused(BridgeError):
    """A client asked for what the instrument can't or must not do now."""


class StorageFailed(BridgeError):
    """The disk does not take a point or the program's state."""
