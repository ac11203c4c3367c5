"""What devices raise.

::

    DeviceError
    +-- InstrumentUnreachable  its IOC does not answer
    +-- ProgramRefused         the instrument does not take a program
    +-- ProgramFailed          the instrument ended a program for its own reason
    +-- OperatorRefused        a person answered no
    +-- ExposureRefused        the beam or a detector does not take an exposure
    +-- ExposureFailed         nobody knows how an exposure ended, or its data is lost
    +-- MoveFailed             a stage axis did not arrive where it was sent
    +-- SettingRefused         a vessel does not take a setting or a command
"""

__all__ = [
    "DeviceError",
    "ExposureFailed",
    "ExposureRefused",
    "InstrumentUnreachable",
    "MoveFailed",
    "OperatorRefused",
    "ProgramFailed",
    "ProgramRefused",
    "SettingRefused",
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


class ExposureRefused(DeviceError):
    """The beam or a detector does not take an exposure; nothing was exposed."""


class ExposureFailed(DeviceError):
    """An exposure's end is not known, or a detector could not record it."""


class MoveFailed(DeviceError):
    """An axis is stuck, was stopped, or ended elsewhere than it was sent."""


class SettingRefused(DeviceError):
    """A vessel refused a setting or a command; it is as it was."""
