"""What plugins raise.

::

    PluginError                a plugin that is unknown, broken or offered twice
    ReaderError                a file that a reader can't take
    +-- ForeignFile            it is of another format: another reader may take it
    ExporterError              a table that can't be written as asked
"""

__all__ = ["ExporterError", "ForeignFile", "PluginError", "ReaderError"]


class PluginError(Exception):
    """A plugin is unknown, offered twice, or fails to import."""


class ReaderError(Exception):
    """A file is foreign, truncated or lacks what the reader needs."""


class ForeignFile(ReaderError):
    """A file is not of the reader's format at all; another reader may take it."""


class ExporterError(Exception):
    """A table can't be written where, or as, it was asked."""
