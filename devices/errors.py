"""What devices raise.

::

    DeviceError
    +-- InstrumentUnreachable  its IOC does not answer
    +-- ProgramRefused         the instrument does not take a program
    +-- ProgramFailed          the instrument ended a program for its own reason
    +-- OperatorRefused        a person answered no
"""

__all__ = [
    "DeviceError",
    "InstrumentUnreachable",
    "OperatorRefused",
    "ProgramFailed",
    "ProgramRefused",
]


class DeviceError(Exception):
    """The root: names the device, what was asked and what to do."""


class InstrumentUnreachable(DeviceError):
    """The instrument's IOC did not answer in time."""


class ProgramRefused(DeviceError):
    """The instrument refused to load or to start a program."""


class ProgramFailed(DeviceError):
    """The instrument ended a program before its end, and says why."""


class OperatorRefused(DeviceError):
    """The person at the panel refused the step."""
