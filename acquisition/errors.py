"""What acquisition raises.

::

    CryolineError
    +-- ConfigError            an instrument.toml that can't be used
    +-- DemoError              the demo could not come to its end
    +-- ConnectionFailed       an IOC or server that does not answer
    +-- PlanRefused            a plan that may not start as it was asked
    |   +-- DoseRefused        an exposure that the dose ledger does not allow
    +-- ImportRefused          a file that was imported before
    +-- BundleRefused          a specimen's bundle that can't be made, or not be merged
    +-- ProtocolError          a cycling protocol that can't be used
    +-- RouteError             a route file that can't be used
    +-- TransferStopped        a transfer that was ended before its specimen was there
    +-- ExposureCut            an exposure that ended before its last pixel
    +-- SpecimenLost           a specimen that tracking does not find any more
    +-- RecordsError           a file of records can't be kept
    |   +-- LedgerError        the dose ledger can't be used, or not for this
    |   +-- CustodyError       the custody record can't be used, or not for this
    +-- JournalError           a document that can't be made to last
    |   +-- JournalLineError   a complete line of a journal that can't be read
    |   +-- JournalReplacedError   a journal that became another while it was read
    +-- PublishError           a journaled run that can't be written to Tiled
    |   +-- FileNotReadyError  a data file that can't be read, yet or at all
    +-- ServiceError           a background process that can't be started or ended
        +-- TiledServerError   the same of the embedded Tiled server
"""

__all__ = [
    "BundleRefused",
    "ConfigError",
    "ConnectionFailed",
    "CryolineError",
    "CustodyError",
    "DemoError",
    "DoseRefused",
    "ExposureCut",
    "FileNotReadyError",
    "ImportRefused",
    "JournalError",
    "JournalLineError",
    "JournalReplacedError",
    "LedgerError",
    "PlanRefused",
    "ProtocolError",
    "PublishError",
    "RecordsError",
    "RouteError",
    "ServiceError",
    "SpecimenLost",
    "TiledServerError",
    "TransferStopped",
]


class CryolineError(Exception):
    """The root: a message for a person, who needs no traceback."""


class ConfigError(CryolineError):
    """The configuration file is missing, malformed or names what is not there."""


class ConnectionFailed(CryolineError):
    """An IOC or a server that the configuration names does not answer."""


class DemoError(CryolineError):
    """The demo could not start its laboratory, or did not find its results."""


class PlanRefused(CryolineError):
    """A plan asks for what the instrument or the rules do not allow."""


class DoseRefused(PlanRefused):
    """An exposure or series costs the specimen more than it may; nothing is booked."""


class ExposureCut(CryolineError):
    """An exposure was blanked before its end, and can't or may not be repeated."""


class ImportRefused(CryolineError):
    """A file is not imported, because its bytes already were; nothing is written."""


class BundleRefused(CryolineError):
    """A bundle can't be made, or can't be merged; no record was changed."""


class SpecimenLost(CryolineError):
    """An image does not show where the specimen is; nothing more is exposed."""


class RecordsError(CryolineError):
    """A file of records (counters, dose, custody) can't be read or written."""


class LedgerError(RecordsError):
    """The dose ledger can't be read or written, or does not know what is meant."""


class CustodyError(RecordsError):
    """The custody record can't be kept, or does not hold what is asked."""


class ProtocolError(CryolineError):
    """A cycling protocol is malformed, or asks for what can't be done."""


class RouteError(CryolineError):
    """A route file is malformed, or describes a way that can't be gone."""


class TransferStopped(CryolineError):
    """A transfer ended on its way; the message says where the specimen is safe."""


class JournalError(CryolineError):
    """A document can't be written where it would survive; the run must not go on."""


class JournalLineError(JournalError):
    """A complete line of a journal is no document; the message names file and line."""


class JournalReplacedError(JournalError):
    """A journal was superseded while it was read; it must be read from its start."""


class PublishError(CryolineError):
    """A journaled run can't be written to Tiled as it is; other runs go on."""


class FileNotReadyError(PublishError):
    """A file that a run names can't be read; it may still come, or it is damaged."""


class ServiceError(CryolineError):
    """A background process can't be started, found or ended."""


class TiledServerError(ServiceError):
    """The embedded Tiled server can't be configured, started or reached."""
