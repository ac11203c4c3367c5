"""Errors of the simulated laboratory.

SimulationError
├── RefusedError            an instrument refuses a request; its text goes to a PV
│   └── ProgramError        ... because the program itself is not acceptable
├── RecordedFileError       a recorded measurement can't be played
├── DetectorFileError       a detector's file can't be opened or written
├── WorldGoneError          the process that owns the models no longer answers
└── LabError                the laboratory can't be started, found or ended
    ├── AlreadyUpError      one is already running in this directory
    ├── NotUpError          none is running in this directory
    ├── NoSpaceError        the directory's disk is full
    ├── PortInUseError      a wanted port belongs to another program
    └── StartupError        a process of the laboratory did not come up
"""

__all__ = [
    "AlreadyUpError",
    "DetectorFileError",
    "LabError",
    "NoSpaceError",
    "NotUpError",
    "PortInUseError",
    "ProgramError",
    "RecordedFileError",
    "RefusedError",
    "SimulationError",
    "StartupError",
    "WorldGoneError",
]


class SimulationError(Exception):
    """Any error of the simulated laboratory."""


class RefusedError(SimulationError):
    """An instrument refuses a request and stays as it was."""


class ProgramError(RefusedError):
    """A cycling program that the instrument will not accept."""


class RecordedFileError(SimulationError):
    """A recorded measurement that can't be played."""


class DetectorFileError(SimulationError):
    """A detector's file that can't be opened or written."""


class WorldGoneError(SimulationError):
    """The world process does not answer."""


class LabError(SimulationError):
    """A laboratory can't be started, found or ended."""


class AlreadyUpError(LabError):
    """A laboratory is already running in this directory."""


class NotUpError(LabError):
    """No laboratory is running in this directory."""


class NoSpaceError(LabError):
    """The directory's disk has no room for logs."""


class PortInUseError(LabError):
    """A wanted port belongs to another program."""


class StartupError(LabError):
    """A process of the laboratory did not come up."""
